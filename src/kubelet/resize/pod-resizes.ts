/**
 * Keeps, for every pod of an API server, what it was given; decides about the resizes that wait, and records on disk what
 * it gives before anyone acts on it. A resize that waits is looked at again whenever a pod comes, changes, shrinks or ends.
 * Layer: kubelet/resize. Decides through decide-resizes.ts; must not talk to the runtime: pods/apply-resize.ts does.
 * Source: pkg/kubelet/allocation/allocation_manager.go. Pods of manifests never resize: a changed file is another pod.
 */
import type { Pod, PodStatus, ResourceList } from '../../api/core.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { PressureCondition } from '../plan/admission-checks.ts';
import { isApiPod, isTerminal } from '../plan/pod-origin.ts';
import { type Amounts, podRequests } from '../plan/pod-requests.ts';
import type { NodeResources } from '../plan/resources.ts';
import { normal, type RecordPodEvent, warning } from '../pods/pod-events.ts';
import {
  type Allocation,
  allocatedResourcesAnnotation,
  allocationOf,
  parseAllocation,
  withAllocation,
} from './allocation.ts';
import type { AllocationFiles, AllocationRecord } from './allocation-files.ts';
import { decideResizes, type ResizeDecision, type ResizeWish } from './decide-resizes.ts';
import { sameAmounts, sumOfRequests, withActualRequests, withRequestsOf } from './held-resources.ts';
import { type PendingResize, type PodResize, resizeMessage, resizePending } from './resize-conditions.ts';

export interface PodResizesOptions {
  files: Pick<AllocationFiles, 'save' | 'remove'>;
  /** What AllocationFiles.load found. */
  records: Map<string, AllocationRecord>;
  /** Of the pod's newest sandbox; {} without one. */
  annotationsOf(uid: string): Readonly<Record<string, string>>;
  statusOf(uid: string): PodStatus | undefined;
  node: NodeResources;
  clock: Clock;
  log: Logger;
  recordEvent: RecordPodEvent;
  /** What is told of the pod's resize is another than before. */
  wake(uid: string): void;
  /** All pods are to be taken in anew: one was given something, or there may be room for one that waits. */
  takeAgain(): void;
}

export interface DecideRequest {
  /** Pods that hold something of the node, as `allocated` gave them. */
  holders: readonly Pod[];
  /** Of the Node; undefined while it is not known. */
  allocatable: ResourceList | undefined;
  pressures?: readonly PressureCondition[] | undefined;
}

interface Entry {
  allocation: Allocation;
  accepted: PodResize['accepted'];
  desired: Pod;
  /** `desired` with the allocation; the same object when it asks for nothing else. */
  pod: Pod;
  pending: PendingResize | undefined;
  pendingSinceMs: number | undefined;
  /** What is being recorded for it. */
  saving: Pod | undefined;
  /** Told from the moment of the decision on, also while recording it fails. */
  recording: PodResize['recording'];
  /** What it held when it was last looked at while another waited. */
  held: Amounts | undefined;
}

/** Allocatable may have grown, of which nobody tells: the kubelet's retryDelay. */
const retryMs = 180_000;
const retryAfterErrorMs = 10_000;

export class PodResizes {
  readonly #options: PodResizesOptions;
  readonly #entries = new Map<string, Entry>();
  #waiting = 0;
  #queued = false;
  #stopped = false;
  #cancelRetry: CancelTimer | undefined;

  constructor(options: PodResizesOptions) {
    this.#options = options;
  }

  /** The pod as it is to run. @param isPresent it was admitted before, by this process or another */
  allocated(pod: Pod, isPresent: boolean): Pod {
    if (!isApiPod(pod)) return pod;
    const { uid } = pod.metadata;
    const known = this.#entries.get(uid);
    if (!known && !isPresent && !this.#options.records.has(uid)) return pod;
    const entry = known ?? this.#enter(pod);
    if (entry.desired !== pod) {
      entry.desired = pod;
      entry.pod = withAllocation(pod, entry.allocation);
    }
    return entry.pod;
  }

  /** The pod as the API server has it. */
  desired(pod: Pod): Pod {
    return this.#entries.get(pod.metadata.uid)?.desired ?? pod;
  }

  /** The pod was taken: what it asks for now is what it has. */
  admit(pod: Pod): void {
    if (isApiPod(pod) && !this.#entries.has(pod.metadata.uid)) this.#enter(pod);
  }

  #enter(pod: Pod): Entry {
    const { uid } = pod.metadata;
    const { records, annotationsOf } = this.#options;
    const record = records.get(uid);
    records.delete(uid);
    const entry: Entry = {
      allocation:
        record?.allocation ?? parseAllocation(annotationsOf(uid)[allocatedResourcesAnnotation]) ?? allocationOf(pod),
      accepted: record && { generation: record.generation },
      desired: pod,
      pod,
      ...toldPending(pod.status),
      saving: undefined,
      recording: undefined,
      held: undefined,
    };
    entry.pod = withAllocation(pod, entry.allocation);
    this.#entries.set(uid, entry);
    return entry;
  }

  /** Forgets pods that are gone. */
  retain(isKnown: (uid: string) => boolean): void {
    for (const uid of this.#entries.keys()) if (!isKnown(uid)) this.#entries.delete(uid);
    for (const uid of this.#options.records.keys()) if (!isKnown(uid)) this.#options.records.delete(uid);
  }

  /** The pod with what it holds while it is resized; the pod itself when it never was. */
  held(pod: Pod): Pod {
    const entry = this.#entries.get(pod.metadata.uid);
    if (entry === undefined || (entry.accepted === undefined && entry.saving === undefined)) return pod;
    const given = entry.saving === undefined ? pod : withRequestsOf(pod, entry.saving);
    return withActualRequests(given, this.#options.statusOf(pod.metadata.uid));
  }

  /** What is to be told of the pod's resizes; undefined when there is nothing. */
  of(uid: string): PodResize | undefined {
    const entry = this.#entries.get(uid);
    const { pending, accepted, recording } = entry ?? {};
    return pending || accepted || recording ? { pending, accepted, recording } : undefined;
  }

  /** Decides about every pod that asks for something else than it has. */
  decide({ holders, allocatable, pressures }: DecideRequest): void {
    const wishes = new Map<string, ResizeWish>();
    for (const pod of holders) {
      const { uid, deletionTimestamp } = pod.metadata;
      const entry = this.#entries.get(uid);
      if (entry === undefined || entry.desired === entry.pod || deletionTimestamp !== undefined) continue;
      const { desired, pendingSinceMs } = entry;
      const held = podRequests(this.held(entry.pod));
      wishes.set(uid, { desired, allocated: entry.pod, held, deferredSinceMs: pendingSinceMs });
    }
    for (const [uid, entry] of this.#entries) {
      if (wishes.has(uid)) continue;
      if (entry.saving === undefined) entry.recording = undefined;
      this.#setPending(uid, entry, undefined);
    }
    this.#waiting = wishes.size;
    if (wishes.size === 0) {
      this.#cancelRetry?.();
      this.#cancelRetry = undefined;
      return;
    }
    this.#retryIn(retryMs);
    if (allocatable === undefined) {
      for (const [uid, { desired }] of wishes) {
        const entry = this.#entries.get(uid);
        if (entry && !entry.pending) entry.recording ??= { generation: desired.metadata.generation };
      }
      return;
    }
    const { node } = this.#options;
    const inUse = sumOfRequests(holders.map((pod) => this.held(pod)));
    // One that is being recorded is decided: it counts with what it is given.
    const open = [...wishes].filter(([uid]) => this.#entries.get(uid)?.saving === undefined).map(([, wish]) => wish);
    for (const decision of decideResizes(open, { allocatable, inUse, node, pressures })) this.#act(decision);
  }

  /** Something is told of a pod: there may be room now for one that waits. */
  onStatus(uid: string, status: PodStatus | undefined): void {
    if (this.#waiting === 0) return;
    const entry = this.#entries.get(uid);
    if (status === undefined || isTerminal(status.phase)) this.#again();
    else if (entry?.accepted) {
      const held = podRequests(this.held(entry.pod));
      const same = entry.held !== undefined && sameAmounts(entry.held, held);
      entry.held = held;
      if (!same) this.#again();
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelRetry?.();
  }

  #act(decision: ResizeDecision): void {
    const { pod } = decision;
    const { uid, generation } = pod.metadata;
    const entry = this.#entries.get(uid);
    if (entry === undefined) return;
    if (decision.verdict === 'accepted') {
      entry.saving = pod;
      entry.recording = { generation };
      this.#setPending(uid, entry, undefined);
      void this.#give(uid, entry, pod);
      return;
    }
    const { verdict: reason, message, because } = decision;
    if (entry.pending?.reason !== reason || entry.pending.generation !== generation) {
      const told = resizeMessage(because, pod, generation, message);
      this.#options.recordEvent(pod, warning(`Resize${reason}`, told));
    }
    entry.recording = undefined;
    entry.pendingSinceMs ??= this.#options.clock.now();
    this.#setPending(uid, entry, { reason, message, generation });
  }

  #setPending(uid: string, entry: Entry, pending: PendingResize | undefined): void {
    if (JSON.stringify(entry.pending) === JSON.stringify(pending)) return;
    entry.pending = pending;
    if (pending === undefined) entry.pendingSinceMs = undefined;
    this.#options.wake(uid);
  }

  /** What is given survives a kill from here on; until it is on disk nobody acts on it. */
  async #give(uid: string, entry: Entry, pod: Pod): Promise<void> {
    const { files, log, recordEvent } = this.#options;
    const { generation } = pod.metadata;
    const allocation = allocationOf(pod);
    const name = `${pod.metadata.namespace}/${pod.metadata.name}`;
    try {
      await files.save(uid, { allocation, generation });
    } catch (error) {
      entry.saving = undefined;
      log.error({ pod: name, uid, error: errorLine(error) }, 'cannot record a resize; trying again');
      this.#retryIn(retryAfterErrorMs);
      return;
    }
    entry.saving = undefined;
    if (this.#entries.get(uid) !== entry) {
      await files
        .remove(uid)
        .catch((error: unknown) =>
          log.warn({ pod: name, uid, error: errorLine(error) }, 'cannot remove the record of a pod that is gone'),
        );
      return;
    }
    entry.allocation = allocation;
    entry.recording = undefined;
    entry.accepted = { generation };
    entry.pod = withAllocation(entry.desired, allocation);
    recordEvent(pod, normal('ResizeStarted', resizeMessage('started', pod, generation)));
    this.#again();
  }

  #again(): void {
    if (this.#queued || this.#stopped) return;
    this.#queued = true;
    queueMicrotask(() => {
      this.#queued = false;
      if (!this.#stopped) this.#options.takeAgain();
    });
  }

  #retryIn(ms: number): void {
    if (this.#stopped) return;
    this.#cancelRetry?.();
    this.#cancelRetry = this.#options.clock.after(ms, () => this.#again());
  }
}

/** After a restart: what the API server was told of the wish, so that it is not told again. */
function toldPending(status: PodStatus | undefined): Pick<Entry, 'pending' | 'pendingSinceMs'> {
  const condition = status?.conditions.find(({ type }) => type === resizePending);
  const { reason, message = '', observedGeneration: generation, lastTransitionTime = '' } = condition ?? {};
  if (reason !== 'Deferred' && reason !== 'Infeasible') return { pending: undefined, pendingSinceMs: undefined };
  const sinceMs = Date.parse(lastTransitionTime);
  const pendingSinceMs = Number.isFinite(sinceMs) ? sinceMs : undefined;
  return { pending: { reason, message, generation }, pendingSinceMs };
}
