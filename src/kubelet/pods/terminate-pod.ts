/**
 * Ends a pod for good: containers within their grace, sandboxes, volumes; then the pod counts as gone, and its records and
 * logs follow. At any instant a successor can go on from what is left. Also ends pods that nobody names any more (orphans).
 * Rule: node-contract section 4 "Termination". Layer: kubelet/pods (edge to CRI). Every step is idempotent.
 */
import type { Pod } from '../../api/core.ts';
import { type PodIdentity, terminationGracePeriodAnnotation } from '../plan/annotations.ts';
import { findContainer } from '../plan/container-kind.ts';
import { podGarbage } from '../plan/garbage.ts';
import { containerLogLinkName } from '../plan/log-paths.ts';
import { orphanPod } from '../plan/orphan-container.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import { podAddresses } from '../status/pod-status.ts';
import type { PodContext } from './pod-context.ts';
import { removeContainerLog, removePodLogs } from './pod-logs.ts';
import { stopContainers } from './stop-containers.ts';

export interface TerminateRequest {
  identity: PodIdentity;
  /** Undefined for an orphan: the grace then comes from the containers' annotations. */
  pod: Pod | undefined;
  /** Seconds; overrides what the pod says. 0 counts as 1. */
  graceSeconds?: number;
  /** See PodMemory.preStopped; default: no hook was begun. */
  preStopped?: Set<string>;
  /** Ends the waiting for containers, so that they can be asked again with a shorter grace. */
  signal?: AbortSignal;
  /** Called once every container has ended, with the state that the final status is made from. */
  onStopped(state: PodRuntimeState): void;
  /**
   * Called when nothing of the pod is in use any more: who waits for its end may go on. Its records and logs are still to
   * be removed; a successor of a killed daemon finds them as an orphan's.
   */
  onReleased?(): void;
}

/** @throws CriError, VolumeError, CgroupError; the caller tries again later */
export async function terminatePod(request: TerminateRequest, context: PodContext): Promise<void> {
  const { identity, pod } = request;
  const { uid } = identity;
  const before = await context.cache.refresh(identity);
  if (pod) context.probes.follow(pod, before, { terminating: true });
  await endContainers(request, before, context);
  const stopped = await context.cache.refresh(identity);
  for (const sandbox of stopped.sandboxes) await context.runtime.stopPodSandbox({ podSandboxId: sandbox.id });
  context.probes.forget(uid);
  request.onStopped(stopped);
  await context.volumes.teardown(uid, request.signal, pod);
  await context.cgroups?.remove(uid);
  request.onReleased?.();
  for (const sandbox of stopped.sandboxes) await context.runtime.removePodSandbox({ podSandboxId: sandbox.id });
  await removePodLogs(identity, context.paths);
  context.cache.forget(uid);
  context.images.forget(uid);
  context.log.info({ pod: `${identity.namespace}/${identity.name}`, uid, orphan: pod === undefined }, 'pod is gone');
}

async function endContainers(request: TerminateRequest, state: PodRuntimeState, context: PodContext): Promise<void> {
  const { identity, signal, preStopped = new Set() } = request;
  const pod = request.pod ?? orphanPod(identity, state);
  const alive = state.containers.filter(({ phase }) => phase === 'running' || phase === 'unknown');
  const asked = request.graceSeconds === undefined ? undefined : Math.max(request.graceSeconds, 1);
  const stops = alive.map((record) => {
    const annotated = Number(record.annotations[terminationGracePeriodAnnotation] ?? '30');
    const graceSeconds = asked ?? request.pod?.spec.terminationGracePeriodSeconds ?? annotated;
    return { record, container: findContainer(pod, record.name)?.container, graceSeconds };
  });
  const podIP = podAddresses(pod, state, context.node.hostIPs)[0];
  const quiet = request.pod === undefined;
  await stopContainers({ pod, stops, ordered: true, podIP, preStopped, quiet, signal }, context);
}

/** Forgets dead instances of a living pod beyond the one that `kubectl logs --previous` needs. */
export async function removePodGarbage(pod: PodIdentity, state: PodRuntimeState, context: PodContext): Promise<void> {
  const garbage = podGarbage(state);
  if (garbage.containers.length === 0 && garbage.sandboxes.length === 0) return;
  for (const container of garbage.containers) {
    // The log goes first: killed in between, the successor still finds the container and comes back to both.
    const link = containerLogLinkName(pod, container.name, container.id);
    await removeContainerLog(pod, container.name, container.attempt, link, context.paths);
    await context.runtime.removeContainer({ containerId: container.id });
  }
  for (const sandbox of garbage.sandboxes) await context.runtime.removePodSandbox({ podSandboxId: sandbox.id });
  await context.cache.refresh(pod);
}
