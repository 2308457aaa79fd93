/**
 * Runs commands for the tests and says what they printed when they fail.
 * Layer: test. Entering a network namespace goes through nsenter: `ip netns exec` would also unshare the mount
 * namespace, and mounts must stay visible to the daemon and the runtime.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process';
import { join } from 'node:path';

/** The repository. */
export const repositoryRoot = join(import.meta.dirname, '..', '..');

export interface ExecOptions {
  /** Name of a namespace made by `ip netns`. */
  netns?: string | undefined;
  input?: string;
  /** Milliseconds, 60,000 unless given; then the command is killed. */
  timeoutMs?: number;
  env?: NodeJS.ProcessEnv;
}

export interface ExecResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** The command line that runs `command` in the namespace. */
export function inNetns(netns: string | undefined, command: string, args: readonly string[]): [string, string[]] {
  if (netns === undefined) return [command, [...args]];
  return ['nsenter', [`--net=/run/netns/${netns}`, '--', command, ...args]];
}

/** Runs to the end and returns the exit code with both outputs; rejects only when the command cannot be started. */
export function execResult(command: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const [file, argv] = inNetns(options.netns, command, args);
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      argv,
      {
        encoding: 'utf8',
        timeout: options.timeoutMs ?? 60_000,
        killSignal: 'SIGKILL',
        maxBuffer: 64 * 1024 * 1024,
        env: options.env ?? process.env,
      },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code === 'string') reject(error);
        else if (error === null) resolve({ code: 0, stdout, stderr });
        else resolve({ code: typeof error.code === 'number' ? error.code : 137, stdout, stderr });
      },
    );
    child.stdin?.on('error', () => undefined); // A command that does not read its input closes it.
    child.stdin?.end(options.input ?? '');
  });
}

/** Standard output of a command that must succeed; the error carries what it printed. */
export async function exec(command: string, args: readonly string[], options: ExecOptions = {}): Promise<string> {
  const result = await execResult(command, args, options);
  if (result.code === 0) return result.stdout;
  throw new Error(
    `${command} ${args.join(' ')}: exit ${result.code}\n${result.stderr.trim()}\n${result.stdout.trim()}`.trim(),
  );
}

/** Starts a long-running process in the namespace; nsenter replaces itself, so the pid is the process's own. */
export function spawnIn(
  netns: string | undefined,
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const [file, argv] = inNetns(netns, command, args);
  return spawn(file, argv, options);
}

/** Resolves when `condition` gives something true, which it returns; throws with `what` after `timeoutMs`. */
export async function eventually<T>(
  what: string | (() => string),
  condition: () => T | Promise<T>,
  timeoutMs = 30_000,
  intervalMs = 50,
): Promise<Exclude<T, false | undefined | null>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const result = await condition();
    if (result !== false && result !== undefined && result !== null)
      return result as Exclude<T, false | undefined | null>;
    if (Date.now() > deadline)
      throw new Error(`not within ${timeoutMs} ms: ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
