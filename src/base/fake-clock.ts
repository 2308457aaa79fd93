/**
 * A clock that moves only when a test says so; timers fire in order of their due time.
 * Layer: base (test support). Must not be imported by production code.
 */
import type { CancelTimer, Clock } from './clock.ts';

export class FakeClock implements Clock {
  #now: number;
  #sequence = 0;
  #timers = new Map<number, { due: number; callback: () => void }>();

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): CancelTimer {
    const id = this.#sequence++;
    this.#timers.set(id, { due: this.#now + Math.max(delayMs, 0), callback });
    return () => this.#timers.delete(id);
  }

  /** Moves time forward by `ms`, firing every timer that falls due on the way, and lets promises settle between them. */
  async advance(ms: number): Promise<void> {
    const target = this.#now + ms;
    for (;;) {
      await settle();
      const next = [...this.#timers]
        .filter(([, t]) => t.due <= target)
        .sort((a, b) => a[1].due - b[1].due || a[0] - b[0])[0];
      if (!next) break;
      this.#timers.delete(next[0]);
      this.#now = Math.max(this.#now, next[1].due);
      next[1].callback();
    }
    this.#now = target;
    await settle();
  }
}

/** Lets every promise that is already resolvable run its continuations. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
