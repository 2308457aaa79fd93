/**
 * Time as a value that is handed in, so that planners stay pure and tests decide what time it is.
 * Layer: base. Must not import anything of Keelson's; the only place besides the edges that reads the system clock.
 */

/** Cancels a timer; safe to call twice and after it fired. */
export type CancelTimer = () => void;

export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
  /** Calls `callback` once after `delayMs` milliseconds (0 or more); never keeps the process alive by itself. */
  after(delayMs: number, callback: () => void): CancelTimer;
}

/** setTimeout keeps 31 bits; a longer delay would fire at once. */
const longestTimeoutMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(delayMs, 0), longestTimeoutMs));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Resolves after `delayMs`; rejects with the signal's reason when it is aborted first. */
export function sleep(delayMs: number, signal?: AbortSignal, clock: Clock = systemClock): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
