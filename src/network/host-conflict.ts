/**
 * Does the host already use the addresses that the pods are to get?
 * Layer: network (pure).
 */
import { type Address, keelsonRouteProtocol, type Link, type Route } from '../linux/rtnetlink.ts';
import { addressBits, type IpPrefix, overlaps, parseIpPrefix, parsePodCIDR } from './ipam/ip-prefix.ts';
import { aliasPrefix } from './links/link-identity.ts';
import { NetworkError } from './network-error.ts';

export interface HostState {
  links: readonly Link[];
  addresses: readonly Address[];
  routes: readonly Route[];
}

/**
 * Addresses and routes that Keelson made do not count, nor do default routes: of length 0, or such as VPN clients override
 * one with, IPv4 of length 1, IPv6 of up to 7 (OpenVPN's fc00::/7). A route that only refuses traffic claims no host
 * either, unless it lies inside the pod CIDR.
 * @throws NetworkError NETWORK_POD_CIDR_OVERLAP naming the pod CIDR and what it meets
 */
export function refuseOverlap(podCIDR: string, gateway: string, state: HostState): void {
  const pods = parsePodCIDR(podCIDR);
  const nameOf = (ifindex: number | undefined): string =>
    state.links.find((link) => link.ifindex === ifindex)?.name ?? `ifindex ${ifindex}`;

  // The end of a VXLAN has an address of the pod network; of an IPv6 address the kernel makes a route, too.
  const isOurs = (ifindex: number | undefined): boolean =>
    state.links.some((link) => link.ifindex === ifindex && link.alias?.startsWith(aliasPrefix));
  const isGateway = (prefix: string, ifindex: number | undefined): boolean =>
    prefix === `${gateway}/${addressBits(pods.family)}` && nameOf(ifindex) === 'lo';

  for (const { prefix, ifindex } of state.addresses) {
    const subnet = parseIpPrefix(prefix);
    if (!subnet || !overlaps(pods, subnet)) continue;
    if (isGateway(prefix, ifindex) || isOurs(ifindex)) continue;
    throw overlap(podCIDR, `address ${prefix} of ${nameOf(ifindex)}`);
  }
  for (const route of state.routes) {
    const destination = parseIpPrefix(route.destination);
    if (
      !destination ||
      destination.length <= longestDefault[destination.family] ||
      route.protocol === keelsonRouteProtocol
    )
      continue;
    if (isGateway(route.destination, route.ifindex) || isOurs(route.ifindex)) continue;
    if (!overlaps(pods, destination) || refusesAround(route, destination, pods)) continue;
    const via = route.ifindex === undefined ? route.type : `dev ${nameOf(route.ifindex)}`;
    throw overlap(podCIDR, `route ${route.destination} ${via}`);
  }
}

/** What stands for a default route has at most so many bits. */
const longestDefault = { 4: 1, 6: 7 } as const;

function refusesAround(route: Route, destination: IpPrefix, pods: IpPrefix): boolean {
  return ['blackhole', 'unreachable', 'prohibit'].includes(route.type) && destination.length < pods.length;
}

function overlap(podCIDR: string, other: string): NetworkError {
  return new NetworkError('NETWORK_POD_CIDR_OVERLAP', `overlaps ${other}`, {
    object: `pod CIDR ${podCIDR}`,
    fix: 'choose another --pod-cidr, or remove what a former pod network left',
  });
}
