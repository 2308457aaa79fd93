/**
 * A directory held open, and the operations on what is in it: the *at() system calls, which Node has not, by way of
 * /proc/self/fd. No name is resolved twice and none through a symlink, so whoever swaps a symlink in, even in the middle,
 * leads nowhere. Layer: kubelet/volumes (edge: disk). Knows nothing of volumes.
 */
import type { BigIntStats } from 'node:fs';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  open,
  opendir,
  readdir,
  readFile,
  readlink,
  rename,
  rmdir,
  symlink,
  unlink,
} from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { checkPathSegment } from '../../config/paths.ts';
import { VolumeError } from './volume-error.ts';

/** Told of each change before it is made, in printable words; a throw stops it (tests stop at each one). */
export type Trace = (operation: string) => void;

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY;
/** include/uapi/asm-generic/fcntl.h: names a file without opening it, so that no device or pipe is touched. */
const O_PATH = 0o10000000;

/** Anything that a path led to, held. */
export interface HeldEntry extends AsyncDisposable {
  /** `/proc/self/fd/<n>`, which leads to this very inode. */
  readonly procPath: string;
  readonly stats: BigIntStats;
}

export class Directory implements AsyncDisposable {
  /** Where it was when opened; for messages and mounts, never to find a file by. */
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #trace: Trace;

  private constructor(path: string, handle: FileHandle, trace: Trace) {
    this.path = path;
    this.#handle = handle;
    this.#trace = trace;
  }

  /** Opens a path that is trusted as a whole, symlinks and all. */
  static async open(path: string, trace: Trace = () => undefined): Promise<Directory> {
    return new Directory(path, await open(path, directoryFlags), trace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }

  /** Opens a directory in this one. Throws VolumeError VOLUME_PATH for a symlink or file, Node's ENOENT when missing. */
  async child(name: string): Promise<Directory> {
    const path = join(this.path, name);
    try {
      return new Directory(path, await open(this.#at(name), directoryFlags | constants.O_NOFOLLOW), this.#trace);
    } catch (cause) {
      if (!hasErrorCode(cause, 'ENOTDIR', 'ELOOP')) throw cause;
      throw new VolumeError('VOLUME_PATH', 'is not a directory', { object: path, fix: 'remove it', cause });
    }
  }

  /** Holds an entry that is neither a directory nor a symlink; undefined for those and when there is none. */
  async openFile(name: string): Promise<HeldEntry | undefined> {
    const held = await this.#hold(this.#at(name), O_PATH | constants.O_NOFOLLOW).catch(ifMissing);
    if (held === undefined || !(held.stats.isSymbolicLink() || held.stats.isDirectory())) return held;
    await held[Symbol.asyncDispose]();
    return undefined;
  }

  /** The directory itself, held a second time. */
  async reopen(): Promise<HeldEntry> {
    return this.#hold(this.#self(), O_PATH);
  }

  async #hold(path: string, flags: number): Promise<HeldEntry> {
    const handle = await open(path, flags);
    try {
      const stats = await handle.stat({ bigint: true });
      return { procPath: `/proc/self/fd/${handle.fd}`, stats, [Symbol.asyncDispose]: () => handle.close() };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /**
   * Gives an entry to the group, and the bits `add` to its mode; of a symlink the group alone. Never what a symlink names.
   * Missing is fine.
   */
  async giveToGroup(name: string, group: number, add: number): Promise<void> {
    const held = await this.#hold(this.#at(name), O_PATH | constants.O_NOFOLLOW).catch(ifMissing);
    if (held === undefined) return;
    await using entry = held;
    // A magic link ends at what it leads to, even if that is a symlink; but a symlink has no mode of its own.
    await giveHeld(entry, group, entry.stats.isSymbolicLink() ? 0 : add);
  }

  /** As giveToGroup, of the directory itself. */
  async giveSelfToGroup(group: number, add: number): Promise<void> {
    await giveHeld({ procPath: this.#self(), stats: await this.stat() }, group, add);
  }

  /** As child(), undefined when there is nothing of that name. */
  async childIfPresent(name: string): Promise<Directory | undefined> {
    return this.child(name).catch((error: unknown) => {
      if (hasErrorCode(error, 'ENOENT')) return undefined;
      throw error;
    });
  }

  /** Opens a directory in this one, making it with `mode` (whatever the umask) when it is missing. */
  async ensureChild(name: string, mode: number): Promise<Directory> {
    const present = await this.childIfPresent(name);
    if (present !== undefined) return present;
    try {
      await this.mkdir(name, mode);
    } catch (error) {
      // Another pod's worker made it meanwhile: `pods` is everyone's.
      if (!hasErrorCode(error, 'EEXIST')) throw error;
    }
    const made = await this.child(name);
    try {
      if ((Number((await made.stat()).mode) & 0o7777) !== mode) await made.chmod(mode);
    } catch (error) {
      // Node ends the process for a handle that is collected open.
      await made[Symbol.asyncDispose]();
      throw error;
    }
    return made;
  }

  /** Makes a directory, with at most `mode` (the umask takes from it); an existing one is an error. */
  async mkdir(name: string, mode: number): Promise<void> {
    this.#trace(`mkdir ${join(this.path, name)}`);
    await mkdir(this.#at(name), mode);
  }

  async names(): Promise<string[]> {
    return readdir(this.#self());
  }

  /** As names(), a few at a time: for directories of containers, which may hold millions. */
  async *eachName(): AsyncGenerator<string> {
    for await (const { name } of await opendir(this.#self(), { bufferSize: 256 })) yield name;
  }

  /** Of the entry itself, never of a symlink's target; undefined when there is none. */
  async lstat(name: string): Promise<BigIntStats | undefined> {
    return lstat(this.#at(name), { bigint: true }).catch(ifMissing);
  }

  async stat(): Promise<BigIntStats> {
    return this.#handle.stat({ bigint: true });
  }

  /** The symlink's text, undefined when there is none or it is something else. */
  async readlink(name: string): Promise<string | undefined> {
    return readlink(this.#at(name)).catch((error: unknown) => {
      if (hasErrorCode(error, 'ENOENT', 'EINVAL')) return undefined;
      throw error;
    });
  }

  /** The content of a regular file of exactly `size` bytes; undefined for anything else. */
  async readFile(name: string, size: number): Promise<Buffer | undefined> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(this.#at(name), flags).catch((error: unknown) => {
      if (hasErrorCode(error, 'ENOENT', 'ELOOP', 'ENXIO')) return undefined;
      throw error;
    });
    if (handle === undefined) return undefined;
    try {
      const stat = await handle.stat();
      return stat.isFile() && stat.size === size ? await handle.readFile() : undefined;
    } finally {
      await handle.close();
    }
  }

  /** Makes a file; an existing entry of any kind is an error. */
  async writeNewFile(
    name: string,
    data: Uint8Array,
    mode: number,
    group: number | undefined,
    owner = 0,
  ): Promise<void> {
    this.#trace(`write ${join(this.path, name)}`);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await open(this.#at(name), flags, mode);
    try {
      await handle.writeFile(data);
      if (group !== undefined || owner !== 0) await handle.chown(owner, group ?? 0);
      await handle.chmod(mode);
    } finally {
      await handle.close();
    }
  }

  async symlink(target: string, name: string): Promise<void> {
    this.#trace(`symlink ${join(this.path, name)} -> ${target}`);
    await symlink(target, this.#at(name));
  }

  async rename(from: string, to: string, into: Directory = this): Promise<void> {
    this.#trace(`rename ${join(this.path, from)} ${join(into.path, to)}`);
    await rename(this.#at(from), into.#at(to));
  }

  /** Removes an entry that is no directory; missing is fine. */
  async unlink(name: string): Promise<void> {
    this.#trace(`unlink ${join(this.path, name)}`);
    await unlink(this.#at(name)).catch(ifMissing);
  }

  /** Removes an empty directory; missing is fine. */
  async rmdir(name: string): Promise<void> {
    this.#trace(`rmdir ${join(this.path, name)}`);
    await rmdir(this.#at(name)).catch(ifMissing);
  }

  async chmod(mode: number): Promise<void> {
    this.#trace(`chmod ${mode.toString(8)} ${this.path}`);
    await this.#handle.chmod(mode);
  }

  async chgrp(group: number): Promise<void> {
    this.#trace(`chgrp ${group} ${this.path}`);
    await this.#handle.chown(0, group);
  }

  /** The mount it lies on: unlike a device number, it differs across bind mounts too (proc(5), fdinfo). */
  async mountId(): Promise<string> {
    const info = await readFile(`/proc/self/fdinfo/${this.#handle.fd}`, 'utf8');
    return /^mnt_id:\s*(\d+)$/m.exec(info)?.[1] ?? '';
  }

  #self(): string {
    return `/proc/self/fd/${this.#handle.fd}`;
  }

  #at(name: string): string {
    // Names found on disk may hold anything but a slash; those from outside have been checked by their readers.
    const reasons = checkPathSegment(name).filter((reason) => !reason.includes('control characters'));
    if (reasons.length > 0 || name.includes('\0')) {
      throw new VolumeError('VOLUME_PATH', `${JSON.stringify(name)} is no file name`, { object: this.path });
    }
    return `${this.#self()}/${name}`;
  }
}

/** What is right already is left alone: most trees were given away at an earlier mount. */
async function giveHeld(
  { procPath, stats }: Pick<HeldEntry, 'procPath' | 'stats'>,
  group: number,
  add: number,
): Promise<void> {
  const mode = Number(stats.mode) & 0o7777;
  const isOthers = Number(stats.gid) !== group;
  if (isOthers) await chown(procPath, -1, group);
  // chown(2) takes setuid and setgid away.
  if ((mode & add) !== add || (isOthers && (mode & 0o6000) !== 0)) await chmod(procPath, mode | add);
}

function ifMissing(error: unknown): undefined {
  if (hasErrorCode(error, 'ENOENT')) return undefined;
  throw error;
}
