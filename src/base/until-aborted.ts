/**
 * Leaves work that others wait for, too, or that cannot be ended.
 * Layer: base. Must not end the work: it goes on, and how it ends then is nobody's affair.
 */

/** What `work` resolves to; rejects with the signal's reason when that is sooner. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const left = Promise.withResolvers<never>();
  const leave = (): void => left.reject(signal.reason);
  if (signal.aborted) leave();
  else signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([left.promise, work]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
