/**
 * Opens files and folders below one folder and nowhere else, whatever links stand in the way.
 * Layer: kubelet/server (edge: files). Links are followed (/var/log/containers is full of them), and where they led is asked
 * of the kernel for the open descriptor: nothing can be exchanged between the question and the use.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../../../base/errors.ts';
import { HttpStatusError } from '../http-status-error.ts';

export interface OpenedFile {
  handle: FileHandle;
  kind: 'file' | 'directory';
  size: number;
  modified: Date;
}

const notFound = (cause?: unknown): HttpStatusError => new HttpStatusError(404, '404 page not found\n', { cause });

/**
 * @param relative without `..`; empty for the folder itself
 * @throws HttpStatusError 404 for what is not there, is neither file nor folder, or lies outside; 403 for what may not be read
 */
export async function openBelow(folder: string, relative: string): Promise<OpenedFile> {
  if (relative.split('/').includes('..') || relative.includes('\0')) throw notFound();
  try {
    const root = await realpath(folder);
    const path = join(root, relative);
    // Before anything is opened: opening alone does something to a device or a pipe.
    if (!isBelow(root, await realpath(path))) throw notFound();
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      if (!isBelow(root, await readlink(`/proc/self/fd/${handle.fd}`))) throw notFound();
      const stat = await handle.stat();
      const kind = stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : undefined;
      if (kind === undefined) throw notFound();
      return { handle, kind, size: stat.size, modified: stat.mtime };
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'ENXIO')) throw notFound(error);
    if (hasErrorCode(error, 'EACCES', 'EPERM')) throw new HttpStatusError(403, '403 Forbidden\n', { cause: error });
    throw error;
  }
}

const isBelow = (root: string, path: string): boolean => path === root || path.startsWith(`${root}/`);
