/**
 * CPU, memory and OOM arithmetic: resource requests and limits -> cgroup values.
 * Rules: pkg/kubelet/cm/helpers_linux.go (MilliCPUToShares, MilliCPUToQuota), pkg/kubelet/qos/policy.go,
 * pkg/apis/core/v1/helper/qos/qos.go; node-contract section 5.
 * Layer: kubelet/plan (pure).
 */
import type { Container, Pod, QosClass, ResourceList } from '../../api/core.ts';
import { bytesOf, millicoresOf } from './resource-values.ts';

const minShares = 2;
const maxShares = 262_144;
const minQuotaUs = 1000;

/** cpu.shares for a request in millicores. */
export function cpuShares(milliCores: number): number {
  if (milliCores === 0) return minShares;
  return Math.min(Math.max(Math.floor((milliCores * 1024) / 1000), minShares), maxShares);
}

/** cfs quota in microseconds for a limit in millicores; 0 means no limit. */
export function cpuQuota(milliCores: number, periodUs: number): number {
  if (milliCores === 0) return 0;
  return Math.max(Math.floor((milliCores * periodUs) / 1000), minQuotaUs);
}

export interface ContainerResources {
  cpuShares: number;
  cpuPeriodUs: number;
  cpuQuotaUs: number;
  /** 0 means no limit. */
  memoryLimitBytes: number;
  oomScoreAdj: number;
}

export interface NodeResources {
  memoryBytes: number;
  /** KubeletConfiguration cpuCFSQuota. */
  enforceCpuQuota: boolean;
  cpuQuotaPeriodUs: number;
}

export function containerResources(pod: Pod, container: Container, node: NodeResources): ContainerResources {
  const requests = container.resources?.requests ?? {};
  const limits = container.resources?.limits ?? {};
  const cpuLimit = milliCores(limits);
  // A limit without a request is the request as well; an explicit 0 stays 0.
  const cpuRequest = requests.cpu === undefined ? cpuLimit : milliCores(requests);
  return {
    cpuShares: cpuShares(cpuRequest),
    cpuPeriodUs: node.cpuQuotaPeriodUs,
    cpuQuotaUs: node.enforceCpuQuota ? cpuQuota(cpuLimit, node.cpuQuotaPeriodUs) : 0,
    memoryLimitBytes: bytes(limits, 'memory'),
    oomScoreAdj: oomScoreAdj(pod, container, node.memoryBytes),
  };
}

/** @param nodeMemoryBytes capacity of the node */
export function oomScoreAdj(pod: Pod, container: Container, nodeMemoryBytes: number): number {
  // Admission gives this class to critical pods only, and static pods are critical whatever their priority.
  if (pod.spec.priorityClassName === 'system-node-critical') return -997;
  switch (qosClass(pod)) {
    case 'Guaranteed':
      return -997;
    case 'BestEffort':
      return 1000;
    case 'Burstable': {
      const request = bytes(container.resources?.requests ?? {}, 'memory');
      const score = 1000 - Math.floor((1000 * request) / nodeMemoryBytes);
      return Math.min(Math.max(score, 3), 999);
    }
  }
}

export function qosClass(pod: Pod): QosClass {
  let guaranteed = true;
  let any = false;
  for (const container of pod.spec.containers) {
    const requests = container.resources?.requests ?? {};
    const limits = container.resources?.limits ?? {};
    for (const name of ['cpu', 'memory'] as const) {
      const read = name === 'cpu' ? milliCores : memory;
      const limit = read(limits);
      const request = requests[name] === undefined ? limit : read(requests);
      if (request > 0 || limit > 0) any = true;
      if (limit === 0 || request !== limit) guaranteed = false;
    }
  }
  if (!any) return 'BestEffort';
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

const milliCores = (list: ResourceList): number => (list.cpu === undefined ? 0 : millicoresOf(list.cpu));
const bytes = (list: ResourceList, name: string): number => {
  const value = list[name];
  return value === undefined ? 0 : bytesOf(value);
};
const memory = (list: ResourceList): number => bytes(list, 'memory');
