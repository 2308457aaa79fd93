/**
 * What a host must do with IPv6 packets of pods, and what it must not lose by that.
 * Layer: network, over the sysctl edge. Called only where pods have IPv6 addresses: other hosts keep every value.
 *
 * A link that forwards takes no router advertisements unless its `accept_ra` is 2 (ipv6_accept_ra in the kernel's
 * include/net/ipv6.h), and setting `all/forwarding` drops the routes that they have told on the others
 * (rt6_purge_dflt_routers). A host that has its default route from there would lose it.
 */
import type { Sysctls } from '../linux/host.ts';
import { isNotFound } from '../linux/kernel-error.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import type { HostState } from './host-conflict.ts';
import { aliasPrefix } from './links/link-identity.ts';
import { NetworkError } from './network-error.ts';

/** RTPROT_RA (rtnetlink.h): the kernel made the route as a router told. */
const routerAdvertisement = 9;
const forwarding = 'net/ipv6/conf/all/forwarding';

/** @throws NetworkError NETWORK_IPV6_DISABLED naming the switch, NETWORK_HOST_SETUP_FAILED */
export async function requireIpv6(sysctls: Pick<Sysctls, 'read'>, podCIDR: string): Promise<void> {
  for (const name of ['net/ipv6/conf/all/disable_ipv6', 'net/ipv6/conf/lo/disable_ipv6']) {
    let value: string;
    try {
      value = await sysctls.read(name);
    } catch (cause) {
      if (!isNotFound(cause)) throw failed(`cannot read ${name}`, cause);
      throw disabled(podCIDR, 'the kernel has no IPv6', 'boot without ipv6.disable=1', cause);
    }
    if (value !== '0') throw disabled(podCIDR, `${name} is ${value}`, `set ${name.replaceAll('/', '.')} to 0`);
  }
}

/**
 * Forwarding for all links; says what it changed. Values stay afterwards, others may rely on them by then.
 * @throws NetworkError NETWORK_HOST_SETUP_FAILED
 */
export async function forwardIpv6(
  sysctls: Pick<Sysctls, 'read' | 'write'>,
  state: HostState,
  log: Logger,
): Promise<void> {
  try {
    const before = await sysctls.read(forwarding);
    // Whoever set it has decided about advertisements, too.
    if (before === '1') return;
    for (const name of uplinksOf(state)) await keepAdvertisements(sysctls, name, log);
    await sysctls.write(forwarding, '1');
    log.info({ sysctl: forwarding, before, now: '1' }, 'set a sysctl that pods need');
  } catch (cause) {
    throw failed(`cannot set ${forwarding} to 1`, cause);
  }
}

/**
 * Links on which a router has told a route, or may yet: a default route of either family leads there, or it is hardware, which
 * has no kind. Not all links: those to containers of others should rather stop taking advertisements.
 */
function uplinksOf({ links, routes }: HostState): string[] {
  const indexes = new Set(
    routes
      .filter(
        ({ destination, protocol, type }) =>
          protocol === routerAdvertisement || (type === 'unicast' && destination.endsWith('/0')),
      )
      .map(({ ifindex }) => ifindex),
  );
  return links
    .filter(({ ifindex, name, kind }) => indexes.has(ifindex) || (kind === undefined && name !== 'lo'))
    .filter(({ alias }) => !alias?.startsWith(aliasPrefix))
    .map(({ name }) => name);
}

async function keepAdvertisements(sysctls: Pick<Sysctls, 'read' | 'write'>, link: string, log: Logger): Promise<void> {
  const sysctl = `net/ipv6/conf/${link}/accept_ra`;
  try {
    if ((await sysctls.read(sysctl)) !== '1') return;
    await sysctls.write(sysctl, '2');
    log.info({ sysctl, before: '1', now: '2' }, 'the uplink goes on taking router advertisements while it forwards');
  } catch (error) {
    // A link without IPv6, or that is gone, or of a name that no sysctl has.
    log.debug({ link, error: errorLine(error) }, 'accept_ra of an uplink cannot be looked at');
  }
}

function disabled(podCIDR: string, message: string, how: string, cause?: unknown): NetworkError {
  return new NetworkError('NETWORK_IPV6_DISABLED', `pods are to have IPv6 addresses, but ${message}`, {
    object: `pod CIDR ${podCIDR}`,
    fix: `${how}, or give this node an IPv4 pod CIDR only`,
    cause,
  });
}

function failed(message: string, cause: unknown): NetworkError {
  return new NetworkError('NETWORK_HOST_SETUP_FAILED', `${message}: ${errorLine(cause)}`, {
    object: 'pod network',
    fix: 'run Keelson as root with CAP_NET_ADMIN and a writable /proc/sys',
    cause,
  });
}
