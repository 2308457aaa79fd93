/**
 * Takes a pod's volumes away: unmounts all below its directory, then deletes the directory.
 * Layer: kubelet/volumes (edge: disk, mounts). Deletes nothing while anything is mounted there, follows no symlink, crosses
 * no mount; may be stopped and run again at any step. The pod's containers must have ended before.
 */
import { readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { isBusy } from '../../linux/kernel-error.ts';
import { Directory } from './directory.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import { movedUpPrefix, removeTree } from './remove-tree.ts';
import { VolumeError } from './volume-error.ts';
import { isPodUid, podDirectory } from './volume-paths.ts';

type TeardownDependencies = Pick<VolumeDependencies, 'mounts' | 'rootDir' | 'trace'>;

/**
 * Unmounts and removes everything of the pod; a pod without a directory is done already.
 * Throws VolumeError VOLUME_STILL_MOUNTED (nothing was deleted), VOLUME_PATH or VOLUME_IO.
 */
export async function teardownVolumes(uid: string, dependencies: TeardownDependencies): Promise<void> {
  const elements = podDirectory(uid);
  const rootDir = await realPathIfPresent(dependencies.rootDir);
  if (rootDir === undefined) return;
  const podPath = join(rootDir, ...elements);
  await unmountBelow(podPath, uid, dependencies);
  await using root = await Directory.open(rootDir, dependencies.trace);
  await using pods = await root.childIfPresent(elements[0]);
  if (pods === undefined) return;
  try {
    await removeMovedUp(pods, uid);
    await removeTree(pods, uid);
  } catch (cause) {
    if (cause instanceof VolumeError) throw cause;
    const message = `cannot be removed: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new VolumeError('VOLUME_IO', message, { object: podPath, cause });
  }
}

/** Deepest first; a busy mount is detached, so that it ends with its last user. Then asks the kernel what is left. */
async function unmountBelow(podPath: string, uid: string, dependencies: TeardownDependencies): Promise<void> {
  const { mounts, trace = () => undefined } = dependencies;
  const errors: unknown[] = [];
  for (const target of await mountsBelow(podPath, dependencies)) {
    try {
      trace(`umount ${target}`);
      await mounts.unmount(target).catch(async (error: unknown) => {
        if (!isBusy(error)) throw error;
        await mounts.unmount(target, { lazy: true });
      });
    } catch (error) {
      errors.push(error);
    }
  }
  const left = await mountsBelow(podPath, dependencies);
  if (left.length === 0) return;
  const cause = errors.length > 1 ? new AggregateError(errors) : errors[0];
  throw new VolumeError('VOLUME_STILL_MOUNTED', `${left.join(', ')} cannot be unmounted, nothing was deleted`, {
    object: `pod ${uid}`,
    fix: 'end the processes that use it and umount it',
    cause,
  });
}

/** Targets at or below the path, deepest first; of those stacked on each other one for each mount. */
async function mountsBelow(path: string, { mounts }: TeardownDependencies): Promise<string[]> {
  const targets = (await mounts.list()).map(({ target }) => target);
  const below = targets.filter((target) => target === path || target.startsWith(`${path}/`));
  return below.reverse().sort((a, b) => b.split('/').length - a.split('/').length);
}

/** What an interrupted removal of a very deep tree had moved up lies beside the pod's directory. */
async function removeMovedUp(pods: Directory, uid: string): Promise<void> {
  for (const name of await pods.names()) {
    if (name.startsWith(movedUpPrefix(uid))) await removeTree(pods, name);
  }
}

/** UIDs of all pods that have a directory; those that nobody wants any more are orphans. Other entries are left out. */
export async function podDirectoryUids(rootDir: string): Promise<string[]> {
  try {
    const entries = await readdir(join(rootDir, 'pods'), { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory() && isPodUid(entry.name)).map(({ name }) => name);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return [];
    throw error;
  }
}

async function realPathIfPresent(path: string): Promise<string | undefined> {
  return realpath(path).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  });
}
