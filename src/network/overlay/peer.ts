/**
 * What the network needs to know of the cluster's nodes, and where it hears of them.
 * Layer: network/overlay (pure types). Texts come from Node objects and may be anything: peer-table.ts judges them.
 */

import type { IpFamily } from '../ipam/ip-prefix.ts';
import type { FlannelNode } from './flannel.ts';

/** One Node, the own one too, as far as its pods of one family go. */
export interface PeerNode {
  name: string;
  /** RFC 3339, as the API server wrote it; empty when it did not. */
  createdAt: string;
  /** Of the family, from spec.podCIDRs or spec.podCIDR; undefined while the Node has none. */
  podCIDR: string | undefined;
  /** The first InternalIP of the family, else the first one; undefined while the Node has none. */
  address: string | undefined;
  /** Of its annotations for the family, where flannel or we wrote them; absent on other nodes. */
  flannel?: FlannelNode | undefined;
}

export type PeerListener = (changes: readonly PeerChange[], complete: boolean) => void;

export type PeerChange = { type: 'set'; peer: PeerNode } | { type: 'deleted'; name: string };

/** Tells of every Node of the cluster, for each family apart: what changes of the one is nothing to the other. */
export interface PeerSource {
  /**
   * Calls back at once with what is known, then with every change, in order, until the returned function is called.
   * @param listener `complete` is false until the whole cluster has been told once: until then what a predecessor left for
   * a node that was not named may still be right
   */
  follow(family: IpFamily, listener: PeerListener): () => void;
}
