/**
 * Starts what a pass planned to start, one container after the other: image, start slot, hook. The failure of one keeps
 * the others from nothing, but that nothing comes before an init container has started.
 * Rule: pkg/kubelet/kuberuntime SyncPod, steps 4 to 9. Layer: kubelet/pods (edge to CRI).
 */
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { findContainer } from '../plan/container-kind.ts';
import type { PodOperation, StartOperation } from '../plan/pod-operation.ts';
import type { PodVolumes } from '../plan/pod-volume.ts';
import { newestContainer, type SandboxRecord } from '../plan/runtime-state.ts';
import { startContainer } from './container-start.ts';
import { mountVolumes } from './mount-pod-volumes.ts';
import { type PodContext, type PodMemory, startPriority } from './pod-context.ts';
import { normal, warning } from './pod-events.ts';
import { runPostStart } from './post-start.ts';
import { publishStatus } from './publish-status.ts';
import { pullImageVolumes } from './pull-image-volumes.ts';
import { reportStartFailure } from './report-start-failure.ts';
import { startSandbox } from './sandbox-start.ts';

/** A network that is not ready so long is worth an event. */
const networkPatienceMs = 1_000;

/** @returns when to plan again for what did not start, ended at once or lets others start, or undefined */
export async function startWhatMustStart(
  pod: Pod,
  operations: readonly PodOperation[],
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<number | undefined> {
  const volumes = await mountVolumes(pod, memory, context, signal);
  const state = context.cache.get(pod.metadata.uid);
  let sandbox = state.sandboxes[0];
  const creation = operations.find((operation) => operation.op === 'createSandbox');
  if (creation) {
    if (sandbox) {
      context.recordEvent(pod, normal('SandboxChanged', 'Pod sandbox changed, it will be killed and re-created.'));
    }
    sandbox = await createSandbox(pod, creation.attempt, memory, context, signal);
  }
  if (!sandbox) throw new Error('a container start was planned without a sandbox');
  const wakes: number[] = [];
  // They wait for a sandbox that is there.
  if (creation && (pod.spec.ephemeralContainers?.length ?? 0) > 0) wakes.push(context.clock.now());
  for (const operation of operations) {
    if (operation.op !== 'startContainer') continue;
    signal.throwIfAborted();
    const wakeAtMs = await startOne(pod, operation, sandbox, volumes, memory, context, signal);
    wakes.push(...wakeAtMs.atMs);
    if (wakeAtMs.stop) break;
  }
  return wakes.length > 0 ? Math.min(...wakes) : undefined;
}

async function startOne(
  pod: Pod,
  operation: StartOperation,
  sandbox: SandboxRecord,
  volumes: PodVolumes,
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<{ atMs: number[]; stop?: true }> {
  const { name, kind } = operation;
  const container = findContainer(pod, name)?.container;
  if (!container) return { atMs: [] };
  try {
    const image = await context.images.ensure(pod, container, signal);
    const images = await pullImageVolumes(pod, container, volumes, context, signal);
    const request = { pod, container, operation, sandbox, image, volumes, images };
    const state = await context.startSlots.run(() => startContainer(request, context), {
      priority: startPriority.container,
      signal,
    });
    const record = newestContainer(state, name);
    if (record?.phase === 'running') await runPostStart(pod, container, record, context, signal);
    memory.waiting.delete(name);
    // One that ended before it was looked at: no event will say more than is known already, so plan again at once. A
    // sidecar that runs may let the next one start.
    const again = kind === 'sidecar' || newestContainer(context.cache.get(pod.metadata.uid), name)?.phase !== 'running';
    return { atMs: again ? [context.clock.now()] : [] };
  } catch (error) {
    if (signal.aborted) throw error;
    const atMs = [reportStartFailure(pod, name, error, memory, context)];
    return kind === 'init' ? { atMs, stop: true } : { atMs };
  }
}

async function createSandbox(
  pod: Pod,
  attempt: number,
  memory: PodMemory,
  context: PodContext,
  signal: AbortSignal,
): Promise<SandboxRecord> {
  if (!pod.spec.hostNetwork) await waitForNetwork(pod, context, signal);
  try {
    const { sandbox, state } = await context.startSlots.run(() => startSandbox(pod, attempt, context), {
      priority: startPriority.sandbox,
      signal,
    });
    publishStatus(pod, state, memory, context);
    return sandbox;
  } catch (error) {
    const message = `Failed to create pod sandbox: ${errorLine(error)}`;
    if (!signal.aborted) context.recordEvent(pod, warning('FailedCreatePodSandBox', message));
    throw error;
  }
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
