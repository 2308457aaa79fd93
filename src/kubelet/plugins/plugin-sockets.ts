/**
 * Which plugin sockets are below `plugins_registry/`: watched, and looked through anew whenever anything changes there.
 * Layer: kubelet/plugins (edge: disk). Opens no socket and knows no plugin. Symlinks are left out: what they lead to may lie
 * behind a server that does not answer, or be another daemon's socket.
 * Source of the rules: pkg/kubelet/pluginmanager/pluginwatcher/plugin_watcher.go.
 */
import { type FSWatcher, watch } from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

/** Path -> what tells this socket from an earlier one at the same path. */
export type FoundSockets = ReadonlyMap<string, string>;

export interface PluginSocketsOptions {
  readonly directory: string;
  /** Called after each look, also when nothing changed. */
  readonly onFound: (sockets: FoundSockets) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Events of one rename or restart come together. */
const settleMs = 50;
/** The net under lost events (a full inotify queue, a directory that was replaced). */
const rescanMs = 60_000;
/** More are nobody's honest need: a node has a handful. */
const maxSockets = 512;
const maxDirectories = 256;
const maxDepth = 8;
/** sockaddr_un.sun_path in linux/un.h: 108 bytes with the closing zero. */
const longestSocketPath = 107;

export class PluginSockets {
  readonly #options: PluginSocketsOptions;
  readonly #watchers = new Map<string, FSWatcher>();
  #cancelTimer: CancelTimer | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(options: PluginSocketsOptions) {
    this.#options = options;
  }

  /** Resolves after the first look; a directory that cannot be made or read is logged and tried again. */
  async start(): Promise<void> {
    await this.look();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** Looks through the directory now. */
  look(): Promise<void> {
    if (this.#looking !== undefined) {
      this.#again = true;
      return this.#looking;
    }
    this.#looking = this.#lookUntilSettled().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookUntilSettled(): Promise<void> {
    do {
      this.#again = false;
      this.#cancelTimer?.();
      try {
        await this.#lookOnce();
      } catch (error) {
        this.#options.log.warn({ error: errorLine(error) }, 'plugin sockets cannot be listed');
      }
    } while (this.#again && !this.#stopped);
    if (!this.#stopped) this.#cancelTimer = this.#options.clock.after(rescanMs, () => void this.look());
  }

  async #lookOnce(): Promise<void> {
    const { directory, onFound, log } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o755 });
    const sockets = new Map<string, string>();
    const directories = new Set<string>();
    await this.#collect(directory, 0, sockets, directories);
    for (const [path, watcher] of this.#watchers) {
      if (directories.has(path)) continue;
      watcher.close();
      this.#watchers.delete(path);
    }
    if (this.#stopped) return;
    if (sockets.size >= maxSockets) log.warn({ directory, maxSockets }, 'further plugin sockets are left out');
    onFound(sockets);
  }

  async #collect(
    directory: string,
    depth: number,
    sockets: Map<string, string>,
    directories: Set<string>,
  ): Promise<void> {
    // Watched before it is read: what comes in between is seen by one of the two.
    this.#watch(directory);
    directories.add(directory);
    const entries = await readdir(directory, { withFileTypes: true }).catch(depth === 0 ? ifGone : ifUnreadable);
    for (const entry of entries ?? []) {
      if (entry.name.startsWith('.') || sockets.size >= maxSockets) continue;
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        if (depth < maxDepth && directories.size < maxDirectories)
          await this.#collect(path, depth + 1, sockets, directories);
        continue;
      }
      if (!entry.isSocket() || Buffer.byteLength(path) > longestSocketPath) continue;
      const found = await lstat(path, { bigint: true }).catch(ifUnreadable);
      // Not the time of its last change: a plugin may set the mode of its socket after it has bound it.
      if (found?.isSocket()) sockets.set(path, `${found.dev}:${found.ino}:${found.birthtimeNs}`);
    }
  }

  #watch(directory: string): void {
    if (this.#watchers.has(directory) || this.#stopped) return;
    try {
      const watcher = watch(directory, { persistent: false }, () => this.#changed());
      const end = (): void => {
        watcher.close();
        if (this.#watchers.get(directory) === watcher) this.#watchers.delete(directory);
        this.#changed();
      };
      watcher.on('error', end);
      this.#watchers.set(directory, watcher);
    } catch (error) {
      if (!hasErrorCode(error, 'ENOENT')) {
        this.#options.log.warn({ directory, error: errorLine(error) }, 'the directory cannot be watched');
      }
    }
  }

  #changed(): void {
    if (this.#stopped) return;
    if (this.#looking !== undefined) {
      this.#again = true;
      return;
    }
    this.#cancelTimer?.();
    this.#cancelTimer = this.#options.clock.after(settleMs, () => void this.look());
  }
}

/** One entry that makes trouble is nobody else's. */
const ifUnreadable = (): undefined => undefined;

function ifGone(error: unknown): undefined {
  if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
  throw error;
}
