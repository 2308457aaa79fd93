/**
 * How far the clock of this machine is from the API server's, by the Date that comes with each answer. A clock that is wrong
 * shows elsewhere late and oddly: tokens that have expired when they come, certificates that are not valid yet.
 * Layer: agent/cluster (pure but for the log). Changes no clock.
 */
import type { ServerTime } from '../../api/client.ts';
import type { Logger } from '../../observe/logger.ts';

export interface ClockSkew {
  /** Positive when this machine's clock is ahead. */
  readonly seconds: number;
  /** One line with the numbers. */
  readonly text: string;
}

export interface ClockSkewWatchOptions {
  readonly log: Logger;
  /** With undefined when it has passed. */
  readonly onChange: (skew: ClockSkew | undefined) => void;
}

/** From here on it is told; what it may do harm to begins at about a minute, and NTP keeps below a tenth of a second. */
const tellFromMs = 10_000;
const passedBelowMs = 5_000;
/** An answer that took longer says too little. */
const slowestMs = 2_000;
/** Of answers in a row: one may be of a machine that has just woken up. */
const neededAnswers = 2;
/** A difference that grows is told again when it is so many times what it was. */
const worthTelling = 1.5;

export class ClockSkewWatch {
  readonly #options: ClockSkewWatchOptions;
  #told: ClockSkew | undefined;
  #seen = 0;

  constructor(options: ClockSkewWatchOptions) {
    this.#options = options;
  }

  /** What is told just now; undefined while the clocks agree. */
  get skew(): ClockSkew | undefined {
    return this.#told;
  }

  /** For the client's `onServerTime`. */
  observe({ sentMs, answeredMs, date }: ServerTime): void {
    const aheadMs = aheadOf({ sentMs, answeredMs, date });
    if (aheadMs === undefined) return;
    if (Math.abs(aheadMs) < (this.#told === undefined ? tellFromMs : passedBelowMs)) {
      this.#seen = 0;
      this.#passed();
      return;
    }
    this.#seen++;
    const before = this.#told?.seconds;
    const seconds = Math.round(aheadMs / 1000);
    const isNews =
      before === undefined ||
      Math.sign(seconds) !== Math.sign(before) ||
      Math.abs(seconds) > Math.abs(before) * worthTelling;
    if (this.#seen < neededAnswers || !isNews) return;
    const skew = { seconds, text: textOf(seconds, answeredMs, date ?? '') };
    this.#told = skew;
    this.#options.log.warn({ seconds, fix: 'set the clock, and keep it right with NTP (timedatectl)' }, skew.text);
    this.#options.onChange(skew);
  }

  #passed(): void {
    if (this.#told === undefined) return;
    this.#told = undefined;
    this.#options.log.info({}, "the clock of this machine is the API server's again");
    this.#options.onChange(undefined);
  }
}

/** Milliseconds; undefined when the answer does not tell. */
export function aheadOf({ sentMs, answeredMs, date }: ServerTime): number | undefined {
  const serverMs = date === undefined ? Number.NaN : Date.parse(date);
  const tookMs = answeredMs - sentMs;
  if (!Number.isFinite(serverMs) || tookMs < 0 || tookMs > slowestMs) return undefined;
  // The header cuts what is below a second.
  return (sentMs + answeredMs) / 2 - (serverMs + 500);
}

function textOf(seconds: number, nowMs: number, date: string): string {
  const which = seconds > 0 ? 'ahead of' : 'behind';
  const here = new Date(nowMs).toISOString();
  const there = new Date(Date.parse(date)).toISOString();
  return `the clock of this machine is ${Math.abs(seconds)} s ${which} the API server's: ${here} here, ${there} there`;
}
