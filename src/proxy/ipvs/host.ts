/**
 * What the ipvs mode needs of the host besides virtual servers: sysctls, and the device that makes addresses of Services the
 * node's own, so that packets for them come to where IPVS waits.
 * Layer: proxy/ipvs (over injected edges). Touches no address of another link.
 */

import type { Sysctls } from '../../linux/host.ts';
import { prefixContains } from '../../linux/ip-bytes.ts';
import type { Address, Rtnetlink, RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { ofFamily } from '../services/traffic-options.ts';
import { dummyLink, type IpvsOptions } from './options.ts';

export interface HostEdges {
  rtnetlink: Pick<Rtnetlink, 'apply' | 'link' | 'addresses'>;
  /** Of the namespace that the virtual servers are in. */
  sysctls: Pick<Sysctls, 'read' | 'write'>;
  /** `ip link add NAME type dummy`, unless it is there. @throws KernelError */
  ensureDummyLink: (name: string) => Promise<void>;
  /** `uname -r` */
  kernelRelease: string;
}

export interface HostAddresses {
  ifindex: number;
  /** On the device, of the family. */
  bound: ReadonlySet<string>;
  /** The node's own of the family, without loopback and link-local ones. */
  node: ReadonlySet<string>;
}

/** Source: pkg/proxy/ipvs/proxier.go (NewProxier). @throws KernelError; isNotFound when the kernel has no IPVS */
export async function prepareHost(
  { sysctls, ensureDummyLink, kernelRelease }: HostEdges,
  options: IpvsOptions,
): Promise<void> {
  const wanted: [string, string][] = [
    // Replies find their way back through our masquerading only with conntrack.
    ['net/ipv4/vs/conntrack', '1'],
    // Connections to a real server that is gone end at their next packet, and clients tied to one are untied.
    ['net/ipv4/vs/expire_nodest_conn', '1'],
    ['net/ipv4/vs/expire_quiescent_template', '1'],
    ['net/ipv4/ip_forward', '1'],
  ];
  if (options.family === 'IPv6') wanted.push(['net/ipv6/conf/all/forwarding', '1']);
  // A reused client port waits a second for each new connection there (kubernetes/kubernetes#93297).
  if (isBefore(kernelRelease, 5, 9)) wanted.push(['net/ipv4/vs/conn_reuse_mode', '0']);
  if (options.strictARP) wanted.push(['net/ipv4/conf/all/arp_ignore', '1'], ['net/ipv4/conf/all/arp_announce', '2']);
  for (const [name, value] of wanted) if ((await sysctls.read(name)) !== value) await sysctls.write(name, value);
  await ensureDummyLink(dummyLink);
}

function isBefore(release: string, major: number, minor: number): boolean {
  const [, first = '0', second = '0'] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return Number(first) < major || (Number(first) === major && Number(second) < minor);
}

/** @throws KernelError, or Error when the device has gone */
export async function readAddresses({ rtnetlink }: HostEdges, options: IpvsOptions): Promise<HostAddresses> {
  const link = await rtnetlink.link({ name: dummyLink });
  if (link === undefined) throw new TypeError(`${dummyLink} went away`);
  const bound = new Set<string>();
  const node = new Set<string>();
  for (const { ifindex, prefix } of await rtnetlink.addresses()) {
    const [address = ''] = prefix.split('/');
    if (address.includes(':') !== (options.family === 'IPv6')) continue;
    if (ifindex === link.ifindex) bound.add(address);
    else if (!isUnusable(address)) node.add(address);
  }
  return { ifindex: link.ifindex, bound, node };
}

/** 127.0.0.0/8, ::1 and fe80::/10: nobody else can ask there, and IPVS cannot route replies from loopback. */
export const isUnusable = (address: string): boolean =>
  address.startsWith('127.') || address === '::1' || /^fe[89ab]/.test(address);

/** Where node ports are served. A family without a prefix of its own is not narrowed (NewNodePortAddresses). */
export function nodePortAddresses(
  node: ReadonlySet<string>,
  { family, nodePortAddresses: asked }: IpvsOptions,
): string[] {
  const prefixes = asked === 'all' ? [] : ofFamily(asked, family);
  return [...node].filter(
    (address) => prefixes.length === 0 || prefixes.some((prefix) => prefixContains(prefix, address)),
  );
}

/** @throws KernelError, the first one; all are tried */
export async function changeAddresses(
  { rtnetlink }: HostEdges,
  op: 'addressAdd' | 'addressDelete',
  ifindex: number,
  addresses: readonly string[],
): Promise<void> {
  const batch = 500;
  let failure: Error | undefined;
  for (let start = 0; start < addresses.length; start += batch) {
    const operations = addresses.slice(start, start + batch).map((address): RtnetlinkOperation => {
      const prefix = `${address}/${address.includes(':') ? 128 : 32}`;
      if (op === 'addressDelete') return { op, ifindex, prefix };
      // The kernel must not choose one when it masquerades: nobody else would send the answer here.
      const unchosen = address.includes(':') ? { noDad: true, deprecated: true } : { scope: 'host' as const };
      return { op, ifindex, prefix, replace: true, ...unchosen };
    });
    failure ??= (await rtnetlink.apply(operations)).find((error) => error !== undefined);
  }
  if (failure !== undefined) throw failure;
}

export const addressOf = ({ prefix }: Pick<Address, 'prefix'>): string => prefix.slice(0, prefix.indexOf('/'));
