/**
 * The folder of certificates as the kubelet keeps it: `<prefix>-<date>.pem` files of chain and key, and the link
 * `<prefix>-current.pem` to the one in use, replaced through `<prefix>-updated.pem`.
 * Layer: kubelet/certificates (edge: disk). Decides nothing. Whatever kills the process, `-current.pem` is a whole pair: the
 * old one or the new one. Source: client-go/util/certificate/certificate_store.go.
 */
import { lstat, mkdir, rename, stat, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, removeStaleTemporaries, syncDirectory, writeFileAtomic } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { CertificateError } from './certificate-error.ts';
import { type PemPair, parsePemPair } from './pem-pair.ts';

export interface CertificateStore {
  /** Of `-current.pem`. */
  readonly currentPath: string;
  /** The pair in use, valid or expired; undefined when there is none. @throws CertificateError CERTIFICATE_FILES */
  current(): Promise<PemPair | undefined>;
  /** The pair is in use from now on, and after a restart. @throws CertificateError CERTIFICATE_FILES */
  update(pair: PemPair, nowMs: number): Promise<void>;
}

export type CertificatePrefix = 'kubelet-client' | 'kubelet-server';

const maxPairBytes = 1024 * 1024;

/**
 * Finishes what a dead process began.
 * @param directory absolute; made when it is not there
 * @throws CertificateError CERTIFICATE_FILES
 */
export async function openCertificateStore(directory: string, prefix: CertificatePrefix): Promise<CertificateStore> {
  const path = (qualifier: string): string => join(directory, `${prefix}-${qualifier}.pem`);
  const currentPath = path('current');
  const updatedPath = path('updated');

  await orFilesError(directory, async () => {
    await mkdir(directory, { recursive: true, mode: 0o755 });
    await removeStaleTemporaries(directory, `${prefix}-`);
    // Killed between making the link and moving it: the file that it leads to was whole before.
    if (!(await exists(currentPath)) && (await isLink(updatedPath))) await rename(updatedPath, currentPath);
  });

  return {
    currentPath,
    current: () =>
      orFilesError(currentPath, async () => {
        if (!(await exists(currentPath))) return undefined;
        const text = (await readFileBounded(currentPath, maxPairBytes)).data.toString('latin1');
        return parsePemPair(text, text);
      }),
    update: (pair, nowMs) =>
      orFilesError(currentPath, async () => {
        // A file in its place is somebody's own, and not to be replaced.
        await isLink(currentPath);
        const file = path(dateOf(nowMs));
        await writeFileAtomic(file, pair.certificate + pair.key, { mode: 0o600 });
        if (await isLink(updatedPath)) await unlink(updatedPath);
        await symlink(file, updatedPath);
        await rename(updatedPath, currentPath);
        await syncDirectory(directory);
      }),
  };
}

/** Local time, as the kubelet names its files. */
function dateOf(ms: number): string {
  const date = new Date(ms);
  const parts = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()];
  return [...parts, ...time].map((part) => String(part).padStart(2, '0')).join('-');
}

/** What a link leads to must be there, too. */
async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** False when nothing is there. @throws Error for anything but a link */
async function isLink(path: string): Promise<boolean> {
  try {
    if ((await lstat(path)).isSymbolicLink()) return true;
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return false;
    throw error;
  }
  throw new Error(`${path} is expected to be a symbolic link, and is none`);
}

async function orFilesError<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new CertificateError('CERTIFICATE_FILES', `cannot be used: ${errorLine(cause)}`, {
      object: `file ${path}`,
      fix: 'make the folder writable, or move what is broken in it away: a new certificate is asked for then',
      cause,
    });
  }
}
