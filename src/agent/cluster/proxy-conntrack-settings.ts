/**
 * The conntrack section of a KubeProxyConfiguration as sysctls. Only what the file says is written: the machine belongs to
 * others, too.
 * Layer: agent/cluster. Source: cmd/kube-proxy/app/server_linux.go (setupConntrack, getConntrackMax).
 */
import type { ConntrackSettings } from '../../config/kube-proxy-configuration.ts';
import type { Sysctls } from '../../linux/host.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';

export interface ConntrackSysctl {
  name: string;
  value: number;
  /** A greater value of the machine stays. */
  atLeast: boolean;
}

const directory = 'net/netfilter/nf_conntrack_';
const seconds = (ms: number): number => Math.ceil(ms / 1000);

export function conntrackSysctls(settings: ConntrackSettings, cores: number): ConntrackSysctl[] {
  const { maxPerCore, min, tcpBeLiberal } = settings;
  const max = maxPerCore === undefined || maxPerCore === 0 ? 0 : Math.max(min, maxPerCore * cores);
  const wanted: [string, number][] = [
    ['tcp_timeout_established', seconds(settings.tcpEstablishedTimeoutMs ?? 0)],
    ['tcp_timeout_close_wait', seconds(settings.tcpCloseWaitTimeoutMs ?? 0)],
    ['tcp_be_liberal', tcpBeLiberal ? 1 : 0],
    ['udp_timeout', seconds(settings.udpTimeoutMs)],
    ['udp_timeout_stream', seconds(settings.udpStreamTimeoutMs)],
  ];
  return [
    ...(max > 0 ? [{ name: `${directory}max`, value: max, atLeast: true }] : []),
    ...wanted.flatMap(([name, value]) => (value > 0 ? [{ name: directory + name, value, atLeast: false }] : [])),
  ];
}

/** A refusal is told and changes nothing else: Services work with any of these. */
export async function applyConntrackSettings(
  settings: ConntrackSettings,
  { cores, sysctls, log }: { cores: number; sysctls: Pick<Sysctls, 'read' | 'write'>; log: Logger },
): Promise<void> {
  for (const { name, value, atLeast } of conntrackSysctls(settings, cores)) {
    try {
      const now = Number(await sysctls.read(name));
      if (now === value || (atLeast && now > value)) continue;
      await sysctls.write(name, String(value));
      log.info({ sysctl: name, before: now, value }, 'conntrack setting written');
    } catch (error) {
      const fix = 'set it by sysctl.d, or leave it out of the conntrack section of the KubeProxyConfiguration';
      log.warn({ sysctl: name, value, error: errorLine(error), fix }, 'a conntrack setting cannot be written');
    }
  }
}
