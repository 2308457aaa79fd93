/**
 * The files of /proc and of the cgroup filesystems, and what a disk filesystem says of itself.
 * Layer: kubelet/stats (edge). Kernel files are read synchronously: they lie in memory, and a promise costs five times
 * the read itself (8 and 60 us, measured); whoever reads many must yield in between (Breather). Disks are asked
 * asynchronously, as one may hang. Reads only.
 */
import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { hasErrorCode } from '../../base/errors.ts';

export interface HostFiles {
  /** The text of a kernel file; undefined when there is none, it went meanwhile or the kernel does not support it. */
  read(path: string): string | undefined;
  /** undefined when the path is gone. */
  filesystem(path: string): Promise<FilesystemUsage | undefined>;
}

export interface FilesystemUsage {
  readonly capacityBytes: number;
  /** What an unprivileged writer may still take. */
  readonly availableBytes: number;
  readonly usedBytes: number;
  /** 0 where inodes are made as they are needed (btrfs). */
  readonly inodes: number;
  readonly inodesFree: number;
}

// A cgroup or process that ends between two reads; PSI that is switched off.
const absent = ['ENOENT', 'ENOTDIR', 'ENODEV', 'ESRCH', 'EOPNOTSUPP', 'ENOTSUP', 'EACCES', 'EPERM', 'EINVAL'];

export const hostFiles: HostFiles = {
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      if (hasErrorCode(error, ...absent)) return undefined;
      throw error;
    }
  },
  async filesystem(path) {
    try {
      const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(path);
      return {
        capacityBytes: blocks * bsize,
        availableBytes: bavail * bsize,
        usedBytes: (blocks - bfree) * bsize,
        inodes: files,
        inodesFree: ffree,
      };
    } catch (error) {
      if (hasErrorCode(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'EPERM')) return undefined;
      throw error;
    }
  },
};

/** Gives the event loop a turn when this much time was spent since the last one. */
export class Breather {
  readonly #everyMs: number;
  #lastMs = performance.now();

  constructor(everyMs = 4) {
    this.#everyMs = everyMs;
  }

  async breathe(): Promise<void> {
    if (performance.now() - this.#lastMs < this.#everyMs) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#lastMs = performance.now();
  }
}
