/**
 * Which containers of a pod wait for which others before they are stopped: a sidecar for all main containers and for the
 * sidecars after it. Rule: pkg/kubelet/kuberuntime/kuberuntime_termination_order.go.
 * Layer: kubelet/plan (pure).
 */
import type { Pod } from '../../api/core.ts';
import { isSidecar } from './container-kind.ts';

/** Container name -> names that end before it. Who is not named waits for nobody. */
export function terminationOrder({ spec }: Pod): ReadonlyMap<string, readonly string[]> {
  const order = new Map<string, readonly string[]>();
  let before = spec.containers.map(({ name }) => name);
  for (const container of [...(spec.initContainers ?? [])].reverse()) {
    if (!isSidecar(container)) continue;
    order.set(container.name, before);
    before = [...before, container.name];
  }
  return order;
}
