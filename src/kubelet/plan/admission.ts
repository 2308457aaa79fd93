/**
 * Which pods a node takes: those it already runs without a question, then the others one by one, each beside what was
 * taken before it; the rest are rejected with the kubelet's words. Rule: node-contract section 4 "Rejection".
 * Layer: kubelet/plan (pure). The reasons are in admission-checks.ts.
 */
import type { Pod, PodStatus } from '../../api/core.ts';
import { type CheckContext, NodeUsage, refusalOf } from './admission-checks.ts';
import { isApiPod } from './pod-origin.ts';
import { qosClass } from './resources.ts';

export interface Rejection {
  pod: Pod;
  /** `OutOfcpu`, `NodePorts`, ... */
  reason: string;
  message: string;
}

export interface Admission {
  admitted: Pod[];
  rejected: Rejection[];
}

export interface AdmissionContext extends CheckContext {
  /** Whether the pod was taken before: the runtime has something of it, or it has a worker. */
  isPresent(uid: string): boolean;
  /** The pod with what it holds, which may be more than it was given: it is being resized. Default: the pod itself. */
  held?(pod: Pod): Pod;
}

/** @param pods without those that ended or are being deleted: they use nothing any more */
export function admitPods(pods: readonly Pod[], context: AdmissionContext): Admission {
  const used = new NodeUsage();
  const admission: Admission = { admitted: [], rejected: [] };
  const admit = (pod: Pod): void => {
    used.add(context.held?.(pod) ?? pod);
    admission.admitted.push(pod);
  };
  const reject = (pod: Pod, reason: string, message: string): void => {
    admission.rejected.push({ pod, reason, message: `Pod was rejected: ${message}` });
  };
  const fresh: Pod[] = [];
  for (const pod of pods) {
    const { uid } = pod.metadata;
    if (!context.isPresent(uid)) fresh.push(pod);
    // Started by another kubelet, or changed since: to go on without what it asks for would be wrong too.
    else if (context.unsupported(uid).length > 0) fresh.push(pod);
    else admit(pod);
  }
  for (const pod of fresh.sort(byTurn)) {
    const refusal = refusalOf(pod, used, context);
    if (refusal === undefined) admit(pod);
    else reject(pod, refusal.reason, refusal.message);
  }
  return admission;
}

/** Manifests of the node first, then by age; a stable sort keeps the rest as it came. */
function byTurn(a: Pod, b: Pod): number {
  const turn = Number(isApiPod(a)) - Number(isApiPod(b));
  if (turn !== 0) return turn;
  const [older, younger] = [a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? ''];
  return older < younger ? -1 : older > younger ? 1 : 0;
}

export function rejectedStatus(pod: Pod, reason: string, message: string, startTime: string): PodStatus {
  const { generation } = pod.metadata;
  return {
    phase: 'Failed',
    reason,
    message,
    conditions: [],
    startTime,
    qosClass: qosClass(pod),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
}
