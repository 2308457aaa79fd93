/**
 * The files of a log that is followed: inotify tells of growth and of rotation, and each file that takes the log's name
 * is opened at once, so that none is missed however slow the reader is. The file before the newest stays open, too: the
 * runtime may still write its last lines there when the new one exists.
 * Layer: kubelet/logs (edge to the disk). Reads nothing; says when it is worth reading (read-log.ts).
 */
import { type FSWatcher, watch } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { type CancelTimer, type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { identityOf } from './log-file.ts';
import { isAbsent, openLog } from './open-log.ts';

/** The container whose log is followed. */
export interface FollowedContainer {
  /** False: nothing will be written any more. */
  isRunning(): boolean;
  /** Calls after anything about its pod changed; returns how to stop. */
  onChange(listener: () => void): () => void;
}

export interface FollowOptions {
  container: FollowedContainer;
  clock: Clock;
  log: Logger;
}

/** In case an event was lost: the kernel's queue of them is bounded. */
const safetyMs = 10_000;
/** A log that is written all the time is read so often. */
const restMs = 10;
/** Where inotify has no more watches to give; the kubelet looks that often always. */
const withoutEventsMs = 1000;
/**
 * Files that wait for a reader that is slow or stalled. Each holds its space on the disk although rotation removed it,
 * so that there must be an end: the oldest is left out.
 */
const maxWaitingFiles = 4;

export class FollowedLog {
  readonly #path: string;
  readonly #podLogDir: string;
  readonly #options: FollowOptions;
  readonly #watcher: FSWatcher | undefined;
  readonly #stopListening: () => void;
  #waiting: { handle: FileHandle; identity: string }[] = [];
  /** The file that took the name last. */
  #newest = '';
  #opening: Promise<void> = Promise.resolve();
  /** Something happened since the last `wait`. */
  #woken = false;
  #wake: () => void = () => {};
  #wokenAtMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(path: string, podLogDir: string, options: FollowOptions) {
    this.#path = path;
    this.#podLogDir = podLogDir;
    this.#options = options;
    this.#watcher = this.#startWatching();
    this.#stopListening = options.container.onChange(() => this.#notify());
  }

  /** The file that is read first; those that take its name from now on wait in line. */
  startFrom(identity: string): void {
    this.#newest = identity;
    this.look();
  }

  /** The next file of that name, once the one before is read to its end. */
  async take(): Promise<FileHandle | undefined> {
    await this.#opening;
    return this.#waiting.shift()?.handle;
  }

  /** Resolves when there may be more to read, or the container ended; rejects with the signal's reason. */
  async wait(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#options.clock.now() - this.#wokenAtMs < restMs) await this.pause(restMs, signal);
    if (!this.#woken) {
      let cancel: CancelTimer = () => {};
      const onAbort = (): void => this.#wake();
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
        cancel = this.#options.clock.after(this.#watcher ? safetyMs : withoutEventsMs, () => {
          this.look();
          resolve();
        });
      });
      signal.addEventListener('abort', onAbort, { once: true });
      await woken;
      signal.removeEventListener('abort', onAbort);
      cancel();
      this.#wake = () => {};
    }
    this.#woken = false;
    this.#wokenAtMs = this.#options.clock.now();
    signal.throwIfAborted();
  }

  /** A moment for what is being written. */
  pause(milliseconds: number, signal: AbortSignal): Promise<void> {
    return sleep(milliseconds, signal, this.#options.clock);
  }

  get isRunning(): boolean {
    return this.#options.container.isRunning();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watcher?.close();
    this.#stopListening();
    await this.#opening;
    for (const { handle } of this.#waiting.splice(0)) await handle.close();
  }

  #notify(): void {
    this.#woken = true;
    this.#wake();
  }

  #startWatching(): FSWatcher | undefined {
    const name = basename(this.#path);
    const failed = (error: unknown): void =>
      this.#options.log.warn({ error: errorLine(error), file: this.#path }, 'a followed log is not watched');
    try {
      const watcher = watch(dirname(this.#path), { persistent: false }, (event, file) => {
        // Rotation compresses old files beside it.
        if (file !== null && /\.(?:gz|tmp)$/.test(file)) return;
        if (event === 'rename' && (file === null || file === name)) this.look();
        this.#notify();
      });
      return watcher.on('error', failed);
    } catch (error) {
      failed(error);
      return undefined;
    }
  }

  /** Opens what has the name now, unless that is known; `take` gives it. */
  look(): void {
    this.#opening = this.#opening.then(async () => {
      if (this.#closed) return;
      try {
        await this.#openNewest();
      } catch (error) {
        // Renamed, and the runtime has not made the new one yet: another event will tell.
        if (!isAbsent(error)) {
          this.#options.log.warn({ error: errorLine(error) }, 'cannot open the next file of a followed log');
        }
      }
    });
  }

  async #openNewest(): Promise<void> {
    const handle = await openLog(this.#path, this.#podLogDir);
    const identity = await identityOf(handle);
    if (this.#closed || identity === this.#newest) return handle.close();
    this.#newest = identity;
    this.#waiting.push({ handle, identity });
    if (this.#waiting.length > maxWaitingFiles) {
      await this.#waiting.shift()?.handle.close();
      this.#options.log.warn({ file: this.#path }, 'a client reads a followed log too slowly: part of it is left out');
    }
    this.#notify();
  }
}
