/**
 * One source for several listeners: the kubelet starts it and is told first, others follow along.
 * Layer: kubelet/static. Must not look into snapshots.
 */
import type { ManifestSnapshot, ManifestSource } from './manifest-snapshot.ts';

export interface SharedSource extends ManifestSource {
  /**
   * Calls `listener` with the latest snapshot at once when there is one, then with each that follows, each time after the
   * listener of `start`. Returns how to stop.
   */
  onSnapshot(listener: (snapshot: ManifestSnapshot) => void): () => void;
}

export function shareSource(source: ManifestSource): SharedSource {
  const followers = new Set<(snapshot: ManifestSnapshot) => void>();
  let latest: ManifestSnapshot | undefined;
  return {
    start: (listener, signal) =>
      source.start((snapshot) => {
        latest = snapshot;
        listener(snapshot);
        for (const follower of followers) follower(snapshot);
      }, signal),
    onSnapshot(listener) {
      followers.add(listener);
      if (latest !== undefined) listener(latest);
      return () => followers.delete(listener);
    },
  };
}
