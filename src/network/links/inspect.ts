/**
 * Compares one pod link with what it was built to be, and with what the runtime remembers of it (CNI CHECK).
 * Layer: network/links, reads only. Must not repair: the runtime decides what a damaged pod is worth.
 */
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { hostPrefixOf } from '../ipam/ip-prefix.ts';
import type { AssignedAddress } from '../ipam/ipam.ts';
import type { LinkIdentity } from './link-identity.ts';

/** The part of a CNI result that says what the runtime relies on. */
export interface Expectation {
  /** Addresses without prefix length. */
  ips: readonly string[];
  /** Routes inside the pod; one without `gateway` is on-link. */
  routes: readonly { destination: string; gateway: string | undefined }[];
}

/** Every difference found, one clause each; empty when all is well. */
export async function inspectAttachment(
  host: Rtnetlink,
  pod: Rtnetlink,
  identity: LinkIdentity,
  addresses: readonly AssignedAddress[],
  expected: Expectation,
): Promise<string[]> {
  const held = new Set(addresses.map(({ ip }) => ip));
  return [
    ...expected.ips.filter((ip) => !held.has(ip)).map((ip) => `address ${ip} is not the one given to it`),
    ...(await hostFaults(host, identity, addresses)),
    ...(await podFaults(pod, identity, addresses, expected)),
  ];
}

async function hostFaults(
  host: Rtnetlink,
  identity: LinkIdentity,
  addresses: readonly AssignedAddress[],
): Promise<string[]> {
  const link = await host.link({ name: identity.hostName });
  if (!link || link.alias !== identity.alias) return [`host link ${identity.hostName} is missing`];
  const faults = link.up ? [] : [`host link ${identity.hostName} is down`];
  const [routes, neighbours] = await Promise.all([host.routes(), host.neighbours()]);
  for (const { ip } of addresses) {
    if (!routes.some((route) => route.destination === hostPrefixOf(ip) && route.ifindex === link.ifindex)) {
      faults.push(`host route to ${ip} is missing`);
    }
    const known = neighbours.some(
      (entry) => entry.ifindex === link.ifindex && entry.ip === ip && entry.permanent && entry.mac === identity.podMac,
    );
    if (!known) faults.push(`host neighbour entry of ${ip} is missing`);
  }
  return faults;
}

async function podFaults(
  pod: Rtnetlink,
  identity: LinkIdentity,
  addresses: readonly AssignedAddress[],
  expected: Expectation,
): Promise<string[]> {
  const link = await pod.link({ name: identity.ifname });
  if (!link) return [`interface ${identity.ifname} is missing in the pod`];
  const faults: string[] = [];
  if (!link.up) faults.push(`interface ${identity.ifname} is down`);
  if (link.mac !== identity.podMac) faults.push(`interface ${identity.ifname} has another MAC address`);
  const [present, routes, neighbours] = await Promise.all([pod.addresses(), pod.routes(), pod.neighbours()]);
  for (const { ip, gateway } of addresses) {
    if (!present.some((address) => address.ifindex === link.ifindex && address.prefix === hostPrefixOf(ip))) {
      faults.push(`interface ${identity.ifname} lacks address ${ip}`);
    }
    const known = neighbours.some((entry) => entry.ip === gateway && entry.mac === identity.hostMac);
    if (!known) faults.push(`pod neighbour entry of gateway ${gateway} is missing`);
  }
  for (const { destination, gateway } of expected.routes) {
    if (!routes.some((route) => route.destination === destination && route.gateway === gateway)) {
      faults.push(`pod route to ${destination} is missing`);
    }
  }
  return faults;
}
