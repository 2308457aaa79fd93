/**
 * Sysctls that a node of Kubernetes has: set, or with protectKernelDefaults only compared.
 * Layer: kubelet/cgroups (through an injected edge). Source: setupKernelTunables in
 * pkg/kubelet/cm/container_manager_linux.go.
 */
import type { Sysctls } from '../../linux/host.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { CgroupError } from './cgroup-error.ts';

/** No allocation is refused for want of memory that is only promised; a kernel that is broken restarts after 10 s. */
const settings: readonly (readonly [name: string, value: string])[] = [
  ['vm.overcommit_memory', '1'],
  ['vm.panic_on_oom', '0'],
  ['kernel.panic', '10'],
  ['kernel.panic_on_oops', '1'],
  ['kernel.keys.root_maxkeys', '1000000'],
  ['kernel.keys.root_maxbytes', '25000000'],
];

/**
 * @param protect KubeletConfiguration protectKernelDefaults
 * @throws CgroupError KERNEL_SETTINGS with `protect`, when one differs. Without, what cannot be set is reported.
 */
export async function ensureKernelSettings(
  sysctls: Pick<Sysctls, 'read' | 'write'>,
  protect: boolean,
  log: Logger,
): Promise<void> {
  const wrong: string[] = [];
  const wanted: string[] = [];
  for (const [name, value] of settings) {
    try {
      const actual = await sysctls.read(name);
      if (actual === value) continue;
      wrong.push(`${name} is ${actual}, not ${value}`);
      wanted.push(`${name}=${value}`);
      if (protect) continue;
      await sysctls.write(name, value);
      log.info({ sysctl: name, before: actual, now: value }, 'kernel setting changed for pods');
    } catch (error) {
      if (protect) throw error;
      log.warn({ sysctl: name, wanted: value, error: errorLine(error) }, 'a kernel setting cannot be changed for pods');
    }
  }
  if (!protect || wrong.length === 0) return;
  throw new CgroupError('KERNEL_SETTINGS', `${wrong.join('; ')}, and protectKernelDefaults is true`, {
    object: 'node',
    fix: `run sysctl -w ${wanted.join(' ')}, or set protectKernelDefaults: false`,
  });
}
