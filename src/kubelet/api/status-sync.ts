/**
 * Keeps the API server's status of every pod what this node last said of it, over outages and other writers, and ends the
 * deletion of a pod of which nothing is left here. One request a pod at a time, a bounded number in all.
 * Layer: kubelet/api. What to send is decided in status-patch.ts. Rule: pkg/kubelet/status/status_manager.go; unlike there
 * no GET comes before a patch, since the watch and the answers to patches tell the same.
 */
import { ApiError, isApiError } from '../../api/api-error.ts';
import type { Pod, PodStatus } from '../../api/core.ts';
import { PassingRefusals } from '../../api/passing-refusal.ts';
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { createSemaphore, type Semaphore } from '../../base/semaphore.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { configHashAnnotation, configMirrorAnnotation, isApiPod, isTerminal } from '../plan/pod-origin.ts';
import type { StatusBoard } from '../status/status-board.ts';
import type { ApiPods } from './api-pods.ts';
import type { PodApi } from './pod-api.ts';
import { canBeDeleted, canonical, podStatusPatch, statusToSend } from './status-patch.ts';

export interface StatusSyncOptions {
  api: PodApi;
  pods: ApiPods;
  board: StatusBoard;
  /** Whether the runtime may still run a container of the pod (Kubelet.mayRun). */
  mayRun(uid: string): boolean;
  clock: Clock;
  log: Logger;
  /** Requests at a time; default 8. */
  parallel?: number;
  /** 0 to 1. */
  random?: () => number;
}

export interface StatusSync {
  /** Requests under way and pods that wait for one, for `keelson status` and tests. */
  readonly pending: number;
  stop(): void;
}

interface Entry {
  pod: Pod;
  status: PodStatus;
  /** Nothing of the pod is left on this node. */
  finished: boolean;
  /** The API server's pod as it answered last; may be newer than what the watch has told. */
  answered: Pod | undefined;
  /** What the server did not take of the last patch (fields that it is too old to know): not worth another request. */
  refused: string | undefined;
  passing: PassingRefusals;
  running: boolean;
  again: boolean;
  delayMs: number;
  cancelTimer: CancelTimer | undefined;
}

const backoff: BackoffLimits = { initialMs: 500, maxMs: 30_000 };
const defaultParallel = 8;
/** A container still ran when its pod's end was to be told. */
const recheckMs = 1_000;

/** Reads the board first, so that it may be started after the kubelet. */
export const startStatusSync = (options: StatusSyncOptions): StatusSync => new Sync(options);

class Sync implements StatusSync {
  readonly #options: StatusSyncOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #places: Semaphore;
  readonly #scope = new AbortController();
  readonly #random: () => number;
  readonly #stops: (() => void)[];

  constructor(options: StatusSyncOptions) {
    this.#options = options;
    this.#places = createSemaphore(options.parallel ?? defaultParallel);
    this.#random = options.random ?? Math.random;
    const { board, pods } = options;
    for (const { pod, status } of board.list()) this.#set(pod, status);
    this.#stops = [
      board.onChange(({ pod, status }, change) => {
        if (change === 'status') this.#set(pod, status);
        if (change === 'deleted') this.#finish(pod.metadata.uid);
      }),
      pods.onChange(({ uids, recovered }) => this.#podsChanged(uids, recovered)),
    ];
  }

  get pending(): number {
    return [...this.#entries.values()].filter(({ running, cancelTimer }) => running || cancelTimer).length;
  }

  stop(): void {
    for (const stop of this.#stops) stop();
    this.#scope.abort(new Error('the status sync stops'));
    for (const entry of this.#entries.values()) entry.cancelTimer?.();
  }

  #set(pod: Pod, status: PodStatus): void {
    const { uid } = pod.metadata;
    const entry = this.#entries.get(uid);
    if (entry) Object.assign(entry, { pod, status, finished: false });
    else {
      this.#entries.set(uid, {
        pod,
        status,
        finished: false,
        answered: undefined,
        refused: undefined,
        passing: new PassingRefusals(this.#options.clock),
        running: false,
        again: false,
        delayMs: 0,
        cancelTimer: undefined,
      });
    }
    this.#wake(uid);
  }

  #finish(uid: string): void {
    const entry = this.#entries.get(uid);
    if (!entry) return;
    entry.finished = true;
    this.#wake(uid);
  }

  #podsChanged(uids: ReadonlySet<string>, recovered: boolean): void {
    if (recovered || uids.size === 0) {
      for (const uid of [...this.#entries.keys()]) this.#wake(uid);
      return;
    }
    for (const uid of uids) {
      const changed = this.#options.pods.get(uid)?.pod;
      const hash = changed?.metadata.annotations?.[configMirrorAnnotation];
      this.#wake(hash ?? uid);
    }
  }

  /** Something is new of the pod: it is looked at now, even while it waits after a failure. */
  #wake(uid: string): void {
    const entry = this.#entries.get(uid);
    if (!entry || this.#scope.signal.aborted) return;
    entry.again = true;
    if (entry.running) return;
    entry.cancelTimer?.();
    entry.cancelTimer = undefined;
    void this.#work(uid, entry);
  }

  async #work(uid: string, entry: Entry): Promise<void> {
    entry.running = true;
    try {
      while (entry.again && !this.#scope.signal.aborted) {
        entry.again = false;
        await this.#pass(uid, entry);
        entry.passing.succeeded();
        entry.delayMs = 0;
      }
    } catch (error) {
      if (!this.#scope.signal.aborted) this.#failed(uid, entry, error);
    } finally {
      entry.running = false;
    }
  }

  async #pass(uid: string, entry: Entry): Promise<void> {
    const { api, pods, mayRun } = this.#options;
    const known = this.#known(entry);
    if (known === undefined) {
      // Nobody is left to tell.
      if (entry.finished && pods.synced && this.#entries.get(uid) === entry) this.#entries.delete(uid);
      return;
    }
    const wanted = statusToSend(known, entry.status, mayRun(uid));
    // Its end may not be told yet.
    if (isTerminal(entry.status.phase) && !isTerminal(wanted.phase)) this.#later(uid, entry, recheckMs);
    const patch = podStatusPatch(known, wanted);
    if (patch !== undefined && canonical(patch) !== entry.refused) {
      const { signal } = this.#scope;
      const answer = await this.#places.run(() => api.patchStatus(known.metadata, patch, signal), { signal });
      entry.answered = answer;
      const rest = podStatusPatch(answer, wanted);
      entry.refused = rest && canonical(rest);
    }
    const latest = this.#known(entry);
    if (latest !== undefined && !entry.again && canBeDeleted(latest, entry.finished))
      await this.#remove(uid, entry, latest);
  }

  async #remove(uid: string, entry: Entry, known: Pod): Promise<void> {
    const { signal } = this.#scope;
    const { metadata } = known;
    await this.#places.run(() => this.#options.api.deleteNow(metadata, metadata.uid, signal), { signal });
    if (this.#entries.get(uid) === entry) this.#entries.delete(uid);
  }

  /** The API server's pod for this one: itself, or the mirror of a manifest's pod. */
  #known(entry: Entry): Pod | undefined {
    const { pods } = this.#options;
    const { metadata } = entry.pod;
    let known: Pod | undefined;
    if (isApiPod(entry.pod)) known = pods.get(metadata.uid)?.pod;
    else {
      const mirror = pods.find(metadata.namespace, metadata.name)?.pod;
      const hash = mirror?.metadata.annotations?.[configMirrorAnnotation];
      if (hash !== undefined && hash === metadata.annotations?.[configHashAnnotation]) known = mirror;
    }
    const { answered } = entry;
    return known && answered && isNewer(answered, known) ? answered : known;
  }

  #failed(uid: string, entry: Entry, error: unknown): void {
    if (isApiError(error, 'API_NOT_FOUND', 'API_CONFLICT')) {
      // It is gone, or a namesake has its place: the watch says so in a moment. If not, it is asked again.
      entry.answered = undefined;
    }
    entry.delayMs = nextDelay(entry.delayMs, backoff);
    const waitMs = Math.max(
      entry.delayMs * (0.75 + this.#random() / 2),
      error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0,
    );
    const { namespace, name } = entry.pod.metadata;
    const fields = { pod: `${namespace}/${name}`, uid, error: errorLine(error), retryMs: Math.round(waitMs) };
    if (isApiError(error, 'API_NOT_FOUND')) this.#options.log.debug(fields, 'a pod is gone from the API server');
    else if (entry.passing.mayPass(error)) this.#options.log.debug(fields, 'pod status refused for now');
    else this.#options.log.warn(fields, 'pod status not sent yet');
    this.#later(uid, entry, waitMs);
  }

  #later(uid: string, entry: Entry, delayMs: number): void {
    entry.cancelTimer?.();
    entry.cancelTimer = this.#options.clock.after(delayMs, () => {
      entry.cancelTimer = undefined;
      if (this.#entries.get(uid) === entry) this.#wake(uid);
    });
  }
}

/** Versions of one kind are comparable decimals (KEP-5504); of others the watch is believed. */
function isNewer(answered: Pod, watched: Pod): boolean {
  if (answered.metadata.uid !== watched.metadata.uid) return false;
  const [a = '', b = ''] = [answered.metadata.resourceVersion, watched.metadata.resourceVersion];
  const decimal = /^[1-9]\d{0,38}$/;
  return decimal.test(a) && decimal.test(b) && BigInt(a) > BigInt(b);
}
