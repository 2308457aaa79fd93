/**
 * Makes and removes the directories that a driver's volume is mounted on, without ever looking into what is mounted there:
 * the server behind it may not answer. Layer: kubelet/volumes (edge: disk).
 */
import { mkdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { Directory, type Trace } from './directory.ts';

/** Directories above the volumes are for root only. */
const privateMode = 0o750;

/** The root directory as the mount table has it; made when missing. */
export async function realRoot(rootDir: string): Promise<string> {
  await mkdir(rootDir, { recursive: true, mode: privateMode });
  return realpath(rootDir);
}

/** The path of `elements` below the root; all but the last are made. @throws VolumeError VOLUME_PATH for a symlink among them */
export async function ensureParents(root: string, elements: readonly string[], trace?: Trace): Promise<string> {
  await using opened = new AsyncDisposableStack();
  let directory = opened.use(await Directory.open(root, trace));
  for (const element of elements.slice(0, -1)) {
    directory = opened.use(await directory.ensureChild(element, privateMode));
  }
  return join(directory.path, elements.at(-1) ?? '');
}

/** As ensureParents, and the last one is made too. Nothing may be mounted there. */
export async function ensureMountPoint(root: string, elements: readonly string[], trace?: Trace): Promise<string> {
  await using opened = new AsyncDisposableStack();
  let directory = opened.use(await Directory.open(root, trace));
  for (const element of elements) directory = opened.use(await directory.ensureChild(element, privateMode));
  return directory.path;
}

/**
 * Removes the empty directory, or the symlink, that `elements` lead to; missing is fine. What it holds is never deleted.
 * @throws Node's ENOTEMPTY or EBUSY
 */
export async function removeMountPoint(root: string, elements: readonly string[], trace?: Trace): Promise<void> {
  await using opened = new AsyncDisposableStack();
  let directory: Directory | undefined = opened.use(await Directory.open(root, trace));
  for (const element of elements.slice(0, -1)) {
    directory = await directory.childIfPresent(element);
    if (directory === undefined) return;
    opened.use(directory);
  }
  const name = elements.at(-1) ?? '';
  try {
    await directory.rmdir(name);
  } catch (error) {
    if (!hasErrorCode(error, 'ENOTDIR')) throw error;
    await directory.unlink(name);
  }
}
