/**
 * Answers of the API server about tokens and rights, remembered for a while, so that each is asked once for many requests.
 * Layer: kubelet/server. Knows neither tokens nor rights: keys come hashed, answers as they are. Bounded in entries and in
 * questions under way: who asks comes from the network. Rules: apiserver/pkg/authentication/token/cache, one flight a key.
 */
import type { Clock } from '../../base/clock.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';

export interface Review<Answer> {
  answer: Answer;
  /** Milliseconds; 0: only for those that wait for it now. */
  keepMs: number;
}

export interface ReviewCacheOptions {
  clock: Clock;
  /** Ends questions under way. */
  signal: AbortSignal;
  maxEntries?: number;
  /** Questions at the API server at a time. */
  maxReviews?: number;
  /** Milliseconds for one question with its repetitions. */
  timeoutMs?: number;
}

interface Entry<Answer> {
  answer: Answer;
  fromMs: number;
  keepMs: number;
}

export class ReviewCache<Answer> {
  readonly #options: Required<ReviewCacheOptions>;
  /** In order of use, the latest last. */
  readonly #entries = new Map<string, Entry<Answer>>();
  readonly #flights = new Map<string, Promise<Answer>>();

  constructor(options: ReviewCacheOptions) {
    this.#options = { maxEntries: 2048, maxReviews: 64, timeoutMs: 30_000, ...options };
  }

  /**
   * The remembered answer, or that of `ask`, which others that come meanwhile with the same key share. A failure is told to
   * all that wait and remembered for nobody.
   * @throws what `ask` throws; KeelsonError KUBELET_API_BUSY when too many questions are under way
   */
  get(key: string, ask: (signal: AbortSignal) => Promise<Review<Answer>>): Promise<Answer> {
    const known = this.#known(key);
    if (known !== undefined) return Promise.resolve(known.answer);
    const running = this.#flights.get(key);
    if (running !== undefined) return running;
    if (this.#flights.size >= this.#options.maxReviews) {
      const message = `${this.#flights.size} questions about tokens or rights are at the API server already`;
      return Promise.reject(new KeelsonError('KUBELET_API_BUSY', message, { object: 'kubelet API' }));
    }
    const flight = this.#ask(key, ask).finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }

  get size(): number {
    return this.#entries.size;
  }

  #known(key: string): Entry<Answer> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    const age = this.#options.clock.now() - entry.fromMs;
    // A clock that was set back says nothing about an entry's age.
    if (age < 0 || age >= entry.keepMs) return undefined;
    this.#entries.set(key, entry);
    return entry;
  }

  async #ask(key: string, ask: (signal: AbortSignal) => Promise<Review<Answer>>): Promise<Answer> {
    const { clock, signal, timeoutMs, maxEntries } = this.#options;
    const timeout = new AbortController();
    const cancel = clock.after(timeoutMs, () =>
      timeout.abort(new Error(`the API server did not answer within ${timeoutMs / 1000} s`)),
    );
    try {
      const { answer, keepMs } = await ask(AbortSignal.any([signal, timeout.signal]));
      if (keepMs > 0) {
        this.#entries.set(key, { answer, fromMs: clock.now(), keepMs });
        for (const oldest of this.#entries.keys()) {
          if (this.#entries.size <= maxEntries) break;
          this.#entries.delete(oldest);
        }
      }
      return answer;
    } finally {
      cancel();
    }
  }
}
