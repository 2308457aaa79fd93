/**
 * What the host has once, whatever the number of pods: the gateway address on `lo`, the route that refuses addresses no
 * pod has, and forwarding. ADR 0003 says why.
 * Layer: network, over the rtnetlink edge. Must not touch what Keelson did not make.
 */

import type { Sysctls } from '../linux/host.ts';
import { isNotFound, KernelError } from '../linux/kernel-error.ts';
import { keelsonRouteProtocol, type Link, type Rtnetlink, type RtnetlinkOperation } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { type HostState, refuseOverlap } from './host-conflict.ts';
import { forwardIpv6 } from './host-ipv6.ts';
import { familyOf, formatIpNumber, hostPrefixOf, type IpFamily, overlaps, parseIpPrefix } from './ipam/ip-prefix.ts';
import { NetworkError } from './network-error.ts';

/** A pod CIDR as the kernel remembers it: its refusing route carries our protocol, so a later process finds it. */
export interface HostSetup {
  podCIDR: string;
  gateway: string;
}

export async function readHostState(edge: Rtnetlink): Promise<HostState> {
  const [links, addresses, routes] = await Promise.all([edge.links(), edge.addresses(), edge.routes()]);
  return { links, addresses, routes };
}

/** A pod CIDR that pods still have addresses of although new ones get others. */
export interface FormerSetup extends HostSetup {
  pods: number;
}

/**
 * Refuses pod CIDRs in use, then puts the gateways on `lo`. Safe to repeat.
 * @param setups one of each family
 * @returns former pod CIDRs that have to stay for now
 * @throws NetworkError NETWORK_POD_CIDR_OVERLAP, NETWORK_HOST_SETUP_FAILED
 */
export async function setUpHost(edge: Rtnetlink, setups: readonly HostSetup[], log: Logger): Promise<FormerSetup[]> {
  const state = await readHostState(edge);
  for (const { podCIDR, gateway } of setups) refuseOverlap(podCIDR, gateway, state);
  const lo = loopbackOf(state);
  await applyOrThrow(edge, [
    { op: 'linkSet', link: { ifindex: lo.ifindex }, up: true },
    ...setups.flatMap(({ podCIDR, gateway }): RtnetlinkOperation[] => [
      { op: 'addressAdd', ifindex: lo.ifindex, prefix: hostPrefixOf(gateway), replace: true, ...neverSource(podCIDR) },
      { op: 'routeReplace', destination: podCIDR, type: 'unreachable' },
    ]),
  ]);
  const current = setups.map(({ podCIDR }) => podCIDR);
  const kept = await removeUnusedSetups(edge, state, current, log);
  for (const { podCIDR, pods } of kept)
    log.warn({ podCIDR, pods, fix: 'delete these pods' }, 'pods still have addresses of a former pod CIDR');
  return kept;
}

/**
 * Removes what former pod CIDRs without pods have left: another node may have them now. @returns those that have to stay
 * @throws NetworkError NETWORK_HOST_SETUP_FAILED
 */
export async function removeUnusedSetups(
  edge: Rtnetlink,
  state: HostState,
  current: readonly string[],
  log: Logger,
): Promise<FormerSetup[]> {
  const kept: FormerSetup[] = [];
  for (const former of formerSetups(state)) {
    if (current.includes(former.podCIDR)) continue;
    const pods = podRoutes(state, former).length;
    if (pods > 0) kept.push({ ...former, pods });
    else {
      log.info({ ...former }, 'removing a former pod CIDR');
      await removeSetup(edge, loopbackOf(state), former);
    }
  }
  return kept;
}

/** The pod CIDRs that this or former processes set up. */
export function formerSetups(state: HostState): HostSetup[] {
  return state.routes
    .filter((route) => route.protocol === keelsonRouteProtocol && route.type === 'unreachable')
    .flatMap(({ destination }) => {
      const prefix = parseIpPrefix(destination);
      return prefix
        ? [{ podCIDR: destination, gateway: formatIpNumber({ family: prefix.family, value: prefix.base + 1n }) }]
        : [];
    });
}

/** Removes gateway and refusing route; returns what was there, in words. @throws NetworkError NETWORK_HOST_SETUP_FAILED */
export async function removeSetup(edge: Rtnetlink, lo: Link, setup: HostSetup): Promise<string[]> {
  const results = await edge.apply([
    { op: 'addressDelete', ifindex: lo.ifindex, prefix: hostPrefixOf(setup.gateway) },
    { op: 'routeDelete', destination: setup.podCIDR, protocol: keelsonRouteProtocol },
  ]);
  const failed = results.find((error) => error !== undefined && !isGone(error));
  if (failed) throw setupFailed(`cannot remove pod CIDR ${setup.podCIDR}`, failed);
  const words = [`address ${hostPrefixOf(setup.gateway)} of lo`, `route unreachable ${setup.podCIDR}`];
  return words.filter((_, index) => results[index] === undefined);
}

/** @throws NetworkError NETWORK_HOST_SETUP_FAILED in a namespace without loopback, which the kernel does not make */
export function loopbackOf(state: HostState): Link {
  const lo = state.links.find(({ name }) => name === 'lo');
  if (!lo) throw setupFailed('the network namespace has no link lo');
  return lo;
}

/**
 * What the host must do with packets of pods; says what it changed. The values stay afterwards, others may rely on them by
 * then.
 *
 * A link sends ICMP redirects when its own `send_redirects` is 1 or that of `all` is (IN_DEV_TX_REDIRECTS), so for pod
 * links (links/pod-links.ts) to be silent `all` has to be 0. Every other link has a value of its own, 1 unless somebody
 * chose otherwise, and goes on as before; `default` is left alone, since writing it would reach links that exist. Of IPv6
 * there is no such value: a link without link-local address sends none.
 */
const hostSysctls = [
  { name: 'net/ipv4/ip_forward', value: '1' },
  { name: 'net/ipv4/conf/all/send_redirects', value: '0' },
] as const;

/** @param families that pods have; only IPv6 needs to look at the host @throws NetworkError NETWORK_HOST_SETUP_FAILED */
export async function setHostSysctls(
  sysctls: Pick<Sysctls, 'read' | 'write'>,
  families: readonly IpFamily[],
  edge: Rtnetlink,
  log: Logger,
): Promise<void> {
  if (families.includes(6)) await forwardIpv6(sysctls, await readHostState(edge), log);
  for (const { name, value } of families.includes(4) ? hostSysctls : []) {
    try {
      const before = await sysctls.read(name);
      if (before === value) continue;
      await sysctls.write(name, value);
      log.info({ sysctl: name, before, now: value }, 'set a sysctl that pods need');
    } catch (cause) {
      throw setupFailed(`cannot set ${name} to ${value}`, cause);
    }
  }
}

/**
 * A gateway is never picked as the source of anything but what names it (ADR 0003): IPv4 by its scope, IPv6 since it is
 * deprecated. Nothing on `lo` is looked for on a network first.
 */
const neverSource = (podCIDR: string) =>
  familyOf(podCIDR) === 4 ? ({ scope: 'link' } as const) : { deprecated: true, noDad: true };

function podRoutes(state: HostState, setup: HostSetup): HostState['routes'] {
  const pods = parseIpPrefix(setup.podCIDR);
  return state.routes.filter((route) => {
    const destination = parseIpPrefix(route.destination);
    // With a gateway it is one to pods of another node.
    const ours = route.protocol === keelsonRouteProtocol && route.type === 'unicast' && route.gateway === undefined;
    return ours && pods !== undefined && destination !== undefined && overlaps(pods, destination);
  });
}

async function applyOrThrow(edge: Rtnetlink, operations: readonly RtnetlinkOperation[]): Promise<void> {
  const failed = (await edge.apply(operations)).find((error) => error !== undefined);
  if (failed) throw setupFailed('cannot put the gateway address on lo', failed);
}

/** An address that is not there is answered with EADDRNOTAVAIL, a route with ESRCH. */
function isGone(error: unknown): boolean {
  return isNotFound(error) || (error instanceof KernelError && error.errnoName === 'EADDRNOTAVAIL');
}

function setupFailed(message: string, cause?: unknown): NetworkError {
  const why = cause === undefined ? '' : `: ${errorLine(cause)}`;
  return new NetworkError('NETWORK_HOST_SETUP_FAILED', `${message}${why}`, {
    object: 'pod network',
    fix: 'run Keelson as root with CAP_NET_ADMIN and a writable /proc/sys',
    cause,
  });
}
