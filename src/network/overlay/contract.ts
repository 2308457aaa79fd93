/**
 * What the overlay is given and what it tells.
 * Layer: network/overlay (types). The work is overlay.ts'.
 */
import type { Clock } from '../../base/clock.ts';
import type { Sysctls } from '../../linux/host.ts';
import type { RtnetlinkOpener } from '../../linux/rtnetlink.ts';
import type { Logger } from '../../observe/logger.ts';
import type { IpFamily } from '../ipam/ip-prefix.ts';
import type { PeerSource } from './peer.ts';
import type { RefusedPeer } from './peer-table.ts';

/** How packets get to pods of other nodes: encapsulated, by a route to the node, or by what somebody else sees to. */
export type OverlayBackend = 'vxlan' | 'host-gw' | 'alloc';

export interface OverlayOptions {
  backend: OverlayBackend;
  /** With VXLAN: a plain route to peers that are neighbours on a link. */
  directRouting: boolean;
  vni: number;
  port: number;
  /** Of the link of the VXLAN, bytes. */
  mtu: number;
  nodeName: string;
  /** Of this machine, at most one of each family; used unless the Node has an InternalIP that this machine has. */
  nodeIPs: readonly string[];
  /** Of this node's new pods, at most one of each family, then former ones that pods still have. */
  podCIDRs: readonly string[];
  netnsPath?: string;
}

/** Pod networks of peers, which are not masqueraded. Calls come one after the other; must not reject. */
export interface PeerNetworks {
  add(podCIDRs: readonly string[]): Promise<void>;
  remove(podCIDRs: readonly string[]): Promise<void>;
  /** Every node was told: what a predecessor left for others is nobody's. */
  settle(): Promise<void>;
}

/** Of the overlay for pods of one family: addresses and networks are those that it needs. */
export interface FamilyOptions extends Omit<OverlayOptions, 'nodeIPs'> {
  family: IpFamily;
  nodeIP: string | undefined;
}

export interface OverlayDependencies {
  rtnetlinkOpener: RtnetlinkOpener;
  sysctls: Pick<Sysctls, 'read' | 'write'>;
  source: PeerSource;
  networks: PeerNetworks;
  log: Logger;
  clock: Clock;
}

export interface OverlayStatus {
  /** Of the pods that it is about. */
  family: IpFamily;
  backend: OverlayBackend;
  /** How many peers packets go to in the VXLAN, and by a plain route. */
  vxlan: number;
  direct: number;
  /** Every Node has been told once; before, nothing is removed. */
  complete: boolean;
  /** Peers that pods here cannot reach, and why. */
  unreached: RefusedPeer[];
  /** What is wrong on this node, one line each. */
  faults: string[];
  /** Why this node has no way to other nodes at all, one line: also among the faults. Absent when it has one. */
  down?: string;
  /** The same of IPv6, where this is of IPv4. */
  second?: OverlayStatus;
}

export interface Overlay {
  status(): OverlayStatus;
  /** As in the options; the first one of each family stays. */
  setPodCIDRs(podCIDRs: readonly string[]): void;
  /** Of the link of the VXLAN, bytes; taken over at once. */
  setMtu(mtu: number): void;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
  stop(): Promise<void>;
}
