/**
 * What one container's status says: state, last state, counts, from the runtime's records, its probes and why it waits.
 * Rules: pkg/kubelet/kubelet_pods.go (convertToAPIContainerStatuses), pkg/kubelet/prober/prober_manager.go
 * (UpdatePodStatus), node-contract section 4. Layer: kubelet/status (pure).
 */
import type { Container, ContainerState, ContainerStatus, Pod } from '../../api/core.ts';
import type { ContainerKind } from '../plan/container-kind.ts';
import { restartsAfter } from '../plan/restart-rules.ts';
import type { ContainerRecord, PodRuntimeState } from '../plan/runtime-state.ts';
import type { ProbeVerdict } from '../pods/pod-context.ts';
import { resourceStatus, userStatus, volumeMountStatuses } from './container-details.ts';

/** Why a container is not running though it should: ErrImagePull, CrashLoopBackOff, CreateContainerError, ... */
export interface WaitingReason {
  reason: string;
  message: string;
}

export interface ContainerStatusContext {
  /** As in containerID: `containerd`. */
  runtimeName: string;
  /** The pod is being ended: nothing restarts any more. */
  terminating: boolean;
  waiting: ReadonlyMap<string, WaitingReason>;
  /** Of a running instance; a pure read. */
  probes(container: Container, record: ContainerRecord): ProbeVerdict;
  /** All containers are ended and removed, to begin anew (plan/restart-all.ts). */
  allRestart: boolean;
  /** What was said of the container last: after a restart, or when the runtime lost it, all that is known. */
  previous?: ContainerStatus | undefined;
}

export function containerStatus(
  pod: Pod,
  kind: ContainerKind,
  container: Container,
  state: PodRuntimeState,
  context: ContainerStatusContext,
): ContainerStatus {
  const { name, image } = container;
  const instances = state.containers.filter((record) => record.name === name);
  const [newest, ...older] = instances;
  const base = { name, image, imageID: '', ...volumeMountStatuses(container, newest) };
  if (!newest) return { ...base, ...withoutInstance(pod, kind, container, state, context) };
  const { previous } = context;
  const containerID = `${context.runtimeName}://${newest.id}`;
  const current = stateOf(pod, newest, context);
  const waiting = comesBack(pod, kind, container, newest, context) ? context.waiting.get(name) : undefined;
  const lastEnd = older.find(({ phase }) => phase === 'exited');
  return {
    ...base,
    image: newest.image || image,
    imageID: newest.imageRef,
    // A finished container that is to come back waits, and what it did last is its last state.
    state: waiting ? { waiting: reasonOnly(waiting) } : current,
    lastState: waiting ? current : lastEnd ? stateOf(pod, lastEnd, context) : toldBefore(containerID, context),
    ...progress(kind, container, newest, context),
    restartCount: restartCount(newest, containerID, context),
    containerID,
    ...resourceStatus(container, newest, previous?.containerID === containerID ? previous : undefined),
    ...userStatus(newest),
  };
}

function progress(
  kind: ContainerKind,
  container: Container,
  record: ContainerRecord,
  context: ContainerStatusContext,
): { ready: boolean; started: boolean } {
  const running = record.phase === 'running';
  switch (kind) {
    case 'ephemeral':
      return { ready: false, started: false };
    case 'init':
      return { ready: record.phase === 'exited' && record.exitCode === 0, started: running };
    default: {
      if (!running) return { ready: false, started: false };
      const { started, ready } = context.probes(container, record);
      return { ready: started && ready, started };
    }
  }
}

function comesBack(
  pod: Pod,
  kind: ContainerKind,
  container: Container,
  { phase, exitCode }: ContainerRecord,
  { terminating }: ContainerStatusContext,
): boolean {
  if (phase !== 'exited' || terminating || kind === 'ephemeral') return false;
  // As the kubelet tells it, also of a sidecar that is to come back.
  if ((kind === 'init' || kind === 'sidecar') && exitCode === 0) return false;
  return restartsAfter(pod, container, exitCode);
}

/** A runtime that lost its records counts from 0 again; what was restarted stays restarted. */
function restartCount({ attempt, phase }: ContainerRecord, id: string, { previous }: ContainerStatusContext): number {
  if (previous === undefined || previous.restartCount < attempt) return attempt;
  const endedBefore = previous.state.terminated !== undefined && previous.containerID !== id;
  return phase === 'running' && endedBefore ? previous.restartCount + 1 : previous.restartCount;
}

/** The last end that was told, when its record is gone. */
function toldBefore(id: string, { previous }: ContainerStatusContext): ContainerState {
  if (previous === undefined) return {};
  const { state, lastState, containerID } = previous;
  return containerID !== id && state.terminated ? { terminated: state.terminated } : lastState;
}

type WithoutInstance = Pick<ContainerStatus, 'state' | 'lastState' | 'restartCount' | 'ready' | 'started'> &
  Partial<ContainerStatus>;

/** Nothing in the runtime: not started yet, removed, or lost since it was reported. */
function withoutInstance(
  pod: Pod,
  kind: ContainerKind,
  container: Container,
  state: PodRuntimeState,
  context: ContainerStatusContext,
): WithoutInstance {
  const { previous } = context;
  const reason = context.terminating ? undefined : context.waiting.get(container.name);
  const not = { ready: false, started: false };
  const waiting = { waiting: reasonOnly(reason ?? notStarted(pod)) };
  const passed = kind === 'init' && pod.spec.containers.some(({ name }) => hasRecord(state, name));
  if (previous === undefined) {
    if (passed && reason === undefined)
      return { state: { terminated: unseenEnd }, lastState: {}, restartCount: 0, ...done };
    return { state: waiting, lastState: {}, restartCount: 0, ...not };
  }
  const { restartCount, lastState } = previous;
  if (context.allRestart && previous.state.waiting === undefined) {
    return {
      state: { waiting: removedToRestart },
      lastState: { terminated: { ...removedToRestart, exitCode: 137 } },
      restartCount: restartCount + 1,
      ...not,
    };
  }
  if (previous.state.terminated) {
    return reason === undefined ? previous : { state: waiting, lastState: previous.state, restartCount, ...not };
  }
  if (passed && reason === undefined) return { state: { terminated: unseenEnd }, lastState, restartCount, ...done };
  const lost = previous.state.running !== undefined && lastState.terminated === undefined;
  if (!lost) return { state: waiting, lastState, restartCount, ...not };
  const count = restartCount + (context.terminating ? 0 : 1);
  return { state: waiting, lastState: { terminated: unknownEnd }, restartCount: count, ...not };
}

const done = { ready: true, started: false };

const hasRecord = (state: PodRuntimeState, name: string): boolean =>
  state.containers.some((record) => record.name === name && record.phase !== 'unknown');

const notStarted = ({ spec }: Pod): WaitingReason => ({
  reason: (spec.initContainers?.length ?? 0) > 0 ? 'PodInitializing' : 'ContainerCreating',
  message: '',
});

/** How a container ended that nobody saw ending. */
export const unknownEnd = {
  exitCode: 137,
  reason: 'ContainerStatusUnknown',
  message: 'The container could not be located when the pod was terminated',
} as const;

/** An init container of which nothing is left, though main containers were created after it. */
const unseenEnd = {
  exitCode: 0,
  reason: 'Completed',
  message:
    'Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally',
} as const;

const removedToRestart = {
  reason: 'RestartingAllContainers',
  message: 'The container is removed because RestartAllContainers in place',
} as const;

function stateOf(pod: Pod, record: ContainerRecord, context: ContainerStatusContext): ContainerState {
  switch (record.phase) {
    case 'created':
      return { waiting: reasonOnly(context.waiting.get(record.name) ?? notStarted(pod)) };
    case 'running':
      return { running: { startedAt: timestamp(record.startedAtMs ?? record.createdAtMs) } };
    case 'exited':
      return {
        terminated: {
          exitCode: record.exitCode,
          reason: record.reason || (record.exitCode === 0 ? 'Completed' : 'Error'),
          ...(record.message ? { message: record.message } : {}),
          ...(record.startedAtMs === undefined ? {} : { startedAt: timestamp(record.startedAtMs) }),
          ...(record.finishedAtMs === undefined ? {} : { finishedAt: timestamp(record.finishedAtMs) }),
          containerID: `${context.runtimeName}://${record.id}`,
        },
      };
    case 'unknown':
      return { terminated: unknownEnd };
  }
}

const reasonOnly = ({ reason, message }: WaitingReason): { reason: string; message?: string } =>
  message === '' ? { reason } : { reason, message };

/** RFC 3339 with whole seconds, as metav1.Time prints. */
export function timestamp(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}
