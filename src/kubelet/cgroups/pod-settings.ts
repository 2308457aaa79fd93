/**
 * Pod -> the settings of its cgroup: weight from what it requests, limits where every container or the pod itself has one.
 * Layer: kubelet/cgroups (pure). Source: ResourceConfigForPod in pkg/kubelet/cm/helpers_linux.go; node-contract section 6.
 */
import type { Pod } from '../../api/core.ts';
import { type Amounts, isHugePages, podLevel, podLimits, podRequests } from '../plan/pod-requests.ts';
import { qosClass } from '../plan/qos.ts';
import { bytesOf } from '../plan/resource-values.ts';
import { cpuQuota, cpuShares, pageSizeName } from '../plan/resources.ts';
import { type CgroupSettings, cpuWeight, defaultPeriodUs, type Limit } from './cgroup-settings.ts';

export interface PodSettingsContext {
  /** KubeletConfiguration cpuCFSQuota. */
  readonly enforceCpuQuota: boolean;
  readonly cpuQuotaPeriodUs: number;
  /** KubeletConfiguration podPidsLimit; 0 or less: none. */
  readonly podPidsLimit: number;
  /** Page sizes of the kernel: `2MB`. */
  readonly hugePageSizes: readonly string[];
}

export function podSettings(pod: Pod, context: PodSettingsContext): CgroupSettings {
  const qos = qosClass(pod);
  const [requests, limits] = [podRequests(pod), podLimits(pod)];
  const { podPidsLimit } = context;
  return {
    cpuWeight: cpuWeight(cpuShares(qos === 'BestEffort' ? 0 : milliCores(requests))),
    cpuMax:
      qos !== 'BestEffort' && (qos === 'Guaranteed' || isLimited(pod, 'cpu'))
        ? podCpuMax(milliCores(limits), context)
        : { quotaUs: 'max', periodUs: defaultPeriodUs },
    memoryMax: qos !== 'BestEffort' && (qos === 'Guaranteed' || isLimited(pod, 'memory')) ? bytes(limits) : 'max',
    pidsMax: podPidsLimit > 0 ? podPidsLimit : 'max',
    hugetlbMax: hugetlbMax(requests, context.hugePageSizes),
  };
}

/** What a Burstable pod adds to the weight of its class, in thousandths of a core; 0 for others. */
export const burstableMilliCores = (pod: Pod): number =>
  qosClass(pod) === 'Burstable' ? milliCores(podRequests(pod)) : 0;

function podCpuMax(limit: number, { enforceCpuQuota, cpuQuotaPeriodUs }: PodSettingsContext) {
  const quotaUs = enforceCpuQuota ? cpuQuota(limit, cpuQuotaPeriodUs) : 0;
  return { quotaUs: quotaUs === 0 ? ('max' as const) : quotaUs, periodUs: cpuQuotaPeriodUs };
}

/** Whether what all containers have together is a limit: each has one, also those that run before the others, or the pod. */
function isLimited({ spec }: Pod, name: 'cpu' | 'memory'): boolean {
  if (podLevel(spec, 'limits').some(([own, text]) => own === name && bytesOf(text) > 0)) return true;
  return [...spec.containers, ...(spec.initContainers ?? [])].every(
    ({ resources }) => bytesOf(resources?.limits?.[name] ?? '0') > 0,
  );
}

/** One limit for each page size of the kernel: 0 where nothing is asked for. */
function hugetlbMax(requests: Amounts, pageSizes: readonly string[]): Map<string, Limit> {
  const wanted = new Map<string, Limit>();
  for (const [name, nanos] of requests) {
    if (isHugePages(name))
      wanted.set(pageSizeName(bytesOf(name.slice('hugepages-'.length))), units(nanos, 1_000_000_000n));
  }
  return new Map(pageSizes.map((size) => [size, wanted.get(size) ?? 0]));
}

const milliCores = (amounts: Amounts): number => units(amounts.get('cpu') ?? 0n, 1_000_000n);
const bytes = (amounts: Amounts): number => units(amounts.get('memory') ?? 0n, 1_000_000_000n);
/** Rounded up, as Quantity.Value() does. */
const units = (nanos: bigint, unit: bigint): number => Number((nanos + unit - 1n) / unit);
