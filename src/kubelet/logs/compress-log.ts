/**
 * Makes `<file>.gz` of a rotated log and removes the file. Killed at any instant it leaves the file, a `.tmp` beside it, or
 * both the file and the whole `.gz`: rotation-plan.ts says what becomes of those.
 * Layer: kubelet/logs (edge to the disk). zlib works on libuv's threads, in blocks.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { compressedSuffix, temporarySuffix } from './rotation-plan.ts';

const create = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Throws Node's error (ENOSPC, ...) or the signal's reason; then the file is as it was. */
export async function compressLog(file: string, signal: AbortSignal): Promise<void> {
  const temporary = `${file}${temporarySuffix}`;
  await using source = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  const { mode } = await source.stat();
  const target = await open(temporary, create, mode & 0o777);
  try {
    try {
      await pipeline(blocksOf(source), createGzip(), (compressed) => target.writeFile(compressed), { signal });
      await target.sync();
    } finally {
      await target.close();
    }
    await rename(temporary, `${file}${compressedSuffix}`);
  } catch (error) {
    // The first error is the one to tell; a file that stays is removed with the next rotation.
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await unlink(file);
}

/** Not the handle's own stream: a handle that one was made of is closed only with that stream. */
async function* blocksOf(source: FileHandle): AsyncGenerator<Buffer> {
  for (;;) {
    const { buffer, bytesRead } = await source.read(Buffer.allocUnsafe(64 * 1024));
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}
