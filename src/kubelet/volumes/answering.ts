/**
 * Asks a child whether a path answers before this process touches it: a file system behind a server (NFS, FUSE, Ceph) that is
 * gone holds every call for ever, and Node has four threads for all its files.
 * Layer: kubelet/volumes (edge: processes, mount table). What lies on the node's own disks is not asked for. Between the answer
 * and the use the server may still die: that is one thread, not one for each attempt.
 */
import { readlink } from 'node:fs/promises';
import { hasErrorCode } from '../../base/errors.ts';
import type { MountInfo, Mounts } from '../../linux/host.ts';
import type { RunHostCommand } from './host-command.ts';
import { VolumeError } from './volume-error.ts';

export interface AskDependencies {
  readonly mounts: Pick<Mounts, 'list'>;
  readonly run: RunHostCommand;
}

/** Long for a server that is only busy, short for a pod's worker. */
const patienceMs = 10_000;
/** MAXSYMLINKS of the kernel (include/linux/namei.h). */
const maxLinks = 40;

/** Types of which somebody else than this kernel must answer. `autofs` mounts such ones when it is looked at. */
const askedTypes =
  /^(nfs\d*|cifs|smb3?|ceph|9p|afs|lustre|ocfs2|gfs2|autofs|fuse(\..*)?|fuseblk|virtiofs|glusterfs|beegfs)$/;

/**
 * Resolves when everything that `path` leads through answers, or nothing of it needs an answer from elsewhere; what is missing
 * answers, too. @param path absolute; symlinks are followed. @param subject for errors
 * @throws VolumeError VOLUME_TIMEOUT, or the signal's reason
 */
export async function untilAnswering(
  path: string,
  subject: string,
  { mounts, run }: AskDependencies,
  signal?: AbortSignal,
): Promise<void> {
  const table = await mounts.list();
  const remote = await remoteMountOn(path, table);
  if (remote === undefined) return;
  const limits = { timeoutMs: patienceMs, endsAlone: true, signal };
  const answer = await run('stat', ['--dereference', '--format', '%i', '--', path], limits);
  // It ended: whatever it said, the server did answer.
  if (answer.outcome !== 'killed' || !answer.timedOut) return;
  const message = `what is mounted at ${remote.target} (${remote.fsType}) does not answer`;
  throw new VolumeError('VOLUME_TIMEOUT', message, {
    object: subject,
    fix: `check ${remote.source}; a mount that is beyond help goes with umount -f -l ${remote.target}`,
  });
}

/** The first file system on the way that may keep its caller waiting; nothing of it was touched. */
export async function remoteMountOn(path: string, table: readonly MountInfo[]): Promise<MountInfo | undefined> {
  const remote = new Map<string, MountInfo>();
  // Of mounts upon each other the last is seen.
  for (const mount of table) {
    if (askedTypes.test(mount.fsType)) remote.set(mount.target, mount);
    else remote.delete(mount.target);
  }
  if (remote.size === 0) return undefined;
  const names = path.split('/').reverse();
  const done: string[] = [];
  let links = 0;
  for (let name = names.pop(); name !== undefined; name = names.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      done.pop();
      continue;
    }
    done.push(name);
    const here = `/${done.join('/')}`;
    const found = remote.get(here);
    if (found !== undefined) return found;
    const link = await linkText(here);
    if (link === undefined) continue;
    if (++links > maxLinks) return undefined;
    if (link.startsWith('/')) done.length = 0;
    else done.pop();
    names.push(...link.split('/').reverse());
  }
  return undefined;
}

async function linkText(path: string): Promise<string | undefined> {
  return readlink(path).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR', 'EINVAL', 'ENAMETOOLONG', 'EACCES', 'ERR_INVALID_ARG_VALUE'))
      return undefined;
    throw error;
  });
}
