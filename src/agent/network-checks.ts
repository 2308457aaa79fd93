/**
 * Doctor's checks of the network: are the pod addresses free, does the host forward what pods send.
 * Layer: agent (edge: reads the machine, changes nothing).
 */
import { readFile } from 'node:fs/promises';
import { hasErrorCode } from '../base/errors.ts';
import type { NetworkSettings } from '../config/flags-network.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { kernelSysctls } from '../kernel/sysctls.ts';
import type { Link } from '../linux/rtnetlink.ts';
import { refuseOverlap } from '../network/host-conflict.ts';
import { requireIpv6 } from '../network/host-ipv6.ts';
import { readHostState } from '../network/host-setup.ts';
import { Ipam } from '../network/ipam/ipam.ts';
import { planVxlanLink } from '../network/overlay/vxlan-link.ts';
import { type CheckResult, fail, failure, ok, warn } from './check-result.ts';

export async function checkPodCIDRs(podCIDRs: readonly string[]): Promise<CheckResult> {
  const name = 'pod CIDR';
  try {
    const rtnetlink = await kernelRtnetlink.open();
    try {
      const state = await readHostState(rtnetlink);
      for (const { family, cidr, gateway } of new Ipam(podCIDRs).families) {
        if (family === 6) await requireIpv6(kernelSysctls, cidr);
        refuseOverlap(cidr, gateway, state);
      }
    } finally {
      rtnetlink.close();
    }
    return ok(name, `${podCIDRs.join(' and ')} ${podCIDRs.length > 1 ? 'are' : 'is'} free on this machine`);
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

export interface ForwardingContext {
  /** The role that turns it on is Keelson's. */
  hasNetwork: boolean;
  daemonRuns: boolean;
  /** undefined: not known before the start. */
  podCIDRs: readonly string[] | undefined;
}

/** Without it the kernel drops whatever is not for the node itself. */
export async function checkForwarding(
  { hasNetwork, daemonRuns, podCIDRs = [] }: ForwardingContext,
  read: SysctlReader = readSysctl,
): Promise<CheckResult> {
  const name = 'ip_forward';
  const wanted = ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding'].filter(
    (sysctl) => sysctl.includes('ipv4') || podCIDRs.some((cidr) => cidr.includes(':')),
  );
  const off: string[] = [];
  for (const sysctl of wanted) if ((await read(sysctl)) !== '1') off.push(sysctl.replaceAll('/', '.'));
  if (off.length === 0) return ok(name, 'on');
  if (hasNetwork && !daemonRuns) return ok(name, 'off; Keelson turns it on');
  const fix = `run sysctl -w ${off.map((sysctl) => `${sysctl}=1`).join(' ')}, and look who turns it off (grep -r forward /etc/sysctl.d)`;
  return warn(
    name,
    `${off.join(', ')} off: nothing that pods send leaves the node, and no pod is reached from outside`,
    fix,
  );
}

/** What `rp_filter` of a link is in effect: the larger of its own and that of `all` (IN_DEV_RPFILTER). */
const rpFilterWords = ['off', 'strict', 'loose'] as const;

/** Trimmed; undefined where there is no such file. */
export type SysctlReader = (name: string) => Promise<string | undefined>;

/**
 * Strict filtering drops what comes in by another link than answers would leave by. Pods of this node and of a VXLAN are
 * always answered the way they came; plain routes between nodes are not, on a node with several links to them.
 * @param uplinks links that addresses of the host are on
 */
export async function checkReversePath(
  uplinks: readonly string[],
  hasPlainRoutes: boolean,
  read: SysctlReader = readSysctl,
): Promise<CheckResult> {
  const name = 'rp_filter';
  const all = Number((await read('net/ipv4/conf/all/rp_filter')) ?? 0);
  const strict: string[] = [];
  for (const link of uplinks) {
    const own = Number((await read(`net/ipv4/conf/${link}/rp_filter`)) ?? 0);
    if (Math.max(all, own) === 1) strict.push(link);
  }
  const said = `${rpFilterWords[all] ?? all} for all links, ${strict.length === 0 ? 'none' : strict.join(', ')} strict`;
  return hasPlainRoutes && uplinks.length > 1 && strict.length > 0
    ? warn(
        name,
        `${said}: packets of pods that come by another link than answers leave by are dropped`,
        'sysctl -w net.ipv4.conf.all.rp_filter=2',
      )
    : ok(name, said);
}

/** Pods hang on no bridge, so they need it neither way; bridges of others are another matter. */
export async function checkBridgeNetfilter(
  links: readonly Pick<Link, 'name' | 'kind'>[],
  read: SysctlReader = readSysctl,
): Promise<CheckResult> {
  const name = 'br_netfilter';
  const value = await read('net/bridge/bridge-nf-call-iptables');
  if (value === undefined) return ok(name, 'not there, and not needed: pods hang on no bridge');
  const bridges = links.filter(({ kind }) => kind === 'bridge').map((link) => link.name);
  return value === '1' && bridges.length > 0
    ? ok(name, `on: what passes ${bridges.join(', ')} inside passes the firewall, too; pods hang on no bridge`)
    : ok(name, `there, ${value === '1' ? 'on' : 'off'}; pods hang on no bridge`);
}

/** Both, for this machine. */
export async function checkHostSettings(hasPlainRoutes: boolean): Promise<CheckResult[]> {
  const rtnetlink = await kernelRtnetlink.open();
  try {
    const state = await readHostState(rtnetlink);
    const carrying = new Set(state.addresses.filter(({ scope }) => scope === 'global').map(({ ifindex }) => ifindex));
    const uplinks = state.links.filter(({ alias, ifindex }) => carrying.has(ifindex) && alias === undefined);
    return [
      await checkReversePath(
        uplinks.map((link) => link.name),
        hasPlainRoutes,
      ),
      await checkBridgeNetfilter(state.links),
    ];
  } finally {
    rtnetlink.close();
  }
}

const readSysctl: SysctlReader = async (name) => (await textOrNothing(`/proc/sys/${name}`)).trim() || undefined;
