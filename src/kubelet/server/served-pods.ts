/**
 * The pods of the node as the kubelet's API shows them, and the container that a request names.
 * Layer: kubelet/server (types only); kubelet.ts fills it from the status board and the runtime cache.
 */
import type { Pod, PodStatus } from '../../api/core.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';

export interface ServedPod {
  /** A static pod has its own uid here, not its mirror's. */
  pod: Pod;
  status: PodStatus;
  /** What the runtime has of it, newest first. */
  state: PodRuntimeState;
}

export interface ServedPods {
  /** By namespace, then name. */
  list(): readonly ServedPod[];
  /** @param uid also a mirror pod's; undefined: whoever has the name */
  find(namespace: string, name: string, uid?: string): ServedPod | undefined;
}
