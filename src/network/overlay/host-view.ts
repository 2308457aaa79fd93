/**
 * What this host has besides Keelson's own: which peer networks would collide with it, and by which link an address is
 * reached without a router.
 * Layer: network/overlay (pure). Routing rules (ip rule) and tables other than main are not looked at.
 */
import { type Address, keelsonRouteProtocol } from '../../linux/rtnetlink.ts';
import type { HostState } from '../host-conflict.ts';
import {
  contains,
  formatIpPrefix,
  type IpFamily,
  type IpPrefix,
  overlaps,
  parseIpNumber,
  parseIpPrefix,
} from '../ipam/ip-prefix.ts';
import { aliasPrefix } from '../links/link-identity.ts';
import { isLinkLocal6 } from './family.ts';

export interface HostView {
  /**
   * Why nothing may be routed there in one clause; undefined when nothing of the host is in the way.
   * @param mayBeRouted routes to the network itself are what others have made for its pods
   */
  conflict(network: IpPrefix, mayBeRouted: boolean): string | undefined;
  /** ifindex of the link on which the address is a neighbour; undefined when a router is in between, or no route leads there. */
  neighbourLink(address: string): number | undefined;
  /** Whether the address was there, on that link: told again, as its lifetime is with every router advertisement. */
  knows(address: Address): boolean;
  /** Whether the address is one of this host's. */
  hasAddress(address: string): boolean;
  /** Links that routes or addresses of others are on. */
  uplinks: ReadonlySet<number>;
}

interface ForeignRoute {
  prefix: IpPrefix;
  ifindex: number | undefined;
  gateway: boolean;
  isRefusing: boolean;
}

/** @param families of pods and of nodes: what is of another one is not looked at */
export function viewHost(state: HostState, families: readonly IpFamily[] = [4, 6]): HostView {
  const own = new Set(state.links.flatMap(({ alias, ifindex }) => (alias?.startsWith(aliasPrefix) ? ifindex : [])));
  const lo = state.links.find(({ name }) => name === 'lo')?.ifindex;
  // The gateways of pod networks are the only ones of that scope on lo (ADR 0003).
  const isOwnAddress = ({ ifindex, scope }: Address): boolean =>
    own.has(ifindex) || (ifindex === lo && scope === 'link');
  const names = new Map(state.links.map(({ ifindex, name }) => [ifindex, name]));
  const addresses = state.addresses.flatMap((address) => {
    const slash = address.prefix.indexOf('/');
    const value = parseIpNumber(address.prefix.slice(0, slash));
    if (value === undefined || !families.includes(value.family) || isLinkLocal6(address.prefix)) return [];
    return isOwnAddress(address) ? [] : [{ ...address, value }];
  });
  const routes = state.routes.flatMap((route): ForeignRoute[] => {
    const prefix = parseIpPrefix(route.destination);
    if (prefix === undefined || route.protocol === keelsonRouteProtocol) return [];
    if (!families.includes(prefix.family) || isLinkLocal6(route.destination)) return [];
    const isRefusing = route.type !== 'unicast';
    return [{ prefix, ifindex: route.ifindex, gateway: route.gateway !== undefined, isRefusing }];
  });
  // Longest first: what the kernel takes.
  routes.sort((a, b) => b.prefix.length - a.prefix.length);
  const nameOf = (ifindex: number | undefined): string =>
    ifindex === undefined ? '' : ` dev ${names.get(ifindex) ?? `if${ifindex}`}`;
  const bearer = (address: string) => {
    const value = parseIpNumber(address);
    return addresses.find((other) => other.value.family === value?.family && other.value.value === value.value);
  };

  return {
    conflict(network, mayBeRouted) {
      const address = addresses.find(({ value }) => contains(network, value));
      if (address !== undefined) return `overlaps address ${address.prefix} of${nameOf(address.ifindex).slice(4)}`;
      const route = routes.find((other) => overlaps(other.prefix, network) && isInTheWay(other, network, mayBeRouted));
      return route && `overlaps route ${formatIpPrefix(route.prefix)}${nameOf(route.ifindex)}`;
    },
    neighbourLink(address) {
      const value = parseIpNumber(address);
      if (value === undefined) return undefined;
      const best = routes.find(({ prefix }) => contains(prefix, value));
      return best === undefined || best.gateway || best.isRefusing ? undefined : best.ifindex;
    },
    knows: ({ ifindex, prefix, scope }) =>
      addresses.some((other) => other.ifindex === ifindex && other.prefix === prefix && other.scope === scope),
    hasAddress: (address) => bearer(address) !== undefined,
    uplinks: new Set([...addresses, ...routes].flatMap(({ ifindex }) => ifindex ?? [])),
  };
}

export interface AddressCandidates {
  /** What the own Node says; undefined while it is not known. */
  told: string | undefined;
  /** What is in use. */
  before: string | undefined;
  /** Of the machine, or of --node-ip. */
  nodeIP: string | undefined;
}

/** From which packets leave for peers: what the Node says if this machine has it, since peers send there. */
export function chooseLocalAddress(
  { told, before, nodeIP }: AddressCandidates,
  host: HostView | undefined,
): string | undefined {
  if (told !== undefined && host?.hasAddress(told)) return told;
  // A predecessor knew the Node; until it is told again its choice stays.
  if (told === undefined && before !== undefined && host?.hasAddress(before)) return before;
  return nodeIP ?? told;
}

/**
 * A route inside the peer's network, or a network that the host is itself in. A wider one by a router (10.0.0.0/8 of a
 * company) is not: the peer's network is one of its details. Nor is a default route, be it in two halves, or 2000::/3.
 */
function isInTheWay({ prefix, gateway, isRefusing }: ForeignRoute, network: IpPrefix, mayBeRouted: boolean): boolean {
  if (prefix.length >= network.length) return !mayBeRouted;
  return !gateway && !isRefusing && prefix.length > (prefix.family === 4 ? 1 : 3);
}
