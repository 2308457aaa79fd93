/**
 * Does the host already use the addresses that the pods are to get?
 * Layer: network (pure).
 */
import { type Address, keelsonRouteProtocol, type Link, type Route } from '../linux/rtnetlink.ts';
import { type Ipv4Prefix, overlaps, parseIpv4Prefix, parsePodCIDR } from './ipam/ipv4.ts';
import { aliasPrefix } from './links/link-identity.ts';
import { NetworkError } from './network-error.ts';

export interface HostState {
  links: readonly Link[];
  addresses: readonly Address[];
  routes: readonly Route[];
}

/**
 * Addresses and routes that Keelson made do not count, nor do default routes: of length 0, or of length 1, which is how
 * VPN clients override one. A route that only refuses traffic claims no host either, unless it lies inside the pod CIDR.
 * @throws NetworkError NETWORK_POD_CIDR_OVERLAP naming the pod CIDR and what it meets
 */
export function refuseOverlap(podCIDR: string, gateway: string, state: HostState): void {
  const pods = parsePodCIDR(podCIDR);
  const nameOf = (ifindex: number | undefined): string =>
    state.links.find((link) => link.ifindex === ifindex)?.name ?? `ifindex ${ifindex}`;

  for (const { prefix, ifindex } of state.addresses) {
    const subnet = parseIpv4Prefix(prefix);
    if (!subnet || !overlaps(pods, subnet)) continue;
    if (prefix === `${gateway}/32` && nameOf(ifindex) === 'lo') continue;
    // The end of a VXLAN has an address of the pod network.
    if (state.links.some((link) => link.ifindex === ifindex && link.alias?.startsWith(aliasPrefix))) continue;
    throw overlap(podCIDR, `address ${prefix} of ${nameOf(ifindex)}`);
  }
  for (const route of state.routes) {
    const destination = parseIpv4Prefix(route.destination);
    if (!destination || destination.length <= 1 || route.protocol === keelsonRouteProtocol) continue;
    if (!overlaps(pods, destination) || refusesAround(route, destination, pods)) continue;
    const via = route.ifindex === undefined ? route.type : `dev ${nameOf(route.ifindex)}`;
    throw overlap(podCIDR, `route ${route.destination} ${via}`);
  }
}

function refusesAround(route: Route, destination: Ipv4Prefix, pods: Ipv4Prefix): boolean {
  return ['blackhole', 'unreachable', 'prohibit'].includes(route.type) && destination.length < pods.length;
}

function overlap(podCIDR: string, other: string): NetworkError {
  return new NetworkError('NETWORK_POD_CIDR_OVERLAP', `overlaps ${other}`, {
    object: `pod CIDR ${podCIDR}`,
    fix: 'choose another --pod-cidr, or remove what a former pod network left',
  });
}
