/**
 * Tells a refusal that will pass from one that stays. An API server that starts answers 403 before it has read the rights, and
 * its Node authoriser lets a node read a Secret some moments after the pod that uses it was bound: both are asked again, and
 * are nothing to alarm a person with. Layer: api (pure; time is a Clock's). Must not decide when to ask again.
 */
import type { Clock } from '../base/clock.ts';
import { isApiError } from './api-error.ts';

/** So long an API server may take to know what it allows. */
const patienceMs = 10_000;

export class PassingRefusals {
  readonly #clock: Clock;
  #sinceMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** To be asked for each failure: true for a 403 that has not lasted long enough to be believed. */
  mayPass(error: unknown): boolean {
    if (!isApiError(error, 'API_FORBIDDEN')) return false;
    const nowMs = this.#clock.now();
    this.#sinceMs ??= nowMs;
    return nowMs - this.#sinceMs < patienceMs;
  }

  /** What was refused is allowed. */
  succeeded(): void {
    this.#sinceMs = undefined;
  }
}
