/**
 * What the network needs to know of the cluster's nodes, and where it hears of them.
 * Layer: network/overlay (pure types). Texts come from Node objects and may be anything: peer-table.ts judges them.
 */

import type { FlannelNode } from './flannel.ts';

/** One Node, the own one too. */
export interface PeerNode {
  name: string;
  /** RFC 3339, as the API server wrote it; empty when it did not. */
  createdAt: string;
  /** Of IPv4, from spec.podCIDRs or spec.podCIDR; undefined while the Node has none. */
  podCIDR: string | undefined;
  /** Of IPv4, the first InternalIP; undefined while the Node has none. */
  address: string | undefined;
  /** Of its annotations, where flannel or we wrote them; absent on other nodes. */
  flannel?: FlannelNode | undefined;
}

export type PeerChange = { type: 'set'; peer: PeerNode } | { type: 'deleted'; name: string };

/** Tells of every Node of the cluster. */
export interface PeerSource {
  /**
   * Calls back at once with what is known, then with every change, in order, until the returned function is called.
   * @param listener `complete` is false until the whole cluster has been told once: until then what a predecessor left for
   * a node that was not named may still be right
   */
  follow(listener: (changes: readonly PeerChange[], complete: boolean) => void): () => void;
}
