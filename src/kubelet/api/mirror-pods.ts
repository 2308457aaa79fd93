/**
 * Keeps a mirror pod in the API server for each pod of this node's manifests. Wakes on what changed; one request a mirror
 * at a time, tried again with a growing delay.
 * Layer: kubelet/api. What to do is decided in mirror-plan.ts.
 */
import { isApiError } from '../../api/api-error.ts';
import type { Pod } from '../../api/core.ts';
import { PassingRefusals } from '../../api/passing-refusal.ts';
import { type BackoffLimits, nextDelay } from '../../base/backoff.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { PodSnapshot } from '../pod-source.ts';
import type { ApiPods } from './api-pods.ts';
import { type MirrorOperation, mirrorPlan, nameConflicts } from './mirror-plan.ts';
import type { PodApi } from './pod-api.ts';

export interface MirrorPodsOptions {
  api: PodApi;
  pods: ApiPods;
  nodeName: string;
  /** Of the Node as it is registered; undefined before, and while it is gone. */
  nodeUid(): string | undefined;
  clock: Clock;
  log: Logger;
}

const backoff: BackoffLimits = { initialMs: 1_000, maxMs: 60_000 };

export class MirrorPods {
  readonly #options: MirrorPodsOptions;
  readonly #scope = new AbortController();
  readonly #stopListening: () => void;
  readonly #passing: PassingRefusals;
  /** By `namespace/name`: requests under way. */
  readonly #running = new Set<string>();
  /** By operation and pod: when it may be tried again. */
  readonly #delays = new Map<string, { delayMs: number; cancel: CancelTimer | undefined }>();
  #manifests: { pods: readonly Pod[]; unreadable: ReadonlySet<string> } | undefined;
  #conflicts = '';

  constructor(options: MirrorPodsOptions) {
    this.#options = options;
    this.#passing = new PassingRefusals(options.clock);
    this.#stopListening = options.pods.onChange(({ recovered }) => {
      if (recovered) for (const key of [...this.#delays.keys()]) this.#forgetDelay(key);
      this.wake();
    });
  }

  /** The pods of the manifests, as the source has them now. */
  setManifests({ pods, brokenFiles }: PodSnapshot): void {
    this.#manifests = { pods, unreadable: brokenFiles };
    this.wake();
  }

  /** Also to be called when the Node was registered, or made anew. */
  wake(): void {
    const { pods, nodeName, nodeUid, log } = this.#options;
    const uid = nodeUid();
    if (this.#manifests === undefined || !pods.synced || uid === undefined || this.#scope.signal.aborted) return;
    const known = pods.list().map(({ pod }) => pod);
    const { pods: manifests, unreadable } = this.#manifests;
    const state = { manifests, unreadable, known, node: { name: nodeName, uid } };
    const operations = mirrorPlan(state);
    const conflicts = nameConflicts(state).join(', ');
    if (conflicts !== this.#conflicts && conflicts !== '') {
      log.warn({ pods: conflicts }, 'pods of the API server have the names of pods of manifests and are not run');
    }
    this.#conflicts = conflicts;
    const due = new Set(operations.map(delayKey));
    for (const key of [...this.#delays.keys()]) if (!due.has(key)) this.#forgetDelay(key);
    for (const operation of operations) {
      if (!this.#running.has(operation.key) && this.#delays.get(delayKey(operation))?.cancel === undefined) {
        void this.#apply(operation);
      }
    }
  }

  stop(): void {
    this.#stopListening();
    this.#scope.abort(new Error('the mirror pods stop'));
    for (const key of [...this.#delays.keys()]) this.#forgetDelay(key);
  }

  async #apply(operation: MirrorOperation): Promise<void> {
    const { api, log } = this.#options;
    const { key } = operation;
    const { signal } = this.#scope;
    this.#running.add(key);
    try {
      if (operation.op === 'create') {
        await api.create(operation.pod, signal);
        log.info({ pod: key }, 'made the mirror pod');
      } else {
        await api.deleteNow(operation, operation.uid, signal);
        log.info({ pod: key, reason: operation.reason }, 'removed the mirror pod');
      }
      this.#passing.succeeded();
    } catch (error) {
      // Somebody was faster: the watch tells.
      const late =
        isApiError(error, 'API_ALREADY_EXISTS', 'API_CONFLICT') ||
        (operation.op === 'delete' && isApiError(error, 'API_NOT_FOUND'));
      const fields = { pod: key, error: errorLine(error) };
      if (!signal.aborted && this.#passing.mayPass(error)) log.debug(fields, 'mirror pod refused for now');
      else if (!signal.aborted && !late) log.warn(fields, `mirror pod not ${operation.op}d yet`);
    } finally {
      this.#running.delete(key);
      // Also after success: the watch may be behind, and the same request must not be made twice meanwhile.
      if (!signal.aborted) this.#delay(delayKey(operation));
    }
  }

  #delay(key: string): void {
    const delayMs = nextDelay(this.#delays.get(key)?.delayMs ?? 0, backoff);
    const cancel = this.#options.clock.after(delayMs, () => {
      this.#delays.set(key, { delayMs, cancel: undefined });
      this.wake();
    });
    this.#delays.set(key, { delayMs, cancel });
    // What the watch told during the request.
    this.wake();
  }

  #forgetDelay(key: string): void {
    this.#delays.get(key)?.cancel?.();
    this.#delays.delete(key);
  }
}

const delayKey = ({ op, key }: MirrorOperation): string => `${op} ${key}`;
