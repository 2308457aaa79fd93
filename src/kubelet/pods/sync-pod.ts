/**
 * One pass for a pod that should run: plan from what the runtime has, apply, and say what it waits for.
 * Layer: kubelet/pods (applies kubelet/plan's operations). Keeps no state but PodMemory; a pass may be cut short at any
 * step and the next one goes on from what the runtime then has. Rule: pkg/kubelet/kuberuntime SyncPod.
 */
import type { Pod } from '../../api/core.ts';
import { findContainer } from '../plan/container-kind.ts';
import { computePodActions, endEverything, type PodActions } from '../plan/pod-actions.ts';
import { describeOperation, type PodOperation } from '../plan/pod-operation.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import { podAddresses } from '../status/pod-status.ts';
import { applyResize } from './apply-resize.ts';
import { mountVolumes, staleReason } from './mount-pod-volumes.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { warning } from './pod-events.ts';
import { publishStatus } from './publish-status.ts';
import { resizeState } from './resize-state.ts';
import { startWhatMustStart } from './start-containers.ts';
import { type ContainerStop, stopContainers } from './stop-containers.ts';
import { removePodGarbage } from './terminate-pod.ts';

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
  const { uid } = pod.metadata;
  const deadlineMs = deadlineOf(pod, memory);
  if (deadlineMs <= context.clock.now()) memory.verdict ??= deadlineExceeded;
  if (hasEnded(memory)) {
    await keepEnded(pod, memory, context, signal);
    return { wakeAtMs: undefined };
  }
  const before = context.cache.get(uid);
  context.cgroups?.follow(pod);
  context.probes.follow(pod, before, { terminating: false });
  const actions = computePodActions(pod, before, {
    nowMs: context.clock.now(),
    restartBackoff: context.restartBackoff,
    verdict: (container, record) => context.probes.verdict(container, record),
    resize: resizeState(uid, memory, context),
  });
  noteBackoff(pod, actions, memory, context);
  publishStatus(pod, before, memory, context);
  for (const operation of actions.operations) {
    context.log.debug({ pod: `${pod.metadata.namespace}/${pod.metadata.name}` }, describeOperation(operation));
  }
  const removed = await endWhatMustEnd(pod, actions.operations, memory, context, signal);
  const wakes = actions.backingOff.map(({ untilMs }) => untilMs);
  if (removed) wakes.push(context.clock.now());
  const resizeAtMs = await applyResize(pod, actions.operations, memory, context, signal);
  if (resizeAtMs !== undefined) wakes.push(resizeAtMs);
  if (Number.isFinite(deadlineMs)) wakes.push(deadlineMs);
  if (actions.failed !== undefined) memory.verdict ??= { reason: 'SandboxLost', message: actions.failed };
  if (actions.operations.some(({ op }) => op === 'startContainer')) {
    const retryAtMs = await startWhatMustStart(pod, actions.operations, memory, context, signal);
    if (retryAtMs !== undefined) wakes.push(retryAtMs);
    // Started with the files of before: the next pass says what is missing, and nothing else need bring one.
    if (memory.volumesStale) wakes.push(context.clock.now() + staleVolumesRetryMs);
  } else if (memory.volumesStale && !actions.completed) {
    const stale = staleReason(await mountVolumes(pod, memory, context, signal));
    // Nothing waits for the files but whoever looks at this pod.
    if (stale !== undefined) throw stale;
  }
  const after = context.cache.get(uid);
  context.probes.follow(pod, after, { terminating: false });
  publishStatus(pod, after, memory, context);
  if (hasEnded(memory)) {
    await keepEnded(pod, memory, context, signal);
    return { wakeAtMs: undefined };
  }
  await removePodGarbage(pod.metadata, context.cache.get(uid), context);
  return { wakeAtMs: wakes.length > 0 ? Math.min(...wakes) : undefined };
}

/** Between a start with files that are not up to date and the next try to write them. */
const staleVolumesRetryMs = 1000;

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
async function keepEnded(pod: Pod, memory: PodMemory, context: PodContext, signal: AbortSignal): Promise<void> {
  const { uid } = pod.metadata;
  const { verdict } = memory;
  // Before anything ends: its status already says that it failed, and others may act on that.
  if (verdict !== undefined && !isTerminal(memory.lastStatus?.phase)) {
    publishStatus(pod, context.cache.get(uid), memory, context);
  }
  context.probes.follow(pod, context.cache.get(uid), { terminating: true });
  const operations = endEverything(context.cache.get(uid), [], verdict?.reason ?? 'pod completed');
  const cancel = watchEviction(pod, memory, context);
  try {
    await endWhatMustEnd(pod, operations, memory, context, signal);
  } finally {
    cancel();
  }
  context.probes.forget(uid);
  publishStatus(pod, context.cache.get(uid), memory, context, { terminating: true });
  // What a manifest's containers said last is read from there by a successor; the API server remembers for others.
  if (isApiPod(pod) && !memory.volumesGone) {
    await context.volumes.teardown(uid, signal, pod);
    memory.volumesGone = true;
  }
  await context.cgroups?.remove(uid);
  await removePodGarbage(pod.metadata, context.cache.get(uid), context);
}

/** A pod that ends for others' sake and takes too long is worth an event (pod_workers.go: killPodNow). */
function watchEviction(pod: Pod, { verdict }: PodMemory, context: PodContext): () => void {
  if (!verdict?.disruption) return () => {};
  const graceSeconds = verdict.graceSeconds ?? graceOf(pod);
  const patienceMs = Math.max(graceSeconds + Math.floor(graceSeconds / 2), 10) * 1000;
  const message = 'Container runtime did not kill the pod within specified grace period.';
  return context.clock.after(patienceMs, () => context.recordEvent(pod, warning('ExceededGracePeriod', message)));
}

const graceOf = ({ spec }: Pod): number => spec.terminationGracePeriodSeconds ?? 30;

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

/** @returns whether records were removed, so that what comes next has to be planned anew */
async function endWhatMustEnd(
  pod: Pod,
  operations: readonly PodOperation[],
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<boolean> {
  const state = context.cache.get(pod.metadata.uid);
  const sandboxes = operations.filter((operation) => operation.op === 'stopSandbox');
  const removals = operations.filter((operation) => operation.op === 'removeContainer');
  const stops = operations.flatMap((operation): ContainerStop[] => {
    const record = state.containers.find(({ id }) => operation.op === 'killContainer' && id === operation.id);
    if (operation.op !== 'killContainer' || record === undefined) return [];
    const graceSeconds = memory.verdict?.graceSeconds ?? operation.graceSeconds ?? graceOf(pod);
    const { container } = findContainer(pod, operation.name) ?? {};
    return [{ record, container, graceSeconds, message: operation.message }];
  });
  if (stops.length === 0 && sandboxes.length === 0 && removals.length === 0) return false;
  const podIP = podAddresses(pod, state, context.node.hostIPs)[0];
  const ordered = sandboxes.length > 0;
  const { preStopped } = memory;
  await stopContainers({ pod, stops, ordered, podIP, preStopped, signal }, context);
  for (const { record } of stops) preStopped.delete(record.id);
  for (const { id } of sandboxes) await context.runtime.stopPodSandbox({ podSandboxId: id });
  for (const { id, name } of removals) {
    await context.runtime.removeContainer({ containerId: id });
    memory.waiting.delete(name);
  }
  await context.cache.refresh(pod.metadata);
  return removals.length > 0;
}
