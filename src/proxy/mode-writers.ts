/**
 * Makes the writer of the modes iptables and ipvs for one address family, with sockets of its own.
 * Layer: proxy (composition over injected openers). Must not decide the mode, nor run anything.
 */
import type { IpFamily } from '../api/service.ts';
import type { Clock } from '../base/clock.ts';
import type { Sysctls } from '../linux/host.ts';
import type { IptablesOpener } from '../linux/iptables.ts';
import type { Ipvs, IpvsOpener, IpvsTimeouts } from '../linux/ipvs/edge.ts';
import { isNotFound, isNotSupported } from '../linux/kernel-error.ts';
import type { Nfacct } from '../linux/nfacct.ts';
import type { Nftables } from '../linux/nftables/edge.ts';
import type { RtnetlinkOpener } from '../linux/rtnetlink.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { IptablesDataplane, type RuleCounts } from './iptables/iptables-dataplane.ts';
import { packetCounters } from './iptables/packet-counters.ts';
import { IpvsDataplane } from './ipvs/ipvs-dataplane.ts';
import { dummyLink } from './ipvs/options.ts';
import { ipvsTableRef } from './ipvs/rules.ts';
import type { NamedWriter } from './proxy.ts';
import { ProxyModeError } from './proxy-mode-error.ts';
import type { TrafficOptions } from './services/traffic-options.ts';

/** The fields of KubeProxyConfiguration that these modes have besides those of TrafficOptions. */
export interface ModeSettings extends TrafficOptions {
  mode: 'iptables' | 'ipvs';
  /** iptables.masqueradeBit, which kube-proxy's ipvs mode takes, too. */
  masqueradeBit: number;
  /** iptables.localhostNodePorts */
  localhostNodePorts: boolean;
  /** conntrack.tcpBeLiberal */
  tcpBeLiberal: boolean;
  /** ipvs.scheduler, empty: rr; the others have their field's name. */
  scheduler: string;
  excludeCIDRs: readonly string[];
  strictARP: boolean;
  timeouts: IpvsTimeouts;
}

export interface ModeEdges {
  iptables: IptablesOpener;
  /** Absent: rules do not count. */
  nfacct?: Nfacct;
  /** Told after each change of the iptables rules. */
  onRules?: ((family: IpFamily, counts: RuleCounts) => void) | undefined;
  ipvs: IpvsOpener;
  rtnetlink: RtnetlinkOpener;
  sysctls: Pick<Sysctls, 'read' | 'write'>;
  /** @throws KernelError */
  ensureDummyLink: (name: string) => Promise<void>;
  /** `uname -r` */
  kernelRelease: string;
  clock: Clock;
  log: Logger;
}

/**
 * @param nftables tells of changes by others, and keeps the rules beside IPVS; stays the caller's
 * @throws IptablesError, ProxyModeError, KernelError
 */
export async function openModeWriter(
  settings: ModeSettings,
  family: IpFamily,
  nftables: Nftables,
  edges: ModeEdges,
): Promise<NamedWriter> {
  const { mode, tcpBeLiberal, localhostNodePorts, scheduler, excludeCIDRs, strictARP, timeouts, ...traffic } = settings;
  const { sysctls, clock, log } = edges;
  if (mode === 'iptables') {
    const iptables = await edges.iptables.open(family);
    const countPackets = await canCount(edges);
    const options = { family, ...traffic, localhostNodePorts, dropInvalid: !tcpBeLiberal, countPackets };
    const onRules = (counts: RuleCounts): void => edges.onRules?.(family, counts);
    const writer = new IptablesDataplane({ iptables, nftables, sysctls, onRules, clock }, options);
    const name = family === 'IPv4' ? 'iptables' : 'ip6tables';
    return { writer, name, look: `${name}-save | grep KUBE-` };
  }
  const ipvs = await openIpvs(edges);
  try {
    const rtnetlink = await edges.rtnetlink.open();
    const release = (): void => {
      ipvs.close();
      rtnetlink.close();
    };
    const { ensureDummyLink, kernelRelease } = edges;
    const subscribe: ConstructorParameters<typeof IpvsDataplane>[0]['subscribe'] = (listener) =>
      edges.rtnetlink.subscribe(['link', family === 'IPv4' ? 'address4' : 'address6'], listener);
    const writer = new IpvsDataplane(
      { ipvs, rtnetlink, nftables, sysctls, ensureDummyLink, kernelRelease, subscribe, release, clock, log },
      { family, ...traffic, scheduler, excludeCIDRs, strictARP, timeouts },
    );
    const look = `ipvsadm -Ln, nft list table ${Object.values(ipvsTableRef(family)).join(' ')}`;
    return { writer, name: `ipvs ${family}`, look };
  } catch (error) {
    ipvs.close();
    throw error;
  }
}

/** As the counters are kube-proxy's, they are there for whoever comes after. */
async function canCount({ nfacct, log }: ModeEdges): Promise<boolean> {
  try {
    return (await nfacct?.ensure(Object.values(packetCounters))) ?? false;
  } catch (error) {
    log.warn({ error: errorLine(error) }, 'packets are not counted: no nfacct counters can be made');
    return false;
  }
}

/** Before anything is changed. @throws ProxyModeError, KernelError */
async function openIpvs(edges: ModeEdges): Promise<Ipvs> {
  const modules = 'load the modules ip_vs and dummy, or set mode: nftables in the KubeProxyConfiguration';
  let ipvs: Ipvs;
  try {
    ipvs = await edges.ipvs.open();
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new ProxyModeError('ipvs', 'the kernel has no IPVS (ip_vs)', modules, error);
  }
  try {
    await edges.ensureDummyLink(dummyLink);
    return ipvs;
  } catch (error) {
    ipvs.close();
    if (!isNotSupported(error)) throw error;
    throw new ProxyModeError('ipvs', 'the kernel has no links of type dummy', modules, error);
  }
}
