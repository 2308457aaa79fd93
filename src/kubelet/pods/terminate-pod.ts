/**
 * Ends a pod for good: containers within their grace, sandboxes, volumes, records, logs, in that order, so that at any
 * instant a successor can go on from what is left. Also ends pods that nobody names any more (orphans).
 * Rule: node-contract section 4 "Termination". Layer: kubelet/pods (edge to CRI). Every step is idempotent.
 */
import type { Pod } from '../../api/core.ts';
import { type PodIdentity, terminationGracePeriodAnnotation } from '../plan/annotations.ts';
import { podGarbage } from '../plan/garbage.ts';
import { containerLogLinkName } from '../plan/log-paths.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import type { PodContext } from './pod-context.ts';
import { normal } from './pod-events.ts';
import { removeContainerLog, removePodLogs } from './pod-logs.ts';

/** What the runtime gets at least, so that a process can still say goodbye. */
const minimumGraceSeconds = 2;
/** 68 years: a validated grace may be more than a gRPC deadline and the runtime's nanoseconds can hold. */
const maximumGraceSeconds = 2 ** 31 - 1;

/** Whole seconds for StopContainer; what is no number counts as the default 30. */
export function stopTimeout(graceSeconds: number): number {
  if (!Number.isFinite(graceSeconds)) return 30;
  return Math.min(Math.max(Math.ceil(graceSeconds), minimumGraceSeconds), maximumGraceSeconds);
}

export interface TerminateRequest {
  identity: PodIdentity;
  /** Undefined for an orphan: the grace then comes from the containers' annotations. */
  pod: Pod | undefined;
  /** Seconds; overrides what the pod says. */
  graceSeconds?: number;
  /** Ends the waiting for containers, so that they can be asked again with a shorter grace. */
  signal?: AbortSignal;
  /** Called once every container has ended, with the state that the final status is made from. */
  onStopped(state: PodRuntimeState): void;
}

/** @throws CriError, VolumeError; the caller tries again later */
export async function terminatePod(request: TerminateRequest, context: PodContext): Promise<void> {
  const { identity, pod } = request;
  await stopContainers(request, await context.cache.refresh(identity), context);
  const stopped = await context.cache.refresh(identity);
  for (const sandbox of stopped.sandboxes) await context.runtime.stopPodSandbox({ podSandboxId: sandbox.id });
  request.onStopped(stopped);
  await context.volumes.teardown(identity.uid);
  for (const sandbox of stopped.sandboxes) await context.runtime.removePodSandbox({ podSandboxId: sandbox.id });
  await removePodLogs(identity, context.paths);
  context.cache.forget(identity.uid);
  context.images.forget(identity.uid);
  context.log.info(
    { pod: `${identity.namespace}/${identity.name}`, uid: identity.uid, orphan: pod === undefined },
    'pod is gone',
  );
}

function graceOf({ pod, graceSeconds }: TerminateRequest): (annotated: string | undefined) => number {
  return (annotated) =>
    stopTimeout(graceSeconds ?? pod?.spec.terminationGracePeriodSeconds ?? Number(annotated ?? '30'));
}

async function stopContainers(request: TerminateRequest, state: PodRuntimeState, context: PodContext): Promise<void> {
  const { pod, signal } = request;
  const grace = graceOf(request);
  const alive = state.containers.filter(({ phase }) => phase === 'running' || phase === 'unknown');
  const results = await Promise.allSettled(
    alive.map((container) => {
      if (pod) context.recordEvent(pod, normal('Killing', `Stopping container ${container.name}`, container.name));
      const timeout = grace(container.annotations[terminationGracePeriodAnnotation]);
      return context.runtime.stopContainer({ containerId: container.id, timeout }, signal ? { signal } : {});
    }),
  );
  signal?.throwIfAborted();
  const failures = results.filter((result) => result.status === 'rejected').map((result) => result.reason as unknown);
  if (failures.length > 0)
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, 'stopping containers');
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
