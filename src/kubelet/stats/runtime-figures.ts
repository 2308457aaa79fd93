/**
 * The container runtime's own figures of a container, for one whose process it does not name (a container in a VM).
 * Layer: kubelet/stats (pure).
 */
import type * as cri from '../../cri/messages.generated.ts';
import type { CgroupSample } from './cgroup-sample.ts';

/** CRI's figures in the shape of a cgroup's. */
export function runtimeSample({ cpu, memory, swap }: cri.ContainerStats, nowMs: number): CgroupSample {
  const usageNs = cpu?.usageCoreNanoSeconds?.value;
  const workingSetBytes = memory?.workingSetBytes?.value;
  return {
    timeMs: nowMs,
    cpu: usageNs === undefined ? undefined : { usageNs, userNs: undefined, systemNs: undefined },
    memory:
      workingSetBytes === undefined
        ? undefined
        : {
            usageBytes: memory?.usageBytes?.value ?? workingSetBytes,
            workingSetBytes,
            rssBytes: memory?.rssBytes?.value,
            cacheBytes: undefined,
            mappedFileBytes: undefined,
            limitBytes: undefined,
            pageFaults: memory?.pageFaults?.value,
            majorPageFaults: memory?.majorPageFaults?.value,
            swapBytes: swap?.swapUsageBytes?.value,
            swapLimitBytes: undefined,
          },
    pressure: {},
    processes: undefined,
    details: undefined,
  };
}
