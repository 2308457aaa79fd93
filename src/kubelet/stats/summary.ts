/**
 * Samples -> the answer of /stats/summary.
 * Layer: kubelet/stats (pure). Which figure goes where: pkg/kubelet/stats/{helper,cri_stats_provider}.go and
 * pkg/kubelet/server/stats/summary*.go. What was not measured is left out, never 0.
 */
import { timestamp } from '../status/container-status.ts';
import type { MemorySample, Psi } from './cgroup-sample.ts';
import type { DiskUsage } from './disk-usage.ts';
import type { DriverVolumeUsage } from './driver-volume-usage.ts';
import type { FilesystemUsage } from './host-files.ts';
import type { NetworkDevice } from './network-devices.ts';
import type { NodeUsage } from './node-usage.ts';
import type { LayerUsage, StorageSample } from './storage-sample.ts';
import type {
  ContainerStats,
  CpuStats,
  FsStats,
  InterfaceStats,
  IoStats,
  MemoryStats,
  NetworkStats,
  NodeStats,
  PodStats,
  PsiStats,
  Summary,
  SwapStats,
  VolumeStats,
} from './summary-types.ts';
import type { ContainerUsage, MeasuredCgroup, PodUsage, UsageSample } from './usage-sample.ts';
import type { VolumeUsage } from './volume-usage.ts';

export interface ProcessLimits {
  readonly maxPid: number;
  readonly running: number;
}

export interface UsageSummaryInput {
  readonly nodeName: string;
  /** When the daemon began to measure. */
  readonly startedMs: number;
  readonly usage: UsageSample;
}

export interface SummaryInput extends UsageSummaryInput {
  readonly storage: StorageSample;
  readonly limits: ProcessLimits | undefined;
}

/** The interface whose numbers stand beside the list; the name is the kubelet's own choice, for pods and for nodes. */
const defaultInterface = 'eth0';

/** `?only_cpu_and_memory=true`, and what /metrics/resource shows. */
export function usageSummary({ nodeName, startedMs, usage }: UsageSummaryInput): Summary {
  return {
    node: nodeStats(nodeName, startedMs, usage),
    pods: usage.pods.map((pod) => ({
      podRef: { name: pod.name, namespace: pod.namespace, uid: pod.uid },
      startTime: timestamp(pod.sandbox.createdAtMs),
      containers: pod.containers.map(containerUsage),
      ...podUsage(pod),
    })),
  };
}

export function summary({ nodeName, startedMs, usage, storage, limits }: SummaryInput): Summary {
  const { node } = usage;
  const time = timestamp(node.timeMs);
  const imageFs = storage.imageFs && layerStats(storage.imageFs, storage.timeMs);
  return {
    node: {
      ...nodeStats(nodeName, startedMs, usage),
      ...some('io', ioStats(node.pressure.io, time)),
      network: networkStats(node.network, time),
      ...some('fs', storage.nodeFs && filesystemStats(storage.nodeFs, storage.timeMs)),
      // With containerd the kubelet says the same of images and of containers.
      ...some('runtime', imageFs && { imageFs, containerFs: imageFs }),
      ...some('rlimit', limits && { time, maxpid: limits.maxPid, curproc: limits.running }),
    },
    pods: usage.pods.map((pod) => podStats(pod, time, storage)),
  };
}

function nodeStats(nodeName: string, startedMs: number, { node, nodeNanoCores, system }: UsageSample): NodeStats {
  const time = timestamp(node.timeMs);
  return {
    nodeName,
    systemContainers: system.map(({ name, measured }) => ({
      name,
      startTime: timestamp(name === 'kubelet' ? startedMs : (node.bootMs ?? startedMs)),
      ...cgroupStats(measured),
    })),
    startTime: timestamp(node.bootMs ?? startedMs),
    ...some('cpu', node.cpu && cpuStats(time, node.cpu.usageNs, nodeNanoCores, node.pressure.cpu)),
    ...some('memory', nodeMemory(node, time)),
    ...some('swap', nodeSwap(node, time)),
  };
}

function nodeMemory({ memory, pressure }: NodeUsage, time: string): MemoryStats | undefined {
  return (
    memory && {
      time,
      availableBytes: memory.availableBytes,
      usageBytes: memory.usageBytes,
      workingSetBytes: memory.workingSetBytes,
      rssBytes: memory.rssBytes,
      ...some('pageFaults', memory.pageFaults),
      ...some('majorPageFaults', memory.majorPageFaults),
      ...some('psi', psiStats(pressure.memory)),
    }
  );
}

function nodeSwap({ memory }: NodeUsage, time: string): SwapStats | undefined {
  if (memory === undefined) return undefined;
  const { swapTotalBytes, swapUsedBytes } = memory;
  return { time, swapAvailableBytes: swapTotalBytes - swapUsedBytes, swapUsageBytes: swapUsedBytes };
}

function podStats(pod: PodUsage, time: string, storage: StorageSample): PodStats {
  const volumes = [
    ...(storage.volumes.get(pod.uid) ?? []).map(volumeStats),
    ...(storage.driverVolumes.get(pod.uid) ?? []).map(driverVolumeStats),
  ];
  const containers = pod.containers.map((container) => ({
    ...containerUsage(container),
    ...containerStorage(container, storage),
  }));
  const counts = pod.containers.flatMap(({ measured }) => measured?.sample.processes ?? []);
  return {
    podRef: { name: pod.name, namespace: pod.namespace, uid: pod.uid },
    startTime: timestamp(pod.sandbox.createdAtMs),
    containers,
    ...podUsage(pod),
    ...some('network', pod.network && networkStats(pod.network, time)),
    ...(volumes.length > 0 ? { volume: volumes } : {}),
    ...some('ephemeral-storage', ephemeralStorage(pod, containers, storage)),
    ...(counts.length > 0 ? { process_stats: { process_count: counts.reduce((sum, count) => sum + count, 0) } } : {}),
  };
}

/** Of the pod's own cgroup; where it has none, the sum of its containers. */
function podUsage({ own, containers }: PodUsage): Pick<PodStats, 'cpu' | 'memory' | 'io' | 'swap'> {
  if (own !== undefined) return cgroupStats(own);
  const measured = containers.flatMap((container) => container.measured ?? []);
  const last = measured.at(-1);
  if (last === undefined) return {};
  const time = timestamp(last.sample.timeMs);
  const total = (read: (entry: MeasuredCgroup) => number | undefined): number =>
    measured.reduce((sum, entry) => sum + (read(entry) ?? 0), 0);
  const memory = (field: keyof MemorySample): number => total(({ sample }) => sample.memory?.[field]);
  const rated = measured.every(({ usageNanoCores }) => usageNanoCores !== undefined);
  const limited = measured.every(({ sample }) => sample.memory?.limitBytes !== undefined);
  return {
    cpu: {
      time,
      ...(rated ? { usageNanoCores: total(({ usageNanoCores }) => usageNanoCores) } : {}),
      usageCoreNanoSeconds: total(({ sample }) => sample.cpu?.usageNs),
    },
    memory: {
      time,
      ...(limited ? { availableBytes: Math.max(0, memory('limitBytes') - memory('workingSetBytes')) } : {}),
      usageBytes: memory('usageBytes'),
      workingSetBytes: memory('workingSetBytes'),
      rssBytes: memory('rssBytes'),
      pageFaults: memory('pageFaults'),
      majorPageFaults: memory('majorPageFaults'),
    },
    swap: { time, swapUsageBytes: memory('swapBytes') },
  };
}

function containerUsage({ record, measured }: ContainerUsage): ContainerStats {
  return {
    name: record.name,
    // Of the summary, the start is when the container was made.
    startTime: timestamp(record.createdAtMs),
    ...(measured === undefined ? {} : cgroupStats(measured)),
  };
}

function cgroupStats({
  sample,
  usageNanoCores,
}: MeasuredCgroup): Pick<ContainerStats, 'cpu' | 'memory' | 'io' | 'swap'> {
  const time = timestamp(sample.timeMs);
  const { cpu, memory, pressure } = sample;
  return {
    ...some('cpu', cpu && cpuStats(time, cpu.usageNs, usageNanoCores, pressure.cpu)),
    ...some('memory', memory && memoryStats(memory, time, pressure.memory)),
    ...some('io', ioStats(pressure.io, time)),
    ...some('swap', memory && swapStats(memory, time)),
  };
}

function cpuStats(time: string, usageNs: number, nanoCores: number | undefined, psi: Psi | undefined): CpuStats {
  return {
    time,
    ...some('usageNanoCores', nanoCores),
    usageCoreNanoSeconds: usageNs,
    ...some('psi', psiStats(psi)),
  };
}

function memoryStats(memory: MemorySample, time: string, psi: Psi | undefined): MemoryStats {
  const { limitBytes, workingSetBytes } = memory;
  return {
    time,
    ...(limitBytes === undefined ? {} : { availableBytes: Math.max(0, limitBytes - workingSetBytes) }),
    usageBytes: memory.usageBytes,
    workingSetBytes,
    ...some('rssBytes', memory.rssBytes),
    ...some('pageFaults', memory.pageFaults),
    ...some('majorPageFaults', memory.majorPageFaults),
    ...some('psi', psiStats(psi)),
  };
}

function swapStats({ swapBytes, swapLimitBytes }: MemorySample, time: string): SwapStats | undefined {
  if (swapBytes === undefined) return undefined;
  return {
    time,
    ...(swapLimitBytes === undefined ? {} : { swapAvailableBytes: Math.max(0, swapLimitBytes - swapBytes) }),
    swapUsageBytes: swapBytes,
  };
}

const ioStats = (psi: Psi | undefined, time: string): IoStats | undefined => {
  const stats = psiStats(psi);
  return stats && { time, psi: stats };
};

function psiStats(psi: Psi | undefined): PsiStats | undefined {
  if (psi === undefined) return undefined;
  const data = ({ totalNs, avg10, avg60, avg300 }: Psi['some']): PsiStats['some'] => ({
    total: totalNs,
    avg10,
    avg60,
    avg300,
  });
  return { full: data(psi.full), some: data(psi.some) };
}

function networkStats(devices: readonly NetworkDevice[], time: string): NetworkStats {
  const interfaces = devices.map(
    ({ name, receive, transmit }): InterfaceStats => ({
      name,
      rxBytes: receive.bytes,
      rxErrors: receive.errors,
      txBytes: transmit.bytes,
      txErrors: transmit.errors,
    }),
  );
  const chosen = interfaces.find(({ name }) => name === defaultInterface) ?? { name: '' };
  return { time, ...chosen, interfaces };
}

function containerStorage({ record }: ContainerUsage, storage: StorageSample): Pick<ContainerStats, 'rootfs' | 'logs'> {
  const layer = storage.layers.get(record.id);
  const logs = storage.logs.get(record.id);
  return {
    ...some('rootfs', layer && layerStats(layer, storage.timeMs)),
    ...some('logs', logs && storage.nodeFs && usedStats(storage.nodeFs, logs, storage.timeMs)),
  };
}

function ephemeralStorage(
  { uid }: PodUsage,
  containers: readonly ContainerStats[],
  { nodeFs, volumes, etcHosts, timeMs }: StorageSample,
): FsStats | undefined {
  if (nodeFs === undefined) return undefined;
  const parts: { usedBytes?: number; inodesUsed?: number }[] = containers.flatMap(({ rootfs, logs }) => [
    rootfs ?? {},
    logs ?? {},
  ]);
  for (const { used, ephemeral } of volumes.get(uid) ?? []) {
    if (ephemeral) parts.push({ usedBytes: used.usedBytes, inodesUsed: used.inodes });
  }
  const hosts = etcHosts.get(uid);
  if (hosts !== undefined) parts.push({ usedBytes: hosts.usedBytes, inodesUsed: hosts.inodes });
  return {
    ...filesystemRoom(nodeFs, timeMs),
    usedBytes: parts.reduce((sum, { usedBytes = 0 }) => sum + usedBytes, 0),
    inodesUsed: parts.reduce((sum, { inodesUsed = 0 }) => sum + inodesUsed, 0),
  };
}

const volumeStats = ({ name, filesystem, used, timeMs }: VolumeUsage): VolumeStats => ({
  ...usedStats(filesystem, used, timeMs),
  name,
});

const driverVolumeStats = ({ name, claim, timeMs, figures }: DriverVolumeUsage): VolumeStats => ({
  time: timestamp(timeMs),
  ...some('availableBytes', figures.availableBytes),
  ...some('capacityBytes', figures.capacityBytes),
  ...some('usedBytes', figures.usedBytes),
  ...some('inodesFree', figures.inodesFree),
  ...some('inodes', figures.inodes),
  ...some('inodesUsed', figures.inodesUsed),
  name,
  ...some('pvcRef', claim && { name: claim.name, namespace: claim.namespace }),
  ...some('volumeHealthStats', figures.abnormal === undefined ? undefined : { abnormal: figures.abnormal }),
});

const usedStats = (filesystem: FilesystemUsage, used: DiskUsage, timeMs: number): FsStats => ({
  ...filesystemRoom(filesystem, timeMs),
  usedBytes: used.usedBytes,
  inodesUsed: used.inodes,
});

const layerStats = ({ filesystem, usedBytes, inodes }: LayerUsage, timeMs: number): FsStats => ({
  ...(filesystem === undefined ? { time: timestamp(timeMs) } : filesystemRoom(filesystem, timeMs)),
  ...some('usedBytes', usedBytes),
  ...some('inodesUsed', inodes),
});

function filesystemStats(filesystem: FilesystemUsage, timeMs: number): FsStats {
  const { usedBytes, inodes, inodesFree } = filesystem;
  return { ...filesystemRoom(filesystem, timeMs), usedBytes, inodesUsed: inodes - inodesFree };
}

function filesystemRoom(
  { availableBytes, capacityBytes, inodes, inodesFree }: FilesystemUsage,
  timeMs: number,
): FsStats {
  return { time: timestamp(timeMs), availableBytes, capacityBytes, inodesFree, inodes };
}

/** A field that is left out when there is no value. */
function some<Name extends string, Value>(name: Name, value: Value | undefined): { [Key in Name]?: Value } {
  return value === undefined ? {} : ({ [name]: value } as { [Key in Name]: Value });
}
