/**
 * Binds the parts of volumes that a container mounts (subPath) to places that the container cannot change, where the runtime
 * finds them: `volume-subpaths/<volume>/<container>/<index>` of the pod's directory.
 * Layer: kubelet/volumes (edge: disk, mounts). Bound by way of a descriptor, so that no swapped symlink comes between the
 * look and the mount. Bound anew when the file has become another one; a mount of before that is right is kept.
 * Source: pkg/volume/util/subpath (doBindSubPath, prepareSubpathTarget).
 */
import { realpath } from 'node:fs/promises';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { SubPathRequest } from '../pods/pod-context.ts';
import { untilAnswering } from './answering.ts';
import { Directory, type HeldEntry } from './directory.ts';
import { runHostCommand } from './host-command.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import { openBeneath } from './open-beneath.ts';
import { VolumeError } from './volume-error.ts';
import { podDirectory, subPathDirectory } from './volume-paths.ts';

const privateMode = 0o750;
const privateFileMode = 0o640;

type SubPathDependencies = Pick<VolumeDependencies, 'mounts' | 'rootDir' | 'trace' | 'run'>;

/**
 * @returns by index in volumeMounts, the directory or file to mount
 * Throws VolumeError VOLUME_SUB_PATH, with no word of what the host has at the path.
 */
export async function bindSubPaths(
  podUid: string,
  container: string,
  requests: readonly SubPathRequest[],
  dependencies: SubPathDependencies,
): Promise<Map<number, string>> {
  const paths = new Map<number, string>();
  if (requests.length === 0) return paths;
  const { rootDir, trace } = dependencies;
  await using root = await Directory.open(await realpath(rootDir), trace);
  await using opened = new AsyncDisposableStack();
  let pod = root;
  for (const element of podDirectory(podUid)) pod = opened.use(await pod.ensureChild(element, privateMode));
  for (const request of requests) {
    const what = `subPath of volumeMount "${request.volume}" of container "${container}"`;
    try {
      paths.set(request.index, await bind(pod, container, request, dependencies));
    } catch (cause) {
      const why = cause instanceof VolumeError ? cause.message : codeOf(cause);
      const message = `failed to prepare the ${what}: ${why}`;
      throw new VolumeError('VOLUME_SUB_PATH', message, { object: `container ${container}`, cause });
    }
  }
  return paths;
}

async function bind(
  pod: Directory,
  container: string,
  { index, volume, subPath, volumePath }: SubPathRequest,
  { mounts, trace, run = runHostCommand }: SubPathDependencies,
): Promise<string> {
  await untilAnswering(volumePath, `volume ${volume}`, { mounts, run });
  // Ours, or a hostPath: its author may name any path, symlinks and all.
  await using volumeRoot = await Directory.open(volumePath, trace);
  const makeMode = Number((await volumeRoot.stat()).mode) & 0o2777;
  await using entry = await openBeneath(volumeRoot, subPath, `volume ${volume}`, { makeMode });
  await using opened = new AsyncDisposableStack();
  let parent = pod;
  for (const element of subPathDirectory(volume, container)) {
    parent = opened.use(await parent.ensureChild(element, privateMode));
  }
  const name = String(index);
  const target = `${parent.path}/${name}`;
  const bound = (await mounts.list()).filter((mount) => mount.target === target);
  if (bound.length === 1 && isSame(await parent.lstat(name), entry)) return target;
  for (const _ of bound) {
    trace?.(`umount ${target}`);
    await mounts.unmount(target, { lazy: true });
  }
  await makeTarget(parent, name, entry);
  trace?.(`mount --bind ${target}`);
  await mounts.bind(entry.procPath, target);
  return target;
}

const isSame = (stats: HeldEntry['stats'] | undefined, { stats: { dev, ino } }: HeldEntry): boolean =>
  stats?.dev === dev && stats.ino === ino;

/** Something of the kind that can be mounted on: a directory, or an empty file for whatever else it is. */
async function makeTarget(parent: Directory, name: string, entry: HeldEntry): Promise<void> {
  const present = await parent.lstat(name);
  const wanted = entry.stats.isDirectory();
  if (present !== undefined && (wanted ? present.isDirectory() : present.isFile())) return;
  if (present?.isDirectory()) await parent.rmdir(name);
  else await parent.unlink(name);
  if (wanted) await parent.mkdir(name, privateMode);
  else await parent.writeNewFile(name, new Uint8Array(), privateFileMode, undefined);
}

/** `ENOTDIR`, `EROFS`: the message of Node has the path in it. */
function codeOf(error: unknown): string {
  if (error instanceof KeelsonError) return error.message;
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : 'it cannot be opened';
}
