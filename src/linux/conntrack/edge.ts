/**
 * The edge to connection tracking: one socket in one network namespace that lists flows and deletes them.
 * Layer: linux (pure types). The real one is src/kernel/conntrack.ts, the stateful fake fake-conntrack.ts.
 */
import type { Flow, FlowFilter, FlowTuples } from './types.ts';

export interface Conntrack {
  /**
   * The flows that `wanted` accepts, of those that match `filter`. It may be asked about flows to other destinations than
   * those of the filter, since only kernels from 5.8 on leave them out, and a flow may be listed twice. What it is given
   * is valid during the call only. A flow that is made, deleted or moved during the listing may be missing.
   * @throws KernelError; isNotSupported when the kernel has no conntrack netlink
   */
  flows(filter: FlowFilter, wanted: (tuples: FlowTuples) => boolean): Promise<Flow[]>;
  /**
   * Deletes exactly these entries, never a later one of equal original tuple that goes elsewhere. All are tried, even
   * after a failure. @returns how many were still there @throws KernelError, the first one that is not ENOENT
   */
  delete(flows: readonly Flow[]): Promise<number>;
  /** Closes the socket; calls under way reject. */
  close(): void;
}

export interface ConntrackOpener {
  /** @param netnsPath a namespace file, needed during the call; undefined is the agent's own namespace @throws KernelError */
  open(netnsPath?: string): Promise<Conntrack>;
}
