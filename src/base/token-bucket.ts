/**
 * So many a second, and so many at once: a token bucket.
 * Layer: base (pure, time is handed in).
 */

export interface TokenBucket {
  /** Takes one token at `nowMs`; false when there is none. */
  take(nowMs: number): boolean;
}

/** @param perSecond 0 means no limit @param burst tokens that can be saved up, 1 or more */
export function createTokenBucket(perSecond: number, burst: number): TokenBucket {
  if (perSecond <= 0) return { take: () => true };
  const capacity = Math.max(1, burst);
  let tokens = capacity;
  let filledAtMs: number | undefined;
  return {
    take(nowMs) {
      const elapsedMs = Math.max(0, nowMs - (filledAtMs ?? nowMs));
      tokens = Math.min(capacity, tokens + (elapsedMs * perSecond) / 1000);
      filledAtMs = nowMs;
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
  };
}
