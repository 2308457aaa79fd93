/**
 * The pods of the node for the kubelet's API: what the status board says, beside what the runtime has.
 * Layer: kubelet/pods (view). Asks nobody; copies nothing.
 */
import type { Pod } from '../../api/core.ts';
import type { ServedPod, ServedPods } from '../server/served-pods.ts';
import type { PodWithStatus, StatusBoard } from '../status/status-board.ts';
import type { PodRuntimeCache } from './runtime-cache.ts';

export interface ServedPodsOptions {
  board: Pick<StatusBoard, 'list'>;
  cache: Pick<PodRuntimeCache, 'get'>;
  /** The uid of the API server's copy of a static pod, if it has one. */
  mirrorUidOf?: ((pod: Pod) => string | undefined) | undefined;
  /** The pod with what it asks for, where it was given something else yet. Default: the board's. */
  desired?: (pod: Pod) => Pod;
}

export function createServedPods({ board, cache, mirrorUidOf, desired }: ServedPodsOptions): ServedPods {
  const served = ({ pod, status }: PodWithStatus): ServedPod => ({
    pod: desired?.(pod) ?? pod,
    status,
    state: cache.get(pod.metadata.uid),
  });
  return {
    list: () => board.list().map(served),
    find(namespace, name, uid) {
      const named = board
        .list()
        .filter(({ pod: { metadata } }) => metadata.namespace === namespace && metadata.name === name);
      const found =
        uid === undefined
          ? // Of two with one name, the one that stays.
            (named.find(({ ending }) => !ending) ?? named[0])
          : named.find(({ pod }) => pod.metadata.uid === uid || mirrorUidOf?.(pod) === uid);
      return found && served(found);
    },
  };
}
