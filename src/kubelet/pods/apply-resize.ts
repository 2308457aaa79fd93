/**
 * Carries out the resize of a pod that runs: its cgroup and its containers' resources, in the order of the plan. Memory is
 * taken away only from what uses less. A failure is told in the status and tried again; each step may be repeated.
 * Layer: kubelet/pods (edge to CRI). Must not decide what is changed (resize/plan-resize.ts).
 * Source: pkg/kubelet/kuberuntime/kuberuntime_manager.go (doPodResizeAction, validateMemoryResizeAction).
 */
import type { Pod } from '../../api/core.ts';
import { CriError } from '../../cri/cri-error.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { PodOperation } from '../plan/pod-operation.ts';
import { sandboxResources } from '../plan/resources.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import { allocationOf } from '../resize/allocation.ts';
import type { PodCgroupOperation, ResizeOperation, UpdateOperation } from '../resize/plan-resize.ts';
import { resizeInProgress, resizeMessage } from '../resize/resize-conditions.ts';
import { ResizeError } from '../resize/resize-error.ts';
import { readContainer } from './inspect-pod.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { warning } from './pod-events.ts';
import { publishStatus } from './publish-status.ts';

/** The kubelet's backOffPeriod: nobody tells when a container uses less memory. */
const retryMs = 10_000;

/**
 * @returns when to try again, epoch milliseconds; undefined when all is done
 * @throws CriError when the runtime is away or a container is gone; the signal's reason
 */
export async function applyResize(
  pod: Pod,
  operations: readonly PodOperation[],
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<number | undefined> {
  const steps = operations.filter((operation): operation is ResizeOperation => isResize(operation));
  if (steps.length === 0) return undefined;
  const changed = new Set<string>();
  try {
    await checkUsage(pod, steps, context, signal);
    for (const step of steps) {
      signal.throwIfAborted();
      if (step.op === 'updatePodCgroup') await updatePodCgroup(pod, step, memory, context, signal);
      else {
        changed.add(step.id);
        await updateContainer(step, memory, context, signal);
      }
    }
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CriError && (error.isUnavailable() || error.isNotFound())) throw error;
    tellError(pod, error, memory, context);
    return context.clock.now() + retryMs;
  } finally {
    if (!signal.aborted) await reread(pod, changed, memory, context);
  }
}

const isResize = ({ op }: PodOperation): boolean => op === 'updatePodCgroup' || op === 'updateContainer';

async function updatePodCgroup(
  pod: Pod,
  { pod: sized }: PodCgroupOperation,
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<void> {
  const [sandbox] = context.cache.get(pod.metadata.uid).sandboxes;
  if (sandbox?.ready) await tellSandbox(sandbox.id, sized, context, signal);
  await context.updatePodCgroup?.(sized);
  memory.podCgroup = allocationOf(sized);
}

/** For runtimes that size a machine by it; most do not know the call, and none must keep a pod from its resources. */
async function tellSandbox(podSandboxId: string, pod: Pod, context: PodContext, signal: AbortSignal): Promise<void> {
  try {
    const sizes = sandboxResources(pod, context.node.resources);
    await context.runtime.updatePodSandboxResources({ podSandboxId, ...sizes }, { signal });
  } catch (error) {
    if (!(error instanceof CriError) || error.isUnavailable() || signal.aborted) throw error;
    if (error.isUnimplemented()) return;
    context.log.debug(
      { sandbox: podSandboxId, error: errorLine(error) },
      'the runtime takes no resources of a sandbox',
    );
  }
}

async function updateContainer(
  { id, resources }: UpdateOperation,
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<void> {
  await context.runtime.updateContainerResources({ containerId: id, linux: resources }, { signal });
  memory.told ??= new Map();
  memory.told.set(id, {
    cpuShares: resources.cpuShares ?? 0,
    cpuQuotaUs: resources.cpuQuota ?? 0,
    cpuPeriodUs: resources.cpuPeriod ?? 0,
    memoryLimitBytes: resources.memoryLimitInBytes ?? 0,
  });
}

/** Before anything is changed, so that a resize that cannot be done is not half done. @throws ResizeError */
async function checkUsage(
  pod: Pod,
  steps: readonly ResizeOperation[],
  context: PodContext,
  signal: AbortSignal,
): Promise<void> {
  const hasCgroup = context.updatePodCgroup !== undefined;
  const lowered = steps.filter(({ op, lowersMemoryTo }) => {
    return lowersMemoryTo !== undefined && (hasCgroup || op === 'updateContainer');
  });
  if (lowered.length === 0) return;
  const running = context.cache.get(pod.metadata.uid).containers.filter(({ phase }) => phase === 'running');
  const usage = new Map(
    await Promise.all(
      running.map(async ({ id }): Promise<[string, number | undefined]> => {
        const { stats } = await context.runtime.containerStats({ containerId: id }, { signal });
        return [id, usedMemory(stats)];
      }),
    ),
  );
  const faults = lowered.flatMap((step) => fault(step, usage));
  if (faults.length === 0) return;
  const list = faults.length === 1 ? (faults[0] ?? '') : `[${faults.join(', ')}]`;
  throw new ResizeError(`cannot decrease memory limits: ${list}`, pod);
}

function fault(step: ResizeOperation, usage: ReadonlyMap<string, number | undefined>): string[] {
  const { lowersMemoryTo: limit = 0 } = step;
  if (step.op === 'updatePodCgroup') {
    const used = [...usage.values()].reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
    return used < limit ? [] : [`attempting to set pod memory limit (${limit}) below current usage (${used})`];
  }
  const used = usage.get(step.id);
  if (used === undefined) return [`missing container "${step.name}" memory usage`];
  if (used < limit) return [];
  return [`attempting to set container "${step.name}" memory limit (${limit}) below current usage (${used})`];
}

/** containerd 1.6 tells the working set only. */
const usedMemory = (stats: cri.ContainerStats | undefined): number | undefined =>
  stats?.memory?.usageBytes?.value ?? stats?.memory?.workingSetBytes?.value;

/** Also after a failure: some of it may be in force. */
async function reread(pod: Pod, changed: ReadonlySet<string>, memory: PodMemory, context: PodContext): Promise<void> {
  const state = context.cache.get(pod.metadata.uid);
  for (const id of memory.told?.keys() ?? []) {
    if (!state.containers.some((record) => record.id === id)) memory.told?.delete(id);
  }
  if (changed.size === 0) return;
  const records = await Promise.all(
    state.containers
      .filter(({ id }) => changed.has(id))
      .map(({ id, sandboxId }) => readContainer(context, id, sandboxId)),
  );
  const fresh = new Map(records.flatMap((record) => (record === undefined ? [] : [[record.id, record] as const])));
  const latest = context.cache.get(pod.metadata.uid);
  const containers = latest.containers.map((record) => {
    const read = fresh.get(record.id);
    // Only what it has: that it ended is for the cache to find out, and to tell.
    return read?.resources === undefined ? record : { ...record, resources: read.resources };
  });
  const next: PodRuntimeState = { ...latest, containers };
  context.cache.record(pod.metadata, next);
}

function tellError(pod: Pod, error: unknown, memory: PodMemory, context: PodContext): void {
  const message = error instanceof KeelsonError ? error.message : errorLine(error);
  const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, uid: pod.metadata.uid };
  const told = (): string => {
    const condition = memory.lastStatus?.conditions.find(({ type }) => type === resizeInProgress);
    return JSON.stringify([condition?.reason, condition?.message, condition?.observedGeneration]);
  };
  const before = told();
  publishStatus(pod, context.cache.get(pod.metadata.uid), memory, context, { resizeError: message });
  if (told() === before) return;
  context.log.warn({ ...fields, error: errorLine(error), retryMs }, 'cannot resize a pod yet');
  const generation = context.resizeOf?.(pod.metadata.uid)?.accepted?.generation;
  context.recordEvent(pod, warning('ResizeError', resizeMessage('error', pod, generation, message)));
}
