/**
 * Which listings to ask the kernel for: one a destination while they are few, since what it leaves out costs us nothing.
 * Layer: linux (pure). A listing may give more than was asked for, so the caller checks every flow itself.
 */
import type { FlowDestination, FlowFilter } from './types.ts';

/**
 * A listing that the kernel searches costs it 30 ms a 100,000 entries, on a thread of its own; one that it sends whole
 * 250 ms, of which the main thread reads for 50.
 */
const selectionLimit = 8;

/** Undefined stands for all flows of the protocol. Every destination of the filter is in one of the selections. */
export function selectionsOf({ family, destinations }: FlowFilter): (FlowDestination | undefined)[] {
  if (destinations === undefined) return [undefined];
  // Kernels up to 6.18 at least give, for an IPv6 address, all but its flows (ctnetlink_filter_match_tuple).
  if (family === 'IPv4' && destinations.length <= selectionLimit) return [...destinations];
  const ports = new Set(destinations.map(({ port }) => port));
  return ports.size <= selectionLimit ? [...ports].map((port) => ({ port })) : [undefined];
}
