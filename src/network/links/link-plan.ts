/**
 * The rtnetlink operations that build one pod link, as three batches: create, then one for each side once both ifindexes
 * are known. docs/network.md shows the same in `ip` commands; ADR 0003 says why there is no bridge.
 * Layer: network/links (pure). Must not talk to the kernel.
 */
import type { RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import type { AssignedAddress } from '../ipam/ipam.ts';
import type { LinkIdentity } from './link-identity.ts';

/** Both ends, down; the peer is born in the pod's namespace. */
export function planCreate(identity: LinkIdentity, netnsPath: string, mtu: number): RtnetlinkOperation[] {
  return [
    {
      op: 'linkAddVeth',
      name: identity.hostName,
      mac: identity.hostMac,
      mtu,
      peer: { name: identity.ifname, netnsPath, mac: identity.podMac, mtu },
    },
    // In the same sendmsg as the creation: a kill between the two cannot leave a link without its mark.
    { op: 'linkSet', link: { name: identity.hostName }, alias: identity.alias },
  ];
}

/** The host end up, a /32 route to each address and the pod's MAC, so that no ARP is ever needed. */
export function planHostSide(
  identity: LinkIdentity,
  ifindex: number,
  addresses: readonly AssignedAddress[],
): RtnetlinkOperation[] {
  return [
    { op: 'linkSet', link: { ifindex }, up: true },
    ...addresses.flatMap(({ ip, gateway }): RtnetlinkOperation[] => [
      { op: 'routeReplace', destination: `${ip}/32`, ifindex, scope: 'link', source: gateway },
      { op: 'neighReplace', ifindex, ip, mac: identity.podMac },
    ]),
  ];
}

/** Inside the pod: address, on-link gateway with its MAC, default route. */
export function planPodSide(
  identity: LinkIdentity,
  ifindex: number,
  addresses: readonly AssignedAddress[],
): RtnetlinkOperation[] {
  return [
    { op: 'linkSet', link: { ifindex }, up: true },
    ...addresses.flatMap(({ ip, gateway }): RtnetlinkOperation[] => [
      { op: 'addressAdd', ifindex, prefix: `${ip}/32` },
      { op: 'routeReplace', destination: `${gateway}/32`, ifindex, scope: 'link' },
      { op: 'routeReplace', destination: '0.0.0.0/0', gateway, ifindex },
      { op: 'neighReplace', ifindex, ip: gateway, mac: identity.hostMac },
    ]),
  ];
}
