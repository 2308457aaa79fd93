/**
 * The latest status of every pod on the node, for `keelson status` and, later, for the API server.
 * Layer: kubelet/status. Keeps; does not compute (pod-status.ts) and does not send.
 */
import type { Pod, PodStatus } from '../../api/core.ts';

export interface PodWithStatus {
  pod: Pod;
  status: PodStatus;
}

export class StatusBoard {
  readonly #pods = new Map<string, PodWithStatus>();
  readonly #listeners = new Set<(entry: PodWithStatus) => void>();

  set(pod: Pod, status: PodStatus): void {
    const before = this.#pods.get(pod.metadata.uid);
    const entry = { pod, status };
    this.#pods.set(pod.metadata.uid, entry);
    if (before && JSON.stringify(before.status) === JSON.stringify(status)) return;
    for (const listener of this.#listeners) listener(entry);
  }

  delete(uid: string): void {
    this.#pods.delete(uid);
  }

  /** By namespace, then name. */
  list(): PodWithStatus[] {
    const key = ({ pod }: PodWithStatus): string => `${pod.metadata.namespace}/${pod.metadata.name}`;
    return [...this.#pods.values()].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  }

  /** Calls `listener` after each status that differs from the one before; returns how to stop. */
  onChange(listener: (entry: PodWithStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
