/**
 * Which pods a node takes: those it already runs without a question, then the others one by one, each beside what was
 * taken before it; the rest are rejected with the kubelet's words. A critical pod for which only room lacks has others end,
 * and waits for them. Rule: node-contract section 4 "Rejection".
 * Layer: kubelet/plan (pure). The reasons are in admission-checks.ts.
 */
import type { Pod, PodStatus } from '../../api/core.ts';
import { type CheckContext, NodeUsage, type Refusal, refusalOf, shortfallOf } from './admission-checks.ts';
import { isCriticalPod } from './critical-pod.ts';
import { isApiPod } from './pod-origin.ts';
import { podsToPreempt } from './preemption.ts';
import { qosClass } from './resources.ts';

export interface Rejection {
  pod: Pod;
  /** `OutOfcpu`, `NodePorts`, ... */
  reason: string;
  message: string;
}

export interface Preemption {
  /** The critical pod. */
  pod: Pod;
  /** Of `admitted`: they are to end. */
  victims: Pod[];
}

export interface Admission {
  admitted: Pod[];
  rejected: Rejection[];
  preemptions: Preemption[];
  /** Critical pods whose room is not free yet: to be asked again when a victim has ended. */
  waiting: Pod[];
}

export interface AdmissionContext extends CheckContext {
  /** Whether the pod was taken before: the runtime has something of it, or it has a worker. */
  isPresent(uid: string): boolean;
  /** The pod with what it holds, which may be more than it was given: it is being resized. Default: the pod itself. */
  held?(pod: Pod): Pod;
  /** Whether a pod that was to end for this one still runs. Default: none does. */
  awaitsRoom?(uid: string): boolean;
}

/** @param pods without those that ended or are being deleted: they use nothing any more */
export function admitPods(pods: readonly Pod[], context: AdmissionContext): Admission {
  const used = new NodeUsage();
  const admission: Admission = { admitted: [], rejected: [], preemptions: [], waiting: [] };
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
  const wait = (pod: Pod): void => {
    // What comes after it must not take its room.
    used.add(pod);
    admission.waiting.push(pod);
  };
  for (const pod of fresh.sort(byTurn)) {
    if (context.awaitsRoom?.(pod.metadata.uid)) {
      wait(pod);
      continue;
    }
    const refusal = refusalOf(pod, used, context);
    const answer = refusal && makeRoom(pod, refusal, admission, used, context);
    if (answer === undefined) {
      admit(pod);
    } else if ('victims' in answer) {
      for (const victim of answer.victims) used.remove(context.held?.(victim) ?? victim);
      admission.preemptions.push({ pod, victims: answer.victims });
      wait(pod);
    } else {
      reject(pod, answer.reason, answer.message);
    }
  }
  return admission;
}

/** Source: HandleAdmissionFailure in pkg/kubelet/preemption/preemption.go. */
function makeRoom(
  pod: Pod,
  refusal: Refusal,
  { admitted, preemptions }: Admission,
  used: NodeUsage,
  context: AdmissionContext,
): Refusal | Pick<Preemption, 'victims'> {
  if (!isApiPod(pod) || !isCriticalPod(pod)) return refusal;
  const shortfall = shortfallOf(pod, used, context);
  // Room would not help a pod that something else speaks against.
  if (shortfall.size === 0) return refusal;
  const other = refusalOf(pod, used, context, false);
  if (other !== undefined) return other;
  const leaving = new Set(preemptions.flatMap(({ victims }) => victims));
  const running = admitted.filter((each) => context.isPresent(each.metadata.uid) && !leaving.has(each));
  const victims = podsToPreempt(pod, running, shortfall);
  if (victims !== undefined) return { victims };
  const lacks = [...shortfall.keys()].join(', ');
  const message = `Unexpected error while attempting to recover from admission failure: no pods found whose end would free enough ${lacks}`;
  return { reason: 'UnexpectedAdmissionError', message };
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
