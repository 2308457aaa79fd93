/**
 * The conditions and the words of events that tell of a pod's resize.
 * Layer: kubelet/resize (pure). Source: pkg/kubelet/status/status_manager.go (SetPodResizePendingCondition,
 * SetPodResizeInProgressCondition), pkg/kubelet/events/resize.go.
 */
import type { Pod, PodCondition, PodStatus, ResourceRequirements } from '../../api/core.ts';
import type { PendingReason } from './decide-resizes.ts';

export const resizePending = 'PodResizePending';
export const resizeInProgress = 'PodResizeInProgress';

export interface PendingResize {
  reason: PendingReason;
  message: string;
  /** Of the pod that asks. */
  generation: number | undefined;
}

/** What is known of a pod's resizes on this node. */
export interface PodResize {
  /** What it asks for is not given to it yet. */
  pending?: PendingResize | undefined;
  /** It was given something else than it was admitted with: the generation that asked for it. */
  accepted?: { generation: number | undefined } | undefined;
  /** It is being given something: who reads the generation in the status must not take the old resources for the new. */
  recording?: { generation: number | undefined } | undefined;
}

export interface ResizeReport {
  pending?: PendingResize | undefined;
  /** Not all of what it was given is in force. */
  inProgress?: { generation: number | undefined; error?: string | undefined } | undefined;
}

/** Without lastTransitionTime's meaning of other conditions: these are there and True, or not there. */
export function resizeConditions(report: ResizeReport, previous: PodStatus | undefined, now: string): PodCondition[] {
  const before = (type: string): PodCondition | undefined => previous?.conditions.find((each) => each.type === type);
  const conditions: PodCondition[] = [];
  const add = (type: string, generation: number | undefined, reason?: string, message?: string): void => {
    const old = before(type);
    const since = old && (old.reason ?? '') === (reason ?? '') ? (old.lastTransitionTime ?? now) : now;
    conditions.push({
      type,
      status: 'True',
      ...(reason === undefined ? {} : { reason }),
      ...(message === undefined ? {} : { message }),
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastTransitionTime: since,
    });
  };
  const { pending, inProgress } = report;
  if (pending) add(resizePending, pending.generation, pending.reason, pending.message);
  if (inProgress) {
    const { generation, error } = inProgress;
    const old = before(resizeInProgress);
    // An error stays told until the resize is done or another one takes its place.
    if (error !== undefined) add(resizeInProgress, generation, 'Error', error);
    else if (old?.reason !== undefined && old.observedGeneration === generation) {
      add(resizeInProgress, generation, old.reason, old.message);
    } else add(resizeInProgress, generation);
  }
  return conditions;
}

/** `Pod resize <what>: {...}` with the resources of every container as JSON. */
export function resizeMessage(what: string, { spec }: Pod, generation: number | undefined, error?: string): string {
  const list = (containers: Pod['spec']['containers'] = []): object[] =>
    containers.map(({ name, resources }) => ({ name, resources: asWritten(resources) }));
  const summary = {
    ...(spec.initContainers === undefined || spec.initContainers.length === 0
      ? {}
      : { initContainers: list(spec.initContainers) }),
    containers: list(spec.containers),
    generation: generation ?? 0,
    ...(error === undefined ? {} : { error }),
  };
  return `Pod resize ${what}: ${JSON.stringify(summary)}`;
}

const asWritten = ({ limits, requests }: ResourceRequirements = {}): ResourceRequirements => ({
  ...(limits === undefined ? {} : { limits }),
  ...(requests === undefined ? {} : { requests }),
});
