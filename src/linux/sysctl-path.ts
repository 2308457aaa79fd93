/**
 * Names of sysctls to paths below /proc/sys, as sysctl(8) reads them.
 * Layer: linux (pure). Does not know which sysctls exist or are allowed.
 */
import { KeelsonError } from '../observe/keelson-error.ts';

export class SysctlNameError extends KeelsonError {
  constructor(name: string, reason: string) {
    super('SYSCTL_NAME_INVALID', reason, { object: `sysctl ${JSON.stringify(name.slice(0, 120))}` });
  }
}

/**
 * `net.ipv4.ip_forward` and `net/ipv4/ip_forward` both give `net/ipv4/ip_forward`. In a name whose first separator is a
 * dot, slashes stand for dots: `net.ipv4.conf.eth0/100.forwarding` is about the link `eth0.100`.
 * @throws SysctlNameError for an empty part, `.` or `..`, or characters that no sysctl has
 */
export function sysctlPath(name: string): string {
  const dotted = (/[./]/.exec(name)?.[0] ?? '/') === '.';
  const path = dotted ? name.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.')) : name;
  const parts = path.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..' || !/^[\w.:@%+-]+$/.test(part))) {
    throw new SysctlNameError(name, 'not the name of a sysctl');
  }
  return path;
}

/** As sysctlPath, for what a network namespace has of its own. @throws SysctlNameError */
export function netSysctlPath(name: string): string {
  const path = sysctlPath(name);
  if (!path.startsWith('net/')) throw new SysctlNameError(name, 'only net.* belongs to a network namespace');
  return path;
}
