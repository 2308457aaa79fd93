/**
 * The modes iptables and ipvs of the proxy role on this machine's kernel, and what each mode leaves behind.
 * Layer: agent (composition). Decides nothing about Services; nftables needs nothing from here.
 */
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import type { IpFamily } from '../api/service.ts';
import { systemClock } from '../base/clock.ts';
import { hasErrorCode } from '../base/errors.ts';
import type { KubeProxyConfig } from '../config/kube-proxy-configuration.ts';
import { kernelIpset } from '../kernel/ipset.ts';
import { kernelIptables } from '../kernel/iptables.ts';
import { ensureDummyLink, kernelIpvs } from '../kernel/ipvs.ts';
import { kernelNfacct } from '../kernel/nfacct.ts';
import { kernelNftables } from '../kernel/nftables.ts';
import { kernelRtnetlink } from '../kernel/rtnetlink.ts';
import { kernelSysctls } from '../kernel/sysctls.ts';
import type { Iptables, IptablesOpener } from '../linux/iptables.ts';
import type { Logger } from '../observe/logger.ts';
import type { CleanedUp } from '../proxy/cleanup.ts';
import { cleanupOtherModes, type ProxyMode } from '../proxy/mode-cleanup.ts';
import { type ModeEdges, openModeWriter } from '../proxy/mode-writers.ts';
import type { ProxyEdges } from '../proxy/proxy.ts';
import { disjointPrefixes } from '../proxy/services/prefixes.ts';
import type { TrafficOptions } from '../proxy/services/traffic-options.ts';

/** The variant of iptables that a writer took: what is asked later may find another one. */
const takenBackends = new Map<IpFamily, Iptables['backend']>();
const rememberedIptables: IptablesOpener = {
  inUse: kernelIptables.inUse,
  async open(family, netnsPath) {
    const iptables = await kernelIptables.open(family, netnsPath);
    takenBackends.set(family, iptables.backend);
    return iptables;
  },
};

/** The writer that the configuration asks for; undefined: the role's own, nftables. */
export function modeDataplane(
  config: KubeProxyConfig,
  traffic: TrafficOptions,
  { onRules, log }: { onRules: ModeEdges['onRules']; log: Logger },
): ProxyEdges['dataplane'] {
  const { mode, masqueradeBit, localhostNodePorts, ipvs, conntrack } = config;
  if (mode === 'nftables') return undefined;
  const settings = {
    ...traffic,
    mode,
    masqueradeBit,
    localhostNodePorts,
    tcpBeLiberal: conntrack.tcpBeLiberal,
    scheduler: ipvs.scheduler ?? '',
    excludeCIDRs: disjointPrefixes(ipvs.excludeCIDRs),
    strictARP: ipvs.strictARP,
    timeouts: {
      tcp: seconds(ipvs.tcpTimeoutMs),
      tcpFin: seconds(ipvs.tcpFinTimeoutMs),
      udp: seconds(ipvs.udpTimeoutMs),
    },
  };
  const edges = {
    iptables: rememberedIptables,
    nfacct: kernelNfacct,
    onRules,
    ipvs: kernelIpvs,
    rtnetlink: kernelRtnetlink,
    sysctls: kernelSysctls,
    ensureDummyLink,
    kernelRelease: release(),
    clock: systemClock,
    log: log.child({ component: 'proxy' }),
  };
  return (family, nftables) => openModeWriter(settings, family, nftables, edges);
}

/** What modes other than `mode` left on this machine, kube-proxy's traces included; undefined: all modes. */
export const cleanupModes = (mode: ProxyMode | undefined, excludeCIDRs: readonly string[] = []): Promise<CleanedUp> =>
  cleanupOtherModes(
    mode,
    {
      nftables: kernelNftables,
      iptables: kernelIptables,
      ipvs: kernelIpvs,
      ipset: kernelIpset,
      rtnetlink: kernelRtnetlink,
      nfacct: kernelNfacct,
      ownBackend: (family) => takenBackends.get(family),
      hasLegacyTables,
    },
    disjointPrefixes(excludeCIDRs),
  );

/** The kernel's own list of this namespace; without the legacy modules there is none. */
async function hasLegacyTables(family: IpFamily): Promise<boolean> {
  try {
    return (await readFile(`/proc/self/net/${family === 'IPv4' ? 'ip' : 'ip6'}_tables_names`, 'utf8')).trim() !== '';
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return false;
    throw error;
  }
}

const seconds = (ms: number): number => Math.round(ms / 1000);
