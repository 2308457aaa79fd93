/**
 * Facts of the machine that pods need: its name, address, MTU, memory and cores.
 * Layer: agent (edge). Rules: node-contract section 3 "addresses"; the default route's link decides address and MTU.
 */
import { readFile } from 'node:fs/promises';
import { availableParallelism, hostname, totalmem } from 'node:os';
import type { Route, Rtnetlink } from '../linux/rtnetlink.ts';

export interface MachineFacts {
  /** Lower case, as Node names are. */
  nodeName: string;
  hostIPs: string[];
  /** Smallest MTU of the links with a default route; 1500 without one. */
  mtu: number;
  memoryBytes: number;
  cores: number;
}

const defaultMtu = 1500;

export async function readMachineFacts(
  rtnetlink: Rtnetlink,
  overrides: { hostname: string | undefined; nodeIP: string | undefined },
): Promise<MachineFacts> {
  const [routes, addresses, links] = await Promise.all([rtnetlink.routes(), rtnetlink.addresses(), rtnetlink.links()]);
  const uplinks = new Set(routes.filter(isDefault).flatMap(({ ifindex }) => ifindex ?? []));
  const usable = addresses.filter(({ prefix, scope }) => scope === 'global' && !prefix.includes(':'));
  const byIfindex = (ifindex: number): boolean => links.some((link) => link.ifindex === ifindex && link.name !== 'lo');
  // Without a default route any address of a real link will do; loopback ones are Keelson's own or nobody's.
  const chosen =
    usable.find(({ ifindex }) => uplinks.has(ifindex)) ??
    usable.find(({ ifindex }) => byIfindex(ifindex) && !isPodLink(links, ifindex));
  const ip = overrides.nodeIP ?? chosen?.prefix.split('/')[0];
  const mtus = links.filter(({ ifindex }) => uplinks.has(ifindex)).map(({ mtu }) => mtu);
  return {
    nodeName: nodeNameOf(overrides.hostname),
    hostIPs: ip === undefined ? [] : [ip],
    mtu: mtus.length > 0 ? Math.min(...mtus) : defaultMtu,
    memoryBytes: totalmem(),
    cores: availableParallelism(),
  };
}

/** @param override --hostname-override */
export const nodeNameOf = (override: string | undefined): string => (override ?? hostname()).toLowerCase();

/** An `unreachable` or `blackhole` default leads nowhere. */
const isDefault = ({ destination, type }: Route): boolean => destination === '0.0.0.0/0' && type === 'unicast';

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
