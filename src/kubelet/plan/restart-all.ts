/**
 * The pod begins anew in its sandbox: a container ended with an exit code whose rule is RestartAllContainers (KEP-5532).
 * All containers are ended without grace and their records removed; then the pod has nothing and starts as at first. The
 * records that caused it go last, so that a successor of a killed daemon still sees why and goes on.
 * Rule: pkg/kubelet/kuberuntime/kuberuntime_manager.go (getContainersToReset), pkg/kubelet/container/helpers.go
 * (ShouldAllContainersRestart). Layer: kubelet/plan (pure).
 */
import type { Container, Pod } from '../../api/core.ts';
import type { PodOperation } from './pod-operation.ts';
import { endsAll } from './restart-rules.ts';
import { type ContainerRecord, newestContainer, type PodRuntimeState } from './runtime-state.ts';

/** Whether the newest instance of a container in the sandbox (ephemeral ones have no rules) asks for it. */
export const restartsAll = ({ spec }: Pod, state: PodRuntimeState, sandboxId: string): boolean =>
  [...(spec.initContainers ?? []), ...spec.containers].some((container) => {
    const newest = newestContainer(state, container.name);
    return newest !== undefined && newest.sandboxId === sandboxId && isCause(container, newest);
  });

/** Main containers before init containers, what caused it after both. */
export function restartAllOperations({ spec }: Pod, state: PodRuntimeState): PodOperation[] {
  const victims: PodOperation[] = [];
  const causes: PodOperation[] = [];
  for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
    for (const record of state.containers) {
      if (record.name !== container.name) continue;
      const { id, name } = record;
      if (isCause(container, record)) {
        causes.push({ op: 'removeContainer', id, name });
        continue;
      }
      if (record.phase === 'running' || record.phase === 'unknown') {
        const reason = 'all containers restart';
        victims.push({ op: 'killContainer', id, name, reason, message: 'killing', graceSeconds: 0 });
      }
      victims.push({ op: 'removeContainer', id, name });
    }
  }
  return [...victims, ...causes];
}

const isCause = (container: Container, record: ContainerRecord): boolean =>
  record.phase === 'exited' && endsAll(container, record.exitCode);
