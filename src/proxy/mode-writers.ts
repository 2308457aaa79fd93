/**
 * Makes the writer of the modes iptables and ipvs for one address family, with sockets of its own.
 * Layer: proxy (composition over injected openers). Must not decide the mode, nor run anything.
 */
import type { IpFamily } from '../api/service.ts';
import type { Clock } from '../base/clock.ts';
import type { Sysctls } from '../linux/host.ts';
import type { IptablesOpener } from '../linux/iptables.ts';
import type { IpvsOpener, IpvsTimeouts } from '../linux/ipvs/edge.ts';
import type { Nftables } from '../linux/nftables/edge.ts';
import type { RtnetlinkOpener } from '../linux/rtnetlink.ts';
import type { Logger } from '../observe/logger.ts';
import type { DataplaneWriter } from './dataplane-writer.ts';
import { IptablesDataplane } from './iptables/iptables-dataplane.ts';
import { IpvsDataplane } from './ipvs/ipvs-dataplane.ts';
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
 * @throws IptablesError, KernelError (isNotFound: the kernel has no IPVS)
 */
export async function openModeWriter(
  settings: ModeSettings,
  family: IpFamily,
  nftables: Nftables,
  edges: ModeEdges,
): Promise<{ writer: DataplaneWriter; name: string }> {
  const { mode, tcpBeLiberal, localhostNodePorts, scheduler, excludeCIDRs, strictARP, timeouts, ...traffic } = settings;
  const { sysctls, clock, log } = edges;
  if (mode === 'iptables') {
    const iptables = await edges.iptables.open(family);
    const options = { family, ...traffic, localhostNodePorts, dropInvalid: !tcpBeLiberal };
    const writer = new IptablesDataplane({ iptables, nftables, sysctls, clock }, options);
    return { writer, name: family === 'IPv4' ? 'iptables' : 'ip6tables' };
  }
  const ipvs = await edges.ipvs.open();
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
    return { writer, name: `ipvs ${family}` };
  } catch (error) {
    ipvs.close();
    throw error;
  }
}
