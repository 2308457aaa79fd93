/**
 * The volumes edge as the kubelet role is handed it: one object around mounting, removing and finding leftovers.
 * Layer: kubelet/volumes (composition). No decisions here.
 */
import type { PodVolumes } from '../pods/pod-context.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import { mountVolumes } from './mount-volumes.ts';
import { readEnvFile } from './read-env-file.ts';
import { bindSubPaths } from './sub-path.ts';
import { podDirectoryUids, teardownVolumes } from './teardown-volumes.ts';
import type { VolumeSources } from './volume-plan.ts';

export interface PodVolumesOptions extends VolumeDependencies {
  sources: VolumeSources;
}

/** `orphans()` answers the UIDs of all pods that have a directory; the caller takes away those that it knows. */
export function createPodVolumes(options: PodVolumesOptions): PodVolumes & { orphans(): Promise<string[]> } {
  const givenToGroup = options.givenToGroup ?? new Set<string>();
  const dependencies = { ...options, givenToGroup };
  return {
    mount: (pod, signal) => mountVolumes(pod, options.sources, dependencies, signal),
    bindSubPaths: (uid, container, requests) => bindSubPaths(uid, container, requests, options),
    readEnvFile,
    async teardown(uid, signal) {
      await teardownVolumes(uid, options, signal);
      for (const key of givenToGroup) if (key.startsWith(`${uid}/`)) givenToGroup.delete(key);
    },
    orphans: () => podDirectoryUids(options.rootDir),
  };
}
