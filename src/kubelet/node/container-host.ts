/**
 * What the machine's kernel offers to containers: cgroup version, swap accounting, huge pages, AppArmor, files to hide.
 * Read once: none of it changes before a reboot, or the kubelet does not look again either.
 * Layer: kubelet/node (through an injected reader). Source: checkSwapControllerAvailability in pkg/kubelet/kuberuntime,
 * HugePageSizes in opencontainers/cgroups, third_party/forked/libcontainer/apparmor, pkg/securitycontext/util.go.
 */
import { pageSizeName } from '../plan/resources.ts';
import type { HostReader } from './node-measurements.ts';

export interface ContainerHost {
  /** cgroup v2 alone is mounted. */
  readonly unifiedCgroups: boolean;
  readonly swapController: boolean;
  readonly swapBytes: number;
  /** As runtimes name them: `2MB`. */
  readonly hugePageSizes: readonly string[];
  /** `/sys/devices/system/cpu/cpu0/thermal_throttle` and so on. */
  readonly thermalThrottlePaths: readonly string[];
  readonly appArmor: boolean;
}

/** Never rejects: what cannot be read is not there. */
export async function readContainerHost(host: Pick<HostReader, 'readText' | 'names'>): Promise<ContainerHost> {
  const text = (path: string): Promise<string | undefined> => host.readText(path).catch(() => undefined);
  const names = (directory: string): Promise<string[]> => host.names(directory).catch(() => []);
  const cpus = (await names('/sys/devices/system/cpu')).filter((name) => /^cpu\d+$/.test(name));
  const throttles = await Promise.all(
    cpus.map(async (cpu) => {
      const directory = `/sys/devices/system/cpu/${cpu}`;
      return (await names(directory)).includes('thermal_throttle') ? [`${directory}/thermal_throttle`] : [];
    }),
  );
  const unifiedCgroups = (await text('/sys/fs/cgroup/cgroup.controllers')) !== undefined;
  return {
    unifiedCgroups,
    swapController: (await text(await swapLimitFile(unifiedCgroups, text))) !== undefined,
    swapBytes: 1024 * Number(/^SwapTotal:\s+(\d+) kB$/m.exec((await text('/proc/meminfo')) ?? '')?.[1] ?? 0),
    hugePageSizes: (await names('/sys/kernel/mm/hugepages')).flatMap((name) => {
      const kibibytes = /^hugepages-(\d+)kB$/.exec(name)?.[1];
      return kibibytes === undefined ? [] : [pageSizeName(Number(kibibytes) * 1024)];
    }),
    thermalThrottlePaths: throttles.flat(),
    appArmor: ((await text('/sys/module/apparmor/parameters/enabled')) ?? '').startsWith('Y'),
  };
}

/** The root of cgroup v2 has no limits, so the daemon's own cgroup is looked at. */
async function swapLimitFile(unified: boolean, text: (path: string) => Promise<string | undefined>): Promise<string> {
  if (!unified) return '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes';
  const own = /^0::(\/.*)$/m.exec((await text('/proc/self/cgroup')) ?? '')?.[1] ?? '/';
  return `/sys/fs/cgroup${own === '/' ? '' : own}/memory.swap.max`;
}
