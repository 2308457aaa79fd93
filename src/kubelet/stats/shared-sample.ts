/**
 * One measurement shared by all who ask for it within a short time: while it runs they wait for the same one, and
 * afterwards it is handed out until it is too old.
 * Layer: kubelet/stats. A measurement that failed is not kept. Knows nothing of what is measured.
 */
import type { Clock } from '../../base/clock.ts';

interface Taken<Sample> {
  readonly depth: number;
  readonly sample: Promise<Sample>;
  /** When it was complete; undefined while it runs. */
  takenMs: number | undefined;
}

export class SharedSample<Sample> {
  readonly #take: (depth: number) => Promise<Sample>;
  readonly #clock: Clock;
  readonly #freshMs: number;
  #latest: Taken<Sample> | undefined;

  /** @param take is never called again before its last call ended @param freshMs age up to which a sample is handed out */
  constructor(take: (depth: number) => Promise<Sample>, clock: Clock, freshMs: number) {
    this.#take = take;
    this.#clock = clock;
    this.#freshMs = freshMs;
  }

  /** @param depth a sample of the same or a greater depth answers; for measurements of one kind only, leave it out */
  async get(depth = 0): Promise<Sample> {
    for (;;) {
      const latest = this.#latest;
      if (latest === undefined) break;
      if (latest.depth >= depth && this.#isFresh(latest)) return latest.sample;
      if (latest.takenMs !== undefined) break;
      // A shallower one runs: they must not overlap, and afterwards somebody else may have begun the deeper one.
      await latest.sample.catch(() => undefined);
    }
    const taken: Taken<Sample> = { depth, sample: this.#take(depth), takenMs: undefined };
    this.#latest = taken;
    try {
      const sample = await taken.sample;
      taken.takenMs = this.#clock.now();
      return sample;
    } catch (error) {
      if (this.#latest === taken) this.#latest = undefined;
      throw error;
    }
  }

  #isFresh({ takenMs }: Taken<Sample>): boolean {
    if (takenMs === undefined) return true;
    const ageMs = this.#clock.now() - takenMs;
    return ageMs >= 0 && ageMs < this.#freshMs;
  }
}
