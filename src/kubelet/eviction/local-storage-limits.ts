/**
 * Whether a pod uses more of the node's disk than it may: the sizeLimit of an emptyDir, the ephemeral-storage limits of
 * the pod and of its containers.
 * Layer: kubelet/eviction (pure). Source: pkg/kubelet/eviction/eviction_manager.go (localStorageEviction). The node's
 * own needs have no part in it, so such a pod is not said to be disrupted for others' sake.
 */
import type { Pod } from '../../api/core.ts';
import { podLimits } from '../plan/pod-requests.ts';
import type { PodStats } from '../stats/summary-types.ts';
import { amountText, canonical, unitsOf } from './pod-usage.ts';
import type { DiskLayout } from './starved-resource.ts';

const storage = 'ephemeral-storage';

export interface ExceededLimit {
  /** Label of the metric kubelet_evictions. */
  readonly signal: 'emptydirfs.limit' | 'ephemeralpodfs.limit' | 'ephemeralcontainerfs.limit';
  /** Ends with a blank, as the kubelet's does. */
  readonly message: string;
}

/** Whether the pod has any limit, so that its usage is worth measuring. */
export function hasLocalLimits(pod: Pod): boolean {
  return (
    (pod.spec.volumes ?? []).some(({ emptyDir }) => sizeLimitOf(emptyDir?.sizeLimit) !== undefined) ||
    podLimits(pod).has(storage)
  );
}

/** The first limit that is exceeded. */
export function exceededLimit(pod: Pod, stats: PodStats, layout: DiskLayout): ExceededLimit | undefined {
  return exceededVolume(pod, stats) ?? exceededByPod(pod, stats) ?? exceededByContainer(pod, stats, layout);
}

function exceededVolume({ spec }: Pod, stats: PodStats): ExceededLimit | undefined {
  for (const { name, emptyDir } of spec.volumes ?? []) {
    const limit = sizeLimitOf(emptyDir?.sizeLimit);
    const used = stats.volume?.find((volume) => volume.name === name)?.usedBytes;
    if (limit === undefined || used === undefined || used <= limit) continue;
    const text = canonical(emptyDir?.sizeLimit);
    const message = `Usage of EmptyDir volume "${name}" exceeds the limit "${text}". `;
    return { signal: 'emptydirfs.limit', message };
  }
  return undefined;
}

/** A limit of 0 is none. */
function sizeLimitOf(text: string | undefined): number | undefined {
  const limit = text === undefined ? 0 : unitsOf(text);
  return limit > 0 ? limit : undefined;
}

function exceededByPod(pod: Pod, stats: PodStats): ExceededLimit | undefined {
  const nanos = podLimits(pod).get(storage);
  if (nanos === undefined) return undefined;
  const limit = Number(nanos / 1_000_000_000n);
  if ((stats['ephemeral-storage']?.usedBytes ?? 0) <= limit) return undefined;
  const text = amountText(limit, 'BinarySI');
  const message = `Pod ephemeral local storage usage exceeds the total limit of containers ${text}. `;
  return { signal: 'ephemeralpodfs.limit', message };
}

function exceededByContainer(
  { spec }: Pod,
  stats: PodStats,
  { dedicatedImageFs }: DiskLayout,
): ExceededLimit | undefined {
  for (const { name, logs, rootfs } of stats.containers) {
    const text = spec.containers.find((container) => container.name === name)?.resources?.limits?.[storage];
    const limit = text === undefined ? 0 : unitsOf(text);
    const used = (logs?.usedBytes ?? 0) + (dedicatedImageFs ? 0 : (rootfs?.usedBytes ?? 0));
    if (limit === 0 || used <= limit) continue;
    const message = `Container ${name} exceeded its local ephemeral storage limit "${canonical(text)}". `;
    return { signal: 'ephemeralcontainerfs.limit', message };
  }
  return undefined;
}
