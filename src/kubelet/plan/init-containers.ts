/**
 * What to do for a pod's init containers and sidecars in a good sandbox: the next one in line, sidecars that ended, and
 * what failed for good. Rule: pkg/kubelet/kuberuntime/kuberuntime_container.go (computeInitContainerActions).
 * Only instances in the sandbox in use count: in a new sandbox a pod initializes anew.
 * Layer: kubelet/plan (pure).
 */
import type { Container, Pod } from '../../api/core.ts';
import { type ActionList, type PlanContext, sameHash } from './action-list.ts';
import { initKind } from './container-kind.ts';
import { restartsAfter, restartsAtAll } from './restart-rules.ts';
import { type ContainerRecord, newestInSandbox, type PodRuntimeState } from './runtime-state.ts';

/** `failed`: an init container ended badly and does not run again, so the pod never starts. */
export type Initialization = 'done' | 'under way' | 'failed';

/**
 * Looks from the last one to the first, as the kubelet does: records of early ones may be gone, and the newest tells how
 * far the pod came. Once a main container was created, only sidecars matter.
 */
export function planInitContainers(
  pod: Pod,
  state: PodRuntimeState,
  sandboxId: string,
  context: PlanContext,
  actions: ActionList,
): Initialization {
  const initContainers = pod.spec.initContainers ?? [];
  if (initContainers.length === 0) return 'done';
  const before = pod.spec.containers.some(({ name }) => isCreated(newestInSandbox(state, name, sandboxId)));
  const starting = new Map<Container, () => void>();
  let initialized = before;
  /** What comes later in the list was begun: this one came to its end, or came to `started`, at least once. */
  let passed = before;
  for (const [index, container] of [...initContainers.entries()].reverse()) {
    const record = newestInSandbox(state, container.name, sandboxId);
    const kind = initKind(container);
    const start = (): void => actions.start(kind, container);
    if (record === undefined) {
      if (passed && kind === 'sidecar') starting.set(container, start);
      continue;
    }
    if (passed && kind === 'init') continue;
    const step =
      kind === 'sidecar'
        ? sidecarStep(pod, container, record, context, actions)
        : initStep(pod, container, record, actions);
    if (step.failed) return 'failed';
    if (step.kill) {
      actions.kill(record, step.kill.reason, step.kill);
      starting.set(
        container,
        step.kill.anew
          ? () => actions.startAnew(kind, container)
          : () => actions.startAfterKill(kind, container, record),
      );
    } else if (step.start) starting.set(container, start);
    if (step.complete) {
      const next = initContainers[index + 1];
      if (next === undefined) initialized = true;
      else if (!passed) starting.set(next, () => actions.start(initKind(next), next));
    }
    passed = true;
  }
  const [first] = initContainers;
  if (!passed && first !== undefined) starting.set(first, () => actions.start(initKind(first), first));
  // In the order of the spec, which they are started in.
  for (const container of initContainers) starting.get(container)?.();
  return initialized ? 'done' : 'under way';
}

interface Step {
  /** It came to its end well, or to `started`: the next one may begin. */
  complete?: true;
  start?: true;
  failed?: true;
  kill?: { reason: string; message: string; graceSeconds?: number; anew?: true };
}

function initStep(pod: Pod, container: Container, record: ContainerRecord, actions: ActionList): Step {
  switch (record.phase) {
    case 'created':
      return { start: true };
    case 'running':
      actions.resize(pod, 'init', container, record);
      return {};
    case 'exited':
      if (record.exitCode === 0) return { complete: true };
      return restartsAfter(pod, container, record.exitCode) ? { start: true } : { failed: true };
    case 'unknown':
      return restartsAtAll(pod, container) ? { kill: unknownState } : { failed: true };
  }
}

function sidecarStep(
  pod: Pod,
  container: Container,
  record: ContainerRecord,
  context: PlanContext,
  actions: ActionList,
): Step {
  const { name } = container;
  switch (record.phase) {
    case 'created':
    case 'exited':
      return { start: true };
    case 'unknown':
      return { kill: unknownState };
    case 'running':
      break;
  }
  const { started, failed } = context.verdict(container, record);
  const grace = failed?.graceSeconds === undefined ? {} : { graceSeconds: failed.graceSeconds };
  if (failed?.probe === 'startup') {
    const message = `Init container ${name} failed startup probe`;
    return { kill: { reason: 'startup probe failed', message, ...grace } };
  }
  if (!started) return {};
  if (!sameHash(record, container)) {
    const message = `Init container ${name} definition changed`;
    return { complete: true, kill: { reason: 'container definition changed', message, anew: true } };
  }
  if (failed === undefined) {
    if (actions.resize(pod, 'sidecar', container, record)) return { complete: true };
    const message = `Container ${name} resize requires restart`;
    return { complete: true, kill: { reason: 'resize requires restart', message, anew: true } };
  }
  const message = `Init container ${name} failed liveness probe`;
  return { complete: true, kill: { reason: 'liveness probe failed', message, ...grace } };
}

const unknownState = {
  reason: 'container in unknown state',
  message: 'Init container is in "unknown" state, try killing it before restart',
  anew: true,
} as const;

const isCreated = (record: ContainerRecord | undefined): boolean => record !== undefined && record.phase !== 'unknown';
