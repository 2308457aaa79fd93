/**
 * Delays that double from an initial value to a ceiling, and are forgotten after a quiet time.
 * Layer: base (pure, time is handed in). Restart delays of containers are not kept here: they live in the runtime
 * (kubelet/plan/restart-backoff.ts), so that they survive the daemon.
 */

export interface BackoffLimits {
  /** First delay, milliseconds. */
  initialMs: number;
  /** Ceiling, milliseconds. */
  maxMs: number;
}

/** The delay after `previousMs` (0 when there was none). */
export function nextDelay(previousMs: number, limits: BackoffLimits): number {
  return previousMs <= 0 ? limits.initialMs : Math.min(previousMs * 2, limits.maxMs);
}

/** Backoff per key, as client-go's flowcontrol.Backoff: an entry is forgotten 2 x maxMs after its last failure. */
export class KeyedBackoff {
  readonly #limits: BackoffLimits;
  readonly #entries = new Map<string, { delayMs: number; failedAtMs: number }>();

  constructor(limits: BackoffLimits) {
    this.#limits = limits;
  }

  /** Records a failure at `nowMs` and returns the delay it earns. */
  failed(key: string, nowMs: number): number {
    const entry = this.#entries.get(key);
    const previous = entry && nowMs - entry.failedAtMs < 2 * this.#limits.maxMs ? entry.delayMs : 0;
    const delayMs = nextDelay(previous, this.#limits);
    this.#entries.set(key, { delayMs, failedAtMs: nowMs });
    return delayMs;
  }

  /** Milliseconds until `key` may be tried again; 0 when it may now. */
  remaining(key: string, nowMs: number): number {
    const entry = this.#entries.get(key);
    return entry ? Math.max(0, entry.failedAtMs + entry.delayMs - nowMs) : 0;
  }

  forget(key: string): void {
    this.#entries.delete(key);
  }
}
