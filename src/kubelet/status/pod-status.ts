/**
 * A pod's status from its spec, what the runtime has, its probes and why things wait: addresses, containers, and, from
 * these, phase (pod-phase.ts) and conditions (pod-conditions.ts).
 * Rules: node-contract section 4; pkg/kubelet/kubelet_pods.go (generateAPIPodStatus), pkg/kubelet/status/status_manager.go.
 * Layer: kubelet/status (pure).
 */
import type { Container, ContainerStatus, Pod, PodPhase, PodStatus } from '../../api/core.ts';
import { type ContainerKind, initKind, isSidecar } from '../plan/container-kind.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import { qosClass } from '../plan/resources.ts';
import { restartsAll } from '../plan/restart-all.ts';
import { mayRestartAll } from '../plan/restart-rules.ts';
import { type ContainerRecord, newestInSandbox, type PodRuntimeState } from '../plan/runtime-state.ts';
import type { ProbeVerdict } from '../pods/pod-context.ts';
import type { ResizeReport } from '../resize/resize-conditions.ts';
import { containerStatus, timestamp, unknownEnd, type WaitingReason } from './container-status.ts';
import { podConditions } from './pod-conditions.ts';
import { podPhase } from './pod-phase.ts';

/** Why the node itself ends a pod for good: rejected, beyond its deadline, evicted. */
export interface PodVerdict {
  reason: string;
  message: string;
  /** Seconds that its containers get at most; default: what the pod says. */
  graceSeconds?: number;
  /** It ends for others' sake: what the condition DisruptionTarget says. */
  disruption?: string;
}

export interface PodStatusContext {
  nowMs: number;
  runtimeName: string;
  hostIPs: string[];
  waiting: ReadonlyMap<string, WaitingReason>;
  /** Of a running instance; a pure read. */
  probes(container: Container, record: ContainerRecord): ProbeVerdict;
  terminating: boolean;
  /** The pod was ended and nothing of it runs: this is its last status. */
  ended?: boolean;
  verdict?: PodVerdict | undefined;
  resize?: ResizeReport | undefined;
  /** The status before, from this process or from the API server. */
  previous: PodStatus | undefined;
  /** First seen; the runtime's oldest record for an adopted pod. */
  startTimeMs: number;
}

export function podStatus(pod: Pod, state: PodRuntimeState, context: PodStatusContext): PodStatus {
  const before = context.previous;
  // Rejected: nothing of it ever ran, and there is nothing to add.
  if (before !== undefined && isTerminal(before.phase) && before.containerStatuses === undefined) return before;
  const restartTold = before?.conditions.some(
    ({ type, status }) => type === 'AllContainersRestarting' && status === 'True',
  );
  const allRestart = restartTold === true || asksToRestartAll(pod, state);
  const known = lastStatuses(before) ?? currentStatuses(pod, state, allRestart, context);
  const statuses = context.ended && isApiPod(pod) ? withUnseenEnds(pod, known) : known;
  const phase = phaseOf(pod, state, statuses, context);
  const podIPs = addressesToReport(pod, state, phase, context);
  const [hostIP] = context.hostIPs;
  // Why a pod ended is said once, and stays said.
  const verdict: Partial<PodVerdict> = isTerminal(before?.phase) ? (before ?? {}) : (context.verdict ?? {});
  const [podIP] = podIPs;
  const { init, main, ephemeral } = statuses;
  const conditions = podConditions(pod, {
    nowMs: context.nowMs,
    phase,
    statuses: [...init, ...main],
    network: hasNetwork(pod, state),
    allRestart: asksToRestartAll(pod, state),
    disruption: context.verdict?.disruption,
    resize: context.resize,
    previous: before,
  });
  return {
    phase,
    ...(verdict.reason === undefined ? {} : { reason: verdict.reason }),
    ...(verdict.message === undefined ? {} : { message: verdict.message }),
    conditions,
    ...(hostIP === undefined ? {} : { hostIP, hostIPs: context.hostIPs.map((ip) => ({ ip })) }),
    ...(podIP === undefined ? {} : { podIP, podIPs: podIPs.map((ip) => ({ ip })) }),
    startTime: before?.startTime ?? timestamp(context.startTimeMs),
    qosClass: qosClass(pod),
    ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
    ...(init.length === 0 ? {} : { initContainerStatuses: init }),
    ...(main.length === 0 ? {} : { containerStatuses: main }),
    ...(ephemeral.length === 0 ? {} : { ephemeralContainerStatuses: ephemeral }),
  };
}

interface Statuses {
  init: ContainerStatus[];
  main: ContainerStatus[];
  ephemeral: ContainerStatus[];
}

function phaseOf(pod: Pod, state: PodRuntimeState, { init, main }: Statuses, context: PodStatusContext): PodPhase {
  const before = context.previous?.phase;
  // One that ended stays so, whatever the runtime says later.
  if (before !== undefined && isTerminal(before)) return before;
  if (context.verdict) return 'Failed';
  const [sandbox] = state.sandboxes;
  const phase = podPhase(pod, [...init, ...main], {
    terminal: context.terminating && isApiPod(pod),
    initialized:
      sandbox !== undefined &&
      pod.spec.containers.some(({ name }) => newestInSandbox(state, name, sandbox.id) !== undefined),
  });
  // Nothing of it is left, whatever is not known of its containers.
  return context.ended && isApiPod(pod) && !isTerminal(phase) ? 'Failed' : phase;
}

/** The containers of a pod that ended long ago: the runtime may have forgotten them, or what they said last. */
function lastStatuses(previous: PodStatus | undefined): Statuses | undefined {
  if (!previous || !isTerminal(previous.phase)) return undefined;
  const statuses = {
    init: previous.initContainerStatuses ?? [],
    main: previous.containerStatuses ?? [],
    ephemeral: previous.ephemeralContainerStatuses ?? [],
  };
  const mayEnd = [...statuses.init, ...statuses.main, ...statuses.ephemeral].some(({ state }) => state.running);
  return mayEnd ? undefined : statuses;
}

function currentStatuses(pod: Pod, state: PodRuntimeState, allRestart: boolean, context: PodStatusContext): Statuses {
  const { spec } = pod;
  const statusesOf = (
    containers: readonly Container[],
    kindOf: (container: Container) => ContainerKind,
    previous: readonly ContainerStatus[] | undefined,
  ): ContainerStatus[] =>
    containers.map((container) => {
      const before = previous?.find(({ name }) => name === container.name);
      return containerStatus(pod, kindOf(container), container, state, { ...context, allRestart, previous: before });
    });
  const before = context.previous;
  return {
    init: statusesOf(spec.initContainers ?? [], initKind, before?.initContainerStatuses),
    main: byName(statusesOf(spec.containers, () => 'container', before?.containerStatuses)),
    ephemeral: byName(
      statusesOf(spec.ephemeralContainers ?? [], () => 'ephemeral', before?.ephemeralContainerStatuses),
    ),
  };
}

const byName = (statuses: ContainerStatus[]): ContainerStatus[] => statuses.sort((a, b) => (a.name < b.name ? -1 : 1));

/**
 * status_manager.go (TerminatePod): once a pod was initialized, what has no end by now ended unseen; of the init
 * containers, all up to the last one that ever did anything.
 */
function withUnseenEnds(pod: Pod, { init, main, ephemeral }: Statuses): Statuses {
  const ended = (status: ContainerStatus): ContainerStatus =>
    status.state.terminated ? status : { ...status, ready: false, started: false, state: { terminated: unknownEnd } };
  const lastBegun = init.findLastIndex(({ state, lastState }) => !state.waiting || lastState.terminated);
  return {
    init: init.map((status, index) => (index <= Math.max(lastBegun, 0) ? ended(status) : status)),
    main: wasInitialized(pod, { init, main, ephemeral }) ? main.map(ended) : main,
    ephemeral,
  };
}

function wasInitialized({ spec }: Pod, { init, main }: Statuses): boolean {
  const lastSpec = spec.initContainers?.at(-1);
  const last = init.at(-1);
  if (lastSpec === undefined || last === undefined) return true;
  if (main.some(({ state, lastState }) => lastState.terminated || !state.waiting)) return true;
  if (isSidecar(lastSpec)) return last.state.running !== undefined && last.started;
  return [last.state, last.lastState].some(({ terminated }) => terminated?.exitCode === 0);
}

/** Its cause is what is removed last, so this holds until nothing is left of any container. */
function asksToRestartAll(pod: Pod, state: PodRuntimeState): boolean {
  const [sandbox] = state.sandboxes;
  return mayRestartAll(pod) && sandbox !== undefined && restartsAll(pod, state, sandbox.id);
}

/** An ended pod keeps the addresses that it had (pkg/kubelet/pleg: getPodIPs). */
function addressesToReport(pod: Pod, state: PodRuntimeState, phase: PodPhase, context: PodStatusContext): string[] {
  const current = podAddresses(pod, state, context.hostIPs);
  if (current.length > 0 || !(context.terminating || isTerminal(phase))) return current;
  return context.previous?.podIPs?.map(({ ip }) => ip) ?? [];
}

/**
 * One of each family, the node's first one before the other (sortPodIPs). hostNetwork pods have the node's own from the
 * moment their sandbox is ready.
 */
export function podAddresses(pod: Pod, state: PodRuntimeState, hostIPs: string[]): string[] {
  const ready = state.sandboxes.find((sandbox) => sandbox.ready);
  if (!ready) return [];
  if (pod.spec.hostNetwork) return hostIPs;
  const nodeIsV6 = hostIPs[0]?.includes(':') ?? false;
  const first = ready.ips.find((ip) => ip.includes(':') === nodeIsV6);
  const second = ready.ips.find((ip) => ip.includes(':') !== nodeIsV6);
  return [first, second].filter((ip) => ip !== undefined);
}

const hasNetwork = (pod: Pod, state: PodRuntimeState): boolean =>
  state.sandboxes.some((sandbox) => sandbox.ready && (pod.spec.hostNetwork || sandbox.ips.length > 0));
