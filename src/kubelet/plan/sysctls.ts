/**
 * Which sysctls a pod may set: safe ones, those that the node's administrator allows, and none whose namespace the pod
 * shares with the node.
 * Layer: kubelet/plan (pure). Source: pkg/kubelet/sysctl/{allowlist,safe_sysctls}.go,
 * component-helpers/node/util/sysctl/namespace.go. The runtime may know still fewer as namespaced.
 */
import type { PodSpec } from '../../api/core.ts';

/** Those that a pod has to itself, and that cannot harm the node or its neighbours. */
const safeSysctls: ReadonlySet<string> = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
]);

const ipcNames = /^kernel\.(?:sem|shm(?:all|max|mni|_rmid_forced)?|msg(?:max|mnb|mni)?)$/;

/** The kernel's namespace of a sysctl, by its name with dots; undefined for one that is the whole machine's. */
export function sysctlNamespace(name: string): 'Net' | 'IPC' | undefined {
  if (name.startsWith('net.')) return 'Net';
  return ipcNames.test(name) || name.startsWith('fs.mqueue.') ? 'IPC' : undefined;
}

/**
 * With dots between the parts, whichever of `.` and `/` comes first separates them (sysctl.d(5)); in the other spelling
 * a dot is part of a name.
 */
export function normalSysctl(name: string): string {
  const [separator] = /[./]/.exec(name) ?? [];
  if (separator !== '/') return name;
  return name.replace(/[./]/g, (found) => (found === '/' ? '.' : '/'));
}

/** Why the pod's sysctls are not allowed; undefined when they are. */
export function sysctlFault(
  { securityContext, hostNetwork, hostIPC }: PodSpec,
  allowedUnsafe: readonly string[],
): string | undefined {
  for (const { name } of securityContext?.sysctls ?? []) {
    const sysctl = normalSysctl(name);
    if (!isAllowed(sysctl, allowedUnsafe)) return `forbidden sysctl: ${JSON.stringify(sysctl)} not allowlisted`;
    const namespace = sysctlNamespace(sysctl);
    if ((namespace === 'Net' && hostNetwork) || (namespace === 'IPC' && hostIPC)) {
      return `forbidden sysctl: ${JSON.stringify(sysctl)} not allowed with host ${namespace} enabled`;
    }
  }
  return undefined;
}

const isAllowed = (sysctl: string, allowedUnsafe: readonly string[]): boolean =>
  safeSysctls.has(sysctl) ||
  allowedUnsafe.map(normalSysctl).some((rule) => {
    const star = rule.indexOf('*');
    return star < 0 ? sysctl === rule : sysctl.startsWith(rule.slice(0, star));
  });
