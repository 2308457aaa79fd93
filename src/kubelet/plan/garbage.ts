/**
 * Which records of a living pod the runtime may forget: all but the newest dead instance of a container, and old
 * sandboxes that hold nothing any more. Rule: pkg/kubelet/kuberuntime/kuberuntime_gc.go, node-contract section 9.
 * Layer: kubelet/plan (pure). A pod that is gone is removed as a whole by pods/terminate-pod.ts, not here.
 */
import type { ContainerRecord, PodRuntimeState, SandboxRecord } from './runtime-state.ts';

export interface PodGarbage {
  containers: ContainerRecord[];
  sandboxes: SandboxRecord[];
}

export function podGarbage(state: PodRuntimeState): PodGarbage {
  const [newestSandbox] = state.sandboxes;
  const keptDead = new Set<string>();
  const containers = state.containers.filter((container) => {
    if (container.phase === 'running' || container.phase === 'unknown') return false;
    if (container.phase === 'created') return container.sandboxId !== newestSandbox?.id;
    if (!keptDead.has(container.name)) {
      keptDead.add(container.name);
      return false;
    }
    return true;
  });
  const removed = new Set(containers.map(({ id }) => id));
  const occupied = new Set(state.containers.filter(({ id }) => !removed.has(id)).map(({ sandboxId }) => sandboxId));
  const sandboxes = state.sandboxes.filter(
    (sandbox) => sandbox !== newestSandbox && !sandbox.ready && !occupied.has(sandbox.id),
  );
  return { containers, sandboxes };
}
