/**
 * Runs the built daemon as a user would: `bin/keelson run --standalone DIR` with all its paths in the run's folder.
 * Layer: test. Looks at it from outside only: the process, its log, `keelson status -o json`.
 */
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { queryControl } from '../../src/agent/control-socket.ts';
import type { StandaloneReport, StartingReport } from '../../src/agent/status-report.ts';
import { type ExecResult, eventually, execResult, repositoryRoot, spawnIn } from './exec.ts';
import { forThisMachine } from './kubelet-config.ts';

export const keelsonBinary = join(repositoryRoot, 'bin/keelson');

export interface KeelsonDirs {
  /** Manifests, watched. */
  manifests: string;
  /** --root-dir: volumes and what else lives as long as a pod. */
  root: string;
  /** --pod-log-dir: container logs in CRI layout. */
  podLogs: string;
  /** --run-dir: sockets and what does not outlive a boot. */
  run: string;
}

export interface KeelsonOptions {
  dirs: KeelsonDirs;
  endpoint: string;
  cniConfDir: string;
  cniBinDir: string;
  netns?: string | undefined;
  /** `10.244.0.0/24` unless given. */
  podCidr?: string;
  hostname?: string;
  /** Text of a KubeletConfiguration file. */
  config?: string;
  /** Kubeconfig files of a node in a cluster; then it runs no folder of manifests. */
  cluster?: { kubeconfig: string; networkKubeconfig: string };
  /** More flags, e.g. `['-v', '4']`. */
  args?: readonly string[];
  /** The command; bin/keelson of the clone unless given. */
  binary?: string;
  /** Where the log goes; it is appended to, so that it shows restarts. */
  logFile: string;
}

export interface Keelson {
  pid: number;
  /** The daemon's exit code, or the signal that ended it; undefined while it runs. */
  exit(): number | NodeJS.Signals | undefined;
  /** What `keelson status -o json` is told. Throws when nobody answers or the daemon is still starting. */
  status(): Promise<StandaloneReport>;
  /** Any other subcommand with this run's folder, e.g. `command('status')`. */
  command(...args: string[]): Promise<ExecResult>;
  /** Standard output and error of the daemon, restarts included. */
  logs(): string;
  /** Resolves with the status that satisfies the condition; errors of status() count as not yet. */
  waitFor(
    what: string,
    condition: (status: StandaloneReport) => boolean,
    timeoutMs?: number,
  ): Promise<StandaloneReport>;
  /** SIGKILL, as a crash; resolves when the process is gone. */
  kill9(): Promise<void>;
  /** SIGTERM; resolves with the exit code. Kills it after 30 s and throws. */
  stop(): Promise<number>;
}

/** The flags of a run with all paths named. */
export function keelsonArguments(options: KeelsonOptions): string[] {
  const { dirs, cluster, podCidr } = options;
  const source =
    cluster === undefined
      ? ['--standalone', dirs.manifests]
      : ['--kubeconfig', cluster.kubeconfig, '--network-kubeconfig', cluster.networkKubeconfig];
  const network =
    cluster === undefined || podCidr !== undefined
      ? ['--pod-cidr', podCidr ?? '10.244.0.0/24']
      : ['--cluster-cidr', '10.244.0.0/16'];
  return [
    ['run', ...source],
    network,
    ['--container-runtime-endpoint', options.endpoint],
    ['--cni-conf-dir', options.cniConfDir],
    ['--cni-bin-dir', options.cniBinDir],
    ['--root-dir', dirs.root],
    ['--pod-log-dir', dirs.podLogs],
    ['--run-dir', dirs.run],
    options.hostname === undefined ? [] : ['--hostname-override', options.hostname],
    options.config === undefined ? [] : ['--config', `${dirs.run}.kubelet.yaml`],
    options.args ?? [],
  ].flat();
}

/** Starts the daemon; does not wait for it to be ready (see waitFor). */
export async function startKeelson(options: KeelsonOptions): Promise<Keelson> {
  const { dirs, netns, binary = keelsonBinary } = options;
  for (const dir of Object.values(dirs) as string[]) mkdirSync(dir, { recursive: true });
  if (options.config !== undefined) writeFileSync(`${dirs.run}.kubelet.yaml`, forThisMachine(options.config));
  const output = openSync(options.logFile, 'a');
  const child: ChildProcess = spawnIn(netns, binary, keelsonArguments(options), {
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  let exit: number | NodeJS.Signals | undefined;
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      exit = code ?? signal ?? 0;
      resolve();
    });
  });
  ended.catch(() => undefined);
  const { pid } = child;
  if (pid === undefined) await ended;
  if (pid === undefined) throw new Error(`${binary} did not start`);

  const logs = (): string => readFileSync(options.logFile, 'utf8');
  const command = (...args: string[]): Promise<ExecResult> =>
    execResult(binary, [...args, '--run-dir', dirs.run], { netns });
  // Asked on the socket: a `keelson status` for each look would take a core from the daemon that is being watched.
  const status = async (): Promise<StandaloneReport> => {
    const report = (await queryControl(dirs.run)) as StandaloneReport | StartingReport;
    if ('starting' in report) throw new Error('keelson is starting');
    return report;
  };
  const tail = (): string => logs().split('\n').slice(-25).join('\n');

  return {
    pid,
    exit: () => exit,
    status,
    command,
    logs,
    async waitFor(what, condition, timeoutMs = 60_000) {
      let last = '';
      return (
        await eventually(
          () => `${what}\nlast status: ${last}\nlog:\n${tail()}`,
          async () => {
            if (exit !== undefined) throw new Error(`keelson ended (${exit}) while waiting for: ${what}\n${tail()}`);
            try {
              const now = await status();
              last = JSON.stringify(now);
              return condition(now) ? { now } : undefined;
            } catch (error) {
              last = String(error);
              return undefined;
            }
          },
          timeoutMs,
          100,
        )
      ).now;
    },
    async kill9() {
      child.kill('SIGKILL');
      await ended;
    },
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      await ended;
      clearTimeout(timer);
      if (exit === 'SIGKILL') throw new Error(`keelson did not end within 30 s of SIGTERM:\n${tail()}`);
      return typeof exit === 'number' ? exit : 0;
    },
  };
}
