/**
 * A role that may take long to start, or fail: begun at once, tried again until it stands, ended in order. What it waits
 * for or failed with is told, and the other roles go on meanwhile.
 * Layer: agent/cluster. Knows nothing of any role.
 */
import { nextDelay } from '../../base/backoff.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface Role {
  stop(): Promise<void>;
}

export interface RoleStartOptions<Started extends Role> {
  /** For the log: `proxy`. */
  name: string;
  /** Must leave nothing behind when it throws. */
  start(signal: AbortSignal): Promise<Started>;
  clock: Clock;
  log: Logger;
}

/** Short enough that Services do not wait a minute for nothing when the API server is back. */
const backoff = { initialMs: 1_000, maxMs: 15_000 };

export class RoleStart<Started extends Role> {
  readonly #options: RoleStartOptions<Started>;
  readonly #scope = new AbortController();
  readonly #running: Promise<void>;
  #role: Started | undefined;
  #error: string | undefined;

  constructor(options: RoleStartOptions<Started>) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Undefined until it stands. */
  get role(): Started | undefined {
    return this.#role;
  }

  /** Why it does not stand yet, in one line; undefined when it does, or was not refused so far. */
  get error(): string | undefined {
    return this.#error;
  }

  async stop(): Promise<void> {
    this.#scope.abort(new Error(`the ${this.#options.name} role stops`));
    await this.#running;
    await this.#role?.stop();
  }

  async #run(): Promise<void> {
    const { name, start, clock, log } = this.#options;
    const { signal } = this.#scope;
    let delayMs = 0;
    while (!signal.aborted) {
      try {
        this.#role = await start(signal);
        this.#error = undefined;
        log.info({ role: name }, 'role started');
        return;
      } catch (error) {
        if (signal.aborted) return;
        const line = errorLine(error);
        if (line !== this.#error) log.error({ role: name, error: line }, 'role not started; trying again');
        this.#error = line;
        delayMs = nextDelay(delayMs, backoff);
        // Rejects when stopped, which the loop sees.
        await sleep(delayMs, signal, clock).catch(() => undefined);
      }
    }
  }
}
