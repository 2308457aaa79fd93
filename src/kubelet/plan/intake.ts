/**
 * What becomes of each pod that the sources name: run, ended as the API server asks, kept as it ended, or rejected.
 * Layer: kubelet/plan (pure). pods/pod-workers.ts carries it out. Pods of manifests are judged anew with every snapshot;
 * the verdict on a pod of the API server is final, since its status is read by others.
 */
import type { Pod, PodStatus } from '../../api/core.ts';
import type { PodVerdict } from '../status/pod-status.ts';
import { type AdmissionContext, admitPods, type Preemption, type Rejection } from './admission.ts';
import { isApiPod, isTerminal } from './pod-origin.ts';
import { preemptedVerdict } from './preemption.ts';

export interface IntakeContext extends AdmissionContext {
  /** What this node said of the pod last. */
  statusOf(uid: string): PodStatus | undefined;
  /** Whether the Node was read after this pod was seen: the scheduler may know labels that we do not know yet. */
  nodeIsFresh(uid: string): boolean;
}

export interface Intake {
  /** Pods that have, or are to have, a worker. */
  wanted: Pod[];
  /** Of `wanted`, by uid: pods that have something here and are to end for good. */
  verdicts: Map<string, PodVerdict>;
  /** Never started here: all that they get is a status. Those of the API server are `wanted` too. */
  rejected: Rejection[];
  /** Refused for the Node's labels as they are known: to be asked again once the Node was read anew. */
  held: Pod[];
  /** Pods that make room; their victims have a verdict. */
  preemptions: Preemption[];
  /** Critical pods whose victims have not ended yet. */
  waiting: Pod[];
}

export function takePods(pods: readonly Pod[], context: IntakeContext): Intake {
  const active: Pod[] = [];
  const kept: Pod[] = [];
  for (const pod of pods) {
    const deleting = pod.metadata.deletionTimestamp !== undefined;
    const ended = isTerminal(context.statusOf(pod.metadata.uid)?.phase) || isTerminal(pod.status?.phase);
    if (isApiPod(pod) && (deleting || ended)) kept.push(pod);
    else active.push(pod);
  }
  const { admitted, rejected, preemptions, waiting } = admitPods(active, context);
  const intake: Intake = {
    wanted: [...kept, ...admitted],
    verdicts: new Map(),
    rejected: [],
    held: [],
    preemptions,
    waiting,
  };
  for (const { metadata } of preemptions.flatMap(({ victims }) => victims)) {
    intake.verdicts.set(metadata.uid, preemptedVerdict);
  }
  for (const rejection of rejected) {
    const { pod, reason, message } = rejection;
    const { uid } = pod.metadata;
    if (!isApiPod(pod)) {
      intake.rejected.push(rejection);
    } else if (reason === 'NodeAffinity' && !context.nodeIsFresh(uid)) {
      intake.held.push(pod);
    } else {
      intake.wanted.push(pod);
      if (context.isPresent(uid)) intake.verdicts.set(uid, { reason, message });
      else intake.rejected.push(rejection);
    }
  }
  return intake;
}
