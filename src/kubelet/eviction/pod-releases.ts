/**
 * Tells when an evicted pod has made room: no container of it may run, and its volumes are removed.
 * Layer: kubelet/eviction (adapter). Sits around the volumes edge, since the end of a teardown is an event of its own.
 */
import type { PodVolumes } from '../pods/pod-context.ts';

export class PodReleases {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** The volumes edge, whose teardowns are noticed from now on. */
  watch<T extends Pick<PodVolumes, 'teardown'>>(volumes: T): T {
    return {
      ...volumes,
      teardown: async (...about: Parameters<PodVolumes['teardown']>): Promise<void> => {
        const [uid] = about;
        await volumes.teardown(...about);
        for (const resolve of this.#waiting.get(uid) ?? []) resolve();
        this.#waiting.delete(uid);
      },
    };
  }

  /** Resolves after the next teardown, which follows the end of the containers. Rejects with the signal's reason. */
  released(uid: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const listeners = this.#waiting.get(uid) ?? new Set();
      this.#waiting.set(uid, listeners);
      const leave = (): void => {
        listeners.delete(done);
        if (listeners.size === 0) this.#waiting.delete(uid);
        reject(signal.reason);
      };
      const done = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      listeners.add(done);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}
