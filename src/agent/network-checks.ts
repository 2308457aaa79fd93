/**
 * Doctor's checks of the network: are the pod addresses free, does the host forward what pods send.
 * Layer: agent (edge: reads the machine, changes nothing).
 */
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { refuseOverlap } from '../network/host-conflict.ts';
import { readHostState } from '../network/host-setup.ts';
import { Ipam } from '../network/ipam/ipam.ts';
import type { Nft } from '../network/nft-program.ts';
import { errorLine } from '../observe/keelson-error.ts';
import { type CheckResult, failure, ok, warn } from './check-result.ts';

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
