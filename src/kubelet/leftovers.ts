/**
 * Cleans what a dead predecessor left of pods that are gone.
 * Layer: kubelet (edge, through the handed-in volumes and paths). Must be told which pods are known: it decides nothing.
 */
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { PodPaths, PodVolumes } from './pods/pod-context.ts';
import { removeOrphanLogs } from './pods/pod-logs.ts';

/** Directories, mounts and logs of pods that are neither wanted nor in the runtime. Failures are reported, not fatal. */
export async function removeLeftovers(
  isKnown: (uid: string) => boolean,
  volumes: PodVolumes & { orphans(): Promise<string[]> },
  paths: PodPaths,
  log: Logger,
): Promise<void> {
  for (const uid of await volumes.orphans()) {
    if (isKnown(uid)) continue;
    try {
      await volumes.teardown(uid);
      log.info({ uid }, 'removed the directory of a pod that is gone');
    } catch (error) {
      log.warn({ uid, error: errorLine(error) }, 'cannot remove the directory of a pod that is gone');
    }
  }
  for (const pod of await removeOrphanLogs(isKnown, paths)) {
    log.info({ pod: `${pod.namespace}/${pod.name}`, uid: pod.uid }, 'removed the logs of a pod that is gone');
  }
}
