/**
 * Measurements that are made at most once a period, and only when somebody asks; an answer does not wait for long ones.
 * What took long waits longer for the next, so that measuring never takes more than a tenth of the time.
 * Layer: kubelet/stats (state in memory). What is measured is the caller's.
 */
import type { Clock } from '../../base/clock.ts';
import { createSemaphore, type Semaphore } from '../../base/semaphore.ts';

export interface KeptMeasurementsOptions {
  readonly periodMs: number;
  /** Measurements at a time. */
  readonly places: number;
  readonly clock: Clock;
}

interface Kept<T> {
  /** undefined until the first ended, and after one that found nothing. */
  value: T | undefined;
  dueMs: number;
  running: Promise<void> | undefined;
}

/** What took long is repeated only after this many times as long. */
const restFactor = 10;

export class KeptMeasurements<T> {
  readonly #options: KeptMeasurementsOptions;
  readonly #kept = new Map<string, Kept<T>>();
  readonly #places: Semaphore;

  constructor(options: KeptMeasurementsOptions) {
    this.#options = options;
    this.#places = createSemaphore(options.places);
  }

  /**
   * The latest value of each of `wanted` that has one; starts what is due. Resolves when all of that ended or after
   * `patienceMs`. Forgets all others. A measurement must not reject.
   */
  async read(
    wanted: ReadonlyMap<string, () => Promise<T | undefined>>,
    patienceMs: number,
  ): Promise<ReadonlyMap<string, T>> {
    for (const key of this.#kept.keys()) if (!wanted.has(key)) this.#kept.delete(key);
    const running = [...wanted].flatMap(([key, measure]) => this.#start(key, measure) ?? []);
    if (running.length > 0) await this.#atMost(patienceMs, Promise.all(running));
    const values = new Map<string, T>();
    for (const key of wanted.keys()) {
      const value = this.#kept.get(key)?.value;
      if (value !== undefined) values.set(key, value);
    }
    return values;
  }

  #start(key: string, measure: () => Promise<T | undefined>): Promise<void> | undefined {
    const { clock, periodMs } = this.#options;
    const entry = this.#kept.get(key) ?? { value: undefined, dueMs: 0, running: undefined };
    this.#kept.set(key, entry);
    if (entry.running !== undefined || entry.dueMs > clock.now()) return entry.running;
    entry.running = this.#places
      .run(async () => {
        const startedMs = clock.now();
        entry.value = await measure();
        entry.dueMs = clock.now() + Math.max(periodMs, restFactor * (clock.now() - startedMs));
      })
      .finally(() => {
        entry.running = undefined;
      });
    return entry.running;
  }

  async #atMost(patienceMs: number, work: Promise<unknown>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(patienceMs, resolve);
    await Promise.race([work, promise]);
    cancel();
  }
}
