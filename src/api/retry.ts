/**
 * Whether a failed request is sent again, and after which delay.
 * Layer: api (pure). What the server certainly did not begin may always be repeated; what it may have done, only when a
 * second time changes nothing. Source of the rules: client-go/rest/with_retry.go, with jitter added.
 */
import type { ApiError } from './api-error.ts';

export interface Attempt {
  /** 1 for the first. */
  readonly number: number;
  /** A repetition changes nothing: GET, or what the caller says. */
  readonly idempotent: boolean;
  /** 0 to 1. */
  readonly random: number;
}

const maxAttempts = 4;
const initialDelayMs = 100;
/** A longer wait is for the caller to plan: it holds a request's place and memory. */
const longestRetryAfterMs = 30_000;

/** Milliseconds to wait before the next attempt; undefined when there is none. */
export function retryDelay(error: ApiError, attempt: Attempt): number | undefined {
  if (attempt.number >= maxAttempts || !mayRepeat(error, attempt.idempotent)) return undefined;
  // Half to one and a half of it: many nodes fail at the same moment and must not come back at the same.
  const delayMs = initialDelayMs * 2 ** (attempt.number - 1) * (0.5 + attempt.random);
  if (error.retryAfterMs === undefined) return delayMs;
  return error.retryAfterMs > longestRetryAfterMs ? undefined : error.retryAfterMs + delayMs;
}

function mayRepeat(error: ApiError, idempotent: boolean): boolean {
  switch (error.code) {
    case 'API_THROTTLED':
      return true;
    case 'API_SERVER':
      // A server that names a time did not begin the work.
      return idempotent || error.retryAfterMs !== undefined;
    case 'API_UNREACHABLE':
      return idempotent || !error.sent;
    case 'API_RESPONSE':
      return idempotent && error.status === undefined && error.cause !== undefined;
    default:
      return false;
  }
}
