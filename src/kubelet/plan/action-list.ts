/**
 * Collects what a pass is to do while pod-actions.ts and init-containers.ts look at one container after the other: what
 * ends, what starts, and what waits for its backoff. Attempts and backoffs are counted here, in one place.
 * Layer: kubelet/plan (pure). Must not decide whether a container is to run.
 */
import type { Container, Pod } from '../../api/core.ts';
import type { BackoffLimits } from '../../base/backoff.ts';
import type { ProbeVerdict } from '../pods/pod-context.ts';
import { containerResize } from '../resize/container-resize.ts';
import type { ContainerUpdate, ResizeState } from '../resize/plan-resize.ts';
import { containerHashAnnotation, restartBackoffAnnotation } from './annotations.ts';
import { containerHash } from './container-hash.ts';
import type { ContainerKind } from './container-kind.ts';
import type { KillOperation, StartOperation } from './pod-operation.ts';
import { carriedBackoffMs, restartDecision } from './restart-backoff.ts';
import { type ContainerRecord, newestContainer, type PodRuntimeState } from './runtime-state.ts';

export interface PlanContext {
  nowMs: number;
  restartBackoff: BackoffLimits;
  /** Of a running instance; must be a pure read. */
  verdict(container: Container, record: ContainerRecord): ProbeVerdict;
  /** Of a pod that was resized. */
  resize?: ResizeState | undefined;
}

/** A container that waits for its backoff. */
export interface BackingOff {
  name: string;
  untilMs: number;
  delayMs: number;
}

export class ActionList {
  readonly kills: KillOperation[] = [];
  readonly starts: StartOperation[] = [];
  readonly backingOff: BackingOff[] = [];
  /** Running containers that get other resources as they are. */
  readonly updates: ContainerUpdate[] = [];
  readonly #state: PodRuntimeState;
  readonly #context: PlanContext;
  /** The sandbox that containers start in; undefined when one is to be made first. */
  readonly #sandboxId: string | undefined;

  constructor(state: PodRuntimeState, sandboxId: string | undefined, context: PlanContext) {
    this.#state = state;
    this.#sandboxId = sandboxId;
    this.#context = context;
  }

  /** Whether anything of these will start, now or after its backoff. */
  get starting(): boolean {
    return this.starts.length > 0 || this.backingOff.length > 0;
  }

  kill(
    { id, name }: ContainerRecord,
    reason: string,
    more: Pick<KillOperation, 'message' | 'graceSeconds'> = {},
  ): void {
    if (this.kills.some((kill) => kill.id === id)) return;
    this.kills.push({ op: 'killContainer', id, name, reason, ...more });
  }

  /** Starts the container for the first time, or again as soon as the backoff after its newest end allows. */
  start(kind: ContainerKind, container: Container): void {
    const newest = newestContainer(this.#state, container.name);
    const { name } = container;
    if (newest?.phase === 'created' && newest.sandboxId === this.#sandboxId && sameHash(newest, container)) {
      const backoffMs = Number(newest.annotations[restartBackoffAnnotation] ?? '0');
      this.#add({ op: 'startContainer', kind, name, attempt: newest.attempt, backoffMs, existingId: newest.id });
      return;
    }
    const decision = restartDecision(newest?.phase === 'exited' ? newest : undefined, this.#context.restartBackoff);
    if (decision.notBeforeMs > this.#context.nowMs) {
      this.backingOff.push({ name, untilMs: decision.notBeforeMs, delayMs: decision.currentBackoffMs });
      return;
    }
    this.#add({
      op: 'startContainer',
      kind,
      name,
      attempt: nextAttempt(newest),
      backoffMs: decision.nextBackoffMs,
    });
  }

  /** Starts the successor of an instance whose definition changed or of which nothing is known: without any backoff. */
  startAnew(kind: ContainerKind, { name }: Container): void {
    this.#add({
      op: 'startContainer',
      kind,
      name,
      attempt: nextAttempt(newestContainer(this.#state, name)),
      backoffMs: 0,
    });
  }

  /**
   * Starts the successor of a running instance that is killed in the same pass. One that ran for less than its backoff
   * waits first (doBackOff counts from the end of the instance before it).
   */
  startAfterKill(kind: ContainerKind, { name }: Container, killed: ContainerRecord): void {
    const { nowMs, restartBackoff } = this.#context;
    const delayMs = carriedBackoffMs(killed, restartBackoff);
    if (nowMs - (killed.startedAtMs ?? killed.createdAtMs) < delayMs) {
      this.backingOff.push({ name, untilMs: nowMs + delayMs, delayMs });
      return;
    }
    const { nextBackoffMs } = restartDecision({ ...killed, finishedAtMs: nowMs }, restartBackoff);
    this.#add({ op: 'startContainer', kind, name, attempt: nextAttempt(killed), backoffMs: nextBackoffMs });
  }

  /** @returns whether the running instance goes on; otherwise its resources can only be changed by a restart */
  resize(pod: Pod, kind: ContainerKind, container: Container, record: ContainerRecord): boolean {
    const { resize } = this.#context;
    const change = resize && containerResize(pod, container, record, resize);
    if (change === undefined) return true;
    // An init container runs once: validation allows it no restart.
    if (change.restart && kind !== 'init') return false;
    if (change.memory || change.cpu) this.updates.push({ record, change });
    return true;
  }

  #add(start: StartOperation): void {
    if (!this.starts.some(({ name }) => name === start.name)) this.starts.push(start);
  }
}

const nextAttempt = (previous: ContainerRecord | undefined): number => (previous ? previous.attempt + 1 : 0);

/** An instance without our hash was made by another agent: it is kept as it is. */
export function sameHash(record: ContainerRecord, container: Container): boolean {
  const hash = record.annotations[containerHashAnnotation];
  return hash === undefined || hash === containerHash(container);
}
