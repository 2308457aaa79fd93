/**
 * Makes the link of the VXLAN what it has to be, in as few steps as the kernel allows; nothing when it is right.
 * Layer: network/overlay, over the rtnetlink edge. What is to be done is vxlan-link.ts'.
 */
import type { Sysctls } from '../../linux/host.ts';
import { isAlreadyExists, isNotFound, isNotSupported, KernelError } from '../../linux/kernel-error.ts';
import type { Link, Rtnetlink, RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { HostState } from '../host-conflict.ts';
import { familyOf, type IpFamily } from '../ipam/ip-prefix.ts';
import type { NetworkError } from '../network-error.ts';
import { vxlanLinkNameOf } from './vtep.ts';
import { linkError, planVxlanAddress, planVxlanLink, taken, type VxlanLink } from './vxlan-link.ts';

/**
 * @param address of the link; of its pods' family
 * @returns the link, up, with its address, and whether anything was changed
 * @throws NetworkError NETWORK_OVERLAY_LINK; the link may be there, down
 */
export async function ensureVxlan(
  host: Rtnetlink,
  sysctls: Pick<Sysctls, 'read' | 'write'>,
  state: HostState,
  wanted: VxlanLink,
  address: string,
): Promise<{ ifindex: number; changed: boolean }> {
  const family = familyOf(address);
  const operations = planVxlanLink(state.links, wanted, family);
  await apply(host, operations, wanted, family);
  const name = vxlanLinkNameOf(family);
  const link = await host.link({ name });
  if (link === undefined) throw linkError('is gone as soon as it was made', 'look who removes it', family);
  const isNew = !state.links.some(({ ifindex }) => ifindex === link.ifindex);
  if (isNew || !link.up) await (family === 4 ? noIpv6(sysctls) : quietIpv6(sysctls, name));
  const more: RtnetlinkOperation[] = [
    ...(link.up ? [] : [{ op: 'linkSet', link: { ifindex: link.ifindex }, up: true } as const]),
    ...planVxlanAddress(isNew ? [] : state.addresses, link.ifindex, address),
  ];
  await apply(host, more, wanted, family);
  return { ifindex: link.ifindex, changed: operations.length + more.length > 0 };
}

/** The link of a former backend, if any. */
export async function removeVxlan(host: Rtnetlink, links: readonly Link[], podFamily: IpFamily): Promise<string[]> {
  const operations = planVxlanLink(links, undefined, podFamily);
  if (operations.length === 0) return [];
  const failed = (await host.apply(operations)).find((error) => error !== undefined && !isNotFound(error));
  if (failed !== undefined)
    throw linkError(`cannot be removed: ${errorLine(failed)}`, 'remove it by hand', podFamily, failed);
  return operations.map(() => `link ${vxlanLinkNameOf(podFamily)}`);
}

async function apply(
  host: Rtnetlink,
  operations: readonly RtnetlinkOperation[],
  wanted: VxlanLink,
  podFamily: IpFamily,
): Promise<void> {
  if (operations.length === 0) return;
  const results = await host.apply(operations);
  for (const [index, error] of results.entries()) {
    const operation = operations[index];
    if (error === undefined || operation === undefined) continue;
    const isRemoval = operation.op === 'linkDelete' || operation.op === 'addressDelete';
    if (isRemoval && (isNotFound(error) || isNamed(error, 'EADDRNOTAVAIL'))) continue;
    throw explain(error, operation, wanted, podFamily);
  }
}

function explain(error: Error, operation: RtnetlinkOperation, wanted: VxlanLink, podFamily: IpFamily): NetworkError {
  if (operation.op === 'linkAddVxlan') {
    if (isAlreadyExists(error)) return taken('another link', wanted, podFamily, error);
    if (isNotSupported(error))
      return linkError('the kernel has no VXLAN', 'load the module vxlan, or use host-gw', podFamily, error);
  }
  if (isNamed(error, 'EADDRINUSE')) {
    const fix = 'end it (ss -lunp), or choose another --vxlan-port for the whole cluster';
    return linkError(`UDP port ${wanted.port} is taken by another program`, fix, podFamily, error);
  }
  if (operation.op === 'addressAdd' && podFamily === 6) {
    const fix = 'switch IPv6 on (sysctl net.ipv6.conf.all.disable_ipv6, ipv6.disable of the kernel command line)';
    return linkError(`takes no IPv6 address: ${errorLine(error)}`, fix, podFamily, error);
  }
  return linkError(`cannot be made: ${errorLine(error)}`, 'run Keelson as root with CAP_NET_ADMIN', podFamily, error);
}

const isNamed = (error: unknown, name: string): boolean => error instanceof KernelError && error.errnoName === name;

/** Router advertisements of a peer must not reach the host, and it says nothing in IPv6 itself. Before the link is up. */
async function noIpv6(sysctls: Pick<Sysctls, 'read' | 'write'>): Promise<void> {
  try {
    await set(sysctls, `net/ipv6/conf/${vxlanLinkNameOf(4)}/disable_ipv6`, '1');
  } catch (error) {
    // A kernel without IPv6 has nothing to switch off.
    if (!isNotFound(error))
      throw linkError(`cannot switch off IPv6: ${errorLine(error)}`, 'make /proc/sys writable', 4, error);
  }
}

/**
 * The same for the link of IPv6 pods: no router advertisements, no link-local address (addr_gen_mode 1, addrconf.c), so no
 * router solicitation and no detection of duplicates either. Before the link is up.
 */
async function quietIpv6(sysctls: Pick<Sysctls, 'read' | 'write'>, linkName: string): Promise<void> {
  try {
    for (const [name, value] of [
      ['accept_ra', '0'],
      ['autoconf', '0'],
      ['addr_gen_mode', '1'],
      ['disable_ipv6', '0'],
    ] as const)
      await set(sysctls, `net/ipv6/conf/${linkName}/${name}`, value);
  } catch (error) {
    const fix = isNotFound(error) ? 'use a kernel with IPv6 for IPv6 pods' : 'make /proc/sys writable';
    throw linkError(`cannot be set up for IPv6: ${errorLine(error)}`, fix, 6, error);
  }
}

async function set(sysctls: Pick<Sysctls, 'read' | 'write'>, name: string, value: string): Promise<void> {
  if ((await sysctls.read(name)) !== value) await sysctls.write(name, value);
}
