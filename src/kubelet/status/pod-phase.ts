/**
 * A pod's phase from the statuses of its containers. Rule: pkg/kubelet/kubelet_pods.go (getPhase); node-contract section 4.
 * Sidecars count only as long as the pod starts. Layer: kubelet/status (pure).
 */
import type { Container, ContainerStatus, Pod, PodPhase } from '../../api/core.ts';
import { isSidecar } from '../plan/container-kind.ts';
import { restartsAfter } from '../plan/restart-rules.ts';

export interface PhaseContext {
  /** The pod was ended from outside: nothing restarts, whatever the policies say. Never set for static pods. */
  terminal: boolean;
  /** A main container was created in the sandbox in use. */
  initialized: boolean;
}

/** @param statuses of init, sidecar and main containers, in any order */
export function podPhase(pod: Pod, statuses: readonly ContainerStatus[], context: PhaseContext): PodPhase {
  const statusOf = new Map(statuses.map((status) => [status.name, status]));
  const initContainers = pod.spec.initContainers ?? [];
  const regular = initContainers.filter((container) => !isSidecar(container)).map(regularInit(pod, statusOf));
  if (regular.includes('failed')) return 'Failed';
  const sidecars = initContainers.filter(isSidecar).map(({ name }) => sidecarProgress(statusOf.get(name)));
  const mains = pod.spec.containers.map(mainProgress(pod, statusOf));
  const starting =
    regular.includes('pending') ||
    sidecars.includes('waiting') ||
    (sidecars.includes('starting') && !context.initialized) ||
    mains.includes('waiting');
  if (starting) return 'Pending';
  const unknown = sidecars.includes('unknown') || mains.includes('unknown');
  const running = [...sidecars, ...mains].some((each) => each === 'running' || each === 'starting');
  if (running) return unknown ? 'Pending' : 'Running';
  if (unknown || mains.length === 0) return 'Pending';
  const succeeded = mains.every((each) => each.startsWith('succeeded'));
  if (context.terminal) return succeeded ? 'Succeeded' : 'Failed';
  if (mains.some((each) => each.endsWith(', restarts'))) return 'Running';
  return succeeded ? 'Succeeded' : 'Failed';
}

type StatusByName = ReadonlyMap<string, ContainerStatus>;

const regularInit =
  (pod: Pod, statusOf: StatusByName) =>
  (container: Container): 'pending' | 'passed' | 'failed' => {
    const status = statusOf.get(container.name);
    const end = status?.state.terminated ?? (status?.state.waiting && status.lastState.terminated);
    if (end === undefined) return 'pending';
    // One that is to run again is neither: the kubelet counts it as stopped, and main containers as waiting.
    return end.exitCode !== 0 && !restarts(pod, container, end) ? 'failed' : 'passed';
  };

function sidecarProgress(
  status: ContainerStatus | undefined,
): 'unknown' | 'waiting' | 'starting' | 'running' | 'ended' {
  if (status === undefined) return 'unknown';
  const { state, lastState, started } = status;
  if (state.running) return started ? 'running' : 'starting';
  if (state.terminated || lastState.terminated) return 'ended';
  return state.waiting ? 'waiting' : 'unknown';
}

type MainProgress =
  | 'unknown'
  | 'waiting'
  | 'running'
  | 'succeeded'
  | 'succeeded, restarts'
  | 'failed'
  | 'failed, restarts';

const mainProgress =
  (pod: Pod, statusOf: StatusByName) =>
  (container: Container): MainProgress => {
    const status = statusOf.get(container.name);
    if (status === undefined) return 'unknown';
    const { state, lastState } = status;
    if (state.running) return 'running';
    const end = state.terminated ?? (state.waiting && lastState.terminated);
    if (end === undefined) return state.waiting ? 'waiting' : 'unknown';
    // Only what shows its end succeeded; what waits to run again did not.
    const how = state.terminated && end.exitCode === 0 ? 'succeeded' : 'failed';
    return restarts(pod, container, end) ? `${how}, restarts` : how;
  };

const restarts = (pod: Pod, container: Container, end: { exitCode: number; reason?: string }): boolean =>
  end.reason === 'RestartingAllContainers' || restartsAfter(pod, container, end.exitCode);
