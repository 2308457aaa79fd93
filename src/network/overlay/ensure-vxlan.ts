/**
 * Makes the link of the VXLAN what it has to be, in as few steps as the kernel allows; nothing when it is right.
 * Layer: network/overlay, over the rtnetlink edge. What is to be done is vxlan-link.ts'.
 */
import type { Sysctls } from '../../linux/host.ts';
import { isAlreadyExists, isNotFound, isNotSupported, KernelError } from '../../linux/kernel-error.ts';
import type { Link, Rtnetlink, RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { HostState } from '../host-conflict.ts';
import type { NetworkError } from '../network-error.ts';
import { vxlanLinkName } from './vtep.ts';
import { linkError, planVxlanAddress, planVxlanLink, taken, type VxlanLink } from './vxlan-link.ts';

/**
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
  const operations = planVxlanLink(state.links, wanted);
  await apply(host, operations, wanted);
  const link = await host.link({ name: vxlanLinkName });
  if (link === undefined) throw linkError('is gone as soon as it was made', 'look who removes it');
  const isNew = !state.links.some(({ ifindex }) => ifindex === link.ifindex);
  if (isNew || !link.up) await noIpv6(sysctls);
  const more: RtnetlinkOperation[] = [
    ...(link.up ? [] : [{ op: 'linkSet', link: { ifindex: link.ifindex }, up: true } as const]),
    ...planVxlanAddress(isNew ? [] : state.addresses, link.ifindex, address),
  ];
  await apply(host, more, wanted);
  return { ifindex: link.ifindex, changed: operations.length + more.length > 0 };
}

/** The link of a former backend, if any. */
export async function removeVxlan(host: Rtnetlink, links: readonly Link[]): Promise<string[]> {
  const operations = planVxlanLink(links, undefined);
  const failed = (await host.apply(operations)).find((error) => error !== undefined && !isNotFound(error));
  if (failed !== undefined) throw linkError(`cannot be removed: ${errorLine(failed)}`, 'remove it by hand', failed);
  return operations.map(() => `link ${vxlanLinkName}`);
}

async function apply(host: Rtnetlink, operations: readonly RtnetlinkOperation[], wanted: VxlanLink): Promise<void> {
  if (operations.length === 0) return;
  const results = await host.apply(operations);
  for (const [index, error] of results.entries()) {
    const operation = operations[index];
    if (error === undefined || operation === undefined) continue;
    const isRemoval = operation.op === 'linkDelete' || operation.op === 'addressDelete';
    if (isRemoval && (isNotFound(error) || isNamed(error, 'EADDRNOTAVAIL'))) continue;
    throw explain(error, operation, wanted);
  }
}

function explain(error: Error, operation: RtnetlinkOperation, wanted: VxlanLink): NetworkError {
  if (operation.op === 'linkAddVxlan') {
    if (isAlreadyExists(error)) return taken('another link', wanted, error);
    if (isNotSupported(error))
      return linkError('the kernel has no VXLAN', 'load the module vxlan, or use host-gw', error);
  }
  if (isNamed(error, 'EADDRINUSE')) {
    const fix = 'end it (ss -lunp), or choose another --vxlan-port for the whole cluster';
    return linkError(`UDP port ${wanted.port} is taken by another program`, fix, error);
  }
  return linkError(`cannot be made: ${errorLine(error)}`, 'run Keelson as root with CAP_NET_ADMIN', error);
}

const isNamed = (error: unknown, name: string): boolean => error instanceof KernelError && error.errnoName === name;

/** Router advertisements of a peer must not reach the host, and it says nothing in IPv6 itself. Before the link is up. */
async function noIpv6(sysctls: Pick<Sysctls, 'read' | 'write'>): Promise<void> {
  const name = `net/ipv6/conf/${vxlanLinkName}/disable_ipv6`;
  try {
    if ((await sysctls.read(name)) !== '1') await sysctls.write(name, '1');
  } catch (error) {
    // A kernel without IPv6 has nothing to switch off.
    if (!isNotFound(error))
      throw linkError(`cannot switch off IPv6: ${errorLine(error)}`, 'make /proc/sys writable', error);
  }
}
