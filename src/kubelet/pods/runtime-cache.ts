/**
 * The PLEG: what the runtime has of every pod, kept true by container events (containerd >= 1.7) or, where the runtime
 * has none, by relisting each second; a slow relist is the safety net. Reports which pods changed; decides nothing.
 * Layer: kubelet/pods (edge to CRI). Pod workers write through `record` what their own operations made, so that the
 * event about it costs no call.
 */
import type { Clock } from '../../base/clock.ts';
import { sleep } from '../../base/clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type PodIdentity, podOfLabels } from '../plan/annotations.ts';
import { emptyRuntimeState, type PodRuntimeState } from '../plan/runtime-state.ts';
import { containerPhase, type InspectDependencies, inspectPod } from './inspect-pod.ts';

export interface RuntimeCacheOptions extends InspectDependencies {
  clock: Clock;
  log: Logger;
  /** Without events: milliseconds between relists (the kubelet's is 1 s). */
  relistPeriodMs?: number;
  /** With events: milliseconds between safety relists. */
  resyncPeriodMs?: number;
}

/** Called after the state of a pod changed. */
export type PodChangeListener = (uid: string) => void;

interface Entry {
  identity: PodIdentity;
  /** From the newest sandbox, for pods that no source names any more. */
  annotations: Record<string, string>;
  state: PodRuntimeState;
  /** Counts what workers recorded, so that an older inspection never overwrites it. */
  version: number;
  /** `id -> phase` of the latest event, to tell whether it says anything new. */
  seen: Map<string, string> | undefined;
}

/** An inspection under way, and the one after it that later callers share. */
interface Refresh {
  done: Promise<PodRuntimeState>;
  next: Promise<PodRuntimeState> | undefined;
}

const debounceMs = 20;
/** Between attempts to reach the runtime again: doubling from the first to the last. */
const firstRetryMs = 100;
const lastRetryMs = 1000;

export class PodRuntimeCache {
  readonly #options: RuntimeCacheOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #scheduled = new Set<string>();
  readonly #refreshing = new Map<string, Refresh>();
  #listener: PodChangeListener = () => {};
  #healthy = false;
  #eventsSupported: boolean | undefined;
  #lastRelistMs = 0;

  constructor(options: RuntimeCacheOptions) {
    this.#options = options;
  }

  onChange(listener: PodChangeListener): void {
    this.#listener = listener;
  }

  /** Whether the latest conversation with the runtime worked. */
  get healthy(): boolean {
    return this.#healthy;
  }

  /** `events`, `relist`, or undefined before the first contact. */
  get mode(): 'events' | 'relist' | undefined {
    return this.#eventsSupported === undefined ? undefined : this.#eventsSupported ? 'events' : 'relist';
  }

  get lastRelistMs(): number {
    return this.#lastRelistMs;
  }

  get(uid: string): PodRuntimeState {
    return this.#entries.get(uid)?.state ?? emptyRuntimeState;
  }

  /** Pods that the runtime has anything of, with the annotations of their newest sandbox. */
  pods(): { identity: PodIdentity; annotations: Record<string, string> }[] {
    return [...this.#entries.values()].map(({ identity, annotations }) => ({ identity, annotations }));
  }

  /** Of the pod's newest sandbox; {} when the runtime has none. */
  annotationsOf(uid: string): Readonly<Record<string, string>> {
    return this.#entries.get(uid)?.annotations ?? {};
  }

  /** A worker's own knowledge after an operation; notifies nobody. */
  record(identity: PodIdentity, state: PodRuntimeState): void {
    this.#store(identity, state).version++;
  }

  /** Forgets a pod whose last trace is gone from the runtime. */
  forget(uid: string): void {
    this.#entries.delete(uid);
  }

  /** Asks the runtime about one pod as of now; calls that come during an inspection share the next one. */
  refresh(identity: PodIdentity): Promise<PodRuntimeState> {
    const { uid } = identity;
    const running = this.#refreshing.get(uid);
    if (running) {
      // What runs may have listed before the caller's own change took effect.
      const again = (): Promise<PodRuntimeState> => this.refresh(identity);
      running.next ??= running.done.then(again, again);
      return running.next;
    }
    const done = this.#inspect(identity).finally(() => this.#refreshing.delete(uid));
    this.#refreshing.set(uid, { done, next: undefined });
    return done;
  }

  async #inspect(identity: PodIdentity): Promise<PodRuntimeState> {
    const { uid } = identity;
    for (;;) {
      const before = this.#entries.get(uid);
      const version = before?.version;
      const state = await inspectPod(this.#options, uid, before?.state);
      const current = this.#entries.get(uid);
      // A worker recorded something or forgot the pod meanwhile: this inspection may be older than that, so look again.
      if (current !== before || current?.version !== version) continue;
      if (current || !isEmpty(state)) this.#store(identity, state);
      return state;
    }
  }

  /** Lists everything and refreshes the pods that differ from what is known; then reports those. */
  async relist(signal?: AbortSignal): Promise<void> {
    const call = signal ? { signal } : {};
    const { runtime } = this.#options;
    const [sandboxes, containers] = await Promise.all([
      runtime.listPodSandbox({}, call),
      runtime.listContainers({}, call),
    ]);
    const found = new Map<
      string,
      { identity: PodIdentity; annotations: Record<string, string>; phases: Map<string, string> }
    >();
    const note = (
      labels: Record<string, string>,
      id: string,
      phase: string,
      annotations?: Record<string, string>,
    ): void => {
      const identity = podOfLabels(labels);
      if (!identity) return;
      const entry = found.get(identity.uid) ?? { identity, annotations: annotations ?? {}, phases: new Map() };
      if (annotations) entry.annotations = { ...annotations, ...entry.annotations };
      entry.phases.set(id, phase);
      found.set(identity.uid, entry);
    };
    for (const item of sandboxes.items) {
      note(item.labels, item.id, item.state === 'SANDBOX_READY' ? 'ready' : 'notready', item.annotations);
    }
    for (const item of containers.containers) note(item.labels, item.id, containerPhase(item.state));
    const changed: string[] = [];
    for (const { identity, annotations, phases } of found.values()) {
      const entry = this.#entries.get(identity.uid);
      if (entry) entry.annotations = annotations;
      if (entry && samePhases(phases, phasesOf(entry.state))) continue;
      if (!(await this.#refreshListed(identity))) continue;
      changed.push(identity.uid);
      const fresh = this.#entries.get(identity.uid);
      if (fresh) fresh.annotations = annotations;
    }
    for (const [uid, entry] of this.#entries) {
      if (found.has(uid) || this.#refreshing.has(uid)) continue;
      // A worker may have made its sandbox after the list was taken: ask once more before forgetting.
      if ((await this.#refreshListed(entry.identity)) && isEmpty(this.get(uid))) {
        this.#entries.delete(uid);
        changed.push(uid);
      }
    }
    this.#lastRelistMs = this.#options.clock.now();
    for (const uid of changed) this.#listener(uid);
  }

  /** One pod that cannot be inspected must not hide the others; it still differs at the next relist, which tries again. */
  async #refreshListed(identity: PodIdentity): Promise<boolean> {
    try {
      await this.refresh(identity);
      return true;
    } catch (error) {
      if (error instanceof CriError && error.isUnavailable()) throw error;
      // It is in the runtime, so it must not look gone: its directories would be taken for leftovers.
      if (!this.#entries.has(identity.uid)) this.#store(identity, emptyRuntimeState);
      const fields = { pod: `${identity.namespace}/${identity.name}`, uid: identity.uid };
      this.#options.log.warn({ ...fields, error: errorLine(error) }, 'cannot inspect a pod');
      return false;
    }
  }

  /** Follows the runtime until aborted; survives its restarts. `onReconnect` runs after each successful first relist. */
  async run(signal: AbortSignal, onReconnect: () => void): Promise<void> {
    let delayMs = firstRetryMs;
    while (!signal.aborted) {
      let followedFromMs = Number.POSITIVE_INFINITY;
      try {
        await this.relist(signal);
        if (!this.#healthy) {
          this.#healthy = true;
          onReconnect();
        }
        followedFromMs = this.#options.clock.now();
        await this.#follow(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (this.#healthy) {
          this.#healthy = false;
          this.#options.log.warn({ error: errorLine(error) }, 'container runtime does not answer; retrying');
        }
        // A runtime that answers but drops the stream at once must not be relisted ten times a second.
        if (this.#options.clock.now() - followedFromMs >= lastRetryMs) delayMs = firstRetryMs;
        await sleep(delayMs, signal, this.#options.clock).catch(() => undefined);
        delayMs = Math.min(delayMs * 2, lastRetryMs);
      }
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    if (this.#eventsSupported !== false) {
      const scope = new AbortController();
      const both = AbortSignal.any([signal, scope.signal]);
      try {
        await Promise.race([this.#followEvents(both), this.#resync(both)]);
      } catch (error) {
        if (!(error instanceof CriError && error.isUnimplemented())) throw error;
        this.#eventsSupported = false;
      } finally {
        scope.abort();
      }
      if (this.#eventsSupported) return;
    }
    for (;;) {
      await sleep(this.#options.relistPeriodMs ?? 1000, signal, this.#options.clock);
      await this.relist(signal);
    }
  }

  async #followEvents(signal: AbortSignal): Promise<void> {
    const events = this.#options.runtime.getContainerEvents({}, { signal });
    // The stream tells nothing when it is accepted; a runtime without it refuses at once, which makes the loop throw.
    this.#eventsSupported ??= true;
    for await (const event of events) this.#onEvent(event);
  }

  async #resync(signal: AbortSignal): Promise<never> {
    // What happened between the first relist and the subscription is caught by one early relist.
    let periodMs = 1000;
    for (;;) {
      await sleep(periodMs, signal, this.#options.clock);
      await this.relist(signal);
      periodMs = this.#options.resyncPeriodMs ?? 60_000;
    }
  }

  #onEvent(event: cri.ContainerEventResponse): void {
    const sandbox = event.podSandboxStatus;
    const identity = podOfLabels(sandbox?.labels ?? event.containersStatuses[0]?.labels ?? {});
    if (!identity) return;
    const seen = new Map<string, string>();
    if (sandbox) seen.set(sandbox.id, sandbox.state === 'SANDBOX_READY' ? 'ready' : 'notready');
    for (const status of event.containersStatuses) seen.set(status.id, containerPhase(status.state));
    if (event.containerEventType === 'CONTAINER_DELETED_EVENT') seen.set(event.containerId, 'deleted');
    const entry = this.#entries.get(identity.uid) ?? this.#store(identity, emptyRuntimeState);
    if (sandbox) entry.annotations = sandbox.annotations;
    entry.seen = seen;
    if (this.#scheduled.has(identity.uid)) return;
    this.#scheduled.add(identity.uid);
    this.#options.clock.after(debounceMs, () => {
      this.#scheduled.delete(identity.uid);
      void this.#digest(identity);
    });
  }

  /** Looks at the pod only when the latest event says something that the cache does not know. */
  async #digest(identity: PodIdentity): Promise<void> {
    const entry = this.#entries.get(identity.uid);
    if (!entry?.seen) return;
    const known = phasesOf(entry.state);
    const news = [...entry.seen].some(([id, phase]) => (phase === 'deleted' ? known.has(id) : known.get(id) !== phase));
    const wasEmpty = isEmpty(entry.state);
    entry.seen = undefined;
    try {
      if (news) await this.refresh(identity);
      const empty = isEmpty(this.get(identity.uid));
      if (empty) this.#entries.delete(identity.uid);
      // The last events about a pod come after it was forgotten: they are no news.
      if (news && !(wasEmpty && empty)) this.#listener(identity.uid);
    } catch (error) {
      // The stream breaks with the same cause, and the relist that follows finds what was missed.
      this.#options.log.debug({ error: errorLine(error), uid: identity.uid }, 'inspecting a pod after an event failed');
    }
  }

  #store(identity: PodIdentity, state: PodRuntimeState): Entry {
    const entry = this.#entries.get(identity.uid);
    if (entry) {
      entry.state = state;
      return entry;
    }
    const created: Entry = { identity, annotations: {}, state, version: 0, seen: undefined };
    this.#entries.set(identity.uid, created);
    return created;
  }
}

function phasesOf(state: PodRuntimeState): Map<string, string> {
  const phases = new Map<string, string>();
  for (const sandbox of state.sandboxes) phases.set(sandbox.id, sandbox.ready ? 'ready' : 'notready');
  for (const container of state.containers) phases.set(container.id, container.phase);
  return phases;
}

function samePhases(a: Map<string, string>, b: Map<string, string>): boolean {
  return a.size === b.size && [...a].every(([id, phase]) => b.get(id) === phase);
}

const isEmpty = (state: PodRuntimeState): boolean => state.sandboxes.length === 0 && state.containers.length === 0;
