/**
 * The edge to the cgroup v2 hierarchy: its directories are cgroups, its files their settings.
 * Layer: kubelet/cgroups (edge). Writes what it is told and decides nothing. Paths begin with a slash and count from the
 * root of the hierarchy.
 */
import { watch } from 'node:fs';
import { constants, mkdir, open, readdir, readFile, rmdir } from 'node:fs/promises';
import { hasErrorCode } from '../../base/errors.ts';

/** Throws Node's errors with the errno's name in `code`. */
export interface CgroupFiles {
  /** The trimmed text; undefined when the cgroup or the file is not there. */
  read(path: string, file: string): Promise<string | undefined>;
  /** Never makes a file: one that is not there is ENOENT. */
  write(path: string, file: string, value: string): Promise<void>;
  /** One that is there already is fine. */
  mkdir(path: string): Promise<void>;
  /** One that is gone already is fine. */
  rmdir(path: string): Promise<void>;
  /** Names of the cgroups in it, sorted; undefined when it is not there. */
  children(path: string): Promise<string[] | undefined>;
  /**
   * Calls back after each change of cgroup.events, which says whether processes are in it or below, until it is cancelled.
   * @returns what cancels it
   */
  watchEvents(path: string, onChange: () => void): () => void;
}

/** @param mount where cgroup v2 is mounted: `/sys/fs/cgroup` */
export function mountedCgroupFiles(mount: string): CgroupFiles {
  const directory = (path: string): string => {
    if (!path.startsWith('/') || path.split('/').includes('..')) throw new RangeError(`no path of a cgroup: ${path}`);
    return path === '/' ? mount : `${mount}${path}`;
  };
  return {
    async read(path, file) {
      try {
        return (await readFile(`${directory(path)}/${file}`, 'utf8')).trim();
      } catch (error) {
        // ENODEV: the cgroup was removed while its file was open.
        if (hasErrorCode(error, 'ENOENT', 'ENODEV')) return undefined;
        throw error;
      }
    },
    async write(path, file, value) {
      await using handle = await open(`${directory(path)}/${file}`, constants.O_WRONLY);
      // In one write: each is a request of its own to the kernel.
      await handle.write(value);
    },
    async mkdir(path) {
      try {
        await mkdir(directory(path), 0o755);
      } catch (error) {
        if (!hasErrorCode(error, 'EEXIST')) throw error;
      }
    },
    async rmdir(path) {
      try {
        await rmdir(directory(path));
      } catch (error) {
        if (!hasErrorCode(error, 'ENOENT')) throw error;
      }
    },
    async children(path) {
      try {
        const entries = await readdir(directory(path), { withFileTypes: true });
        return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
      } catch (error) {
        if (hasErrorCode(error, 'ENOENT')) return undefined;
        throw error;
      }
    },
    watchEvents(path, onChange) {
      try {
        // It keeps the process alive: whoever waits, waits for its end.
        const watcher = watch(`${directory(path)}/cgroup.events`, () => onChange());
        // Gone with its cgroup: whoever waits looks by itself.
        watcher.on('error', () => onChange());
        return () => watcher.close();
      } catch (error) {
        // Gone already, or no inotify watch is left: who waits also looks by the clock.
        if (!hasErrorCode(error, 'ENOENT', 'ENODEV', 'ENOSPC', 'EMFILE')) throw error;
        return () => undefined;
      }
    },
  };
}
