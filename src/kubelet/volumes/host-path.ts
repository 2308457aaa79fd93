/**
 * hostPath volumes: the path must be what its type says; the "OrCreate" types make what is missing.
 * Layer: kubelet/volumes (edge: disk). Existing symlinks are followed, as Kubernetes does (/var/run is one), but nothing is
 * ever made through one: missing parts are made one by one in directories that are held open. What was looked at is not
 * held until the container is there, here as in the kubelet: the runtime follows the path once more, and whoever may swap
 * a part of it for a symlink in between chooses what is mounted. Of a subPath below a hostPath that is not so (sub-path.ts).
 * Source: pkg/volume/hostpath/host_path.go (checkTypeInternal, makeDir, makeFile).
 */
import type { Stats } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { hasErrorCode } from '../../base/errors.ts';
import { checkAbsolutePath, cleanAbsolutePath } from '../../config/paths.ts';
import type { Trace } from './directory.ts';
import { Directory } from './directory.ts';
import { VolumeError } from './volume-error.ts';

/** Modes of what is made (pkg/volume/hostpath). */
const directoryMode = 0o755;
const fileMode = 0o644;

const kinds: Readonly<Record<string, { is: (stats: Stats) => boolean; what: string }>> = {
  Directory: { is: (stats) => stats.isDirectory(), what: 'a directory' },
  DirectoryOrCreate: { is: (stats) => stats.isDirectory(), what: 'a directory' },
  File: { is: (stats) => stats.isFile(), what: 'a file' },
  FileOrCreate: { is: (stats) => stats.isFile(), what: 'a file' },
  Socket: { is: (stats) => stats.isSocket(), what: 'a socket' },
  CharDevice: { is: (stats) => stats.isCharacterDevice(), what: 'a character device' },
  BlockDevice: { is: (stats) => stats.isBlockDevice(), what: 'a block device' },
};

/**
 * The path to mount. @param check HostPathType; empty checks nothing, then the runtime makes a missing directory
 * Throws VolumeError VOLUME_HOST_PATH.
 */
export async function prepareHostPath(path: string, check: string, subject: string, trace: Trace): Promise<string> {
  const reasons = checkAbsolutePath(path);
  if (reasons.length > 0) throw refused(subject, `the path ${JSON.stringify(path)} ${reasons.join('; ')}`);
  const clean = cleanAbsolutePath(path);
  if (check === '') return clean;
  const kind = kinds[check];
  if (kind === undefined) throw refused(subject, `the type ${JSON.stringify(check)} is unknown`);
  try {
    if (check.endsWith('OrCreate') && !(await exists(clean))) await create(clean, check === 'FileOrCreate', trace);
    const stats = await stat(clean);
    if (!kind.is(stats)) throw refused(subject, `${clean} is not ${kind.what}`);
  } catch (cause) {
    if (cause instanceof VolumeError && cause.code === 'VOLUME_HOST_PATH') throw cause;
    const missing = hasErrorCode(cause, 'ENOENT');
    throw refused(subject, missing ? `${clean} does not exist` : `${clean} cannot be used as ${kind.what}`, cause);
  }
  return clean;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (hasErrorCode(error, 'ENOENT')) return false;
      throw error;
    },
  );
}

/** Makes the missing end of a path. A dangling symlink anywhere in it is an error, not an instruction. */
async function create(path: string, isFile: boolean, trace: Trace): Promise<void> {
  const parts = path.split('/').filter((part) => part !== '');
  const last = parts.pop() ?? '';
  let depth = parts.length;
  while (depth > 0 && !(await exists(`/${parts.slice(0, depth).join('/')}`))) depth--;
  // Kubernetes makes no parents for a file: a mistyped path would otherwise grow a tree.
  if (isFile && depth < parts.length) await realpath(`/${parts.join('/')}`);
  let directory = await Directory.open(`/${parts.slice(0, depth).join('/')}`, trace);
  try {
    for (const part of parts.slice(depth)) {
      const next = await makeIn(directory, part);
      await directory[Symbol.asyncDispose]();
      directory = next;
    }
    if (isFile) await directory.writeNewFile(last, new Uint8Array(), fileMode, undefined).catch(ifMade);
    else await (await makeIn(directory, last))[Symbol.asyncDispose]();
  } finally {
    await directory[Symbol.asyncDispose]();
  }
}

async function makeIn(directory: Directory, name: string): Promise<Directory> {
  try {
    return await directory.ensureChild(name, directoryMode);
  } catch (error) {
    // Another pod with the same path was faster.
    if (hasErrorCode(error, 'EEXIST')) return directory.child(name);
    throw error;
  }
}

function ifMade(error: unknown): void {
  if (!hasErrorCode(error, 'EEXIST')) throw error;
}

function refused(subject: string, message: string, cause?: unknown): VolumeError {
  return new VolumeError('VOLUME_HOST_PATH', message, {
    object: subject,
    fix: 'make the path what the type says, or change hostPath.type',
    cause,
  });
}
