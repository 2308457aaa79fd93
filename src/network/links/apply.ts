/**
 * One rtnetlink batch, all or an error that names the operation which failed.
 * Layer: network/links. Must not undo anything: only the caller knows what was there before.
 */
import type { Rtnetlink, RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { NetworkError } from '../network-error.ts';

/** @throws NetworkError NETWORK_LINK_FAILED with the first refusal as cause; the other operations were applied */
export async function applyAll(
  edge: Rtnetlink,
  operations: readonly RtnetlinkOperation[],
  step: string,
): Promise<void> {
  const results = await edge.apply(operations);
  const failed = results.findIndex((result) => result !== undefined);
  if (failed < 0) return;
  throw linkFailed(step, results[failed], operations[failed]);
}

export function linkFailed(step: string, cause: unknown, operation?: RtnetlinkOperation): NetworkError {
  const what = operation === undefined ? '' : ` (${operation.op})`;
  return new NetworkError('NETWORK_LINK_FAILED', `${step}${what}: ${errorLine(cause)}`, { cause });
}
