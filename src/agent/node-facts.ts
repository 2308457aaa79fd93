/**
 * Facts of the machine that pods need: its name, address, MTU, memory and cores.
 * Layer: agent (edge). Rules: node-contract section 3 "addresses"; the default route's link decides address and MTU.
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism, hostname, totalmem } from 'node:os';
import type { Route, Rtnetlink } from '../linux/rtnetlink.ts';
import { everywhere, familyOf, type IpFamily } from '../network/ipam/ip-prefix.ts';

export interface MachineFacts {
  /** Lower case, as Node names are. */
  nodeName: string;
  /** At most one of each family, the node's first one first. Changed in place when the machine's do (follow-host-ips.ts). */
  hostIPs: string[];
  /** Smallest MTU of the links with a default route of the addresses' families; 1500 without one. */
  mtu: number;
  memoryBytes: number;
  cores: number;
}

const defaultMtu = 1500;

export async function readMachineFacts(
  rtnetlink: Rtnetlink,
  overrides: {
    hostname: string | undefined;
    nodeIPs?: readonly string[];
    /** Of the address that is chosen where none is given; the other one where there is none of it. */
    preferredFamily?: IpFamily | undefined;
    /** In use: stays while the machine has it; one that has no way out just now has no other. */
    current?: readonly string[];
  },
): Promise<MachineFacts> {
  const { current = [] } = overrides;
  const [routes, addresses, links] = await Promise.all([rtnetlink.routes(), rtnetlink.addresses(), rtnetlink.links()]);
  const uplinksOf = (family: IpFamily): Set<number> =>
    new Set(routes.filter((route) => isDefault(route, family)).flatMap(({ ifindex }) => ifindex ?? []));
  const choose = (family: IpFamily): string | undefined => {
    const uplinks = uplinksOf(family);
    const usable = addresses.filter(({ prefix, scope }) => scope === 'global' && familyOf(prefix) === family);
    const byIfindex = (ifindex: number): boolean =>
      links.some((link) => link.ifindex === ifindex && link.name !== 'lo');
    // Without a default route any address of a real link will do; loopback ones are Keelson's own or nobody's.
    const onUplink = usable.filter(({ ifindex }) => uplinks.has(ifindex));
    const isCurrent = ({ prefix }: { prefix: string }): boolean => current.includes(prefix.split('/')[0] ?? '');
    const chosen =
      onUplink.find(isCurrent) ??
      onUplink[0] ??
      (current.length > 0 ? undefined : usable.find(({ ifindex }) => byIfindex(ifindex) && !isPodLink(links, ifindex)));
    return chosen?.prefix.split('/')[0];
  };
  const first = overrides.preferredFamily ?? 4;
  const given = overrides.nodeIPs ?? [];
  // One alone, as the kubelet: who wants both gives both.
  const [used] = current;
  const found =
    given.length > 0
      ? given
      : [used === undefined ? (choose(first) ?? choose(first === 4 ? 6 : 4)) : choose(familyOf(used))];
  const hostIPs = found.filter((ip) => ip !== undefined);
  const families = hostIPs.length === 0 ? [first] : hostIPs.map(familyOf);
  const uplinks = new Set(families.flatMap((family) => [...uplinksOf(family)]));
  const mtus = links.filter(({ ifindex }) => uplinks.has(ifindex)).map(({ mtu }) => mtu);
  return {
    nodeName: nodeNameOf(overrides.hostname),
    hostIPs,
    mtu: mtus.length > 0 ? Math.min(...mtus) : defaultMtu,
    memoryBytes: totalmem(),
    cores: availableParallelism(),
  };
}

/** @param override --hostname-override */
export const nodeNameOf = (override: string | undefined): string => (override ?? hostname()).toLowerCase();

/** An `unreachable` or `blackhole` default leads nowhere. */
const isDefault = ({ destination, type }: Route, family: IpFamily): boolean =>
  destination === everywhere[family] && type === 'unicast';

const isPodLink = (links: { ifindex: number; alias: string | undefined }[], ifindex: number): boolean =>
  links.some((link) => link.ifindex === ifindex && link.alias?.startsWith('keelson:') === true);

/** `Swap` entries of /proc/swaps, for failSwapOn and doctor. */
export async function swapDevices(): Promise<string[]> {
  const text = await readFile('/proc/swaps', 'utf8');
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => line.split(/\s+/)[0] || []);
}
