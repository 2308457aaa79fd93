/**
 * Makes room on a full disk: what the runtime still has of pods that ended, with its logs, also while the API server
 * keeps such a pod. Living pods keep what `kubectl logs --previous` reads.
 * Layer: kubelet/eviction (edge to CRI and disk). Source: DeleteAllUnusedContainers in
 * pkg/kubelet/container/container_gc.go, pkg/kubelet/kuberuntime/kuberuntime_gc.go.
 */
import type { RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodIdentity } from '../plan/annotations.ts';
import { containerLogLinkName } from '../plan/log-paths.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import type { PodPaths } from '../pods/pod-context.ts';
import { removeContainerLog } from '../pods/pod-logs.ts';
import type { ServedPod } from '../server/served-pods.ts';

export interface RemoveEndedOptions {
  readonly pods: () => readonly ServedPod[];
  readonly runtime: Pick<RuntimeService, 'removeContainer' | 'removePodSandbox'>;
  /** Looks anew at what the runtime has of the pod. */
  readonly refresh: (pod: PodIdentity) => Promise<unknown>;
  readonly paths: PodPaths;
}

/**
 * Only of pods of the API server, which remembers how they ended: a manifest's pod would begin anew.
 */
export function hasEndedForGood({ pod, status, state }: ServedPod): boolean {
  if (!isApiPod(pod) || !isTerminal(status.phase)) return false;
  const mayRun = state.containers.some(({ phase }) => phase !== 'exited') || state.sandboxes.some(({ ready }) => ready);
  return !mayRun && (state.containers.length > 0 || state.sandboxes.length > 0);
}

/** Goes on after a failure. @throws AggregateError of what stayed, each by its pod */
export async function removeEndedContainers({ pods, runtime, refresh, paths }: RemoveEndedOptions): Promise<void> {
  const failures: unknown[] = [];
  for (const { pod, state } of pods().filter(hasEndedForGood)) {
    const { namespace, name, uid } = pod.metadata;
    const identity = { namespace, name, uid };
    try {
      for (const container of state.containers) {
        // The log first: killed in between, a successor still finds the container and comes back to both.
        const link = containerLogLinkName(identity, container.name, container.id);
        await removeContainerLog(identity, container.name, container.attempt, link, paths);
        await runtime.removeContainer({ containerId: container.id });
      }
      for (const { id } of state.sandboxes) await runtime.removePodSandbox({ podSandboxId: id });
      await refresh(identity);
    } catch (error) {
      failures.push(new Error(`pod ${namespace}/${name}: ${errorLine(error)}`, { cause: error }));
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'ended containers stay');
}
