/**
 * From peers, this host and the backend to what each peer gets in the kernel, and to what is said about the others.
 * Layer: network/overlay (pure). Judges a peer when it is asked to; remembers what it said last.
 */
import { familyOf, type IpFamily } from '../ipam/ip-prefix.ts';
import type { OverlayBackend } from './contract.ts';
import { type Entry, entriesByNeighbour, entriesThroughVxlan } from './entries.ts';
import { familyName } from './family.ts';
import { flannelFault } from './flannel.ts';
import type { HostView } from './host-view.ts';
import type { OwnClaims, PeerTable, RefusedPeer } from './peer-table.ts';

export interface Ways {
  /** Of pods. */
  family: IpFamily;
  backend: OverlayBackend;
  /** With VXLAN: peers that are neighbours on a link get a plain route. */
  directRouting: boolean;
  vni: number;
}

/** The link of the VXLAN on this node. */
export interface VxlanEnd {
  ifindex: number;
  /** Address that it sends from: peers are reached at one of its family. */
  local: string;
}

export interface PeerDecision {
  /** Pod network that is not to be masqueraded; undefined when the peer may not have it. */
  network: string | undefined;
  entries: readonly Entry[];
  way: 'vxlan' | 'direct' | 'none';
  /** Why the peer is not reached; undefined too when it has no pod network or address yet. */
  reason: string | undefined;
}

export class PeerPlan {
  readonly table: PeerTable;
  readonly #ways: Ways;
  #host: HostView | undefined;
  #vxlan: VxlanEnd | undefined;
  readonly #ofPeer = new Map<string, 'vxlan' | 'direct' | 'none'>();
  readonly #reasons = new Map<string, string>();

  constructor(table: PeerTable, ways: Ways) {
    this.table = table;
    this.#ways = ways;
  }

  /** @param vxlan undefined while there is no link */
  setHost(host: HostView, vxlan: VxlanEnd | undefined): void {
    this.#host = host;
    this.#vxlan = vxlan;
  }

  setOwn(own: OwnClaims): Set<string> {
    return this.table.setOwn(own);
  }

  decide(name: string): PeerDecision {
    const decision = this.#judge(name);
    if (decision.way === 'none') this.#ofPeer.delete(name);
    else this.#ofPeer.set(name, decision.way);
    if (decision.reason === undefined) this.#reasons.delete(name);
    else this.#reasons.set(name, decision.reason);
    return decision;
  }

  reasonOf(name: string): string | undefined {
    return this.#reasons.get(name);
  }

  get unreached(): RefusedPeer[] {
    return [...this.#reasons]
      .map(([node, reason]) => ({ node, reason }))
      .toSorted((a, b) => (a.node < b.node ? -1 : 1));
  }

  /** How many peers are reached each way. */
  count(way: 'vxlan' | 'direct'): number {
    let count = 0;
    for (const of of this.#ofPeer.values()) if (of === way) count++;
    return count;
  }

  #judge(name: string): PeerDecision {
    const nothing = { network: undefined, entries: [], way: 'none', reason: undefined } as const;
    const peer = this.table.judge(name);
    // Before the first look at the host nothing is decided: what a predecessor made stays.
    if (peer === undefined || this.#host === undefined) return nothing;
    if ('refused' in peer) return { ...nothing, reason: peer.refused };
    const fault = peer.flannel && flannelFault(peer.flannel, this.#ways);
    if (fault !== undefined) return { ...nothing, reason: fault };
    const { backend, directRouting, family } = this.#ways;
    const conflict = this.#host.conflict(peer.network, backend === 'alloc');
    if (conflict !== undefined) return { ...nothing, reason: `podCIDR ${peer.podCIDR} ${conflict}` };
    const reached = { network: peer.podCIDR, reason: undefined };
    if (backend === 'alloc') return { ...nothing, network: peer.podCIDR };
    const isSameFamily = familyOf(peer.address) === family;
    if (isSameFamily && (backend === 'host-gw' || directRouting)) {
      const ifindex = this.#host.neighbourLink(peer.address);
      if (ifindex !== undefined) return { ...reached, entries: entriesByNeighbour(peer, ifindex), way: 'direct' };
    }
    if (backend === 'host-gw') {
      const reason = isSameFamily
        ? `its address ${peer.address} is on no network of this node, and host-gw needs that`
        : `it has no ${familyName(family)} address (${peer.address}), and host-gw needs one: give it --node-ip with both`;
      return { ...nothing, network: peer.podCIDR, reason };
    }
    // Without a link, which is told once and not for each peer.
    if (this.#vxlan === undefined) return { ...nothing, network: peer.podCIDR };
    const [here, there] = [this.#vxlan.local, peer.address].map(familyOf);
    if (here !== there && here !== undefined && there !== undefined) {
      const fix = `give the one that has no ${familyName(family)} address --node-ip with both`;
      const reason = `it is reached by ${familyName(there)} (${peer.address}), and this node sends by ${familyName(here)}: ${fix}`;
      return { ...nothing, network: peer.podCIDR, reason };
    }
    return { ...reached, entries: entriesThroughVxlan(peer, this.#vxlan.ifindex), way: 'vxlan' };
  }
}
