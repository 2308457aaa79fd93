/**
 * Files that are either the old content or the new one, whatever kills the process, and reads that cannot be made to
 * hang or to fill memory. Layer: base (edge: disk). Knows nothing of what the files mean and keeps no state.
 */
import { randomBytes } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { KeelsonError } from '../observe/keelson-error.ts';

/** Codes: FILE_NOT_REGULAR, FILE_TOO_LARGE. What the kernel refuses stays Node's own error with its `code`. */
export class FileError extends KeelsonError {}

/** Temporary files start so: a dot hides them from folder readers, and the word tells whose they are. */
const temporaryPrefix = '.keelson-tmp.';

/**
 * Writes `data` so that a reader, or a restart after power loss, sees the whole old or the whole new content.
 * @param options.mode permission bits of the new file, whatever the umask; default 0600
 * Throws Node's error (ENOSPC, EACCES, ...), then nothing of the attempt stays.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: { mode?: number } = {},
): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `${temporaryPrefix}${basename(path)}.${randomBytes(6).toString('hex')}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await open(temporary, flags, 0o600);
  try {
    try {
      await handle.writeFile(data);
      await handle.chmod(options.mode ?? 0o600);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    // The first error is the one to tell; a temporary file that stays is swept by removeStaleTemporaries.
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(directory);
}

/** Makes a rename or an unlink in `directory` survive power loss. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Removes what writers killed half-way left in `directory`. Call it at start, before any writer runs there; where several
 * parts write in one folder, each removes those of the files whose names begin with its `prefix`.
 */
export async function removeStaleTemporaries(directory: string, prefix = ''): Promise<string[]> {
  const stale = (await readdir(directory)).filter((name) => name.startsWith(`${temporaryPrefix}${prefix}`));
  for (const name of stale) await unlink(join(directory, name));
  return stale;
}

export interface BoundedFile {
  data: Buffer;
  /** Taken from the open file before it was read: an equal one later means that nothing changed since. */
  stat: BigIntStats;
}

/**
 * Reads a regular file of at most `maxBytes`. Symlinks are followed unless `noFollow`; a fifo or device is refused
 * without waiting for its other end.
 * Throws FileError FILE_NOT_REGULAR or FILE_TOO_LARGE, and Node's errors (ENOENT, ELOOP, EACCES, ...).
 */
export async function readFileBounded(
  path: string,
  maxBytes: number,
  options: { noFollow?: boolean } = {},
): Promise<BoundedFile> {
  const noFollow = options.noFollow ? constants.O_NOFOLLOW : 0;
  const handle = await openForReading(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY | noFollow);
  try {
    const stat = await handle.stat({ bigint: true });
    if (!stat.isFile()) throw notRegular(path);
    if (stat.size > BigInt(maxBytes)) throw tooLarge(path, stat.size, maxBytes);
    const data = await readUpTo(handle, maxBytes + 1);
    // The file may have grown since the stat, and files of /proc say that their size is 0.
    if (data.length > maxBytes) throw tooLarge(path, BigInt(data.length), maxBytes);
    return { data, stat };
  } finally {
    await handle.close();
  }
}

async function openForReading(path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (error) {
    // A unix socket cannot be opened at all; say the same as for a fifo.
    if ((error as NodeJS.ErrnoException).code === 'ENXIO') throw notRegular(path);
    throw error;
  }
}

async function readUpTo(handle: FileHandle, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  while (total < limit) {
    const chunk = Buffer.allocUnsafe(Math.min(64 * 1024, limit - total));
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, null);
    if (bytesRead === 0) break;
    chunks.push(chunk.subarray(0, bytesRead));
    total += bytesRead;
  }
  return Buffer.concat(chunks, total);
}

function notRegular(path: string): FileError {
  return new FileError('FILE_NOT_REGULAR', 'is not a regular file', {
    object: `file ${path}`,
    fix: 'put a regular file, or a symlink to one, in its place',
  });
}

function tooLarge(path: string, size: bigint, maxBytes: number): FileError {
  return new FileError('FILE_TOO_LARGE', `has ${size} bytes, at most ${maxBytes} are read`, {
    object: `file ${path}`,
    fix: 'split it or make it smaller',
  });
}
