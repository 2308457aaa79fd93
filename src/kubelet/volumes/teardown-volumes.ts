/**
 * Takes a pod's volumes away: the parts that containers had of them, then what drivers mounted, then all that is left
 * mounted below its directory, and at last the directory.
 * Layer: kubelet/volumes (edge: disk, mounts). Deletes nothing while anything is mounted there, follows no symlink, crosses
 * no mount; may be stopped and run again at any step. The pod's containers must have ended before.
 */
import { readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../base/clock.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { Directory } from './directory.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import { movedUpPrefix, removeTree } from './remove-tree.ts';
import { type LastResort, unmountLocal } from './unmount.ts';
import { VolumeError } from './volume-error.ts';
import { isPodUid, podDirectory, subPathsName } from './volume-paths.ts';

export type TeardownDependencies = Pick<VolumeDependencies, 'mounts' | 'rootDir' | 'drivers' | 'log' | 'trace'> & {
  /** Default: systemClock. */
  readonly clock?: Clock;
  /** Told of each mount that was still busy after some waiting and could only be detached; default: logged. */
  readonly onLastResort?: ((uid: string, what: LastResort) => void) | undefined;
};

/** Folders of a pod's directory that have a folder for each driver. */
const driverFolders = ['volumes', 'volumeDevices'] as const;

/**
 * Unmounts and removes everything of the pod; a pod without a directory is done already.
 * Throws VolumeError VOLUME_STILL_MOUNTED (nothing was deleted), VOLUME_PATH, VOLUME_IO, or a driver's.
 */
export async function teardownVolumes(
  uid: string,
  dependencies: TeardownDependencies,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  const elements = podDirectory(uid);
  const rootDir = await realPathIfPresent(dependencies.rootDir);
  if (rootDir === undefined) return;
  const podPath = join(rootDir, ...elements);
  const errors: unknown[] = [];
  // They keep the volumes busy that they are parts of.
  await unmountBelow(join(podPath, subPathsName), uid, dependencies, errors, signal);
  await using root = await Directory.open(rootDir, dependencies.trace);
  await using pods = await root.childIfPresent(elements[0]);
  if (pods !== undefined) await tearDownDrivers(pods, uid, dependencies, errors, signal);
  // What a driver could not take away may only need time: cutting it off here would lose its writes.
  if (errors.length === 0) await unmountBelow(podPath, uid, dependencies, errors, signal);
  await checkNothingMounted(podPath, uid, dependencies, errors);
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

/** Each driver is asked for what has a directory of its, one volume after the other; all are tried. */
async function tearDownDrivers(
  pods: Directory,
  uid: string,
  { drivers = new Map(), trace }: TeardownDependencies,
  errors: unknown[],
  signal: AbortSignal,
): Promise<void> {
  if (drivers.size === 0) return;
  const found = new Map<string, Set<string>>();
  for (const folder of driverFolders) {
    for (const directory of drivers.keys()) {
      for (const name of await namesBelow(pods, [uid, folder, directory])) {
        found.set(directory, (found.get(directory) ?? new Set()).add(name));
      }
    }
  }
  for (const [directory, names] of found) {
    for (const name of names) {
      try {
        trace?.(`tear down ${directory}/${name}`);
        await drivers.get(directory)?.tearDown(uid, name, signal);
      } catch (error) {
        errors.push(error);
      }
    }
  }
}

/** Nothing for a path that is not there, or is something else than directories. */
async function namesBelow(from: Directory, elements: readonly string[]): Promise<string[]> {
  await using opened = new AsyncDisposableStack();
  let directory = from;
  for (const element of elements) {
    const next = await directory.childIfPresent(element).catch((error: unknown) => {
      if (error instanceof VolumeError && error.code === 'VOLUME_PATH') return undefined;
      throw error;
    });
    if (next === undefined) return [];
    directory = opened.use(next);
  }
  return await directory.names();
}

/** Deepest first; a mount that stays busy is detached, so that it ends with its last user. */
async function unmountBelow(
  path: string,
  uid: string,
  dependencies: TeardownDependencies,
  errors: unknown[],
  signal: AbortSignal,
): Promise<void> {
  const { mounts, clock = systemClock, log, trace = () => undefined } = dependencies;
  const onLastResort = (what: LastResort): void => {
    if (dependencies.onLastResort) dependencies.onLastResort(uid, what);
    else log?.warn({ uid, ...what }, 'a volume was still in use and is only detached');
  };
  for (const target of await mountsBelow(path, dependencies)) {
    try {
      trace(`umount ${target}`);
      await unmountLocal(target, { mounts, clock, onLastResort }, signal);
    } catch (error) {
      signal.throwIfAborted();
      errors.push(error);
    }
  }
}

/** Asks the kernel what is left. */
async function checkNothingMounted(
  podPath: string,
  uid: string,
  dependencies: TeardownDependencies,
  errors: readonly unknown[],
): Promise<void> {
  const left = await mountsBelow(podPath, dependencies);
  const [only] = errors;
  if (left.length === 0) {
    if (errors.length === 0) return;
    throw errors.length === 1 ? only : new AggregateError(errors, `${errors.length} volumes cannot be taken away`);
  }
  // Whose refusal it is comes first: an event has room for a kilobyte, and paths are long.
  const why = errors.length === 0 ? '' : `${errors.map(errorLine).join('; ')}: `;
  throw new VolumeError('VOLUME_STILL_MOUNTED', `${why}${left.join(', ')} cannot be unmounted, nothing was deleted`, {
    object: `pod ${uid}`,
    ...(errors.length === 0 && { fix: 'end the processes that use it and umount it' }),
    cause: errors.length > 1 ? new AggregateError(errors) : only,
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
