/**
 * What else a pod gets besides its link and addresses (ports of the node, bandwidth, policies), at the two moments that
 * matter: before anything passes, and when nothing can pass any more.
 * Layer: network/links (types). The links know nothing of what it is.
 */

import type { PortMapping } from '../hostports/port-mapping.ts';
import type { AssignedAddress } from '../ipam/ipam.ts';
import type { Bandwidth } from './bandwidth.ts';
import type { LinkIdentity } from './link-identity.ts';

/** What a runtime asks for besides a link, and for whom. */
export interface PodWishes {
  /** Of CNI_ARGS; empty texts when the runtime tells nothing. */
  pod?: { namespace: string; name: string; uid?: string };
  /** Of the network configuration. */
  network?: string;
  portMappings?: readonly PortMapping[];
  bandwidth?: Bandwidth | undefined;
}

export interface StartingPod {
  identity: LinkIdentity;
  /** Of the host end. */
  ifindex: number;
  addresses: readonly AssignedAddress[];
  wishes: PodWishes;
}

/** A link that a predecessor made. */
export interface FoundLink {
  identity: LinkIdentity;
  /** As its routes say, also of a former pod CIDR; none when it has lost them. */
  ips: readonly string[];
}

export interface PodExtension {
  /** All of them; once, before the first `beforeUp`. Must not reject. */
  found?(links: readonly FoundLink[]): void;
  /** Both ends are there and down, the addresses are taken. Rejecting refuses the pod; `afterGone` is called then, too. */
  beforeUp(pod: StartingPod): Promise<void>;
  /** The link is gone, its addresses are still held. Also for pods that `beforeUp` was not called for. Must not reject. */
  afterGone(identity: LinkIdentity): Promise<void>;
}
