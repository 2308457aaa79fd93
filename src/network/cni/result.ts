/**
 * The ADD result: ours, one that came before it in a chain, and the form each CNI version writes.
 * Layer: network/cni (pure). Source: CNI SPEC.md section 5 of versions 0.3.0, 0.4.0, 1.0.0 and 1.1.0.
 */
import { everywhere, hostPrefixOf } from '../ipam/ip-prefix.ts';
import type { Attached } from '../links/pod-links.ts';
import { isObject, type JsonObject } from './json-object.ts';
import { type CniVersion, isAtLeast } from './version.ts';

/** Result lists as they are on the wire; entries of other plugins are handed on as they came. */
export interface CniResult {
  interfaces: JsonObject[];
  ips: JsonObject[];
  routes: JsonObject[];
  dns: JsonObject | undefined;
}

/** A prevResult of any supported version, or one clause saying what is wrong with it. */
export function parseResult(value: unknown): CniResult | string {
  if (!isObject(value)) return 'must be an object';
  const lists: Record<'interfaces' | 'ips' | 'routes', JsonObject[]> = { interfaces: [], ips: [], routes: [] };
  for (const key of ['interfaces', 'ips', 'routes'] as const) {
    const list = value[key] ?? [];
    if (!Array.isArray(list) || !list.every(isObject)) return `${key} must be a list of objects`;
    lists[key] = list;
  }
  if (lists.ips.some((ip) => typeof ip.address !== 'string')) return 'each of ips needs an address';
  return { ...lists, dns: isObject(value.dns) ? value.dns : undefined };
}

/** The JSON of a successful ADD, `previous` first when the plugin is not the first of its chain. */
export function renderResult(
  version: CniVersion,
  attached: Attached,
  netns: string,
  dns: JsonObject,
  previous?: CniResult,
): string {
  const { identity, addresses, mtu } = attached;
  const before = previous?.interfaces ?? [];
  const withMtu = isAtLeast(version, '1.1.0') ? { mtu } : {};
  const ownDns = Object.keys(dns).length > 0 ? dns : undefined;
  return JSON.stringify({
    cniVersion: version,
    interfaces: [
      ...before,
      { name: identity.hostName, mac: identity.hostMac, ...withMtu },
      { name: identity.ifname, mac: identity.podMac, ...withMtu, sandbox: netns },
    ],
    ips: [
      ...(previous?.ips ?? []),
      ...addresses.map(({ family, ip, gateway }) => ({
        // Dropped in 1.0.0.
        ...(isAtLeast(version, '1.0.0') ? {} : { version: String(family) }),
        address: hostPrefixOf(ip),
        gateway,
        interface: before.length + 1,
      })),
    ],
    routes: [
      ...(previous?.routes ?? []),
      ...addresses.map(({ family, gateway }) => ({ dst: everywhere[family], gw: gateway })),
    ],
    dns: ownDns ?? previous?.dns ?? {},
  });
}
