/**
 * Keeps container logs within their limits: looks at the size of each running container's log every few seconds, and has
 * the runtime begin a new file when it is too large. Rules: pkg/kubelet/logs/container_log_manager.go.
 * Layer: kubelet/logs (edge to the disk and to CRI). rotation-plan.ts decides; nothing is kept that a restart would miss.
 */
import { link, lstat, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { type Clock, sleep } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import type { RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { compressLog } from './compress-log.ts';
import { LogError } from './log-error.ts';
import { planCleanup, planRotation, type RotationStep } from './rotation-plan.ts';

/** KubeletConfiguration containerLogMaxSize, -MaxFiles, -MonitorInterval, -MaxWorkers. */
export interface LogLimits {
  /** Negative: logs are never rotated. */
  maxBytes: number;
  /** 2 or more. */
  maxFiles: number;
  /** Between two looks at all logs, milliseconds. */
  intervalMs: number;
  /** Logs that are looked at and compressed at a time, 1 or more. */
  workers: number;
}

export interface LoggedContainer {
  id: string;
  logPath: string;
}

export interface LogRotationOptions {
  /** Those that run: others write nothing, and an empty newest log would help nobody. */
  containers(): readonly LoggedContainer[];
  runtime: Pick<RuntimeService, 'reopenContainerLog'>;
  /** Only logs below it are touched. */
  podLogDir: string;
  clock: Clock;
  log: Logger;
  limits: LogLimits;
}

export interface LogRotation {
  /** Resolves when no file is worked on any more. */
  stop(): Promise<void>;
}

/** The first look is at once: a predecessor may have been killed between rename and reopen. */
export function startLogRotation(options: LogRotationOptions, signal: AbortSignal): LogRotation {
  const scope = new AbortController();
  const stopping = AbortSignal.any([signal, scope.signal]);
  const running = options.limits.maxBytes < 0 ? Promise.resolve() : new Rotator(options, stopping).run();
  return {
    async stop() {
      scope.abort(new Error('log rotation stops'));
      await running;
    },
  };
}

class Rotator {
  readonly #options: LogRotationOptions;
  readonly #signal: AbortSignal;
  /** Containers whose directory was cleaned of leftovers, and what was last wrong with each. */
  readonly #seen = new Map<string, string>();

  constructor(options: LogRotationOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { clock, limits } = this.#options;
    while (!this.#signal.aborted) {
      await this.#round();
      await sleep(limits.intervalMs, this.#signal, clock).catch(() => undefined);
    }
  }

  async #round(): Promise<void> {
    const containers = this.#options.containers();
    const ids = new Set(containers.map(({ id }) => id));
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
    const queue = containers.values();
    const work = async (): Promise<void> => {
      for (const container of queue) {
        if (this.#signal.aborted) return;
        await this.#lookAt(container);
      }
    };
    await Promise.all(Array.from({ length: this.#options.limits.workers }, work));
  }

  async #lookAt(container: LoggedContainer): Promise<void> {
    let trouble = '';
    try {
      await this.#rotateIfLarge(container);
    } catch (error) {
      if (this.#signal.aborted) return;
      trouble = errorLine(error);
    }
    // The same trouble every ten seconds is said once.
    if (trouble !== '' && trouble !== this.#seen.get(container.id)) {
      this.#options.log.error({ container: container.id, error: trouble }, 'cannot rotate the log of a container');
    }
    this.#seen.set(container.id, trouble);
  }

  async #rotateIfLarge({ id, logPath }: LoggedContainer): Promise<void> {
    const { podLogDir, limits, clock, runtime } = this.#options;
    if (resolve(logPath) !== logPath || !logPath.startsWith(resolve(podLogDir) + sep)) {
      throw new LogError(logPath, `is not below ${podLogDir}`);
    }
    const [directory, log] = [dirname(logPath), basename(logPath)];
    const size = await sizeOf(logPath);
    if (size === undefined) await runtime.reopenContainerLog({ containerId: id });
    const isLarge = size !== undefined && size >= limits.maxBytes;
    if (!isLarge && this.#seen.has(id)) return;
    const files = await readdir(directory);
    const steps = isLarge ? planRotation(log, files, limits.maxFiles, clock.now()) : planCleanup(log, files);
    await this.#apply(id, directory, steps);
  }

  /** Goes on after a failure: a file that cannot be compressed on a full disk must not let the log grow for ever. */
  async #apply(id: string, directory: string, steps: readonly RotationStep[]): Promise<void> {
    const errors: unknown[] = [];
    for (const step of steps) {
      if (this.#signal.aborted) break;
      try {
        const file = join(directory, step.file);
        if (step.do === 'remove') await unlink(file);
        else if (step.do === 'compress') await compressLog(file, this.#signal);
        else await this.#rotate(id, file, join(directory, step.to));
      } catch (error) {
        if (!hasErrorCode(error, 'ENOENT')) errors.push(error);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors);
  }

  /** Once renamed it goes through, whatever the signal says. */
  async #rotate(id: string, log: string, rotated: string): Promise<void> {
    await rename(log, rotated);
    try {
      await this.#options.runtime.reopenContainerLog({ containerId: id });
    } catch (cause) {
      await putBack(rotated, log);
      throw new LogError(log, `the runtime did not reopen it: ${errorLine(cause)}`, { cause });
    }
  }
}

/** The runtime goes on writing there. Where it made a new file before it failed, both stay. */
async function putBack(rotated: string, log: string): Promise<void> {
  try {
    // Unlike rename, link never replaces a file.
    await link(rotated, log);
  } catch (error) {
    if (hasErrorCode(error, 'EEXIST')) return;
    throw error;
  }
  await unlink(rotated);
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const info = await lstat(path);
    if (!info.isFile()) throw new LogError(path, 'is not a regular file');
    return info.size;
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
