/**
 * One pass for a pod that should run: plan from what the runtime has, apply, and say what it waits for.
 * Layer: kubelet/pods (applies kubelet/plan's operations). Keeps no state but PodMemory; a pass may be cut short at any
 * step and the next one goes on from what the runtime then has. Rule: pkg/kubelet/kuberuntime SyncPod.
 */
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { ImageError } from '../images/image-error.ts';
import { computePodActions, describeOperation, type PodActions, type PodOperation } from '../plan/pod-actions.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import { newestContainer, type PodRuntimeState, type SandboxRecord } from '../plan/runtime-state.ts';
import type { WaitingReason } from '../status/container-status.ts';
import { podStatus } from '../status/pod-status.ts';
import { ContainerStartError, type StartOperation, startContainer } from './container-start.ts';
import { type PodContext, type PodMemory, startPriority } from './pod-context.ts';
import { normal, warning } from './pod-events.ts';
import { startSandbox } from './sandbox-start.ts';
import { removePodGarbage, stopTimeout } from './terminate-pod.ts';

/** The kubelet's backOffPeriod: how soon a pod whose start failed is tried again when no backoff says otherwise. */
const retryMs = 10_000;
/** A network that is not ready so long is worth an event. */
const networkPatienceMs = 1_000;

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
  const deadlineMs = deadlineOf(pod, memory);
  if (deadlineMs <= context.clock.now()) memory.verdict ??= deadlineExceeded;
  if (hasEnded(memory)) {
    await keepEnded(pod, memory, context);
    return { wakeAtMs: undefined };
  }
  const before = context.cache.get(pod.metadata.uid);
  const actions = computePodActions(pod, before, {
    nowMs: context.clock.now(),
    restartBackoff: context.restartBackoff,
  });
  noteBackoff(pod, actions, memory, context);
  publishStatus(pod, before, memory, context);
  for (const operation of actions.operations) {
    context.log.debug({ pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, describeOperation(operation));
  }
  await endWhatMustEnd(pod, actions.operations, context);
  const wakes = actions.backingOff.map(({ untilMs }) => untilMs);
  if (Number.isFinite(deadlineMs)) wakes.push(deadlineMs);
  const starts = actions.operations.filter((operation) => operation.op === 'startContainer');
  if (starts.length > 0) {
    const retryAtMs = await startWhatMustStart(pod, actions.operations, starts, memory, context, signal);
    if (retryAtMs !== undefined) wakes.push(retryAtMs);
  } else if (memory.volumesStale && !actions.completed) {
    await mountVolumes(pod, memory, context, signal);
  }
  publishStatus(pod, context.cache.get(pod.metadata.uid), memory, context);
  if (hasEnded(memory)) {
    await keepEnded(pod, memory, context);
    return { wakeAtMs: undefined };
  }
  await removePodGarbage(pod.metadata, context.cache.get(pod.metadata.uid), context);
  return { wakeAtMs: wakes.length > 0 ? Math.min(...wakes) : undefined };
}

const deadlineExceeded = {
  reason: 'DeadlineExceeded',
  message: 'Pod was active on the node longer than the specified deadline',
};

/** Epoch milliseconds after which the pod must not run (activeDeadlineSeconds); Infinity for none. */
function deadlineOf(pod: Pod, memory: PodMemory): number {
  const seconds = pod.spec.activeDeadlineSeconds;
  if (seconds === undefined) return Number.POSITIVE_INFINITY;
  const startedMs = Date.parse(memory.lastStatus?.startTime ?? '');
  return (Number.isFinite(startedMs) ? startedMs : memory.firstSeenMs) + seconds * 1000;
}

const hasEnded = ({ verdict, lastStatus }: PodMemory): boolean =>
  verdict !== undefined || isTerminal(lastStatus?.phase);

/** A pod that ended stays ended: nothing of it runs, its records and logs stay until it is deleted. */
async function keepEnded(pod: Pod, memory: PodMemory, context: PodContext): Promise<void> {
  const state = context.cache.get(pod.metadata.uid);
  const reason = memory.verdict?.reason ?? 'pod completed';
  const operations: PodOperation[] = [
    ...state.containers
      .filter(({ phase }) => phase === 'running' || phase === 'unknown')
      .map(({ id, name }) => ({ op: 'killContainer', id, name, reason }) as const),
    ...state.sandboxes.filter(({ ready }) => ready).map(({ id }) => ({ op: 'stopSandbox', id, reason }) as const),
  ];
  await endWhatMustEnd(pod, operations, context);
  publishStatus(pod, context.cache.get(pod.metadata.uid), memory, context, { terminating: true });
  // What a manifest's containers said last is read from there by a successor; the API server remembers for others.
  if (isApiPod(pod) && !memory.volumesGone) {
    await context.volumes.teardown(pod.metadata.uid);
    memory.volumesGone = true;
  }
  await removePodGarbage(pod.metadata, context.cache.get(pod.metadata.uid), context);
}

function noteBackoff(pod: Pod, actions: PodActions, memory: PodMemory, context: PodContext): void {
  for (const { name, delayMs } of actions.backingOff) {
    const { metadata } = pod;
    const full = `${metadata.name}_${metadata.namespace}(${metadata.uid})`;
    const message = `back-off ${delayMs / 1000}s restarting failed container=${name} pod=${full}`;
    if (memory.waiting.get(name)?.message === message) continue;
    memory.waiting.set(name, { reason: 'CrashLoopBackOff', message });
    const said = `Back-off restarting failed container ${name} in pod ${full}`;
    context.recordEvent(pod, warning('BackOff', said, name));
  }
}

async function mountVolumes(
  pod: Pod,
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  try {
    await context.objectsKnown(pod, signal);
    // Before, not after: what changes while files are written comes again.
    memory.volumesStale = false;
    return await context.volumes.mount(pod);
  } catch (error) {
    memory.volumesStale = true;
    if (!signal.aborted) context.recordEvent(pod, warning('FailedMount', errorLine(error)));
    throw error;
  }
}

export function publishStatus(
  pod: Pod,
  state: PodRuntimeState,
  memory: PodMemory,
  context: PodContext,
  stage: { terminating?: boolean; ended?: boolean } = {},
): void {
  const status = podStatus(pod, state, {
    nowMs: context.clock.now(),
    runtimeName: context.node.runtimeName,
    hostIPs: context.node.hostIPs,
    waiting: memory.waiting,
    terminating: stage.terminating ?? false,
    ended: stage.ended ?? false,
    verdict: memory.verdict,
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
  for (const { name, reason } of kills) {
    context.recordEvent(pod, normal('Killing', `Stopping container ${name}: ${reason}`, name));
  }
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
  const volumePaths = await mountVolumes(pod, memory, context, signal);
  let state = context.cache.get(pod.metadata.uid);
  let sandbox: SandboxRecord | undefined = state.sandboxes[0];
  const creation = operations.find((operation) => operation.op === 'createSandbox');
  if (creation) {
    if (state.sandboxes.length > 0) {
      context.recordEvent(pod, normal('SandboxChanged', 'Pod sandbox changed, it will be killed and re-created.'));
    }
    if (!pod.spec.hostNetwork) await waitForNetwork(pod, context, signal);
    const made = await makeSandbox(pod, creation.attempt, context, signal);
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

async function waitForNetwork(pod: Pod, context: PodContext, signal: AbortSignal): Promise<void> {
  const cancel = context.clock.after(networkPatienceMs, () =>
    context.recordEvent(pod, warning('NetworkNotReady', 'network is not ready: the container runtime says so')),
  );
  try {
    await context.networkReady(signal);
  } finally {
    cancel();
  }
}

async function makeSandbox(pod: Pod, attempt: number, context: PodContext, signal: AbortSignal) {
  try {
    const start = () => startSandbox(pod, attempt, context);
    return await context.startSlots.run(start, { priority: startPriority.sandbox, signal });
  } catch (error) {
    const message = `Failed to create pod sandbox: ${errorLine(error)}`;
    if (!signal.aborted) context.recordEvent(pod, warning('FailedCreatePodSandBox', message));
    throw error;
  }
}

/** One container's failure must not keep the others from starting. */
function noteStartFailure(pod: Pod, name: string, error: unknown, memory: PodMemory, context: PodContext): number {
  if (!(error instanceof ImageError) && !(error instanceof ContainerStartError)) throw error;
  memory.waiting.set(name, { reason: error.reason, message: withPullFailure(error, memory.waiting.get(name)) });
  const quiet = error instanceof ImageError && error.backingOff;
  recordStartFailure(pod, name, error, context);
  const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, container: name, reason: error.reason };
  if (!quiet) context.log.warn({ ...fields, error: errorLine(error) }, 'container did not start');
  return error instanceof ImageError ? error.retryAtMs : context.clock.now() + retryMs;
}

function recordStartFailure(
  pod: Pod,
  name: string,
  error: ImageError | ContainerStartError,
  context: PodContext,
): void {
  const message = errorLine(error);
  const record = (event: ReturnType<typeof normal>): void => context.recordEvent(pod, event);
  if (error instanceof ContainerStartError) {
    record(warning('Failed', `Error: ${message}`, name));
    return;
  }
  switch (error.reason) {
    case 'ImagePullBackOff':
      record(normal('BackOff', message, name));
      break;
    case 'ErrImageNeverPull':
      record(warning('ErrImageNeverPull', message, name));
      break;
    case 'ImageInspectError':
    case 'InvalidImageName':
      record(warning('InspectFailed', message, name));
      break;
    default:
      record(warning('Failed', message, name));
  }
  record(warning('Failed', `Error: ${error.reason}`, name));
}

/** A pull that is put off also says what the attempt before it failed with (image_manager.go's prevPullErrMsg). */
function withPullFailure(error: ImageError | ContainerStartError, before: WaitingReason | undefined): string {
  const message = errorLine(error);
  if (error.reason !== 'ImagePullBackOff' || before === undefined) return message;
  if (before.reason === 'ErrImagePull') return `${message}: ErrImagePull: ${before.message}`;
  return before.reason === 'ImagePullBackOff' ? before.message : message;
}
