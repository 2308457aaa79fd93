/**
 * The pods of the node as evictions see them: what is still there, how to end it, and when it made room.
 * Layer: kubelet/eviction (adapter to the status board and the pod workers).
 */
import { isTerminal } from '../plan/pod-origin.ts';
import type { PodWorker } from '../pods/pod-worker.ts';
import type { StatusBoard } from '../status/status-board.ts';
import type { PodReleases } from './pod-releases.ts';
import type { StartEvictionOptions } from './start-eviction.ts';

export interface EvictablePodsOptions {
  readonly board: Pick<StatusBoard, 'list' | 'get'>;
  /** Whether the runtime may still run a container of the pod. */
  readonly mayRun: (uid: string) => boolean;
  readonly worker: (uid: string) => Pick<PodWorker, 'phase' | 'fail' | 'terminate'> | undefined;
  readonly releases: PodReleases;
}

export function createEvictablePods(options: EvictablePodsOptions): StartEvictionOptions['pods'] {
  const { board, mayRun, worker: workerOf, releases } = options;
  const hastened = new WeakSet<object>();
  const hasEnded = (uid: string): boolean => isTerminal(board.get(uid)?.status.phase);
  return {
    list: () =>
      board
        .list()
        .filter(({ pod }) => !hasEnded(pod.metadata.uid) || mayRun(pod.metadata.uid))
        .map(({ pod }) => pod),
    end(uid, verdict) {
      const worker = workerOf(uid);
      // One that failed or was hastened already ends as fast as it can.
      if (worker === undefined || hasEnded(uid) || hastened.has(worker)) return false;
      if (worker.phase === 'syncing') worker.fail(verdict);
      else if (worker.phase === 'terminating') worker.terminate(verdict.graceSeconds);
      else return false;
      hastened.add(worker);
      return true;
    },
    released: (uid, signal) => releases.released(uid, signal),
  };
}
