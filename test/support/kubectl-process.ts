/**
 * kubectl as a process that lasts or that bytes flow through: exec with input, cp, attach, port-forward, any version of it.
 * Layer: test. For what prints a little and ends, ControlPlane.kubectl is enough.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { ClusterNode } from './cluster-node.ts';
import { exec, repositoryRoot, spawnIn } from './exec.ts';

export interface KubectlEnd {
  /** The exit code, or the signal that ended it. */
  code: number | NodeJS.Signals;
  stdout: string;
  stderr: string;
  /** Of standard output, which is not kept when it is long. */
  bytes: number;
}

export interface KubectlProcess {
  child: ChildProcess;
  /** So far; the first megabyte. */
  stdout(): string;
  stderr(): string;
  /** Closes standard input. */
  endInput(): void;
  write(text: string): void;
  ended: Promise<KubectlEnd>;
  /** Resolves when standard output (or error) holds the text; rejects when it ends before. */
  said(text: string | RegExp): Promise<void>;
}

export interface Kubectl {
  /** `old`: the control plane's own; `current`: Debian's newest. */
  version: 'old' | 'current';
  /** For command lines of a test's own: the program, what comes before its arguments, and the environment. */
  binary: string;
  flags: readonly string[];
  environment: NodeJS.ProcessEnv;
  start(...args: string[]): KubectlProcess;
  /** To its end, with this on standard input. */
  run(args: readonly string[], input?: string): Promise<KubectlEnd>;
}

const keptBytes = 1_000_000;

/** As admin, from the host where the API server is. */
export async function kubectlOf(on: ClusterNode, which: 'old' | 'current'): Promise<Kubectl> {
  const script = join(repositoryRoot, 'script/control-plane');
  const found = (await exec(script, which === 'current' ? ['--kubectl'] : [], { timeoutMs: 1_800_000 })).trim();
  const binary = which === 'current' ? found : join(found, 'kubectl');
  const flags = ['--kubeconfig', on.cluster.admin.kubeconfig];
  const environment = { ...process.env, HOME: join(on.node.run.path, `home-${which}`), KUBECONFIG: '' };
  const start: Kubectl['start'] = (...args) => {
    const child = spawnIn(on.node.outside, binary, [...flags, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: environment,
    });
    let [stdout, stderr, bytes] = ['', '', 0];
    let end: KubectlEnd | undefined;
    const waiting = new Set<() => void>();
    const look = (): void => {
      for (const each of waiting) each();
    };
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (stdout.length < keptBytes) stdout += chunk.toString('latin1');
      look();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      if (stderr.length < keptBytes) stderr += chunk.toString();
      look();
    });
    // It may end before it has read all.
    child.stdin?.on('error', () => {});
    const ended = (async (): Promise<KubectlEnd> => {
      const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
      end = { code: code ?? signal ?? 0, stdout, stderr, bytes };
      look();
      return end;
    })();
    ended.catch(() => {});
    return {
      child,
      stdout: () => stdout,
      stderr: () => stderr,
      endInput: () => void child.stdin?.end(),
      write: (text) => void child.stdin?.write(text),
      ended,
      said: (text) =>
        new Promise((resolve, reject) => {
          const check = (): void => {
            const holds = [stdout, stderr].some((said) =>
              typeof text === 'string' ? said.includes(text) : text.test(said),
            );
            if (!holds && end === undefined) return;
            waiting.delete(check);
            if (holds) resolve();
            else reject(new Error(`kubectl ${args.join(' ')} ended (${end?.code}) before ${text}: ${stderr}${stdout}`));
          };
          waiting.add(check);
          check();
        }),
    };
  };
  return {
    version: which,
    binary,
    flags,
    environment,
    start,
    async run(args, input) {
      const process = start(...args);
      if (input !== undefined) process.write(input);
      process.endInput();
      return process.ended;
    },
  };
}
