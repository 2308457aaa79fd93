/**
 * Removes container logs and their flat links, of one instance, of one pod, or of pods that nobody knows any more.
 * Layer: kubelet/pods (edge to the disk). Touches only names that Keelson itself forms (plan/log-paths.ts).
 */
import { readdir, readlink, rm, unlink } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import type { PodIdentity } from '../plan/annotations.ts';
import { containerLogPath, isLogOfAttempt, podLogDirectory, podOfLogDirectory } from '../plan/log-paths.ts';
import type { PodPaths } from './pod-context.ts';

/** The log of one removed instance with what rotation made of it, and the link to it. */
export async function removeContainerLog(
  pod: PodIdentity,
  containerName: string,
  attempt: number,
  linkName: string,
  paths: PodPaths,
): Promise<void> {
  const directory = dirname(join(podLogDirectory(paths.podLogDir, pod), containerLogPath(containerName, attempt)));
  for (const file of await readdirIfPresent(directory)) {
    if (isLogOfAttempt(file, attempt)) await rm(join(directory, file), { force: true });
  }
  await rm(join(paths.containerLogLinkDir, linkName), { force: true });
}

/** Everything that a gone pod logged. */
export async function removePodLogs(pod: PodIdentity, paths: PodPaths): Promise<void> {
  const directory = podLogDirectory(paths.podLogDir, pod);
  await removeLinks(paths, (target) => target.startsWith(directory + sep));
  try {
    await rm(directory, { recursive: true, force: true });
  } catch (error) {
    // A pod's name may be as long as a file's alone: a directory of such a name was never made.
    if (!hasErrorCode(error, 'ENAMETOOLONG')) throw error;
  }
}

/** Log directories of pods that are neither wanted nor in the runtime: left by a predecessor that died while cleaning. */
export async function removeOrphanLogs(isKnown: (uid: string) => boolean, paths: PodPaths): Promise<PodIdentity[]> {
  const removed: PodIdentity[] = [];
  for (const name of await readdirIfPresent(paths.podLogDir)) {
    const pod = podOfLogDirectory(name);
    if (!pod || isKnown(pod.uid)) continue;
    await removePodLogs(pod, paths);
    removed.push(pod);
  }
  return removed;
}

async function removeLinks(paths: PodPaths, belongs: (target: string) => boolean): Promise<void> {
  for (const name of await readdirIfPresent(paths.containerLogLinkDir)) {
    const link = join(paths.containerLogLinkDir, name);
    try {
      if (belongs(await readlink(link))) await unlink(link);
    } catch (error) {
      // EINVAL: not a link; somebody else's file stays.
      if (!hasErrorCode(error, 'EINVAL', 'ENOENT')) throw error;
    }
  }
}

async function readdirIfPresent(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return [];
    throw error;
  }
}
