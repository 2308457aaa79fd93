/**
 * Requests and limits -> what the runtime writes into cgroups: CPU, memory, swap, huge pages, and the OOM score.
 * Rules: pkg/kubelet/kuberuntime/kuberuntime_container_linux.go, kuberuntime_sandbox_linux.go,
 * pkg/kubelet/cm/helpers_linux.go (MilliCPUToShares, MilliCPUToQuota); node-contract section 5.
 * Layer: kubelet/plan (pure): the node's facts are handed in (node/container-host.ts reads them).
 */
import type { Container, Pod, ResourceList } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { isCriticalPod } from './critical-pod.ts';
import { type Amounts, amountsOf, isHugePages, podAmounts, podLevel } from './pod-requests.ts';
import { oomScoreAdj, qosClass } from './qos.ts';
import { bytesOf, millicoresOf } from './resource-values.ts';

export { oomScoreAdj, qosClass };

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

/** Of the machine and its configuration; facts that are left out count as absent. */
export interface NodeResources {
  memoryBytes: number;
  /** KubeletConfiguration cpuCFSQuota. */
  enforceCpuQuota: boolean;
  cpuQuotaPeriodUs: number;
  /** cgroup v2 alone is mounted. */
  unifiedCgroups?: boolean;
  /** cgroups can limit swap here. */
  swapController?: boolean;
  swapBytes?: number;
  /** KubeletConfiguration memorySwap.swapBehavior. Default NoSwap. */
  swapBehavior?: 'NoSwap' | 'LimitedSwap';
  /** KubeletConfiguration singleProcessOOMKill: false ends all of a container with its first victim. Default false. */
  singleProcessOomKill?: boolean;
  /** Page sizes of the kernel as the runtime names them: `2MB`, `1GB`. */
  hugePageSizes?: readonly string[];
}

export function containerResources(
  pod: Pod,
  container: Container,
  node: NodeResources,
): cri.LinuxContainerResourcesInput {
  const { requests = {}, limits = {} } = container.resources ?? {};
  // What the container does not limit, the pod as a whole may.
  const ofPod = Object.fromEntries(podLevel(pod.spec, 'limits'));
  const memoryLimit = bytes(limits, 'memory') || bytes(ofPod, 'memory');
  const cpuLimit = milliCores(limits) || milliCores(ofPod);
  const base = linuxResources({
    // A limit without a request is the request as well; an explicit 0 stays 0.
    cpuRequest: requests.cpu === undefined ? cpuLimit : milliCores(requests),
    cpuLimit,
    memoryLimit,
    node,
  });
  const unified = { ...base.unified, ...swapOnV2(pod, container, node) };
  return {
    ...base,
    oomScoreAdj: oomScoreAdj(pod, container, node.memoryBytes),
    hugepageLimits: hugepageLimits({ ...ofPod, ...limits }, node.hugePageSizes ?? []),
    // Memory and swap together: no swap beyond the memory limit.
    ...(node.swapController && !node.unifiedCgroups ? { memorySwapLimitInBytes: memoryLimit } : {}),
    ...(Object.keys(unified).length > 0 ? { unified } : {}),
  };
}

/** What the pod's containers have together, and what the sandbox costs beside them: for runtimes that size a machine by it. */
export function sandboxResources(
  pod: Pod,
  node: NodeResources,
): Required<Pick<cri.LinuxPodSandboxConfigInput, 'resources' | 'overhead'>> {
  const [requests, limits] = [podAmounts(pod, 'requests'), podAmounts(pod, 'limits')];
  const cpuLimit = milliCoresOf(limits);
  const overhead = amountsOf(pod.spec.overhead);
  return {
    resources: linuxResources({
      cpuRequest: requests.has('cpu') ? milliCoresOf(requests) : cpuLimit,
      cpuLimit,
      memoryLimit: wholeBytes(limits),
      node,
    }),
    overhead:
      pod.spec.overhead === undefined
        ? {}
        : linuxResources({
            cpuRequest: milliCoresOf(overhead),
            cpuLimit: milliCoresOf(overhead),
            memoryLimit: wholeBytes(overhead),
            node,
          }),
  };
}

function linuxResources(wish: {
  cpuRequest: number;
  cpuLimit: number;
  memoryLimit: number;
  node: NodeResources;
}): cri.LinuxContainerResourcesInput {
  const { node } = wish;
  const quotaUs = node.enforceCpuQuota ? cpuQuota(wish.cpuLimit, node.cpuQuotaPeriodUs) : 0;
  return {
    cpuShares: cpuShares(wish.cpuRequest),
    cpuPeriod: quotaUs === 0 ? 0 : node.cpuQuotaPeriodUs,
    cpuQuota: quotaUs,
    memoryLimitInBytes: wish.memoryLimit,
    ...(node.unifiedCgroups && !node.singleProcessOomKill ? { unified: { 'memory.oom.group': '1' } } : {}),
  };
}

/** `memory.swap.max`; nothing where swap cannot be limited, or by cgroup v1. */
function swapOnV2(pod: Pod, container: Container, node: NodeResources): Record<string, string> {
  if (!node.swapController || !node.unifiedCgroups) return {};
  return { 'memory.swap.max': String(swapLimit(pod, container, node)) };
}

/** A Burstable container's part of the swap is its request's part of the memory. */
function swapLimit(pod: Pod, container: Container, node: NodeResources): number {
  if (!mayUseSwap(pod, container, node)) return 0;
  const request = bytes(container.resources?.requests ?? {}, 'memory');
  return Math.floor((request / node.memoryBytes) * (node.swapBytes ?? 0));
}

function mayUseSwap(pod: Pod, container: Container, node: NodeResources): boolean {
  if (node.swapBehavior !== 'LimitedSwap' || isCriticalPod(pod) || qosClass(pod) !== 'Burstable') return false;
  const request = bytes(container.resources?.requests ?? {}, 'memory');
  const limit = bytes(container.resources?.limits ?? {}, 'memory');
  return request !== limit && request <= node.memoryBytes;
}

/** Whether the container may swap here. Source: GetContainerSwapBehavior in kuberuntime_container_linux.go. */
export const canSwap = (pod: Pod, container: Container, node: NodeResources): boolean =>
  (node.swapController ?? false) && (node.unifiedCgroups ?? false) && mayUseSwap(pod, container, node);

/** One limit for each page size that the kernel has, 0 where nothing is asked for. */
function hugepageLimits(limits: ResourceList, pageSizes: readonly string[]): cri.HugepageLimitInput[] {
  const wanted = new Map(
    Object.entries(limits)
      .filter(([name]) => isHugePages(name))
      .map(([name, amount]) => [pageSizeName(bytesOf(name.slice('hugepages-'.length))), bytesOf(amount)]),
  );
  return pageSizes.map((pageSize) => ({ pageSize, limit: wanted.get(pageSize) ?? 0 }));
}

const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** `2MB` for 2097152, as runc names a page size (HugePageUnitSizeFromByteSize). */
export function pageSizeName(size: number): string {
  let [amount, unit] = [size, 0];
  while (amount >= 1024 && amount % 1024 === 0 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${amount}${units[unit] ?? ''}`;
}

const milliCores = (list: ResourceList): number => (list.cpu === undefined ? 0 : millicoresOf(list.cpu));
const bytes = (list: ResourceList, name: string): number => {
  const value = list[name];
  return value === undefined ? 0 : bytesOf(value);
};
const milliCoresOf = (amounts: Amounts): number => Number(((amounts.get('cpu') ?? 0n) + 999_999n) / 1_000_000n);
const wholeBytes = (amounts: Amounts): number =>
  Number(((amounts.get('memory') ?? 0n) + 999_999_999n) / 1_000_000_000n);
