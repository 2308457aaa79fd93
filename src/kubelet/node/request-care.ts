/**
 * What every request of the heartbeats gets: a deadline, so that a silent server holds nothing up, a delay after a
 * failure, and one line in the log for an outage instead of one for each attempt.
 * Layer: kubelet/node. Knows nothing of what is asked.
 */
import { ApiError } from '../../api/api-error.ts';
import { PassingRefusals } from '../../api/passing-refusal.ts';
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

/** Runs `request` with a signal that is aborted with `signal`, and with ApiError API_TIMEOUT after `timeoutMs`. */
export async function withDeadline<T>(
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal,
  request: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const scope = new AbortController();
  const onAbort = (): void => scope.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const cancel = clock.after(timeoutMs, () => {
    scope.abort(new ApiError('API_TIMEOUT', `no answer from the API server within ${timeoutMs / 1000} s`));
  });
  try {
    return await request(scope.signal);
  } finally {
    cancel();
    signal.removeEventListener('abort', onAbort);
  }
}

/** Delays that double with each failure, by chance up to a fifth shorter; success makes the next one the first again. */
export class RetryDelay {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #lastMs = 0;

  constructor(limits: BackoffLimits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
  }

  /** Milliseconds to wait after one more failure. */
  failed(): number {
    this.#lastMs = nextDelay(this.#lastMs, this.#limits);
    return this.#lastMs * (1 - this.#random() / 5);
  }

  succeeded(): void {
    this.#lastMs = 0;
  }
}

/** Says when something begins to fail, when it fails in another way, and when it works again. */
export class OutageLog {
  readonly #log: Logger;
  readonly #what: string;
  readonly #tell: ((complaint: string | undefined) => void) | undefined;
  readonly #passing: PassingRefusals;
  #complaint: string | undefined;

  /**
   * @param what begins the lines: `node lease`
   * @param tell is told what the log is: the line of each new complaint, undefined when it works again
   */
  constructor(log: Logger, clock: Clock, what: string, tell?: (complaint: string | undefined) => void) {
    this.#log = log;
    this.#what = what;
    this.#tell = tell;
    this.#passing = new PassingRefusals(clock);
  }

  failed(error: unknown): void {
    const complaint = errorLine(error);
    if (this.#passing.mayPass(error)) {
      this.#log.debug({ error: complaint }, `${this.#what} is refused for now, will be tried again`);
      return;
    }
    if (complaint !== this.#complaint) this.#tell?.(complaint);
    const fields = { error: complaint };
    if (complaint === this.#complaint) this.#log.debug(fields, `${this.#what} still fails`);
    else this.#log.warn(fields, `${this.#what} fails, will be tried again`);
    this.#complaint = complaint;
  }

  succeeded(): void {
    this.#passing.succeeded();
    if (this.#complaint !== undefined) this.#tell?.(undefined);
    if (this.#complaint !== undefined) this.#log.info({}, `${this.#what} works again`);
    this.#complaint = undefined;
  }
}
