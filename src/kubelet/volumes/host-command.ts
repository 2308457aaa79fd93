/**
 * Runs mount, umount, mkfs and their like: what touches a disk or server that may never answer is a child's affair, since
 * a system call that hangs would take a thread of the daemon with it.
 * Layer: kubelet/volumes (edge: processes). No shell. A child that not even SIGKILL ends is left behind, never waited for.
 */
import { spawn } from 'node:child_process';
import { hasErrorCode } from '../../base/errors.ts';

export type CommandOutcome =
  | { readonly outcome: 'ended'; readonly status: number; readonly stdout: string; readonly stderr: string }
  /** There is no such program in PATH. */
  | { readonly outcome: 'missing' }
  /** It was ended, or ended by itself by a signal; what it was to do may be done or not. */
  | { readonly outcome: 'killed'; readonly timedOut: boolean; readonly stderr: string };

export interface CommandLimits {
  /** Milliseconds. */
  readonly timeoutMs: number;
  /**
   * The child ends even when nobody is there to end it, five seconds after the limit: for questions, which would else hang on a
   * server for as long as that is gone, and keep its mount busy, when the daemon is killed meanwhile. Needs timeout(1).
   */
  readonly endsAlone?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Rejects with the signal's reason when aborted, with Node's error when the program cannot be run. */
export type RunHostCommand = (file: string, args: readonly string[], limits: CommandLimits) => Promise<CommandOutcome>;

/** What is kept of each stream; these programs say a line or two. */
const maxOutputBytes = 16 * 1024;
/** How long an ended process may take to go before it counts as stuck in the kernel. */
const killPatienceMs = 1_000;
/** How long what it wrote last may take to be read. */
const pipePatienceMs = 200;

export const runHostCommand: RunHostCommand = (name, givenArgs, { timeoutMs, endsAlone, signal }) => {
  signal?.throwIfAborted();
  const seconds = Math.ceil(timeoutMs / 1000) + 5;
  const [file, args] = endsAlone
    ? ['timeout', ['--signal=KILL', String(seconds), name, ...givenArgs]]
    : [name, [...givenArgs]];
  return new Promise((resolve, reject) => {
    // A process group of its own: mount(8) has a helper do the work, which is to end with it.
    const child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let [stdout, stderr] = ['', ''];
    let timedOut = false;
    let killTimer: NodeJS.Timeout | undefined;
    const keep = (text: string, chunk: Buffer): string => (text + chunk.toString('utf8')).slice(0, maxOutputBytes);
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      signal?.removeEventListener('abort', onAbort);
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      settle();
    };
    const killed = (): void => {
      if (signal?.aborted) reject(signal.reason);
      else resolve({ outcome: 'killed', timedOut, stderr: stderr.trim() });
    };
    const kill = (): void => {
      if (child.pid === undefined || killTimer !== undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The whole group has ended.
      }
      killTimer = setTimeout(() => finish(killed), killPatienceMs);
    };
    const onAbort = (): void => kill();
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    child.stdout.on('data', (chunk: Buffer) => {
      stdout = keep(stdout, chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr = keep(stderr, chunk);
    });
    child.once('error', (error) =>
      finish(() => (hasErrorCode(error, 'ENOENT') ? resolve({ outcome: 'missing' }) : reject(error))),
    );
    child.once('exit', (status) => {
      const settle = (): void =>
        finish(() => {
          if (status === null || timedOut || signal?.aborted) killed();
          else resolve({ outcome: 'ended', status, stdout: stdout.trim(), stderr: stderr.trim() });
        });
      child.once('close', settle);
      // A daemon that the command leaves behind (rpc.statd) may keep the pipes open.
      killTimer ??= setTimeout(settle, pipePatienceMs);
    });
  });
};
