/**
 * The rtnetlink operations that build one pod link, as three batches: create, then one for each side once both ifindexes
 * are known. docs/network.md shows the same in `ip` commands; ADR 0003 says why there is no bridge.
 * Layer: network/links (pure). Must not talk to the kernel.
 */
import type { RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { everywhere, hostPrefixOf } from '../ipam/ip-prefix.ts';
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

/** The host end up, a route to each address alone and the pod's MAC, so that no ARP or neighbour discovery is needed. */
export function planHostSide(
  identity: LinkIdentity,
  ifindex: number,
  addresses: readonly AssignedAddress[],
): RtnetlinkOperation[] {
  return [
    { op: 'linkSet', link: { ifindex }, up: true },
    ...addresses.flatMap(({ ip, gateway }): RtnetlinkOperation[] => [
      { op: 'routeReplace', destination: hostPrefixOf(ip), ifindex, scope: 'link', source: gateway },
      { op: 'neighReplace', ifindex, ip, mac: identity.podMac },
    ]),
  ];
}

/**
 * Inside the pod: address, on-link gateway with its MAC, default route. An IPv6 address is not looked for on the link first
 * (which takes a second, in which nobody can bind it): IPAM gives each out once.
 */
export function planPodSide(
  identity: LinkIdentity,
  ifindex: number,
  addresses: readonly AssignedAddress[],
): RtnetlinkOperation[] {
  return [
    { op: 'linkSet', link: { ifindex }, up: true },
    ...addresses.flatMap(({ family, ip, gateway }): RtnetlinkOperation[] => [
      { op: 'addressAdd', ifindex, prefix: hostPrefixOf(ip), ...(family === 6 && { noDad: true }) },
      { op: 'routeReplace', destination: hostPrefixOf(gateway), ifindex, scope: 'link' },
      { op: 'routeReplace', destination: everywhere[family], gateway, ifindex },
      { op: 'neighReplace', ifindex, ip: gateway, mac: identity.hostMac },
    ]),
  ];
}
