/**
 * The state machine of one pod: syncing -> terminating -> finished. One pass at a time; changes that come during a pass
 * are coalesced into the next. Layer: kubelet/pods. Must not decide what a pass does (sync-pod.ts, terminate-pod.ts).
 * Rule: pkg/kubelet/pod_workers.go.
 */
import type { Pod } from '../../api/core.ts';
import { nextDelay } from '../../base/backoff.ts';
import type { CancelTimer } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodIdentity } from '../plan/annotations.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { publishStatus, syncPod } from './sync-pod.ts';
import { terminatePod } from './terminate-pod.ts';

/** A pass that threw is tried again after 1 s, doubling to the kubelet's 10 s. */
const retry = { initialMs: 1_000, maxMs: 10_000 };

export type PodPhaseOfWork = 'syncing' | 'terminating' | 'finished';

export class PodWorker {
  readonly identity: PodIdentity;
  readonly #context: PodContext;
  readonly #onFinished: (worker: PodWorker) => void;
  readonly #memory: PodMemory;
  #pod: Pod | undefined;
  #phase: PodPhaseOfWork = 'syncing';
  #graceSeconds: number | undefined;
  #syncScope = new AbortController();
  #running = false;
  #pending = false;
  #stopped = false;
  #retryDelayMs = 0;
  #cancelTimer: CancelTimer | undefined;
  #lastError: string | undefined;

  /** @param pod undefined for an orphan, which can only be terminated */
  constructor(
    identity: PodIdentity,
    pod: Pod | undefined,
    context: PodContext,
    onFinished: (worker: PodWorker) => void,
  ) {
    this.identity = identity;
    this.#pod = pod;
    this.#context = context;
    this.#onFinished = onFinished;
    const oldest = context.cache.get(identity.uid).sandboxes.at(-1);
    const firstSeenMs = oldest?.createdAtMs ?? context.clock.now();
    this.#memory = { waiting: new Map(), lastStatus: undefined, firstSeenMs, volumesStale: true };
  }

  get phase(): PodPhaseOfWork {
    return this.#phase;
  }

  get pod(): Pod | undefined {
    return this.#pod;
  }

  /** What the latest pass failed with, for `keelson status`; undefined when it succeeded. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /** Asks for a pass now, e.g. after a runtime event. */
  wake(): void {
    this.#pending = true;
    if (!this.#running && !this.#stopped) void this.#work();
  }

  /** A ConfigMap or Secret that the pod may use changed. */
  wakeForVolumes(): void {
    this.#memory.volumesStale = true;
    this.wake();
  }

  /** Ends the pod. The pass under way is told to stop at its next safe point; a pull is aborted at once. */
  terminate(graceSeconds?: number): void {
    if (graceSeconds !== undefined) this.#graceSeconds = graceSeconds;
    if (this.#phase === 'syncing') {
      this.#phase = 'terminating';
      this.#retryDelayMs = 0;
      this.#syncScope.abort(new Error('the pod is being terminated'));
    }
    this.wake();
  }

  /** Forgets timers; the pod itself is left as it is (the daemon stops, its pods do not). */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#syncScope.abort(new Error('the daemon stops'));
  }

  async #work(): Promise<void> {
    this.#running = true;
    try {
      while (this.#pending && !this.#stopped && this.#phase !== 'finished') {
        this.#pending = false;
        this.#cancelTimer?.();
        await this.#pass();
      }
    } finally {
      this.#running = false;
    }
    if (this.#phase === 'finished') this.#onFinished(this);
  }

  async #pass(): Promise<void> {
    try {
      if (this.#phase === 'terminating') await this.#terminate();
      else await this.#sync();
      this.#retryDelayMs = 0;
      this.#lastError = undefined;
    } catch (error) {
      if (this.#stopped) return;
      if (this.#syncScope.signal.aborted && this.#phase === 'terminating' && error === this.#syncScope.signal.reason) {
        this.#pending = true;
        return;
      }
      this.#lastError = errorLine(error);
      this.#retryDelayMs = nextDelay(this.#retryDelayMs, retry);
      const fields = { pod: `${this.identity.namespace}/${this.identity.name}`, uid: this.identity.uid };
      this.#context.log.warn(
        { ...fields, error: this.#lastError, retryMs: this.#retryDelayMs },
        `pod not ${this.#phase === 'syncing' ? 'synced' : 'ended'} yet`,
      );
      this.#wakeAfter(this.#retryDelayMs);
    }
  }

  async #sync(): Promise<void> {
    if (!this.#pod) return;
    // After a failure it is not known what took effect: look before planning again.
    if (this.#retryDelayMs > 0) await this.#context.cache.refresh(this.identity);
    const { wakeAtMs } = await syncPod(this.#pod, this.#memory, this.#context, this.#syncScope.signal);
    if (wakeAtMs !== undefined) this.#wakeAfter(wakeAtMs - this.#context.clock.now());
  }

  async #terminate(): Promise<void> {
    const { identity } = this;
    const pod = this.#pod;
    await terminatePod(
      {
        identity,
        pod,
        ...(this.#graceSeconds === undefined ? {} : { graceSeconds: this.#graceSeconds }),
        onStopped: (state) => {
          if (pod) publishStatus(pod, state, this.#memory, this.#context, true);
        },
      },
      this.#context,
    );
    this.#phase = 'finished';
  }

  #wakeAfter(delayMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#context.clock.after(Math.max(0, delayMs), () => this.wake());
  }
}
