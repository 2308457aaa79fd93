/**
 * Doctor's checks of the network: are the pod addresses free, does the host forward what pods send.
 * Layer: agent (edge: reads the machine, changes nothing).
 */
import { readFile } from 'node:fs/promises';
import { hasErrorCode } from '../base/errors.ts';
import type { NetworkSettings } from '../config/flags-network.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import type { Link } from '../linux/rtnetlink.ts';
import { refuseOverlap } from '../network/host-conflict.ts';
import { readHostState } from '../network/host-setup.ts';
import { Ipam } from '../network/ipam/ipam.ts';
import type { Nft } from '../network/nft-program.ts';
import { planVxlanLink } from '../network/overlay/vxlan-link.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { type CheckResult, fail, failure, ok, warn } from './check-result.ts';

export async function checkPodCIDR(podCIDR: string): Promise<CheckResult> {
  const name = 'pod CIDR';
  try {
    const rtnetlink = await kernelRtnetlink.open();
    try {
      const [pool] = new Ipam([podCIDR]).families;
      refuseOverlap(podCIDR, pool?.gateway ?? '', await readHostState(rtnetlink));
    } finally {
      rtnetlink.close();
    }
    return ok(name, `${podCIDR} is free on this machine`);
  } catch (error) {
    return failure(name, error, 'choose another --pod-cidr');
  }
}

/** Are name, VNI and port of the VXLAN free, or our own? */
export async function checkVxlan(settings: NetworkSettings): Promise<CheckResult> {
  const rtnetlink = await kernelRtnetlink.open();
  try {
    return vxlanResult(await rtnetlink.links(), await udpPorts(), settings);
  } finally {
    rtnetlink.close();
  }
}

/** @param used UDP ports that somebody is bound to, links of the kernel included */
export function vxlanResult(
  links: readonly Link[],
  used: ReadonlySet<number>,
  { vni, port }: Pick<NetworkSettings, 'vni' | 'port'>,
): CheckResult {
  const name = 'VXLAN';
  try {
    planVxlanLink(links, { vni, port, mac: '', mtu: 0, local: '' });
  } catch (error) {
    return failure(name, error, 'remove the link');
  }
  if (used.has(port) && !links.some(({ vxlan }) => vxlan?.port === port)) {
    const fix = 'end it (ss -lunp), or choose another --vxlan-port for the whole cluster';
    return fail(name, `UDP port ${port} is taken by another program`, fix);
  }
  return ok(name, `VNI ${vni} on UDP port ${port} is free`);
}

/** Local ports of /proc/net/udp and udp6 (net/ipv4/udp.c), in this network namespace. */
async function udpPorts(): Promise<Set<number>> {
  const ports = new Set<number>();
  for (const file of ['/proc/self/net/udp', '/proc/self/net/udp6']) {
    for (const [, port = ''] of (await textOrNothing(file)).matchAll(/^ *\d+: [0-9A-F]+:([0-9A-F]{4}) /gm))
      ports.add(Number.parseInt(port, 16));
  }
  return ports;
}

/** A kernel without IPv6 has no second one. */
async function textOrNothing(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return '';
    throw error;
  }
}

/**
 * A FORWARD chain that drops by default (ufw, firewalld, an admin's own) also drops what pods send beyond the node. That of
 * iptables is seen to (network/forward).
 */
export async function checkForwardPolicy(nft: Nft): Promise<CheckResult> {
  const name = 'forwarding';
  let listing: string;
  try {
    listing = await nft('list chains\n');
  } catch (error) {
    return warn(name, `cannot list the firewall: ${errorLine(error)}`, 'install nftables');
  }
  const dropping = droppingForwardChains(listing).filter((chain) => chain !== 'ip filter FORWARD');
  return dropping.length === 0
    ? ok(name, 'no firewall drops forwarded packets by default')
    : warn(
        name,
        `${dropping.join(', ')} drops by default`,
        'accept the pod networks of the cluster there, in both directions',
      );
}

/** Names of the base chains that hook forward with policy drop, from `nft list chains`. */
export function droppingForwardChains(listing: string): string[] {
  const found: string[] = [];
  let table = '';
  let chain = '';
  for (const line of listing.split('\n')) {
    table = /^table (\S+ \S+) \{/.exec(line)?.[1] ?? table;
    chain = /^\tchain (\S+) \{/.exec(line)?.[1] ?? chain;
    if (/\bhook forward\b.*\bpolicy drop\b/.test(line)) found.push(`${table} ${chain}`);
  }
  return found;
}
