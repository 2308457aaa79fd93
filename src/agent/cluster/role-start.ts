/**
 * A role that may take long to start, or fail: begun at once, tried again until it stands, begun anew when what it was made
 * from has changed, ended in order. What it waits for or failed with is told, and the other roles go on meanwhile.
 * Layer: agent/cluster. Knows nothing of any role.
 */
import { PassingRefusals } from '../../api/passing-refusal.ts';
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface Role {
  stop(): Promise<void>;
}

/** For status: what a start waits for just now, asked for when somebody looks; undefined when for nothing. */
export type SayWaiting = (reason: (() => string) | undefined) => void;

export interface RoleStartOptions<Started extends Role> {
  /** For the log: `proxy`. */
  name: string;
  /** Must leave nothing behind when it throws. */
  start(signal: AbortSignal, say: SayWaiting): Promise<Started>;
  /** Whether a later try may go better; every error is thought so unless this says no: see `fatal`. */
  mayPass?: (error: unknown) => boolean;
  /** Called when it stands, and when a try has failed. */
  onChange?: (() => void) | undefined;
  /** Between two tries. */
  backoff?: BackoffLimits;
  clock: Clock;
  log: Logger;
}

/** Short enough that Services do not wait a minute for nothing when the API server is back. */
const usualBackoff: BackoffLimits = { initialMs: 1_000, maxMs: 15_000 };

export class RoleStart<Started extends Role> {
  /** Resolves when the first try has ended, however it did. */
  readonly attempted: Promise<void>;
  /** Rejects with an error that no later try would mend; never resolves. */
  readonly fatal: Promise<never>;
  readonly #options: RoleStartOptions<Started>;
  readonly #scope = new AbortController();
  readonly #running: Promise<void>;
  readonly #waiters = new Set<(role: Started) => void>();
  readonly #passing: PassingRefusals;
  #role: Started | undefined;
  #error: string | undefined;
  #failure: unknown;
  #waiting: (() => string) | undefined;
  /** Ends the try, or the life, that is under way so that another begins. */
  #again = new AbortController();

  constructor(options: RoleStartOptions<Started>) {
    this.#options = options;
    this.#passing = new PassingRefusals(options.clock);
    const attempted = Promise.withResolvers<void>();
    const fatal = Promise.withResolvers<never>();
    // Whoever does not wait for it must not die of it.
    fatal.promise.catch(() => undefined);
    this.attempted = attempted.promise;
    this.fatal = fatal.promise;
    this.#running = this.#run(attempted.resolve, fatal.reject).finally(attempted.resolve);
  }

  /** Undefined until it stands, and while it begins anew. */
  get role(): Started | undefined {
    return this.#role;
  }

  /** Why it does not stand yet, in one line; undefined when it does, or was not refused so far. */
  get error(): string | undefined {
    return this.#error;
  }

  /** What the last try failed with; undefined when it stands, or no try has failed. */
  get failure(): unknown {
    return this.#failure;
  }

  /** What the try under way waits for, as far as it says. */
  get waiting(): string | undefined {
    return this.#waiting?.();
  }

  /** Resolves when the role stands; rejects with the signal's reason. */
  started(signal: AbortSignal): Promise<Started> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (this.#role !== undefined) return resolve(this.#role);
      const onAbort = (): void => {
        this.#waiters.delete(onStart);
        reject(signal.reason);
      };
      const onStart = (role: Started): void => {
        signal.removeEventListener('abort', onAbort);
        resolve(role);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(onStart);
    });
  }

  /** Ends the role, or the try that is under way, and begins anew at once. `reason` is for the log. */
  restart(reason: string): void {
    if (this.#scope.signal.aborted || this.#again.signal.aborted) return;
    this.#options.log.info({ role: this.#options.name, reason }, 'role begins anew');
    this.#again.abort(new Error(reason));
  }

  async stop(): Promise<void> {
    this.#scope.abort(new Error(`the ${this.#options.name} role stops`));
    await this.#running;
    await this.#role?.stop();
  }

  async #run(attempted: () => void, fail: (error: unknown) => void): Promise<void> {
    const { name, start, mayPass = () => true, backoff = usualBackoff, clock, log } = this.#options;
    const stopped = this.#scope.signal;
    let delayMs = 0;
    while (!stopped.aborted) {
      this.#again = new AbortController();
      const again = this.#again.signal;
      const signal = AbortSignal.any([stopped, again]);
      try {
        const role = await start(signal, (reason) => {
          if (!signal.aborted) this.#waiting = reason;
        });
        delayMs = 0;
        this.#stands(role);
        attempted();
        await aborted(signal);
        if (stopped.aborted) return;
        this.#role = undefined;
        // What it could not undo is in the log; the next one looks at what is there anyway.
        await role
          .stop()
          .catch((error: unknown) => log.error({ role: name, error: errorLine(error) }, 'role not ended'));
      } catch (error) {
        if (stopped.aborted) return;
        this.#waiting = undefined;
        if (again.aborted) continue;
        if (!mayPass(error)) {
          this.#error = errorLine(error);
          return fail(error);
        }
        this.#failed(error);
        attempted();
        delayMs = nextDelay(delayMs, backoff);
        log.debug({ role: name, delayMs }, 'role is tried again later');
        // Rejects when stopped or to begin anew, which the loop sees.
        await sleep(delayMs, signal, clock).catch(() => undefined);
      }
    }
  }

  #stands(role: Started): void {
    this.#role = role;
    this.#error = undefined;
    this.#failure = undefined;
    this.#waiting = undefined;
    this.#passing.succeeded();
    this.#options.log.info({ role: this.#options.name }, 'role started');
    for (const waiter of this.#waiters) waiter(role);
    this.#waiters.clear();
    this.#options.onChange?.();
  }

  #failed(error: unknown): void {
    const { name, log } = this.#options;
    const line = errorLine(error);
    if (this.#passing.mayPass(error)) {
      log.debug({ role: name, error: line }, 'role refused for now; trying again');
      this.#waiting = () => 'waits until the API server knows its rights';
      return;
    }
    if (line !== this.#error) log.error({ role: name, error: line }, 'role not started; trying again');
    this.#error = line;
    this.#failure = error;
    this.#options.onChange?.();
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
