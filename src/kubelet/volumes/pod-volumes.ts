/**
 * The volumes edge as the kubelet role is handed it: one object around mounting, removing and finding leftovers.
 * Layer: kubelet/volumes (composition). No decisions here.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodVolumes } from '../pods/pod-context.ts';
import { warning } from '../pods/pod-events.ts';
import { untilAnswering } from './answering.ts';
import { runHostCommand } from './host-command.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import { mountVolumes } from './mount-volumes.ts';
import { readEnvFile } from './read-env-file.ts';
import { bindSubPaths } from './sub-path.ts';
import { podDirectoryUids, teardownVolumes } from './teardown-volumes.ts';
import { type LastResort, lastResortMessage } from './unmount.ts';
import type { VolumeSources } from './volume-plan.ts';

export interface PodVolumesOptions extends VolumeDependencies {
  sources: VolumeSources;
}

/** `orphans()` answers the UIDs of all pods that have a directory; the caller takes away those that it knows. */
export function createPodVolumes(options: PodVolumesOptions): PodVolumes & { orphans(): Promise<string[]> } {
  const { mounts, run = runHostCommand, recordEvent, log } = options;
  /** Teardowns that failed, one after the other. */
  const failures = new Map<string, number>();
  return {
    mount: (pod, signal) => mountVolumes(pod, options.sources, options, signal),
    bindSubPaths: (uid, container, requests) => bindSubPaths(uid, container, requests, options),
    async readEnvFile(volumePath, path, subject) {
      await untilAnswering(volumePath, subject, { mounts, run });
      return readEnvFile(volumePath, path, subject);
    },
    async teardown(uid, signal, pod) {
      const onLastResort = (_: string, { target, cause }: LastResort): void => {
        log?.warn({ uid, target, cause }, 'a volume was still in use and is only detached');
        if (pod) recordEvent?.(pod, warning('FailedUnMount', lastResortMessage(target, cause)));
      };
      try {
        await teardownVolumes(uid, { ...options, onLastResort }, signal);
        failures.delete(uid);
      } catch (error) {
        signal?.throwIfAborted();
        const count = (failures.get(uid) ?? 0) + 1;
        failures.set(uid, count);
        // The first may only have come before its driver had registered.
        if (pod && count > 1) recordEvent?.(pod, warning('FailedUnMount', errorLine(error)));
        throw error;
      }
    },
    orphans: () => podDirectoryUids(options.rootDir),
  };
}
