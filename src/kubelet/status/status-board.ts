/**
 * The latest status of every pod on the node, for `keelson status`, for the endpoints of Services and, later, for the
 * API server.
 * Layer: kubelet/status. Keeps; does not compute (pod-status.ts) and does not send.
 */
import type { Pod, PodStatus } from '../../api/core.ts';

export interface PodWithStatus {
  pod: Pod;
  status: PodStatus;
  /** From the moment when the pod was asked to end: what an API server would write as deletionTimestamp. */
  ending?: true;
}

/** Its status differs from the one before, it was asked to end, or nothing of it is left. */
export type PodChange = 'status' | 'ending' | 'deleted';

export type PodListener = (entry: PodWithStatus, change: PodChange) => void;

export class StatusBoard {
  readonly #pods = new Map<string, PodWithStatus>();
  readonly #listeners = new Set<PodListener>();

  set(pod: Pod, status: PodStatus): void {
    const before = this.#pods.get(pod.metadata.uid);
    const entry: PodWithStatus = { pod, status, ...(before?.ending ? { ending: true } : {}) };
    this.#pods.set(pod.metadata.uid, entry);
    if (before && JSON.stringify(before.status) === JSON.stringify(status)) return;
    this.#tell(entry, 'status');
  }

  /** The pod was asked to end; nothing happens when it is not here or was asked before. */
  end(uid: string): void {
    const before = this.#pods.get(uid);
    if (before === undefined || before.ending) return;
    const entry: PodWithStatus = { ...before, ending: true };
    this.#pods.set(uid, entry);
    this.#tell(entry, 'ending');
  }

  delete(uid: string): void {
    const entry = this.#pods.get(uid);
    if (entry === undefined) return;
    this.#pods.delete(uid);
    this.#tell(entry, 'deleted');
  }

  get(uid: string): PodWithStatus | undefined {
    return this.#pods.get(uid);
  }

  /** By namespace, then name. */
  list(): PodWithStatus[] {
    const key = ({ pod }: PodWithStatus): string => `${pod.metadata.namespace}/${pod.metadata.name}`;
    return [...this.#pods.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  }

  /** Calls `listener` after each change; returns how to stop. */
  onChange(listener: PodListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(entry: PodWithStatus, change: PodChange): void {
    for (const listener of this.#listeners) listener(entry, change);
  }
}
