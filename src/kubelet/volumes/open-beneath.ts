/**
 * Opens what a relative path names inside a volume, component by component, by way of directories that are held open.
 * Symlinks are followed as long as they stay in the volume (the keys of a configMap are symlinks); each step opens one name
 * with O_NOFOLLOW and goes up only through directories that it came down by, so what containers swap in the middle of it
 * leads nowhere else: what openat2 does with RESOLVE_BENEATH, on every kernel.
 * Layer: kubelet/volumes (edge: disk). Source of the rule: pkg/volume/util/subpath (doSafeOpen, doSafeMakeDir).
 */
import { hasErrorCode } from '../../base/errors.ts';
import type { Directory, HeldEntry } from './directory.ts';
import { VolumeError } from './volume-error.ts';

/** MAXSYMLINKS of the kernel (include/linux/namei.h). */
const maxLinks = 40;
/** Directories held open at once for one path. */
const maxDepth = 128;
/** How often a name that changes its kind under our hands is looked at again. */
const maxAttempts = 16;

export interface OpenOptions {
  /** Missing directories are made, with this mode; without it what is missing is an error. */
  readonly makeMode?: number | undefined;
}

/**
 * @param path relative; the empty one and `.` are the volume itself. @param subject for errors
 * Throws VolumeError VOLUME_SUB_PATH for a path that leaves the volume, is missing or too deep, Node's error else.
 */
export async function openBeneath(
  volume: Directory,
  path: string,
  subject: string,
  options: OpenOptions = {},
): Promise<HeldEntry> {
  const walk = new Walk(volume, subject, options);
  try {
    return await walk.to(path);
  } finally {
    await walk.close();
  }
}

class Walk {
  readonly #volume: Directory;
  readonly #subject: string;
  readonly #options: OpenOptions;
  readonly #below: Directory[] = [];
  #links = 0;

  constructor(volume: Directory, subject: string, options: OpenOptions) {
    this.#volume = volume;
    this.#subject = subject;
    this.#options = options;
  }

  async to(path: string): Promise<HeldEntry> {
    if (path.startsWith('/')) throw this.#refuse('it leads out of the volume');
    const names = path.split('/').reverse();
    let attempts = 0;
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        await this.#up();
        continue;
      }
      if (await this.#down(name)) continue;
      const target = await this.#here.readlink(name);
      if (target !== undefined) {
        this.#follow(target, names);
        continue;
      }
      const file = await this.#here.openFile(name);
      if (file !== undefined) {
        if (names.some((rest) => rest !== '' && rest !== '.')) {
          await file[Symbol.asyncDispose]();
          throw this.#refuse('a part of it is not a directory');
        }
        return file;
      }
      // A directory again: somebody exchanges it.
      if (++attempts > maxAttempts) throw this.#refuse('it changes all the time');
      names.push(name);
    }
    return this.#here.reopen();
  }

  async close(): Promise<void> {
    for (const directory of this.#below.splice(0)) await directory[Symbol.asyncDispose]();
  }

  get #here(): Directory {
    return this.#below.at(-1) ?? this.#volume;
  }

  async #up(): Promise<void> {
    const left = this.#below.pop();
    if (left === undefined) throw this.#refuse('it leads out of the volume');
    await left[Symbol.asyncDispose]();
  }

  /** Into a directory, which is made when it is missing; false for everything else. */
  async #down(name: string): Promise<boolean> {
    if (this.#below.length >= maxDepth) throw this.#refuse(`it is deeper than ${maxDepth} directories`);
    const { makeMode } = this.#options;
    try {
      const missing = (await this.#here.lstat(name)) === undefined;
      if (missing && makeMode === undefined) throw this.#refuse('it does not exist');
      const next =
        missing && makeMode !== undefined ? await this.#here.ensureChild(name, makeMode) : await this.#here.child(name);
      this.#below.push(next);
      return true;
    } catch (error) {
      // A file or a symlink, or gone since.
      if (error instanceof VolumeError && error.code === 'VOLUME_PATH') return false;
      if (hasErrorCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  #follow(target: string, names: string[]): void {
    if (target.startsWith('/')) throw this.#refuse('it leads out of the volume');
    if (++this.#links > maxLinks) throw this.#refuse('it has too many symlinks');
    names.push(...target.split('/').reverse());
  }

  /** The path itself is not told: it may say what the host has (as in the kubelet). */
  #refuse(why: string): VolumeError {
    return new VolumeError('VOLUME_SUB_PATH', why, { object: this.#subject, fix: 'change the subPath' });
  }
}
