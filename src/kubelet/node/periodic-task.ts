/**
 * Work that is due again and again: never twice at a time, sooner when woken, with a little chance in its rest so that the
 * nodes of a cluster do not all knock at once.
 * Layer: kubelet/node. As client-go's wait.JitterUntil with a sliding period: the rest begins when the work ends.
 */
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface PeriodicTaskOptions {
  readonly clock: Clock;
  /** 0 to 1, exclusive of 1. */
  readonly random: () => number;
  readonly log: Logger;
  /** Milliseconds. */
  readonly periodMs: number;
  /** The work; resolves to the milliseconds until the next, undefined for the period. */
  readonly run: (signal: AbortSignal) => Promise<number | undefined>;
}

// wait.JitterUntil's factor for the kubelet's heartbeats.
const jitterFactor = 0.04;

export class PeriodicTask {
  readonly #options: PeriodicTaskOptions;
  readonly #scope = new AbortController();
  #woken = false;
  #endRest: () => void = () => {};
  #loop: Promise<void> | undefined;

  constructor(options: PeriodicTaskOptions) {
    this.#options = options;
  }

  /** Begins with the first run at once; a second call does nothing. */
  start(): void {
    this.#loop ??= this.#run();
  }

  /** Runs now, or once more directly after the run that is under way. */
  wake(): void {
    this.#woken = true;
    this.#endRest();
  }

  /** Aborts what is under way and resolves when it ended; there is no way back. */
  async stop(): Promise<void> {
    this.#scope.abort(new Error('the task stops'));
    this.#endRest();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#scope;
    while (!signal.aborted) {
      this.#woken = false;
      const delayMs = await this.#runOnce(signal);
      if (!this.#woken && !signal.aborted) await this.#rest(delayMs);
    }
  }

  async #runOnce(signal: AbortSignal): Promise<number> {
    const { periodMs, run, log } = this.#options;
    try {
      return (await run(signal)) ?? periodMs;
    } catch (error) {
      // A heartbeat that ends for good costs the node: report what was not foreseen, and go on.
      if (!signal.aborted) log.error({ error: errorLine(error) }, 'periodic work failed');
      return periodMs;
    }
  }

  #rest(delayMs: number): Promise<void> {
    const { clock, random } = this.#options;
    return new Promise((resolve) => {
      const cancel = clock.after(delayMs * (1 + random() * jitterFactor), () => this.#endRest());
      this.#endRest = () => {
        cancel();
        this.#endRest = () => {};
        resolve();
      };
    });
  }
}
