/**
 * Flows to be forgotten once the change that ended them is in the kernel: kept in order, joined by destination while one
 * round is under way, so that neither the dataplane waits for them nor memory grows with the rate of events.
 * Layer: proxy (over an injected function). Must not know how flows are forgotten.
 */
import { type BackoffLimits, nextDelay } from '../base/backoff.ts';
import type { CancelTimer, Clock } from '../base/clock.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { ConntrackCleanup } from './services/dataplane.ts';

const retry: BackoffLimits = { initialMs: 1000, maxMs: 60_000 };

type Cleanups = Map<string, ConntrackCleanup>;

export class FlowCleanup {
  readonly #forget: (cleanups: readonly ConntrackCleanup[]) => Promise<void>;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Their change is not in the kernel yet. */
  readonly #held: Cleanups = new Map();
  #due: Cleanups = new Map();
  #running: Promise<void> | undefined;
  #delayMs = 0;
  #cancelRetry: CancelTimer | undefined;
  #stopped = false;

  constructor(forget: (cleanups: readonly ConntrackCleanup[]) => Promise<void>, clock: Clock, log: Logger) {
    this.#forget = forget;
    this.#clock = clock;
    this.#log = log;
  }

  /** To be done after the next `release`. */
  hold(cleanups: readonly ConntrackCleanup[]): void {
    for (const cleanup of cleanups) join(this.#held, cleanup);
  }

  /** Every change that was held for is in the kernel. */
  release(): void {
    for (const cleanup of this.#held.values()) join(this.#due, cleanup);
    this.#held.clear();
    this.#start();
  }

  /** Resolves when the round under way has ended; what is due then stays undone. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRetry?.();
    await this.#running;
  }

  #start(): void {
    if (this.#stopped || this.#running !== undefined || this.#cancelRetry !== undefined || this.#due.size === 0) return;
    this.#running = this.#round().finally(() => {
      this.#running = undefined;
      this.#start();
    });
  }

  async #round(): Promise<void> {
    const due = this.#due;
    this.#due = new Map();
    try {
      await this.#forget([...due.values()]);
      this.#delayMs = 0;
    } catch (error) {
      const text = 'flows of UDP clients to endpoints that are gone could not be removed; trying again';
      if (this.#delayMs === 0)
        this.#log.warn({ error: errorLine(error), fix: 'check that the kernel has conntrack' }, text);
      // What came meanwhile is newer.
      const newer = this.#due;
      this.#due = due;
      for (const cleanup of newer.values()) join(this.#due, cleanup);
      this.#delayMs = nextDelay(this.#delayMs, retry);
      this.#cancelRetry = this.#clock.after(this.#delayMs, () => {
        this.#cancelRetry = undefined;
        this.#start();
      });
    }
  }
}

/** The newer one knows who serves now; what the older one had to end is still to be ended. */
function join(cleanups: Cleanups, newer: ConntrackCleanup): void {
  const key = `${newer.ip} ${newer.port}`;
  const older = cleanups.get(key);
  if (older === undefined) {
    cleanups.set(key, newer);
    return;
  }
  if (older.remove === undefined || newer.remove === undefined) {
    cleanups.set(key, { ...newer, remove: undefined });
    return;
  }
  const keep = new Set(newer.keep);
  const remove = new Set([...older.remove, ...newer.remove].filter((endpoint) => !keep.has(endpoint)));
  cleanups.set(key, { ...newer, remove: [...remove] });
}
