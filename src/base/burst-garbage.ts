/**
 * Gives the memory of a burst back once it has calmed: what 60 pods that start at once leave behind is a tenth of the
 * process, and V8 keeps its pages until it needs a collection anyway, which an idle daemon never does.
 * Layer: base. Driven by what happens, never while it happens, and rarely: a full collection blocks for some 50 ms.
 */
import type { CancelTimer, Clock } from './clock.ts';

export interface BurstGarbageOptions {
  clock: Clock;
  collect: () => void;
}

/** A pod that starts is told of four or five times: fewer than some ten pods are not worth a pause. */
const burst = 40;
const calmMs = 10_000;
const restMs = 5 * 60_000;

export class BurstGarbage {
  readonly #clock: Clock;
  readonly #collect: () => void;
  /** Since the last collection. */
  #happened = 0;
  #lastMs = 0;
  #collectedMs = Number.NEGATIVE_INFINITY;
  #cancel: CancelTimer | undefined;

  constructor({ clock, collect }: BurstGarbageOptions) {
    this.#clock = clock;
    this.#collect = collect;
  }

  /** Something was done that leaves garbage; `times` at once. */
  happened(times = 1): void {
    this.#happened += times;
    this.#lastMs = this.#clock.now();
    if (this.#happened >= burst && this.#cancel === undefined) this.#look(calmMs);
  }

  /** Nothing is collected any more. */
  stop(): void {
    this.#cancel?.();
    // A timer that is set for ever: what happens later sets no other.
    this.#cancel = () => undefined;
  }

  #look(afterMs: number): void {
    this.#cancel = this.#clock.after(afterMs, () => {
      const nowMs = this.#clock.now();
      const waitMs = Math.max(this.#lastMs + calmMs, this.#collectedMs + restMs) - nowMs;
      if (waitMs > 0) return this.#look(waitMs);
      this.#cancel = undefined;
      this.#happened = 0;
      this.#collectedMs = nowMs;
      this.#collect();
    });
  }
}
