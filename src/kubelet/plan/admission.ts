/**
 * Which pods a node takes: those it already runs first, then by name, up to maxPods; the rest are rejected with the
 * kubelet's words. Rule: node-contract section 4 "Rejection" (pkg/kubelet/lifecycle/predicate.go).
 * Layer: kubelet/plan (pure).
 */
import type { Pod, PodStatus } from '../../api/core.ts';
import { qosClass } from './resources.ts';

export interface Admission {
  admitted: Pod[];
  rejected: { pod: Pod; reason: string; message: string }[];
}

/** @param isPresent whether the runtime already has something of a pod */
export function admitPods(pods: Pod[], isPresent: (uid: string) => boolean, maxPods: number): Admission {
  const present = pods.filter(({ metadata }) => isPresent(metadata.uid));
  const fresh = pods.filter(({ metadata }) => !isPresent(metadata.uid));
  const places = Math.max(0, maxPods - present.length);
  return {
    admitted: [...present, ...fresh.slice(0, places)],
    rejected: fresh.slice(places).map((pod) => ({
      pod,
      reason: 'OutOfpods',
      message: `Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: ${maxPods}, capacity: ${maxPods}`,
    })),
  };
}

export function rejectedStatus(pod: Pod, reason: string, message: string, startTime: string): PodStatus {
  return { phase: 'Failed', reason, message, conditions: [], startTime, qosClass: qosClass(pod) };
}
