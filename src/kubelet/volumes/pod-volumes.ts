/**
 * The volumes edge as the kubelet role is handed it: one object around mounting, removing and finding leftovers.
 * Layer: kubelet/volumes (composition). No decisions here.
 */
import type { Pod } from '../../api/core.ts';
import type { PodVolumes } from '../pods/pod-context.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import { mountVolumes } from './mount-volumes.ts';
import { podDirectoryUids, teardownVolumes } from './teardown-volumes.ts';
import type { VolumeSources } from './volume-plan.ts';

export interface PodVolumesOptions extends VolumeDependencies {
  sources: VolumeSources;
}

/** `orphans()` answers the UIDs of all pods that have a directory; the caller takes away those that it knows. */
export function createPodVolumes(options: PodVolumesOptions): PodVolumes & { orphans(): Promise<string[]> } {
  return {
    mount: (pod: Pod) => mountVolumes(pod, options.sources, options),
    teardown: (uid) => teardownVolumes(uid, options),
    orphans: () => podDirectoryUids(options.rootDir),
  };
}
