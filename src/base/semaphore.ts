/**
 * A bounded number of places, handed out by priority and then by arrival: pod starts, image pulls.
 * Layer: base. Must not know what the places are for.
 */

interface Waiter {
  priority: number;
  grant: () => void;
}

export interface Semaphore {
  /** Places in use. */
  readonly active: number;
  /** Callers that wait for a place. */
  readonly waiting: number;
  /**
   * Runs `work` when a place is free and gives the place back however it ends. Of those that wait, the highest
   * `priority` goes first, equal ones in order of arrival. Rejects with the signal's reason if aborted while waiting.
   */
  run<T>(work: () => Promise<T>, options?: { priority?: number; signal?: AbortSignal }): Promise<T>;
}

/** @param places 1 or more */
export function createSemaphore(places: number): Semaphore {
  if (!Number.isInteger(places) || places < 1) throw new RangeError(`a semaphore needs 1 place or more, got ${places}`);
  let active = 0;
  const queue: Waiter[] = [];

  const next = (): void => {
    while (active < places) {
      const waiter = queue.shift();
      if (!waiter) return;
      active++;
      waiter.grant();
    }
  };

  const acquire = (priority: number, signal: AbortSignal | undefined): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        const place = queue.indexOf(waiter);
        if (place >= 0) queue.splice(place, 1);
        reject(signal?.reason);
      };
      const waiter: Waiter = {
        priority,
        grant: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const behind = queue.findIndex((other) => other.priority < priority);
      queue.splice(behind < 0 ? queue.length : behind, 0, waiter);
      next();
    });

  return {
    get active() {
      return active;
    },
    get waiting() {
      return queue.length;
    },
    async run(work, { priority = 0, signal } = {}) {
      await acquire(priority, signal);
      try {
        return await work();
      } finally {
        active--;
        next();
      }
    },
  };
}
