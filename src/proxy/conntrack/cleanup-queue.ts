/**
 * Cleanups that wait for the next listing, each destination once.
 * Layer: proxy/conntrack (pure). Bounded by the destinations there are and by removeLimit endpoints of each.
 */
import type { ConntrackCleanup } from '../services/dataplane.ts';

/** Beyond, a cleanup is for all flows but those of `keep`: for flows that were balanced it means the same. */
const removeLimit = 1000;

export class CleanupQueue {
  #waiting = new Map<string, ConntrackCleanup>();

  get size(): number {
    return this.#waiting.size;
  }

  add(cleanups: Iterable<ConntrackCleanup>): void {
    for (const cleanup of cleanups) {
      const key = keyOf(cleanup);
      const older = this.#waiting.get(key);
      this.#waiting.set(key, older === undefined ? cleanup : merged(older, cleanup));
    }
  }

  /** Puts back what could not be done; what came meanwhile is newer. */
  restore(cleanups: Iterable<ConntrackCleanup>): void {
    for (const cleanup of cleanups) {
      const key = keyOf(cleanup);
      const newer = this.#waiting.get(key);
      this.#waiting.set(key, newer === undefined ? cleanup : merged(cleanup, newer));
    }
  }

  take(): ConntrackCleanup[] {
    const cleanups = [...this.#waiting.values()];
    this.#waiting.clear();
    return cleanups;
  }
}

const keyOf = ({ ip, port }: ConntrackCleanup): string => `${ip} ${port}`;

/** The newer one knows what serves; what the older one removed is still to go, unless it serves again. */
function merged(older: ConntrackCleanup, newer: ConntrackCleanup): ConntrackCleanup {
  if (older.remove === undefined || newer.remove === undefined) return { ...newer, remove: undefined };
  const remove = new Set([...older.remove, ...newer.remove]);
  return { ...newer, remove: remove.size > removeLimit ? undefined : [...remove] };
}
