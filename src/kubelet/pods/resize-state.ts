/**
 * What a worker knows of its pod's resize, as the planner and the status take it. A pod that was never resized has none of
 * this, and nothing is compared for it. Layer: kubelet/pods (pure but for the reads through the context).
 */
import type { Pod } from '../../api/core.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import { isResizeInProgress, type ResizeState } from '../resize/plan-resize.ts';
import type { ResizeReport } from '../resize/resize-conditions.ts';
import type { PodContext, PodMemory } from './pod-context.ts';

export function resizeState(uid: string, memory: PodMemory, context: PodContext): ResizeState | undefined {
  if (context.resizeOf?.(uid)?.accepted === undefined) return undefined;
  memory.told ??= new Map();
  return { node: context.node.resources, told: memory.told, podCgroup: memory.podCgroup };
}

/** @param error why the latest attempt failed */
export function resizeReport(
  pod: Pod,
  state: PodRuntimeState,
  memory: PodMemory,
  context: PodContext,
  error?: string,
): ResizeReport | undefined {
  const resize = context.resizeOf?.(pod.metadata.uid);
  if (resize === undefined) return undefined;
  const { pending, accepted, recording } = resize;
  if (recording) return { pending, inProgress: recording };
  const facts = accepted && resizeState(pod.metadata.uid, memory, context);
  const busy = facts !== undefined && isResizeInProgress(pod, state, facts);
  return { pending, ...(accepted && busy ? { inProgress: { generation: accepted.generation, error } } : {}) };
}
