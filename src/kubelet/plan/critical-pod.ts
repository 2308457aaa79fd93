/**
 * Which pods the node needs more than others: they are admitted under pressure, make room for themselves, are ended last.
 * Layer: kubelet/plan (pure). Source: pkg/kubelet/types/pod_update.go (IsCriticalPod, IsNodeCriticalPod).
 */
import type { Pod } from '../../api/core.ts';
import { isApiPod, isMirrorPod } from './pod-origin.ts';

/** SystemCriticalPriority in pkg/apis/scheduling. */
const systemCriticalPriority = 2_000_000_000;

/** Pods of manifests, whatever their priority, and those of a priority that only system classes give. */
export const isCriticalPod = (pod: Pod): boolean =>
  !isApiPod(pod) || isMirrorPod(pod) || (pod.spec.priority ?? 0) >= systemCriticalPriority;

export const isNodeCriticalPod = (pod: Pod): boolean =>
  isCriticalPod(pod) && pod.spec.priorityClassName === 'system-node-critical';
