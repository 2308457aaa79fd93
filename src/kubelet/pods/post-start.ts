/**
 * Runs the postStart hook of a container that was just started; one that fails ends the container.
 * Rule: pkg/kubelet/kuberuntime/kuberuntime_container.go (startContainer, step 4).
 * Layer: kubelet/pods (edge to CRI). Must not hold a start slot: a hook may take as long as it likes.
 */
import type { Container, Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { ContainerRecord } from '../plan/runtime-state.ts';
import { podAddresses } from '../status/pod-status.ts';
import { ContainerStartError } from './container-start.ts';
import type { PodContext } from './pod-context.ts';
import { warning } from './pod-events.ts';
import { stopContainers } from './stop-containers.ts';

/** @throws ContainerStartError after the container was ended, or the signal's reason */
export async function runPostStart(
  pod: Pod,
  container: Container,
  record: ContainerRecord,
  context: PodContext,
  signal: AbortSignal,
): Promise<void> {
  const handler = container.lifecycle?.postStart;
  if (handler === undefined) return;
  const podIP = podAddresses(pod, context.cache.get(pod.metadata.uid), context.node.hostIPs)[0];
  try {
    await context.runHook(handler, { pod, container, containerId: record.id, podIP }, signal);
  } catch (error) {
    signal.throwIfAborted();
    const { namespace, name } = pod.metadata;
    const fields = { pod: `${namespace}/${name}`, container: container.name, error: errorLine(error) };
    context.log.warn(fields, 'postStart hook failed: the container is ended');
    // Without the reason, which may hold what the hook's target said.
    context.recordEvent(pod, warning('FailedPostStartHook', 'PostStartHook failed', container.name));
    const graceSeconds = pod.spec.terminationGracePeriodSeconds ?? 30;
    const stops = [{ record, container, graceSeconds, message: 'FailedPostStartHook' }];
    await stopContainers({ pod, stops, ordered: false, podIP, preStopped: new Set(), signal }, context);
    await context.cache.refresh(pod.metadata);
    throw new ContainerStartError('PostStartHookError', container.name, error);
  }
}
