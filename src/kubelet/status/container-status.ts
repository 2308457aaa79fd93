/**
 * What one container's status says: state, last state, counts, from the runtime's records and the reason it waits.
 * Rules: pkg/kubelet/kubelet_pods.go (convertToAPIContainerStatuses), node-contract section 4.
 * Layer: kubelet/status (pure).
 */
import type { Container, ContainerState, ContainerStatus, RestartPolicy } from '../../api/core.ts';
import type { ContainerRecord, PodRuntimeState } from '../plan/runtime-state.ts';

/** Why a container is not running though it should: ErrImagePull, CrashLoopBackOff, CreateContainerError, ... */
export interface WaitingReason {
  reason: string;
  message: string;
}

export interface ContainerStatusContext {
  /** As in containerID: `containerd`. */
  runtimeName: string;
  restartPolicy: RestartPolicy;
  /** The pod is being ended: nothing restarts any more. */
  terminating: boolean;
  waiting: ReadonlyMap<string, WaitingReason>;
  /** What was said of the container last: after a restart, or when the runtime lost it, all that is known. */
  previous?: ContainerStatus | undefined;
}

export function containerStatus(
  container: Container,
  state: PodRuntimeState,
  context: ContainerStatusContext,
): ContainerStatus {
  const instances = state.containers.filter((record) => record.name === container.name);
  const [newest, ...older] = instances;
  const base = { name: container.name, image: container.image, imageID: '' };
  if (!newest) return { ...base, ...withoutInstance(container, context), ready: false, started: false };
  const previous = older.find((record) => record.phase === 'exited');
  const running = newest.phase === 'running';
  const current = stateOf(newest, context);
  const waiting = context.waiting.get(container.name);
  // A finished container that is to come back waits, and what it did last is its last state.
  const comesBack = newest.phase === 'exited' && waiting !== undefined && restarts(newest, context);
  return {
    ...base,
    image: newest.image || container.image,
    imageID: newest.imageRef,
    state: comesBack ? { waiting: reasonOnly(waiting) } : current,
    lastState: comesBack ? current : previous ? stateOf(previous, context) : {},
    ready: running,
    started: running,
    // A runtime that lost its records counts from 0 again; what was restarted stays restarted.
    restartCount: Math.max(newest.attempt, context.previous?.restartCount ?? 0),
    containerID: `${context.runtimeName}://${newest.id}`,
  };
}

/** Nothing in the runtime: not started yet, or lost since it was reported. */
function withoutInstance(
  container: Container,
  context: ContainerStatusContext,
): Pick<ContainerStatus, 'state' | 'lastState' | 'restartCount'> & Partial<ContainerStatus> {
  const { previous } = context;
  const reason = context.waiting.get(container.name);
  const ended = previous?.state.terminated;
  if (previous && ended && reason === undefined && !restartsAfter(ended.exitCode, context)) return previous;
  const state = { waiting: reasonOnly(reason ?? { reason: 'ContainerCreating', message: '' }) };
  if (!previous) return { state, lastState: {}, restartCount: 0 };
  const { restartCount, lastState } = previous;
  if (ended) return { state, lastState: previous.state, restartCount };
  const lost = previous.state.running !== undefined && lastState.terminated === undefined;
  if (!lost) return { state, lastState, restartCount };
  return { state, lastState: { terminated: unknownEnd }, restartCount: restartCount + (context.terminating ? 0 : 1) };
}

/** How a container ended that nobody saw ending. */
export const unknownEnd = {
  exitCode: 137,
  reason: 'ContainerStatusUnknown',
  message: 'The container could not be located when the pod was terminated',
} as const;

function stateOf(record: ContainerRecord, context: ContainerStatusContext): ContainerState {
  switch (record.phase) {
    case 'created':
      return { waiting: reasonOnly(context.waiting.get(record.name) ?? { reason: 'ContainerCreating', message: '' }) };
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

const restarts = (record: ContainerRecord, context: ContainerStatusContext): boolean =>
  restartsAfter(record.exitCode, context);

function restartsAfter(exitCode: number, context: ContainerStatusContext): boolean {
  if (context.terminating) return false;
  return context.restartPolicy === 'Always' || (context.restartPolicy === 'OnFailure' && exitCode !== 0);
}

const reasonOnly = ({ reason, message }: WaitingReason): { reason: string; message?: string } =>
  message === '' ? { reason } : { reason, message };

/** RFC 3339 with whole seconds, as metav1.Time prints. */
export function timestamp(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}
