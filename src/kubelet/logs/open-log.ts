/**
 * Opens a container's log where it must be: a regular file below the pod log directory, reached over no symlink.
 * The path comes from the runtime, which had it from us; a container can not write there. Checked all the same, since
 * the file's bytes go to whoever may read logs.
 * Layer: kubelet/logs (edge to the disk).
 */
import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { LogError } from './log-error.ts';

/** O_NONBLOCK: a fifo in its place must not be waited for. */
const readOnly = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * @param podLogDir `/var/log/pods`; it may be a symlink itself
 * @throws LogError; `isAbsent` tells one for a file that is not there
 */
export async function openLog(path: string, podLogDir: string): Promise<FileHandle> {
  const root = resolve(podLogDir);
  if (resolve(path) !== path || !path.startsWith(root + sep)) {
    throw new LogError(path, `is not below ${root}`);
  }
  try {
    const directory = dirname(path);
    if ((await realpath(directory)) !== join(await realpath(root), relative(root, directory))) {
      throw new LogError(path, 'is reached over a symlink');
    }
    const handle = await open(path, readOnly);
    try {
      if (!(await handle.stat()).isFile()) throw new LogError(path, 'is not a regular file');
      return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
  } catch (error) {
    throw error instanceof LogError ? error : asLogError(path, error);
  }
}

/** The file, or a directory on the way to it, does not exist. */
export const isAbsent = (error: unknown): boolean =>
  error instanceof LogError && hasErrorCode(error.cause, 'ENOENT', 'ENOTDIR');

function asLogError(path: string, cause: unknown): LogError {
  if (hasErrorCode(cause, 'ENOENT', 'ENOTDIR')) return new LogError(path, 'does not exist', { cause });
  if (hasErrorCode(cause, 'ELOOP')) return new LogError(path, 'is a symlink', { cause });
  if (hasErrorCode(cause, 'ENXIO')) return new LogError(path, 'is not a regular file', { cause });
  return new LogError(path, 'cannot be opened', { cause });
}
