/**
 * Gives a volume that is mounted to the pod's fsGroup: group, read and write bits, and for directories setgid and search.
 * Layer: kubelet/volumes (edge: disk). The tree is a container's work: no symlink is followed, no other mount entered, and
 * what a symlink names is never changed. The root goes last, so that OnRootMismatch after a kill begins anew.
 * Source: pkg/volume/volume_linux.go (changeFilePermission, requiresPermissionChange).
 */
import type { BigIntStats } from 'node:fs';
import type { PodSecurityContext } from '../../api/core.ts';
import { hasErrorCode } from '../../base/errors.ts';
import type { Directory } from './directory.ts';
import { VolumeError } from './volume-error.ts';

const readWrite = 0o660;
const readOnlyBits = 0o440;
const directoryBits = 0o2110;

/** Directories held open at once; the kubelet's own walk ends at PATH_MAX. */
const maxDepth = 256;

export interface FsGroupOptions {
  readonly group: number;
  readonly policy: NonNullable<PodSecurityContext['fsGroupChangePolicy']>;
  readonly readOnly: boolean;
  /** `pod default/web: volume data`, for errors. */
  readonly subject: string;
  /** Told of each entry that stays as it is: its file system is read-only there (snapshots), or squashes root, or is damaged. */
  readonly onRefused?: ((error: unknown) => void) | undefined;
}

/** What a file system may say of one of its files without the rest being in doubt; the kubelet goes on, too. */
const refusals = ['EPERM', 'EACCES', 'EROFS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'EIO', 'ESTALE', 'EDQUOT'];

/**
 * @returns how many entries were looked at; 0 when the root said that nothing was to do
 * Throws VolumeError VOLUME_OWNERSHIP for a tree that is too deep, Node's error, or the signal's reason.
 */
export async function giveToFsGroup(volume: Directory, options: FsGroupOptions, signal: AbortSignal): Promise<number> {
  const fileBits = options.readOnly ? readOnlyBits : readWrite;
  const treeBits = fileBits | directoryBits;
  if (options.policy === 'OnRootMismatch' && (await isGiven(volume, options.group, treeBits))) return 0;
  const walk = new Walk(options, { file: fileBits, directory: treeBits }, await volume.mountId(), signal);
  await walk.enter(volume, 0);
  return walk.count;
}

async function isGiven(volume: Directory, group: number, bits: number): Promise<boolean> {
  const stat = await volume.stat();
  return Number(stat.gid) === group && (Number(stat.mode) & bits) === bits;
}

class Walk {
  count = 0;
  readonly #options: FsGroupOptions;
  readonly #bits: { file: number; directory: number };
  readonly #mountId: string;
  readonly #signal: AbortSignal;

  constructor(
    options: FsGroupOptions,
    bits: { file: number; directory: number },
    mountId: string,
    signal: AbortSignal,
  ) {
    this.#options = options;
    this.#bits = bits;
    this.#mountId = mountId;
    this.#signal = signal;
  }

  async enter(directory: Directory, depth: number): Promise<void> {
    if (depth > maxDepth) {
      const message = `is deeper than ${maxDepth} directories, its files cannot be given to fsGroup ${this.#options.group}`;
      throw new VolumeError('VOLUME_OWNERSHIP', message, { object: this.#options.subject });
    }
    await this.#unlessRefused(async () => {
      for await (const name of directory.eachName()) {
        this.#signal.throwIfAborted();
        await this.#unlessRefused(() => this.#give(directory, name, depth));
      }
    });
    this.count++;
    await this.#unlessRefused(() => directory.giveSelfToGroup(this.#options.group, this.#bits.directory));
  }

  async #give(directory: Directory, name: string, depth: number): Promise<void> {
    const stats = await directory.lstat(name);
    if (stats === undefined) return;
    const child = stats.isDirectory() ? await childDirectory(directory, name) : undefined;
    if (child === undefined) {
      this.count++;
      // One look is enough for what an earlier mount gave away.
      if (!this.#isRight(stats)) await directory.giveToGroup(name, this.#options.group, this.#bits.file);
      return;
    }
    await using entered = child;
    if ((await entered.mountId()) === this.#mountId) await this.enter(entered, depth + 1);
  }

  async #unlessRefused(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!hasErrorCode(error, ...refusals)) throw error;
      this.#options.onRefused?.(error);
    }
  }

  #isRight(stats: BigIntStats): boolean {
    if (Number(stats.gid) !== this.#options.group) return false;
    return stats.isSymbolicLink() || (Number(stats.mode) & this.#bits.file) === this.#bits.file;
  }
}

async function childDirectory(directory: Directory, name: string): Promise<Directory | undefined> {
  try {
    return await directory.child(name);
  } catch (error) {
    // It was exchanged in between: then it is no directory.
    if (hasErrorCode(error, 'ENOENT') || (error instanceof VolumeError && error.code === 'VOLUME_PATH')) {
      return undefined;
    }
    throw error;
  }
}
