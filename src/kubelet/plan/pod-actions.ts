/**
 * What to do for one pod now: (spec, what the runtime has, time) -> operations that print well. The heart of syncPod.
 * Rules: pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions, podSandboxChanged),
 * pkg/kubelet/container/helpers.go (ShouldContainerBeRestarted).
 * Layer: kubelet/plan (pure): no I/O, no clock of its own; pods/sync-pod.ts applies the result.
 */
import type { Container, Pod, RestartPolicy } from '../../api/core.ts';
import type { BackoffLimits } from '../../base/backoff.ts';
import { containerHashAnnotation, restartBackoffAnnotation } from './annotations.ts';
import { containerHash } from './container-hash.ts';
import { restartDecision } from './restart-backoff.ts';
import { type ContainerRecord, newestContainer, type PodRuntimeState, type SandboxRecord } from './runtime-state.ts';

export type PodOperation =
  | { op: 'killContainer'; id: string; name: string; reason: string }
  | { op: 'stopSandbox'; id: string; reason: string }
  | { op: 'createSandbox'; attempt: number }
  /** `existingId` names an instance that was created but not started before a predecessor died. */
  | { op: 'startContainer'; name: string; attempt: number; backoffMs: number; existingId?: string };

/** A container that waits for its backoff. */
export interface BackingOff {
  name: string;
  untilMs: number;
  delayMs: number;
}

export interface PodActions {
  operations: PodOperation[];
  backingOff: BackingOff[];
  /** Every container is done for good: what the pod still holds in the runtime is only its records. */
  completed: boolean;
}

export interface PlanContext {
  nowMs: number;
  restartBackoff: BackoffLimits;
}

export function computePodActions(pod: Pod, state: PodRuntimeState, context: PlanContext): PodActions {
  const restartPolicy = pod.spec.restartPolicy ?? 'Always';
  const sandbox = usableSandbox(pod, state);
  return sandbox.usable
    ? inSandbox(pod, state, sandbox.usable, restartPolicy, context)
    : withoutSandbox(pod, state, sandbox.reason, restartPolicy, context);
}

/** The sandbox that containers can be started in, or why there is none. */
function usableSandbox(
  pod: Pod,
  state: PodRuntimeState,
): { usable: SandboxRecord; reason?: never } | { usable?: never; reason: string } {
  const [newest] = state.sandboxes;
  if (!newest) return { reason: 'no sandbox' };
  if (state.sandboxes.filter((sandbox) => sandbox.ready).length > 1) return { reason: 'several ready sandboxes' };
  if (!newest.ready) return { reason: 'sandbox not ready' };
  const wantsHostNetwork = pod.spec.hostNetwork ?? false;
  if (newest.hostNetwork !== wantsHostNetwork) return { reason: 'network namespace changed' };
  if (!wantsHostNetwork && newest.ips.length === 0) return { reason: 'sandbox without address' };
  return { usable: newest };
}

/** The sandbox is missing or lost: everything of the old one goes, then a new one with what should run. */
function withoutSandbox(
  pod: Pod,
  state: PodRuntimeState,
  reason: string,
  restartPolicy: RestartPolicy,
  context: PlanContext,
): PodActions {
  const operations: PodOperation[] = [];
  for (const container of state.containers) {
    if (container.phase === 'running' || container.phase === 'unknown') {
      operations.push({ op: 'killContainer', id: container.id, name: container.name, reason });
    }
  }
  for (const sandbox of state.sandboxes) {
    if (sandbox.ready) operations.push({ op: 'stopSandbox', id: sandbox.id, reason });
  }
  const starts: PodOperation[] = [];
  const backingOff: BackingOff[] = [];
  for (const container of pod.spec.containers) {
    const newest = newestContainer(state, container.name);
    // What ran in the lost sandbox ends with it; its exit code decides under OnFailure and Never.
    const lost = newest && newest.phase !== 'exited' ? { ...newest, exitCode: 137 } : newest;
    if (lost && !shouldRestart(lost, restartPolicy)) continue;
    planStart(
      container,
      newest?.phase === 'exited' ? newest : undefined,
      nextAttempt(newest),
      context,
      starts,
      backingOff,
    );
  }
  if (starts.length > 0) {
    operations.push({ op: 'createSandbox', attempt: (state.sandboxes[0]?.attempt ?? -1) + 1 }, ...starts);
  }
  return { operations, backingOff, completed: starts.length === 0 && backingOff.length === 0 };
}

/** The sandbox is good: per container, keep, kill or start. When none is kept nor to come, the sandbox is stopped. */
function inSandbox(
  pod: Pod,
  state: PodRuntimeState,
  sandbox: SandboxRecord,
  restartPolicy: RestartPolicy,
  context: PlanContext,
): PodActions {
  const operations: PodOperation[] = [];
  const starts: PodOperation[] = [];
  const backingOff: BackingOff[] = [];
  let kept = 0;
  const wanted = new Set(pod.spec.containers.map((container) => container.name));
  for (const container of pod.spec.containers) {
    const newest = newestContainer(state, container.name);
    if (newest?.phase === 'running' && newest.sandboxId === sandbox.id) {
      if (sameHash(newest, container)) {
        kept++;
        continue;
      }
      operations.push({
        op: 'killContainer',
        id: newest.id,
        name: newest.name,
        reason: 'container definition changed',
      });
      starts.push({ op: 'startContainer', name: container.name, attempt: nextAttempt(newest), backoffMs: 0 });
      continue;
    }
    if (newest?.phase === 'created' && newest.sandboxId === sandbox.id && sameHash(newest, container)) {
      const backoffMs = Number(newest.annotations[restartBackoffAnnotation] ?? '0');
      starts.push({
        op: 'startContainer',
        name: container.name,
        attempt: newest.attempt,
        backoffMs,
        existingId: newest.id,
      });
      continue;
    }
    if (newest?.phase === 'unknown' || newest?.phase === 'running') {
      operations.push({ op: 'killContainer', id: newest.id, name: newest.name, reason: 'container in unknown state' });
      starts.push({ op: 'startContainer', name: container.name, attempt: nextAttempt(newest), backoffMs: 0 });
      continue;
    }
    if (newest?.phase === 'exited' && !shouldRestart(newest, restartPolicy)) continue;
    planStart(
      container,
      newest?.phase === 'exited' ? newest : undefined,
      nextAttempt(newest),
      context,
      starts,
      backingOff,
    );
  }
  for (const container of state.containers) {
    const stray = !wanted.has(container.name) || newestContainer(state, container.name) !== container;
    if (stray && container.phase === 'running') {
      operations.push({ op: 'killContainer', id: container.id, name: container.name, reason: 'not part of the pod' });
    }
  }
  const completed = kept === 0 && starts.length === 0 && backingOff.length === 0;
  if (completed) operations.push({ op: 'stopSandbox', id: sandbox.id, reason: 'pod completed' });
  return { operations: [...operations, ...starts], backingOff, completed };
}

function planStart(
  container: Container,
  previous: ContainerRecord | undefined,
  attempt: number,
  context: PlanContext,
  starts: PodOperation[],
  backingOff: BackingOff[],
): void {
  const decision = restartDecision(previous, context.restartBackoff);
  if (decision.notBeforeMs > context.nowMs) {
    backingOff.push({ name: container.name, untilMs: decision.notBeforeMs, delayMs: decision.currentBackoffMs });
  } else {
    starts.push({ op: 'startContainer', name: container.name, attempt, backoffMs: decision.nextBackoffMs });
  }
}

function shouldRestart(container: ContainerRecord, policy: RestartPolicy): boolean {
  if (policy === 'Always') return true;
  return policy === 'OnFailure' && container.exitCode !== 0;
}

const nextAttempt = (previous: ContainerRecord | undefined): number => (previous ? previous.attempt + 1 : 0);

/** An instance without our hash was made by another agent: it is kept as it is. */
function sameHash(record: ContainerRecord, container: Container): boolean {
  const hash = record.annotations[containerHashAnnotation];
  return hash === undefined || hash === containerHash(container);
}

/** One line an operation, for logs and tests. */
export function describeOperation(operation: PodOperation): string {
  switch (operation.op) {
    case 'killContainer':
      return `kill container ${operation.name} (${operation.id.slice(0, 12)}): ${operation.reason}`;
    case 'stopSandbox':
      return `stop sandbox ${operation.id.slice(0, 12)}: ${operation.reason}`;
    case 'createSandbox':
      return `create sandbox, attempt ${operation.attempt}`;
    case 'startContainer':
      return `${operation.existingId ? 'start created' : 'create and start'} container ${operation.name}, attempt ${operation.attempt}`;
  }
}
