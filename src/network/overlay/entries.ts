/**
 * What one peer is in the kernel: a route, and with VXLAN a neighbour and a forwarding entry.
 * Layer: network/overlay (pure). Must not know which peers there are.
 */
import { RT_TABLE_MAIN } from '../../linux/netlink/constants.ts';
import {
  type ForwardingEntry,
  keelsonRouteProtocol,
  type Neighbour,
  type Route,
  type RtnetlinkOperation,
} from '../../linux/rtnetlink.ts';
import { familyOf, type IpFamily } from '../ipam/ip-prefix.ts';
import type { UsablePeer } from './peer-table.ts';
import { linkLocalOf, vtepAddress, vtepMac } from './vtep.ts';

export type Entry =
  | { kind: 'route'; destination: string; gateway: string; ifindex: number; onlink: boolean }
  | { kind: 'neighbour'; ifindex: number; ip: string; mac: string }
  | { kind: 'forwarding'; ifindex: number; mac: string; ip: string };

/** By what the kernel tells entries apart: there is one of each key. */
export function keyOf(entry: Entry): string {
  switch (entry.kind) {
    case 'route':
      return `route ${entry.destination}`;
    case 'neighbour':
      return `neighbour ${entry.ip} ${entry.ifindex}`;
    case 'forwarding':
      return `forwarding ${entry.mac} ${entry.ifindex}`;
  }
}

export function isSameEntry(a: Entry, b: Entry): boolean {
  if (a.kind === 'route')
    return b.kind === 'route' && a.gateway === b.gateway && a.ifindex === b.ifindex && a.onlink === b.onlink;
  if (a.kind === 'neighbour') return b.kind === 'neighbour' && a.mac === b.mac;
  return b.kind === 'forwarding' && a.ip === b.ip;
}

/**
 * By the link of the VXLAN. In the order of making: a packet that finds the route finds the rest.
 *
 * What the gateway is called is nobody else's business: it only stands for the MAC address. In IPv6 it is link-local, since
 * the kernel takes no on-link gateway that any other route covers, be it a company's fd00::/8 (ip6_route_check_nh_onlink).
 */
export function entriesThroughVxlan(
  { name, podCIDR, network, address, flannel }: UsablePeer,
  ifindex: number,
): Entry[] {
  const mac = flannel?.mac ?? vtepMac(name);
  const isSix = network.family === 6;
  const ip = isSix ? linkLocalOf(mac) : vtepAddress(network);
  return [
    { kind: 'forwarding', ifindex, mac, ip: address },
    { kind: 'neighbour', ifindex, ip, mac },
    { kind: 'route', destination: podCIDR, gateway: ip, ifindex, onlink: !isSix },
  ];
}

/** By the node itself, which is a neighbour on that link. */
export function entriesByNeighbour({ podCIDR, address }: UsablePeer, ifindex: number): Entry[] {
  return [{ kind: 'route', destination: podCIDR, gateway: address, ifindex, onlink: false }];
}

export function makeEntry(entry: Entry): RtnetlinkOperation {
  switch (entry.kind) {
    case 'route': {
      const { destination, gateway, ifindex, onlink } = entry;
      return { op: 'routeReplace', destination, gateway, ifindex, ...(onlink && { onlink }) };
    }
    case 'neighbour':
      return { op: 'neighReplace', ifindex: entry.ifindex, ip: entry.ip, mac: entry.mac };
    case 'forwarding':
      return { op: 'fdbReplace', ifindex: entry.ifindex, mac: entry.mac, ip: entry.ip };
  }
}

export function removeEntry(entry: Entry): RtnetlinkOperation {
  switch (entry.kind) {
    case 'route': {
      const { destination, gateway, ifindex } = entry;
      return { op: 'routeDelete', destination, gateway, ifindex, protocol: keelsonRouteProtocol };
    }
    case 'neighbour':
      return { op: 'neighDelete', ifindex: entry.ifindex, ip: entry.ip };
    case 'forwarding':
      return { op: 'fdbDelete', ifindex: entry.ifindex, mac: entry.mac };
  }
}

/** Ours to keep, of a family: with a gateway, which routes to pods of this node do not have. */
export function entryOfRoute(route: Route, family: IpFamily): Entry | undefined {
  const { destination, gateway, ifindex, onlink, protocol, table, type } = route;
  if (protocol !== keelsonRouteProtocol || table !== RT_TABLE_MAIN || type !== 'unicast') return undefined;
  if (gateway === undefined || ifindex === undefined || familyOf(destination) !== family) return undefined;
  return { kind: 'route', destination, gateway, ifindex, onlink };
}

/** Of a family. One that is not permanent, or has no address yet, is another than ours. */
export function entryOfNeighbour({ ifindex, ip, mac, permanent }: Neighbour, family: IpFamily): Entry | undefined {
  if (familyOf(ip) !== family) return undefined;
  return { kind: 'neighbour', ifindex, ip, mac: (permanent ? mac : undefined) ?? '' };
}

export function entryOfForwarding({ ifindex, mac, ip, permanent }: ForwardingEntry): Entry {
  return { kind: 'forwarding', ifindex, mac, ip: (permanent ? ip : undefined) ?? '' };
}
