/**
 * A pod's status from its spec, what the runtime has, and why things wait: phase, conditions, addresses, containers.
 * Rules: node-contract section 4; pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus), pkg/kubelet/status/generate.go.
 * Layer: kubelet/status (pure).
 */
import type { ContainerStatus, Pod, PodCondition, PodPhase, PodStatus, RestartPolicy } from '../../api/core.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import { qosClass } from '../plan/resources.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import { containerStatus, timestamp, unknownEnd, type WaitingReason } from './container-status.ts';

/** Why the node itself ends a pod for good: rejected, beyond its deadline, evicted. */
export interface PodVerdict {
  reason: string;
  message: string;
}

export interface PodStatusContext {
  nowMs: number;
  runtimeName: string;
  hostIPs: string[];
  waiting: ReadonlyMap<string, WaitingReason>;
  terminating: boolean;
  /** The pod was ended and nothing of it runs: this is its last status. */
  ended?: boolean;
  verdict?: PodVerdict | undefined;
  /** The status before, from this process or from the API server. */
  previous: PodStatus | undefined;
  /** First seen; the runtime's oldest record for an adopted pod. */
  startTimeMs: number;
}

export function podStatus(pod: Pod, state: PodRuntimeState, context: PodStatusContext): PodStatus {
  const before = context.previous;
  // Rejected: nothing of it ever ran, and there is nothing to add.
  if (before !== undefined && isTerminal(before.phase) && before.containerStatuses === undefined) return before;
  const restartPolicy = pod.spec.restartPolicy ?? 'Always';
  const containerStatuses = lastStatuses(before) ?? currentStatuses(pod, state, restartPolicy, context);
  const computed = context.verdict ? 'Failed' : podPhase(containerStatuses, restartPolicy, context.terminating);
  // Nothing of it is left, whatever is not known of its containers.
  const last = context.ended && isApiPod(pod) && !isTerminal(computed) ? 'Failed' : computed;
  const phase = stickyPhase(before?.phase, last);
  const podIPs = addressesToReport(pod, state, phase, context);
  const [hostIP] = context.hostIPs;
  // Why a pod ended is said once, and stays said.
  const verdict: Partial<PodVerdict> = isTerminal(before?.phase) ? (before ?? {}) : (context.verdict ?? {});
  const [podIP] = podIPs;
  return {
    phase,
    ...(verdict.reason === undefined ? {} : { reason: verdict.reason }),
    ...(verdict.message === undefined ? {} : { message: verdict.message }),
    conditions: conditions(pod, phase, containerStatuses, hasNetwork(pod, state), context),
    ...(hostIP === undefined ? {} : { hostIP, hostIPs: context.hostIPs.map((ip) => ({ ip })) }),
    ...(podIP === undefined ? {} : { podIP, podIPs: podIPs.map((ip) => ({ ip })) }),
    startTime: before?.startTime ?? timestamp(context.startTimeMs),
    qosClass: qosClass(pod),
    ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    ...(containerStatuses.length === 0 ? {} : { containerStatuses }),
  };
}

/** The containers of a pod that ended long ago: the runtime may have forgotten them, or what they said last. */
function lastStatuses(previous: PodStatus | undefined): ContainerStatus[] | undefined {
  if (!previous || !isTerminal(previous.phase)) return undefined;
  const statuses = previous.containerStatuses ?? [];
  return statuses.every(({ state }) => state.terminated !== undefined) ? statuses : undefined;
}

function currentStatuses(
  pod: Pod,
  state: PodRuntimeState,
  restartPolicy: RestartPolicy,
  context: PodStatusContext,
): ContainerStatus[] {
  const before = context.previous?.containerStatuses;
  const statuses = pod.spec.containers
    .map((container) => {
      const previous = before?.find(({ name }) => name === container.name);
      return containerStatus(container, state, { ...context, restartPolicy, previous });
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  if (!context.ended || !isApiPod(pod)) return statuses;
  // status_manager.go (TerminatePod): what has no end by now ended unseen.
  return statuses.map((status) =>
    status.state.terminated ? status : { ...status, state: { terminated: unknownEnd } },
  );
}

/** An ended pod keeps the addresses that it had (pkg/kubelet/pleg: getPodIPs). */
function addressesToReport(pod: Pod, state: PodRuntimeState, phase: PodPhase, context: PodStatusContext): string[] {
  const current = podAddresses(pod, state, context.hostIPs);
  if (current.length > 0 || !(context.terminating || isTerminal(phase))) return current;
  return context.previous?.podIPs?.map(({ ip }) => ip) ?? [];
}

/** A pod that ended stays so, whatever the runtime says later. */
function stickyPhase(previous: PodPhase | undefined, phase: PodPhase): PodPhase {
  return previous !== undefined && isTerminal(previous) ? previous : phase;
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
  const ended = isTerminal(phase);
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
    ['Ready', containersReady.status === 'True' ? readinessGates(pod) : containersReady],
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

/** Conditions that others set decide too (pkg/kubelet/status/generate.go: GeneratePodReadyCondition). */
function readinessGates(pod: Pod): Verdict {
  const unmet = (pod.spec.readinessGates ?? []).flatMap(({ conditionType }) => {
    const condition = pod.status?.conditions.find(({ type }) => type === conditionType);
    if (condition === undefined)
      return `corresponding condition of pod readiness gate "${conditionType}" does not exist.`;
    if (condition.status === 'True') return [];
    return `the status of pod readiness gate "${conditionType}" is not "True", but ${condition.status}`;
  });
  if (unmet.length === 0) return { status: 'True' };
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: unmet.join(', ') };
}

interface Verdict {
  status: 'True' | 'False';
  reason?: string;
  message?: string;
}
