/**
 * What to do for one pod now: (spec, what the runtime has, time, probes) -> operations. The heart of syncPod.
 * Rules: pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions), kuberuntime/util (PodSandboxChanged).
 * Layer: kubelet/plan (pure): no I/O, no clock of its own; pods/sync-pod.ts applies the result.
 */
import type { Container, Pod } from '../../api/core.ts';
import { type ContainerUpdate, resizeOperations } from '../resize/plan-resize.ts';
import { ActionList, type BackingOff, type PlanContext, sameHash } from './action-list.ts';
import { containersOf, initKind } from './container-kind.ts';
import { planInitContainers } from './init-containers.ts';
import type { KillOperation, PodOperation } from './pod-operation.ts';
import { restartAllOperations, restartsAll } from './restart-all.ts';
import { restartsAfter, restartsAtAll } from './restart-rules.ts';
import { type ContainerRecord, newestContainer, type PodRuntimeState, type SandboxRecord } from './runtime-state.ts';

export interface PodActions {
  /** What ends comes before what starts. */
  operations: PodOperation[];
  backingOff: BackingOff[];
  /** Every container is done for good: what the pod still holds in the runtime is only its records. */
  completed: boolean;
  /** The pod can never run all its containers, and none says so by its exit code: why. */
  failed?: string;
}

export function computePodActions(pod: Pod, state: PodRuntimeState, context: PlanContext): PodActions {
  const sandbox = usableSandbox(pod, state);
  if (!sandbox.usable) return withoutSandbox(pod, state, sandbox.reason, context);
  if (restartsAll(pod, state, sandbox.usable.id)) {
    return { operations: restartAllOperations(pod, state), backingOff: [], completed: false };
  }
  return inSandbox(pod, state, sandbox.usable, context);
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

/** The sandbox is missing or lost: everything of the old one goes, then a new one with what should run in it first. */
function withoutSandbox(pod: Pod, state: PodRuntimeState, reason: string, context: PlanContext): PodActions {
  const end = endEverything(state, [], reason);
  const actions = new ActionList(state, undefined, context);
  const mains = pod.spec.containers.filter((container) => runsInNextSandbox(pod, container, state));
  const initialized = pod.spec.containers.some(({ name }) => newestContainer(state, name) !== undefined);
  if (mains.length === 0 && initialized) return { operations: end, backingOff: [], completed: true };
  const [first] = pod.spec.initContainers ?? [];
  if (first === undefined) for (const container of mains) actions.start('container', container);
  else if (pod.spec.restartPolicy === 'Never' && hasRun(pod, state)) {
    return { operations: end, backingOff: [], completed: true, failed: lostForGood };
  } else actions.start(initKind(first), first);
  const operations: PodOperation[] = [...end];
  if (actions.starts.length > 0) {
    operations.push({ op: 'createSandbox', attempt: (state.sandboxes[0]?.attempt ?? -1) + 1 }, ...actions.starts);
  }
  return { operations, backingOff: actions.backingOff, completed: !actions.starting };
}

/** The kubelet leaves such a pod Pending for ever. */
const lostForGood = 'The sandbox was lost before all containers had run, and the restart policy is Never';

/** Any record of a container that is not an ephemeral one: init containers would run a second time. */
const hasRun = (pod: Pod, state: PodRuntimeState): boolean =>
  containersOf(pod).some(({ kind, container }) => kind !== 'ephemeral' && newestContainer(state, container.name));

/** What ran in the lost sandbox ends with it; its exit code decides. */
function runsInNextSandbox(pod: Pod, container: Container, state: PodRuntimeState): boolean {
  const newest = newestContainer(state, container.name);
  if (newest === undefined || newest.phase === 'created') return true;
  return restartsAfter(pod, container, newest.phase === 'exited' ? newest.exitCode : 137);
}

/** The sandbox is good: ephemeral containers, init containers, and, when these are done, the main ones. */
function inSandbox(pod: Pod, state: PodRuntimeState, sandbox: SandboxRecord, context: PlanContext): PodActions {
  const actions = new ActionList(state, sandbox.id, context);
  planEphemeralContainers(pod, state, actions);
  const initialization = planInitContainers(pod, state, sandbox.id, context, actions);
  if (initialization === 'failed') return complete(state, actions.kills, 'initialization failed');
  if (initialization === 'under way') {
    endStrays(pod, state, sandbox, actions);
    const { kills, starts, backingOff } = actions;
    const resize = planResize(pod, actions.updates, context);
    return { operations: [...kills, ...resize, ...starts], backingOff, completed: false };
  }
  const mains = new ActionList(state, sandbox.id, context);
  let kept = 0;
  for (const container of pod.spec.containers) {
    if (planContainer(pod, container, state, sandbox, context, mains)) kept++;
  }
  actions.kills.push(...mains.kills);
  if (kept === 0 && !mains.starting) return complete(state, actions.kills, 'pod completed');
  endStrays(pod, state, sandbox, actions);
  const resize = planResize(pod, [...actions.updates, ...mains.updates], context);
  return {
    operations: [...actions.kills, ...resize, ...actions.starts, ...mains.starts],
    backingOff: [...actions.backingOff, ...mains.backingOff],
    completed: false,
  };
}

/** Before anything starts, so that it starts in a cgroup of the right size. */
const planResize = (pod: Pod, updates: ContainerUpdate[], { resize }: PlanContext): PodOperation[] =>
  resize === undefined ? [] : resizeOperations(pod, updates, resize);

/** They are started once, also while the pod initializes. */
function planEphemeralContainers({ spec }: Pod, state: PodRuntimeState, actions: ActionList): void {
  for (const container of spec.ephemeralContainers ?? []) {
    const newest = newestContainer(state, container.name);
    if (newest === undefined || newest.phase === 'created') actions.start('ephemeral', container);
  }
}

/** @returns whether the container runs and is to go on */
function planContainer(
  pod: Pod,
  container: Container,
  state: PodRuntimeState,
  sandbox: SandboxRecord,
  context: PlanContext,
  actions: ActionList,
): boolean {
  const newest = newestContainer(state, container.name);
  if (newest?.phase === 'running' && newest.sandboxId === sandbox.id) {
    return keepRunning(pod, container, newest, context, actions);
  }
  if (newest?.phase === 'unknown' || newest?.phase === 'running') {
    const message = 'Container is in "unknown" state, try killing it before restart';
    actions.kill(newest, 'container in unknown state', { message });
    actions.startAnew('container', container);
    return false;
  }
  if (newest?.phase === 'exited' && !restartsAfter(pod, container, newest.exitCode)) return false;
  actions.start('container', container);
  return false;
}

function keepRunning(
  pod: Pod,
  container: Container,
  record: ContainerRecord,
  context: PlanContext,
  actions: ActionList,
): boolean {
  const { name } = container;
  if (!sameHash(record, container)) {
    const message = `Container ${name} definition changed, will be restarted`;
    actions.kill(record, 'container definition changed', { message });
    actions.startAnew('container', container);
    return false;
  }
  const { failed } = context.verdict(container, record);
  if (failed === undefined) {
    if (actions.resize(pod, 'container', container, record)) return true;
    actions.kill(record, 'resize requires restart', { message: `Container ${name} resize requires restart` });
    actions.startAnew('container', container);
    return false;
  }
  const restarts = restartsAtAll(pod, container);
  actions.kill(record, `${failed.probe} probe failed`, {
    message: `Container ${name} failed ${failed.probe} probe${restarts ? ', will be restarted' : ''}`,
    ...(failed.graceSeconds === undefined ? {} : { graceSeconds: failed.graceSeconds }),
  });
  if (restarts) actions.startAfterKill('container', container, record);
  return false;
}

/** What runs but is nobody's, any more: no longer named, an older instance, or left in an older sandbox. */
function endStrays(pod: Pod, state: PodRuntimeState, sandbox: SandboxRecord, actions: ActionList): void {
  const wanted = new Set(containersOf(pod).map(({ container }) => container.name));
  for (const record of state.containers) {
    if (record.phase !== 'running') continue;
    const isNewest = newestContainer(state, record.name) === record;
    if (!wanted.has(record.name) || !isNewest) actions.kill(record, 'not part of the pod');
    else if (record.sandboxId !== sandbox.id) actions.kill(record, 'in a sandbox that was replaced');
  }
}

function complete(state: PodRuntimeState, kills: KillOperation[], reason: string): PodActions {
  return { operations: endEverything(state, kills, reason), backingOff: [], completed: true };
}

/** @param kills already planned, with words of their own */
export function endEverything(state: PodRuntimeState, kills: readonly KillOperation[], reason: string): PodOperation[] {
  const alive = state.containers.filter(({ phase }) => phase === 'running' || phase === 'unknown');
  return [
    ...alive.map(
      ({ id, name }): PodOperation => kills.find((kill) => kill.id === id) ?? { op: 'killContainer', id, name, reason },
    ),
    ...state.sandboxes.flatMap(({ id, ready }): PodOperation[] => (ready ? [{ op: 'stopSandbox', id, reason }] : [])),
  ];
}
