/**
 * What the whole machine uses: CPU of the root cgroup, memory as eviction counts it, its network, PSI.
 * Layer: kubelet/stats (reads kernel files by way of HostFiles). Memory is node-measurements.ts' own arithmetic, so that
 * the summary, /metrics/resource and the eviction signal agree.
 */
import { parseMeminfo } from '../node/node-measurements.ts';
import type { CgroupMounts } from './cgroup-paths.ts';
import type { CgroupReader } from './cgroup-reader.ts';
import { type CgroupSample, type CpuSample, pressureOf, type SampleDepth } from './cgroup-sample.ts';
import type { HostFiles } from './host-files.ts';
import { type NetworkDevice, parseNetworkDevices } from './network-devices.ts';

export interface NodeUsage {
  readonly timeMs: number;
  /** When the machine started, from /proc/stat. */
  readonly bootMs: number | undefined;
  readonly cpu: CpuSample | undefined;
  readonly memory: NodeMemory | undefined;
  readonly pressure: CgroupSample['pressure'];
  readonly network: readonly NetworkDevice[];
}

export interface NodeMemory {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly workingSetBytes: number;
  readonly usageBytes: number;
  readonly rssBytes: number;
  readonly cacheBytes: number;
  readonly pageFaults: number | undefined;
  readonly majorPageFaults: number | undefined;
  readonly swapTotalBytes: number;
  readonly swapUsedBytes: number;
}

export function sampleNode(
  files: HostFiles,
  mounts: CgroupMounts,
  cgroups: CgroupReader,
  depth: SampleDepth,
  timeMs: number,
): NodeUsage {
  const stat = files.read('/proc/stat') ?? '';
  const boot = /^btime (\d+)$/m.exec(stat)?.[1];
  const network = files.read('/proc/self/net/dev');
  return {
    timeMs,
    bootMs: boot === undefined ? undefined : Number(boot) * 1000,
    cpu: cgroups.sample(mounts, '/', depth, timeMs)?.cpu ?? cpuOfStat(stat),
    memory: nodeMemory(files.read('/proc/meminfo'), files.read('/proc/vmstat')),
    pressure: depth === 'usage' ? {} : pressureOf((resource) => files.read(`/proc/pressure/${resource}`)),
    network: network === undefined ? [] : parseNetworkDevices(network),
  };
}

/** This process in the shape of a cgroup, for a daemon that has no cgroup of its own. */
export function ownProcess(timeMs: number): CgroupSample {
  const { userCPUTime, systemCPUTime, minorPageFault, majorPageFault } = process.resourceUsage();
  const rssBytes = process.memoryUsage.rss();
  return {
    timeMs,
    cpu: { usageNs: (userCPUTime + systemCPUTime) * 1000, userNs: userCPUTime * 1000, systemNs: systemCPUTime * 1000 },
    memory: {
      usageBytes: rssBytes,
      workingSetBytes: rssBytes,
      rssBytes,
      cacheBytes: undefined,
      mappedFileBytes: undefined,
      limitBytes: undefined,
      pageFaults: minorPageFault + majorPageFault,
      majorPageFaults: majorPageFault,
      swapBytes: undefined,
      swapLimitBytes: undefined,
    },
    pressure: {},
    processes: 1,
    details: undefined,
  };
}

/** All modes but idle and iowait; guest time is in user already (proc_stat(5)). */
export function cpuOfStat(stat: string): CpuSample | undefined {
  const match = /^cpu +(\d+) (\d+) (\d+) \d+ \d+ (\d+) (\d+) (\d+)/m.exec(stat);
  if (match === null) return undefined;
  const [user = 0, nice = 0, system = 0, irq = 0, softirq = 0, steal = 0] = match.slice(1).map(Number);
  const ns = (ticks: number): number => ticks * 10_000_000;
  const userNs = ns(user + nice);
  const systemNs = ns(system + irq + softirq + steal);
  return { usageNs: userNs + systemNs, userNs, systemNs };
}

function nodeMemory(meminfo: string | undefined, vmstat: string | undefined): NodeMemory | undefined {
  if (meminfo === undefined) return undefined;
  const { totalBytes, availableBytes, swapBytes } = parseMeminfo(meminfo);
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo)?.[1] ?? 0) * 1024;
  const count = (name: string): number | undefined => {
    const found = new RegExp(`^${name} (\\d+)$`, 'm').exec(vmstat ?? '')?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const workingSetBytes = totalBytes - availableBytes;
  return {
    totalBytes,
    availableBytes,
    workingSetBytes,
    usageBytes: workingSetBytes + bytes('Inactive\\(file\\)'),
    rssBytes: bytes('AnonPages'),
    cacheBytes: bytes('Cached'),
    pageFaults: count('pgfault'),
    majorPageFaults: count('pgmajfault'),
    swapTotalBytes: swapBytes,
    swapUsedBytes: Math.max(0, swapBytes - bytes('SwapFree')),
  };
}
