/**
 * A pod's status from its spec, what the runtime has, and why things wait: phase, conditions, addresses, containers.
 * Rules: node-contract section 4; pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus), pkg/kubelet/status/generate.go.
 * Layer: kubelet/status (pure).
 */
import type { ContainerStatus, Pod, PodCondition, PodPhase, PodStatus, RestartPolicy } from '../../api/core.ts';
import { qosClass } from '../plan/resources.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import { containerStatus, timestamp, type WaitingReason } from './container-status.ts';

export interface PodStatusContext {
  nowMs: number;
  runtimeName: string;
  hostIPs: string[];
  waiting: ReadonlyMap<string, WaitingReason>;
  terminating: boolean;
  previous: PodStatus | undefined;
  /** First seen; the runtime's oldest record for an adopted pod. */
  startTimeMs: number;
}

export function podStatus(pod: Pod, state: PodRuntimeState, context: PodStatusContext): PodStatus {
  const restartPolicy = pod.spec.restartPolicy ?? 'Always';
  const containerStatuses = pod.spec.containers
    .map((container) => containerStatus(container, state, { ...context, restartPolicy }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const phase = stickyPhase(context.previous?.phase, podPhase(containerStatuses, restartPolicy, context.terminating));
  const podIPs = podAddresses(pod, state, context.hostIPs);
  const [hostIP] = context.hostIPs;
  const [podIP] = podIPs;
  return {
    phase,
    conditions: conditions(pod, phase, containerStatuses, hasNetwork(pod, state), context),
    ...(hostIP === undefined ? {} : { hostIP, hostIPs: context.hostIPs.map((ip) => ({ ip })) }),
    ...(podIP === undefined ? {} : { podIP, podIPs: podIPs.map((ip) => ({ ip })) }),
    startTime: context.previous?.startTime ?? timestamp(context.startTimeMs),
    qosClass: qosClass(pod),
    ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    containerStatuses,
  };
}

/** A pod that ended stays so, whatever the runtime says later. */
function stickyPhase(previous: PodPhase | undefined, phase: PodPhase): PodPhase {
  return previous === 'Succeeded' || previous === 'Failed' ? previous : phase;
}

export function podPhase(statuses: ContainerStatus[], restartPolicy: RestartPolicy, terminating = false): PodPhase {
  let running = 0;
  let waitingNew = 0;
  let waitingAgain = 0;
  let succeeded = 0;
  let failed = 0;
  for (const { state, lastState } of statuses) {
    if (state.running) running++;
    else if (state.terminated) state.terminated.exitCode === 0 ? succeeded++ : failed++;
    else if (lastState.terminated) waitingAgain++;
    else waitingNew++;
  }
  if (waitingNew > 0) return 'Pending';
  if (running > 0) return 'Running';
  const stopped = succeeded + failed;
  if (stopped === 0) return waitingAgain > 0 ? 'Running' : 'Pending';
  if (waitingAgain > 0) return 'Running';
  if (!terminating) {
    if (restartPolicy === 'Always') return 'Running';
    if (restartPolicy === 'OnFailure' && failed > 0) return 'Running';
  }
  return failed === 0 ? 'Succeeded' : 'Failed';
}

/** hostNetwork pods have the node's addresses from the moment their sandbox is ready. */
export function podAddresses(pod: Pod, state: PodRuntimeState, hostIPs: string[]): string[] {
  const ready = state.sandboxes.find((sandbox) => sandbox.ready);
  if (!ready) return [];
  return pod.spec.hostNetwork ? hostIPs : ready.ips;
}

const hasNetwork = (pod: Pod, state: PodRuntimeState): boolean =>
  state.sandboxes.some((sandbox) => sandbox.ready && (pod.spec.hostNetwork || sandbox.ips.length > 0));

function conditions(
  pod: Pod,
  phase: PodPhase,
  statuses: ContainerStatus[],
  network: boolean,
  context: PodStatusContext,
): PodCondition[] {
  const unready = statuses.filter((status) => !status.ready).map((status) => status.name);
  const ended = phase === 'Succeeded' || phase === 'Failed';
  const endReason = phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed';
  const containersReady: Verdict =
    unready.length === 0 && !ended
      ? { status: 'True' }
      : ended
        ? { status: 'False', reason: endReason }
        : {
            status: 'False',
            reason: 'ContainersNotReady',
            message: `containers with unready status: [${unready.join(' ')}]`,
          };
  const verdicts: [string, Verdict][] = [
    ['PodReadyToStartContainers', { status: network ? 'True' : 'False' }],
    ['Initialized', phase === 'Succeeded' ? { status: 'True', reason: 'PodCompleted' } : { status: 'True' }],
    ['Ready', containersReady],
    ['ContainersReady', containersReady],
    ['PodScheduled', { status: 'True' }],
  ];
  const now = timestamp(context.nowMs);
  return verdicts.map(([type, verdict]) => {
    const before = context.previous?.conditions.find((condition) => condition.type === type);
    return {
      type,
      ...verdict,
      ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
      lastTransitionTime: before?.status === verdict.status ? (before.lastTransitionTime ?? now) : now,
    };
  });
}

interface Verdict {
  status: 'True' | 'False';
  reason?: string;
  message?: string;
}
