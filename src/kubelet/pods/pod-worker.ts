/**
 * The state machine of one pod: syncing -> terminating -> removing -> finished. One pass at a time; changes that come during a pass
 * are coalesced into the next. Layer: kubelet/pods. Must not decide what a pass does (sync-pod.ts, terminate-pod.ts).
 * Rule: pkg/kubelet/pod_workers.go.
 */
import type { Pod } from '../../api/core.ts';
import { nextDelay } from '../../base/backoff.ts';
import type { CancelTimer } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodIdentity } from '../plan/annotations.ts';
import type { PodVerdict } from '../status/pod-status.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { publishProbes, publishStatus } from './publish-status.ts';
import { syncPod } from './sync-pod.ts';
import { terminatePod } from './terminate-pod.ts';

/** A pass that threw is tried again after 1 s, doubling to the kubelet's 10 s. */
const retry = { initialMs: 1_000, maxMs: 10_000 };

/** `removing`: nothing of the pod is in use any more; its records and logs are still to go. */
export type PodPhaseOfWork = 'syncing' | 'terminating' | 'removing' | 'finished';

export interface PodWorkerListener {
  /** The pod counts as gone: who waits for that may go on. */
  onReleased(worker: PodWorker): void;
  /** No trace of it is left. */
  onFinished(worker: PodWorker): void;
}

export class PodWorker {
  readonly identity: PodIdentity;
  readonly #context: PodContext;
  readonly #listener: PodWorkerListener;
  readonly #memory: PodMemory;
  #pod: Pod | undefined;
  #phase: PodPhaseOfWork = 'syncing';
  #graceSeconds: number | undefined;
  #syncScope = new AbortController();
  /** Of the pass that ends the pod: aborted to begin it again with a shorter grace. */
  #endScope = new AbortController();
  #running = false;
  #pending = false;
  #stopped = false;
  #retryDelayMs = 0;
  #cancelTimer: CancelTimer | undefined;
  #lastError: string | undefined;

  /** @param pod undefined for an orphan, which can only be terminated */
  constructor(identity: PodIdentity, pod: Pod | undefined, context: PodContext, listener: PodWorkerListener) {
    this.identity = identity;
    this.#pod = pod;
    this.#context = context;
    this.#listener = listener;
    const oldest = context.cache.get(identity.uid).sandboxes.at(-1);
    const firstSeenMs = oldest?.createdAtMs ?? context.clock.now();
    this.#memory = {
      waiting: new Map(),
      lastStatus: pod && context.statusBefore(pod),
      firstSeenMs,
      volumesStale: true,
      verdict: undefined,
      volumesGone: false,
      preStopped: new Set(),
    };
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
    // A pass that ends the pod waits for its containers: each that ends meanwhile is reported.
    if (this.#phase === 'terminating' && this.#running && this.#pod) {
      const state = this.#context.cache.get(this.identity.uid);
      this.#context.probes.follow(this.#pod, state, { terminating: true });
      publishStatus(this.#pod, state, this.#memory, this.#context, { terminating: true });
    }
    this.#pending = true;
    if (!this.#running && !this.#stopped) void this.#work();
  }

  /** A probe says something new of a container. */
  wakeForProbes(): void {
    if (this.#phase === 'syncing' && this.#running && this.#pod) {
      publishProbes(this.#pod, this.#context.cache.get(this.identity.uid), this.#memory, this.#context);
    }
    this.wake();
  }

  /** What a source says of the pod now. Looks at it again only when something of it may matter to a pass. */
  update(pod: Pod): void {
    const before = this.#pod;
    if (before === pod) return;
    this.#pod = pod;
    if (before === undefined || this.#phase !== 'syncing') return;
    // Files may tell labels, annotations and resources.
    if (toldInFiles(before) !== toldInFiles(pod)) this.#memory.volumesStale = true;
    else if (workOf(before) === workOf(pod)) return;
    this.wake();
  }

  /**
   * The node ends the pod for good, though it stays in its source: its containers end, its status says why. The pass under
   * way is told to stop, as by `terminate`.
   */
  fail(verdict: PodVerdict): void {
    if (this.#memory.verdict !== undefined || this.#phase !== 'syncing') return;
    this.#memory.verdict = verdict;
    this.#syncScope.abort(new Error('the pod was ended by the node'));
    this.#syncScope = new AbortController();
    this.wake();
  }

  /** A ConfigMap or Secret that the pod may use changed. */
  wakeForVolumes(): void {
    this.#memory.volumesStale = true;
    this.wake();
  }

  /**
   * Ends the pod. The pass under way is told to stop at its next safe point; a pull is aborted at once. Called again, only
   * a shorter grace changes anything: the containers are then asked anew (pod_workers.go: calculateEffectiveGracePeriod).
   */
  terminate(graceSeconds?: number): void {
    if (this.#phase === 'syncing') {
      this.#graceSeconds = graceSeconds;
      this.#phase = 'terminating';
      this.#retryDelayMs = 0;
      this.#syncScope.abort(new Error('the pod is being terminated'));
    } else if (this.#phase !== 'terminating') {
      return;
    } else {
      const current = this.#graceSeconds ?? this.#pod?.spec.terminationGracePeriodSeconds ?? Number.POSITIVE_INFINITY;
      if (graceSeconds === undefined || graceSeconds >= current) return;
      this.#graceSeconds = graceSeconds;
      this.#endScope.abort(new Error('the grace was shortened'));
    }
    this.wake();
  }

  /** Forgets timers; the pod itself is left as it is (the daemon stops, its pods do not). */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#syncScope.abort(new Error('the daemon stops'));
    this.#endScope.abort(new Error('the daemon stops'));
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
    if (this.#phase === 'finished') this.#listener.onFinished(this);
  }

  async #pass(): Promise<void> {
    const { signal } = this.#syncScope;
    try {
      if (this.#phase === 'syncing') await this.#sync();
      else await this.#terminate();
      this.#retryDelayMs = 0;
      this.#lastError = undefined;
    } catch (error) {
      if (this.#stopped) return;
      // Ended otherwise meanwhile: that is no failure, and the next pass sees to it.
      if (signal.aborted && error === signal.reason) {
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
    const { signal } = this.#endScope;
    try {
      await terminatePod(
        {
          identity,
          pod: this.#pod,
          signal,
          preStopped: this.#memory.preStopped,
          ...(this.#graceSeconds === undefined ? {} : { graceSeconds: this.#graceSeconds }),
          onStopped: (state) => {
            const stage = { terminating: true, ended: true };
            if (this.#pod && this.#phase === 'terminating') {
              publishStatus(this.#pod, state, this.#memory, this.#context, stage);
            }
          },
          onReleased: () => {
            if (this.#phase !== 'terminating') return;
            this.#phase = 'removing';
            this.#listener.onReleased(this);
          },
        },
        this.#context,
      );
    } catch (error) {
      if (!signal.aborted || this.#stopped) throw error;
      this.#endScope = new AbortController();
      this.#pending = true;
      return;
    }
    this.#phase = 'finished';
  }

  #wakeAfter(delayMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#context.clock.after(Math.max(0, delayMs), () => this.wake());
  }
}

const toldInFiles = ({ metadata: { labels, annotations }, spec }: Pod): string =>
  JSON.stringify([labels, annotations, spec]);

/** What of a pod a pass looks at, besides labels and annotations; its own status coming back is nothing new. */
function workOf(pod: Pod): string {
  const gates = new Set(pod.spec.readinessGates?.map(({ conditionType }) => conditionType));
  const decided = pod.status?.conditions
    .filter(({ type }) => gates.has(type))
    .map(({ type, status }) => [type, status]);
  return JSON.stringify([pod.spec, pod.metadata.generation, gates.size > 0 ? decided : []]);
}
