/**
 * One pass for a pod that should run: plan from what the runtime has, apply, and say what it waits for.
 * Layer: kubelet/pods (applies kubelet/plan's operations). Keeps no state but PodMemory; a pass may be cut short at any
 * step and the next one goes on from what the runtime then has. Rule: pkg/kubelet/kuberuntime SyncPod.
 */
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { ImageError } from '../images/image-error.ts';
import { computePodActions, describeOperation, type PodActions, type PodOperation } from '../plan/pod-actions.ts';
import { newestContainer, type PodRuntimeState, type SandboxRecord } from '../plan/runtime-state.ts';
import type { WaitingReason } from '../status/container-status.ts';
import { podStatus } from '../status/pod-status.ts';
import { ContainerStartError, type StartOperation, startContainer } from './container-start.ts';
import { type PodContext, type PodMemory, startPriority } from './pod-context.ts';
import { startSandbox } from './sandbox-start.ts';
import { removePodGarbage, stopTimeout } from './terminate-pod.ts';

/** The kubelet's backOffPeriod: how soon a pod whose start failed is tried again when no backoff says otherwise. */
const retryMs = 10_000;

export interface SyncResult {
  /** Epoch milliseconds at which the pod wants its next pass, or undefined to wait for a change. */
  wakeAtMs: number | undefined;
}

/** @throws CriError, VolumeError, Error; the worker logs it and tries again */
export async function syncPod(
  pod: Pod,
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<SyncResult> {
  const before = context.cache.get(pod.metadata.uid);
  const actions = computePodActions(pod, before, {
    nowMs: context.clock.now(),
    restartBackoff: context.restartBackoff,
  });
  noteBackoff(pod, actions, memory);
  publishStatus(pod, before, memory, context);
  for (const operation of actions.operations) {
    context.log.debug({ pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, describeOperation(operation));
  }
  await endWhatMustEnd(pod, actions.operations, context);
  const wakes = actions.backingOff.map(({ untilMs }) => untilMs);
  const starts = actions.operations.filter((operation) => operation.op === 'startContainer');
  if (starts.length > 0) {
    const retryAtMs = await startWhatMustStart(pod, actions.operations, starts, memory, context, signal);
    if (retryAtMs !== undefined) wakes.push(retryAtMs);
  } else if (memory.volumesStale && !actions.completed) {
    await context.volumes.mount(pod);
    memory.volumesStale = false;
  }
  publishStatus(pod, context.cache.get(pod.metadata.uid), memory, context);
  await removePodGarbage(pod.metadata, context.cache.get(pod.metadata.uid), context);
  return { wakeAtMs: wakes.length > 0 ? Math.min(...wakes) : undefined };
}

function noteBackoff(pod: Pod, actions: PodActions, memory: PodMemory): void {
  for (const { name, delayMs } of actions.backingOff) {
    const message = `back-off ${delayMs / 1000}s restarting failed container=${name} pod=${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`;
    memory.waiting.set(name, { reason: 'CrashLoopBackOff', message });
  }
}

export function publishStatus(
  pod: Pod,
  state: PodRuntimeState,
  memory: PodMemory,
  context: PodContext,
  terminating = false,
): void {
  const status = podStatus(pod, state, {
    nowMs: context.clock.now(),
    runtimeName: context.node.runtimeName,
    hostIPs: context.node.hostIPs,
    waiting: memory.waiting,
    terminating,
    previous: memory.lastStatus,
    startTimeMs: memory.firstSeenMs,
  });
  memory.lastStatus = status;
  context.publish(pod, status);
}

async function endWhatMustEnd(pod: Pod, operations: PodOperation[], context: PodContext): Promise<void> {
  const kills = operations.filter((operation) => operation.op === 'killContainer');
  const stops = operations.filter((operation) => operation.op === 'stopSandbox');
  if (kills.length === 0 && stops.length === 0) return;
  const timeout = stopTimeout(pod.spec.terminationGracePeriodSeconds ?? 30);
  await Promise.all(kills.map(({ id }) => context.runtime.stopContainer({ containerId: id, timeout })));
  for (const { id } of stops) await context.runtime.stopPodSandbox({ podSandboxId: id });
  await context.cache.refresh(pod.metadata);
}

/** @returns when to plan again for what did not start or ended at once, or undefined when everything runs */
async function startWhatMustStart(
  pod: Pod,
  operations: PodOperation[],
  starts: StartOperation[],
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<number | undefined> {
  const volumePaths = await context.volumes.mount(pod);
  memory.volumesStale = false;
  let state = context.cache.get(pod.metadata.uid);
  let sandbox: SandboxRecord | undefined = state.sandboxes[0];
  const creation = operations.find((operation) => operation.op === 'createSandbox');
  if (creation) {
    if (!pod.spec.hostNetwork) await context.networkReady(signal);
    const made = await context.startSlots.run(() => startSandbox(pod, creation.attempt, context), {
      priority: startPriority.sandbox,
      signal,
    });
    sandbox = made.sandbox;
    state = made.state;
    publishStatus(pod, state, memory, context);
  }
  if (!sandbox) throw new Error('a container start was planned without a sandbox');
  const readySandbox = sandbox;
  const retries: number[] = [];
  for (const operation of starts) {
    signal.throwIfAborted();
    const index = pod.spec.containers.findIndex(({ name }) => name === operation.name);
    const container = pod.spec.containers[index];
    if (!container) continue;
    try {
      const image = await context.images.ensure(pod, index, signal);
      const request = { pod, container, operation, sandbox: readySandbox, image, volumePaths };
      state = await context.startSlots.run(() => startContainer(request, context), {
        priority: startPriority.container,
        signal,
      });
      memory.waiting.delete(operation.name);
      // It ended before it was looked at: no event will say more than is known already, so plan again at once.
      if (newestContainer(state, operation.name)?.phase !== 'running') retries.push(context.clock.now());
    } catch (error) {
      if (signal.aborted) throw error;
      state = context.cache.get(pod.metadata.uid);
      retries.push(noteStartFailure(pod, operation.name, error, memory, context));
    }
  }
  return retries.length > 0 ? Math.min(...retries) : undefined;
}

/** One container's failure must not keep the others from starting. */
function noteStartFailure(pod: Pod, name: string, error: unknown, memory: PodMemory, context: PodContext): number {
  if (!(error instanceof ImageError) && !(error instanceof ContainerStartError)) throw error;
  memory.waiting.set(name, { reason: error.reason, message: withPullFailure(error, memory.waiting.get(name)) });
  const quiet = error instanceof ImageError && error.backingOff;
  const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, container: name, reason: error.reason };
  if (!quiet) context.log.warn({ ...fields, error: errorLine(error) }, 'container did not start');
  return error instanceof ImageError ? error.retryAtMs : context.clock.now() + retryMs;
}

/** A pull that is put off also says what the attempt before it failed with (image_manager.go's prevPullErrMsg). */
function withPullFailure(error: ImageError | ContainerStartError, before: WaitingReason | undefined): string {
  const message = errorLine(error);
  if (error.reason !== 'ImagePullBackOff' || before === undefined) return message;
  if (before.reason === 'ErrImagePull') return `${message}: ErrImagePull: ${before.message}`;
  return before.reason === 'ImagePullBackOff' ? before.message : message;
}
