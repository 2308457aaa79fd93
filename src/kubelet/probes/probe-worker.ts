/**
 * One probe of one container: a timer, one run at a time, and what the runs came to. It sleeps while nothing is due.
 * Layer: kubelet/probes. Decides neither what a run does (run-probe.ts) nor what a result means for the container
 * (container-probes.ts); times and thresholds are probe-schedule.ts and probe-state.ts.
 */
import type { Container, Probe } from '../../api/core.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import type { ProbeOutcome } from './probe-outcome.ts';
import { earlyLooks, nextLook, nextRun, nextTick, restartDelay, together } from './probe-schedule.ts';
import { afterRun, carriedState, initialState, type ProbeState } from './probe-state.ts';
import { type ProbeKind, type ProbeTerms, probeTerms } from './probe-terms.ts';
import type { RunProbe } from './run-probe.ts';

/** The instance of a container that is probed. */
export interface ProbedInstance {
  id: string;
  startedAtMs: number;
  /** It ran before this daemon did. */
  adopted: boolean;
}

export interface ProbeEnvironment {
  clock: Clock;
  run: RunProbe;
  /** 0 or more, below 1. */
  random(): number;
  /** When this daemon began to probe. */
  startedAtMs: number;
}

/** What a run needs to know of the moment; and who hears of the result. */
export interface ProbeOwner {
  target(): { container: Container; containerId: string; host: string | undefined } | undefined;
  /**
   * A run ended, and the next one is to be planned. `before` is the state that the run found; `quiet`: a failure was to be
   * expected and is no news.
   */
  ran(worker: ProbeWorker, outcome: ProbeOutcome, before: ProbeState, quiet: boolean): void;
}

export class ProbeWorker {
  readonly kind: ProbeKind;
  readonly #environment: ProbeEnvironment;
  readonly #owner: ProbeOwner;
  #probe: Probe;
  #terms: ProbeTerms;
  #state: ProbeState;
  /** Where the grid of periods begins. */
  #anchorMs: number;
  #instance: ProbedInstance | undefined;
  #carried = false;
  #eligibleMs = 0;
  /** The tick that the latest run belongs to. */
  #tickMs = 0;
  /** Start of the latest run on this instance. */
  #ranMs: number | undefined;
  #cancelTimer: CancelTimer | undefined;
  #running: AbortController | undefined;
  /** Runs that ended in success or failure, for metrics; over all instances. */
  readonly counts = { successful: 0, failed: 0 };

  constructor(kind: ProbeKind, probe: Probe, anchorMs: number, environment: ProbeEnvironment, owner: ProbeOwner) {
    this.kind = kind;
    this.#environment = environment;
    this.#owner = owner;
    this.#probe = probe;
    this.#terms = probeTerms(probe);
    this.#anchorMs = anchorMs;
    this.#state = initialState(kind);
  }

  get state(): ProbeState {
    return this.#state;
  }

  get terms(): ProbeTerms {
    return this.#terms;
  }

  /** The pod says something else now. Results stay; what is planned is planned anew by the next `arm`. */
  replace(probe: Probe): void {
    if (probe === this.#probe) return;
    const changed = JSON.stringify(probe) !== JSON.stringify(this.#probe);
    this.#probe = probe;
    if (!changed) return;
    this.#terms = probeTerms(probe);
    this.stop();
  }

  /** Another instance of the container runs. `carried`: it is known to have been started or ready. */
  begin(instance: ProbedInstance, carried: boolean): void {
    this.stop();
    this.#instance = instance;
    this.#carried = carried;
    this.#state = carried ? carriedState(this.kind) : initialState(this.kind);
    this.#ranMs = undefined;
  }

  /** Plans the next run unless one is planned or under way, or nothing is left to ask. @param eligibleMs never before */
  arm(eligibleMs: number): void {
    if (this.#cancelTimer || this.#running || this.#state.onHold || !this.#instance) return;
    this.#eligibleMs = eligibleMs;
    const nowMs = this.#environment.clock.now();
    const planned = this.#ranMs === undefined ? this.#firstRun(this.#instance, nowMs) : this.#laterRun(nowMs);
    const look = this.#look(nowMs);
    const early = look !== undefined && look.atMs < planned.atMs;
    const { atMs, tickMs } = early ? { atMs: look.atMs, tickMs: look.atMs } : planned;
    this.#wait(atMs - nowMs, tickMs, look !== undefined && !look.last);
  }

  /** Ends what is planned and aborts what runs. */
  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#running?.abort(stopped);
    this.#running = undefined;
  }

  #firstRun({ adopted }: ProbedInstance, nowMs: number): { atMs: number; tickMs: number } {
    const { periodMs } = this.#terms;
    const { startedAtMs, random } = this.#environment;
    const fromMs = Math.max(nowMs, this.#eligibleMs);
    const known = this.#carried || this.kind === 'liveness';
    let atMs = fromMs;
    if (adopted && known) atMs = Math.max(fromMs, nowMs + restartDelay(periodMs, nowMs - startedAtMs, random()));
    else if (!adopted && this.kind !== 'readiness') atMs = nextTick(this.#anchorMs, periodMs, fromMs);
    // A look comes first, unless the container was left alone for so long that none is left.
    else if (!adopted) atMs = this.#look(nowMs)?.atMs ?? fromMs;
    return { atMs, tickMs: atMs };
  }

  #laterRun(nowMs: number): { atMs: number; tickMs: number } {
    const { periodMs } = this.#terms;
    const { atMs, tickMs } = nextRun(this.#tickMs, periodMs, nowMs);
    return { atMs: together(atMs, periodMs), tickMs };
  }

  #look(nowMs: number): { atMs: number; last: boolean } | undefined {
    if (this.kind !== 'readiness' || this.#state.result === 'success' || this.#state.last === 'success')
      return undefined;
    const looks = this.#probe.exec === undefined ? earlyLooks.network : earlyLooks.exec;
    return nextLook(looks, this.#eligibleMs, this.#ranMs, nowMs);
  }

  #wait(delayMs: number, tickMs: number, quiet: boolean): void {
    const partMs = Math.min(Math.max(0, delayMs), longestTimerMs);
    this.#cancelTimer = this.#environment.clock.after(partMs, () => {
      this.#cancelTimer = undefined;
      if (delayMs > partMs) return this.#wait(delayMs - partMs, tickMs, quiet);
      this.#tickMs = tickMs;
      void this.#run(quiet);
    });
  }

  async #run(quiet: boolean): Promise<void> {
    const target = this.#owner.target();
    if (target === undefined) return;
    const { clock, run } = this.#environment;
    const running = new AbortController();
    this.#running = running;
    this.#ranMs = clock.now();
    const { timeoutSeconds } = this.#terms;
    let outcome: ProbeOutcome;
    try {
      outcome = await run(this.#probe, { ...target, timeoutSeconds, clock, signal: running.signal });
    } catch (error) {
      if (error === stopped) return;
      throw error;
    }
    // Nobody is left to tell: the container ended, or the probe changed.
    if (this.#running !== running) return;
    this.#running = undefined;
    const before = this.#state;
    if (outcome.result !== 'error') {
      const result = outcome.result === 'failure' ? 'failure' : 'success';
      this.counts[result === 'failure' ? 'failed' : 'successful']++;
      this.#state = afterRun(this.kind, this.#terms, this.#state, result);
    }
    this.#owner.ran(this, outcome, before, quiet);
  }
}

/** A timer holds 25 days, a probe's numbers may say more. */
const longestTimerMs = 2 ** 31 - 1;

const stopped = new Error('the probe is stopped');
