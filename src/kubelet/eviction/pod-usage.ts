/**
 * What one pod uses, by the figures of /stats/summary, and what it asked for.
 * Layer: kubelet/eviction (pure). Source: pkg/kubelet/eviction/helpers.go, pkg/api/v1/resource/helpers.go. A figure that
 * was not measured counts as 0, as the kubelet has it.
 */
import type { Pod, Volume } from '../../api/core.ts';
import { formatQuantity, parseQuantity, type QuantityFormat, quantityToUnits } from '../../config/quantity.ts';
import { amountsOf, podAmounts } from '../plan/pod-requests.ts';
import type { FsStats, PodStats } from '../stats/summary-types.ts';
import type { DiskPart } from './starved-resource.ts';

/** The figures of a pod; undefined for one that none were found of. */
export type StatsOf = (pod: Pod) => PodStats | undefined;

export const memoryUsage = ({ memory }: PodStats): number => memory?.workingSetBytes ?? 0;

export const processCount = (stats: PodStats): number => stats.process_stats?.process_count ?? 0;

export interface DiskFigures {
  readonly bytes: number;
  readonly inodes: number;
}

export function diskUsage(pod: Pod, stats: PodStats, parts: readonly DiskPart[]): DiskFigures {
  const counted: (FsStats | undefined)[] = [];
  for (const { rootfs, logs } of stats.containers) {
    if (parts.includes('layers')) counted.push(rootfs);
    if (parts.includes('logs')) counted.push(logs);
  }
  if (parts.includes('volumes')) {
    const local = new Set((pod.spec.volumes ?? []).filter(isLocal).map(({ name }) => name));
    counted.push(...(stats.volume ?? []).filter(({ name }) => local.has(name)));
  }
  return {
    bytes: counted.reduce((sum, figures) => sum + (figures?.usedBytes ?? 0), 0),
    inodes: counted.reduce((sum, figures) => sum + (figures?.inodesUsed ?? 0), 0),
  };
}

/** On the node's disk (IsLocalEphemeralVolume of pkg/volume/util, and hostPath). */
const isLocal = ({ hostPath, configMap, emptyDir }: Volume): boolean =>
  hostPath !== undefined || configMap !== undefined || (emptyDir !== undefined && (emptyDir.medium ?? '') === '');

const nano = 1_000_000_000n;

/** In whole units, rounded up; overhead counts only beside a request of the pod's own. */
export function requestOf(pod: Pod, resource: string): number {
  const own = podAmounts(pod, 'requests').get(resource) ?? 0n;
  const overhead = own === 0n ? 0n : (amountsOf(pod.spec.overhead).get(resource) ?? 0n);
  return Number((own + overhead + nano - 1n) / nano);
}

/** `1536Mi`, `1000`: a whole amount as a quantity prints. */
export const amountText = (units: number, format: QuantityFormat): string =>
  formatQuantity({ nanos: BigInt(Math.trunc(units)) * nano, format });

/** Whole units of a quantity of a spec, rounded up. @throws QuantityError never on a pod that was read */
export const unitsOf = (text: string): number => Number(quantityToUnits(parseQuantity(text)));

/** A quantity of a spec in its canonical text, `0` for none. @throws QuantityError never on a pod that was read */
export const canonical = (text: string | undefined): string =>
  text === undefined ? '0' : formatQuantity(parseQuantity(text));
