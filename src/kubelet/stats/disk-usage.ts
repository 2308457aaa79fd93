/**
 * What a directory tree takes on its filesystem, as `du` counts it: blocks in use and inodes, hard links once, nothing
 * on another device, no symlink followed.
 * Layer: kubelet/stats (edge: disk, asynchronous). Trees belong to containers, so they may be huge, deep, and change
 * under the walk: each directory is opened by name within its parent, so that a symlink swapped in leads nowhere, and a
 * walk ends at a bound. Source of the rules: pkg/volume/util/fs/fs.go (DiskUsage).
 */
import type { BigIntStats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { Directory } from '../volumes/directory.ts';
import { VolumeError } from '../volumes/volume-error.ts';

export interface DiskUsage {
  readonly usedBytes: number;
  readonly inodes: number;
  /** False when the walk ended at a bound: it is at least this much. */
  readonly complete: boolean;
}

export interface WalkBounds {
  readonly entries: number;
  readonly depth: number;
}

/** A walk over this many entries takes about 20 s of one core here. */
export const defaultBounds: WalkBounds = { entries: 300_000, depth: 64 };

/** stat(2) counts blocks in 512 bytes, whatever the filesystem's own are. */
const blockBytes = 512;

/** undefined when there is no such directory. @param path trusted up to its last element */
export async function directoryUsage(
  path: string,
  signal: AbortSignal,
  bounds: WalkBounds = defaultBounds,
): Promise<DiskUsage | undefined> {
  let root: Directory;
  try {
    root = await Directory.open(path);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
  const walk = new Walk(bounds, signal);
  await using directory = root;
  const stat = await directory.stat();
  walk.count(stat);
  await walk.descend(directory, stat.dev, 1);
  return { usedBytes: walk.usedBytes, inodes: walk.inodes, complete: walk.complete };
}

class Walk {
  usedBytes = 0;
  inodes = 0;
  complete = true;
  readonly #bounds: WalkBounds;
  readonly #signal: AbortSignal;
  readonly #linked = new Set<bigint>();

  constructor(bounds: WalkBounds, signal: AbortSignal) {
    this.#bounds = bounds;
    this.#signal = signal;
  }

  /** Whether the inode is new. */
  count(stat: BigIntStats): boolean {
    if (stat.nlink > 1n && !stat.isDirectory()) {
      if (this.#linked.has(stat.ino)) return false;
      this.#linked.add(stat.ino);
    }
    this.usedBytes += Number(stat.blocks) * blockBytes;
    this.inodes++;
    return true;
  }

  async descend(directory: Directory, device: bigint, depth: number): Promise<void> {
    if (depth > this.#bounds.depth) {
      this.complete = false;
      return;
    }
    const below: string[] = [];
    for await (const name of directory.eachName()) {
      this.#signal.throwIfAborted();
      if (this.inodes >= this.#bounds.entries) {
        this.complete = false;
        return;
      }
      const stat = await directory.lstat(name);
      if (stat === undefined || stat.dev !== device) continue;
      this.count(stat);
      if (stat.isDirectory()) below.push(name);
    }
    for (const name of below) {
      if (!this.complete && this.inodes >= this.#bounds.entries) return;
      const child = await directory.childIfPresent(name).catch((error: unknown) => {
        // It became a symlink or a file after it was counted.
        if (error instanceof VolumeError) return undefined;
        throw error;
      });
      if (child === undefined) continue;
      await using opened = child;
      // A mount that came meanwhile is another device's.
      if ((await opened.stat()).dev === device) await this.descend(opened, device, depth + 1);
    }
  }
}

/** The plain files of one directory, without what lies deeper; undefined when there is no such directory. */
export async function filesUsage(path: string): Promise<DiskUsage | undefined> {
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
  let usedBytes = 0;
  let inodes = 0;
  for (const name of names) {
    const file = await fileUsage(join(path, name));
    if (file === undefined) continue;
    usedBytes += file.usedBytes;
    inodes += file.inodes;
  }
  return { usedBytes, inodes, complete: true };
}

/** One file; undefined when it is gone or a directory. */
export async function fileUsage(path: string): Promise<DiskUsage | undefined> {
  try {
    const stat = await lstat(path);
    return stat.isDirectory() ? undefined : { usedBytes: stat.blocks * blockBytes, inodes: 1, complete: true };
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}
