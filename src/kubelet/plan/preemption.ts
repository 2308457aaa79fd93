/**
 * Which pods make room for one that the node needs more, when only resources keep it from being admitted: as few as can
 * be, best-effort ones before burstable ones before guaranteed ones.
 * Layer: kubelet/plan (pure). Source: pkg/kubelet/preemption/preemption.go, Preemptable in
 * pkg/kubelet/types/pod_update.go. Admission asks; the workers carry it out.
 */
import type { Pod, QosClass } from '../../api/core.ts';
import type { PodVerdict } from '../status/pod-status.ts';
import { isCriticalPod } from './critical-pod.ts';
import { amountsOf, podAmounts } from './pod-requests.ts';
import { qosClass } from './qos.ts';

/** How much of a resource is missing, in billionths; of `pods` one pod is 1,000,000,000. */
export type Shortfall = ReadonlyMap<string, bigint>;

export const preemptedVerdict: PodVerdict = {
  reason: 'Preempting',
  message: 'Preempted in order to admit critical pod',
  disruption: 'Pod was preempted by Kubelet to accommodate a critical pod.',
};

/** Whether `other` has to go when `pod` needs its room. */
export function isPreemptable(pod: Pod, other: Pod): boolean {
  if (isCriticalPod(pod) && !isCriticalPod(other)) return true;
  const [own, theirs] = [pod.spec.priority, other.spec.priority];
  return own !== undefined && theirs !== undefined && own > theirs;
}

/**
 * The pods to end for `pod`; undefined when all that may go would not be enough. Only for a critical pod: others are
 * rejected. @param pods that run here
 */
export function podsToPreempt(pod: Pod, pods: readonly Pod[], shortfall: Shortfall): Pod[] | undefined {
  const candidates = pods.filter((other) => isPreemptable(pod, other));
  const of = (wanted: QosClass): Pod[] => candidates.filter((other) => qosClass(other) === wanted);
  const [bestEffort, burstable, guaranteed] = [of('BestEffort'), of('Burstable'), of('Guaranteed')];
  if (left(shortfall, candidates).size > 0) return undefined;
  // Each class gives only what the weaker ones, all of them, and what the stronger ones give anyway leave over.
  const third = closest(guaranteed, left(shortfall, [...bestEffort, ...burstable]));
  const second = closest(burstable, left(shortfall, [...bestEffort, ...third]));
  const first = closest(bestEffort, left(shortfall, [...second, ...third]));
  return [...first, ...second, ...third];
}

/** What is missing still when these pods are gone. */
function left(shortfall: Shortfall, gone: readonly Pod[]): Shortfall {
  const missing = new Map<string, bigint>();
  for (const [name, nanos] of shortfall) {
    const rest = gone.reduce((sum, pod) => sum - requestNanos(pod, name), nanos);
    if (rest > 0n) missing.set(name, rest);
  }
  return missing;
}

/** Again and again the pod that comes closest to what is missing; of equal ones that with the smaller requests. */
function closest(pods: readonly Pod[], shortfall: Shortfall): Pod[] {
  const remaining = [...pods];
  const chosen: Pod[] = [];
  for (let missing = shortfall; missing.size > 0 && remaining.length > 0; missing = left(missing, chosen.slice(-1))) {
    let best = 0;
    for (const [index, pod] of remaining.entries()) {
      const other = remaining[best] ?? pod;
      const difference = distance(pod, missing) - distance(other, missing);
      if (difference < 0 || (difference === 0 && isSmaller(pod, other))) best = index;
    }
    chosen.push(...remaining.splice(best, 1));
  }
  return chosen;
}

/** Sum of squared shares that stay missing: every resource weighs the same. */
function distance(pod: Pod, missing: Shortfall): number {
  let sum = 0;
  for (const [name, nanos] of missing) {
    const rest = nanos - requestNanos(pod, name);
    if (rest > 0n) sum += (Number(rest) / Number(nanos)) ** 2;
  }
  return sum;
}

function isSmaller(a: Pod, b: Pod): boolean {
  for (const name of ['memory', 'cpu']) {
    const [own, other] = [requestNanos(a, name), requestNanos(b, name)];
    if (own !== other) return own < other;
  }
  return true;
}

/** Overhead counts only beside a request of the pod's own. */
function requestNanos(pod: Pod, name: string): bigint {
  if (name === 'pods') return 1_000_000_000n;
  const own = podAmounts(pod, 'requests').get(name) ?? 0n;
  return own === 0n ? 0n : own + (amountsOf(pod.spec.overhead).get(name) ?? 0n);
}
