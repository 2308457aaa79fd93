/**
 * The order in which pods go when the node is short of something.
 * Layer: kubelet/eviction (pure). Source: pkg/kubelet/eviction/helpers.go (rankMemoryPressure, rankDiskPressureFunc,
 * rankPIDPressure): memory and disk by who uses more than it asked for, then lower priority, then the larger excess;
 * process IDs by priority, then count. Pods without figures go first: nothing of them runs.
 */
import type { Pod } from '../../api/core.ts';
import type { EvictionSignal } from '../node/eviction-thresholds.ts';
import type { PodStats } from '../stats/summary-types.ts';
import { diskUsage, memoryUsage, processCount, requestOf, type StatsOf } from './pod-usage.ts';
import { countedParts, type DiskLayout, resourceOfSignal } from './starved-resource.ts';

/** Numbers that order pods, the most significant first; the smallest goes first. */
type Rank = readonly number[];

/** First to go first; equal ones as they came. */
export function rankPods(pods: readonly Pod[], statsOf: StatsOf, signal: EvictionSignal, layout: DiskLayout): Pod[] {
  const ranked = pods.map((pod) => ({ pod, rank: rankOf(pod, statsOf(pod), signal, layout) }));
  return ranked.sort((a, b) => compare(a.rank, b.rank)).map(({ pod }) => pod);
}

function compare(a: Rank, b: Rank): number {
  for (const [index, value] of a.entries()) {
    const difference = value - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function rankOf(pod: Pod, stats: PodStats | undefined, signal: EvictionSignal, layout: DiskLayout): Rank {
  const priority = pod.spec.priority ?? 0;
  const resource = resourceOfSignal[signal];
  if (resource === 'pids') return stats === undefined ? [priority, 0, 0] : [priority, 1, -processCount(stats)];
  if (stats === undefined) return [0, 0, priority, 0];
  const [used, request, excess] = usage(pod, stats, resource, signal, layout);
  return [1, used > request ? 0 : 1, priority, -excess];
}

/** @returns what is used, what was asked for, and how much that is beyond what was asked for */
function usage(
  pod: Pod,
  stats: PodStats,
  resource: 'memory' | 'ephemeral-storage' | 'inodes',
  signal: EvictionSignal,
  layout: DiskLayout,
): [used: number, request: number, excess: number] {
  if (resource === 'memory') {
    const [used, request] = [memoryUsage(stats), requestOf(pod, 'memory')];
    return [used, request, used - request];
  }
  const { bytes, inodes } = diskUsage(pod, stats, countedParts(signal, layout));
  const request = requestOf(pod, 'ephemeral-storage');
  // Nobody can ask for inodes; the kubelet takes the bytes asked for off them all the same.
  return resource === 'inodes' ? [inodes, 0, inodes - request] : [bytes, request, bytes - request];
}
