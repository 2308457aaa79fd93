/**
 * Computes what is to be said of a pod now and hands it on. Layer: kubelet/pods. What it says is decided in status/.
 */
import type { ContainerStatus, Pod, PodCondition, PodStatus } from '../../api/core.ts';
import { findContainer } from '../plan/container-kind.ts';
import { isTerminal } from '../plan/pod-origin.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import { resizeInProgress, resizeMessage } from '../resize/resize-conditions.ts';
import { podConditions } from '../status/pod-conditions.ts';
import { podStatus } from '../status/pod-status.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { normal } from './pod-events.ts';
import { resizeReport } from './resize-state.ts';

export function publishStatus(
  pod: Pod,
  state: PodRuntimeState,
  memory: PodMemory,
  context: PodContext,
  stage: { terminating?: boolean; ended?: boolean; resizeError?: string } = {},
): void {
  const status = podStatus(pod, state, {
    nowMs: context.clock.now(),
    runtimeName: context.node.runtimeName,
    hostIPs: context.node.hostIPs,
    waiting: memory.waiting,
    probes: (container, record) => context.probes.verdict(container, record),
    terminating: stage.terminating ?? false,
    ended: stage.ended ?? false,
    verdict: memory.verdict,
    resize: resizeReport(pod, state, memory, context, stage.resizeError),
    previous: memory.lastStatus,
    startTimeMs: memory.firstSeenMs,
  });
  if (stage.terminating !== true) noteResized(pod, memory.lastStatus, status, context);
  memory.lastStatus = status;
  context.publish(pod, status);
}

/** Nothing of a resize is left to do. */
function noteResized(pod: Pod, before: PodStatus | undefined, now: PodStatus, context: PodContext): void {
  const progress = ({ conditions }: PodStatus): PodCondition | undefined =>
    conditions.find(({ type }) => type === resizeInProgress);
  const done = before && progress(before);
  if (done === undefined || progress(now) !== undefined || isTerminal(now.phase)) return;
  // Or it was never begun.
  const accepted = context.resizeOf?.(pod.metadata.uid)?.accepted;
  if (accepted === undefined || accepted.generation !== done.observedGeneration) return;
  context.recordEvent(pod, normal('ResizeCompleted', resizeMessage('completed', pod, done.observedGeneration)));
}

/**
 * While a pass is busy with one container (a pull, a hook), what the probes say of the others is told at once: whether
 * they are ready and started, nothing else (status_manager.go: SetContainerReadiness, SetContainerStartup).
 */
export function publishProbes(pod: Pod, state: PodRuntimeState, memory: PodMemory, context: PodContext): void {
  const before = memory.lastStatus;
  if (before === undefined || isTerminal(before.phase)) return;
  const probed = (status: ContainerStatus): ContainerStatus => {
    if (status.state.running === undefined) return status;
    const record = state.containers.find(
      ({ id, phase }) => phase === 'running' && status.containerID?.endsWith(`//${id}`),
    );
    const found = findContainer(pod, status.name);
    if (!record || !found || (found.kind !== 'container' && found.kind !== 'sidecar')) return status;
    const { started, ready } = context.probes.verdict(found.container, record);
    return { ...status, started, ready: started && ready };
  };
  const init = before.initContainerStatuses?.map(probed);
  const main = before.containerStatuses?.map(probed);
  const status = {
    ...before,
    ...(init ? { initContainerStatuses: init } : {}),
    ...(main ? { containerStatuses: main } : {}),
  };
  const is = (type: string): boolean => before.conditions.some((each) => each.type === type && each.status === 'True');
  const conditions = podConditions(pod, {
    nowMs: context.clock.now(),
    phase: before.phase,
    statuses: [...(init ?? []), ...(main ?? [])],
    network: is('PodReadyToStartContainers'),
    allRestart: is('AllContainersRestarting'),
    disruption: undefined,
    resize: resizeReport(pod, state, memory, context),
    previous: before,
  });
  memory.lastStatus = { ...status, conditions };
  context.publish(pod, memory.lastStatus);
}
