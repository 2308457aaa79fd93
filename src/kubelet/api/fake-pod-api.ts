/**
 * An API server for the pods of one node that lives in memory and keeps the real one's rules: resource versions, UID
 * preconditions, graceful deletion, the status subresource with strategic merge, NodeRestriction for mirror pods, and a
 * watch that may be late, break and list anew.
 * Layer: kubelet/api (test support). Must not be imported by production code.
 * Rules: pkg/registry/core/pod/strategy.go, plugin/pkg/admission/noderestriction, apimachinery/pkg/util/strategicpatch.
 */
import { ApiError, errorOfStatus } from '../../api/api-error.ts';
import type { Pod } from '../../api/core.ts';
import type { ReflectorListener } from '../../api/reflector.ts';
import type { Clock } from '../../base/clock.ts';
import { type ApiPod, readApiPod } from './api-pod.ts';
import type { Follow } from './api-pods.ts';
import type { NewPod, PodApi, PodName } from './pod-api.ts';
import { canonical } from './status-patch.ts';

type Json = Record<string, unknown>;
type Stored = Pod & { metadata: Pod['metadata'] & { finalizers?: string[] } };

export class FakePodApi implements PodApi {
  readonly requests: { verb: 'patch' | 'delete' | 'create'; key: string; body: unknown; outcome: string }[] = [];
  /** Requests for one pod, and in all, that were under way at once at most. */
  mostOfOnePod = 0;
  mostAtOnce = 0;
  network: 'up' | 'refused' = 'up';
  /** Milliseconds that a request takes to arrive, its answer to return, and an event of the watch to come. */
  latencyMs: () => number = () => 0;
  /** Milliseconds by which the watch is later than that. */
  watchDelayMs = 0;
  /** Status fields that this server is too old to know: it drops them. */
  unknownFields: string[] = [];
  /** HTTP status for the next requests. */
  readonly failures: number[] = [];
  nodeUid = 'node-uid';

  readonly #clock: Clock;
  readonly #pods = new Map<string, Stored>();
  readonly #underWay = new Map<string, number>();
  #version = 100;
  #uids = 0;
  #listener: ReflectorListener<ApiPod> | undefined;
  #told = new Map<string, { uid: string; version: string | undefined }>();
  #deliveryAtMs = 0;
  #watching = false;
  #listed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What the kubelet's watch is connected to. */
  readonly follow: Follow<ApiPod> = (listener) => {
    this.#listener = listener;
    this.#told = new Map();
    this.#listed = false;
    this.#watching = false;
    if (this.network === 'up') this.#list();
  };

  get(key: string): Stored | undefined {
    return structuredClone(this.#pods.get(key));
  }

  keys(): string[] {
    return [...this.#pods.keys()].sort();
  }

  // What others do.

  bind(pod: Pod): Stored {
    const { namespace, name } = pod.metadata;
    if (this.#pods.has(`${namespace}/${name}`)) throw new Error(`${name} exists`);
    return this.#store({ ...structuredClone(pod), metadata: { ...structuredClone(pod.metadata) } });
  }

  change(key: string, change: (pod: Stored) => void): void {
    const pod = structuredClone(this.#stored(key));
    change(pod);
    this.#store(pod);
  }

  /** `kubectl delete`, with the grace of a request; 0 with `force` takes the pod away at once. */
  askToDelete(key: string, graceSeconds: number, force = false): void {
    this.change(key, ({ metadata }) => {
      metadata.deletionTimestamp ??= new Date(this.#clock.now()).toISOString();
      const before = metadata.deletionGracePeriodSeconds ?? Number.POSITIVE_INFINITY;
      metadata.deletionGracePeriodSeconds = Math.min(before, graceSeconds);
    });
    // As a real one, which marks the pod first.
    if (force) this.#remove(key);
  }

  goDown(): void {
    this.network = 'refused';
    this.#watching = false;
    this.#listener?.status?.(new ApiError('API_UNREACHABLE', 'connect ECONNREFUSED'));
  }

  /** The watch lists anew: what was deleted meanwhile is told as gone. */
  comeBack(): void {
    this.network = 'up';
    this.#list();
    this.#listener?.status?.(undefined);
  }

  // What the node may do.

  patchStatus(pod: PodName, patch: object, signal: AbortSignal): Promise<Pod> {
    const key = `${pod.namespace}/${pod.name}`;
    return this.#serve('patch', key, patch, signal, () => {
      const stored = this.#stored(key);
      const { metadata, status } = JSON.parse(JSON.stringify(patch)) as { metadata?: Json; status: Json };
      if (metadata?.uid !== undefined && metadata.uid !== stored.metadata.uid) throw refusal(409, 'Conflict');
      const merged = mergeStatus((stored.status ?? {}) as unknown as Json, status);
      for (const field of this.unknownFields) delete merged[field];
      const next = { ...stored, status: merged as unknown as NonNullable<Pod['status']> };
      validate(stored, next);
      return readApiPod(this.#store(next)).pod;
    });
  }

  deleteNow(pod: PodName, uid: string, signal: AbortSignal): Promise<void> {
    const key = `${pod.namespace}/${pod.name}`;
    return this.#serve('delete', key, { uid }, signal, () => {
      if (this.#stored(key).metadata.uid !== uid) throw refusal(409, 'Conflict');
      this.#remove(key);
    });
  }

  create(pod: NewPod, signal: AbortSignal): Promise<Pod> {
    const { metadata, spec } = pod;
    const key = `${metadata.namespace}/${metadata.name}`;
    return this.#serve('create', key, pod, signal, () => {
      const [owner] = metadata.ownerReferences ?? [];
      const allowed =
        metadata.annotations?.['kubernetes.io/config.mirror'] !== undefined &&
        spec.nodeName !== undefined &&
        spec.serviceAccountName === undefined &&
        owner?.uid === this.nodeUid &&
        !('uid' in metadata) &&
        !('status' in pod);
      if (!allowed) throw refusal(403, 'Forbidden');
      if (this.#pods.has(key)) throw refusal(409, 'AlreadyExists');
      const created = {
        ...structuredClone(pod),
        metadata: { ...structuredClone(metadata), uid: `uid-${++this.#uids}` },
      };
      return readApiPod(this.#store(created)).pod;
    });
  }

  async #serve<T>(
    verb: FakePodApi['requests'][number]['verb'],
    key: string,
    body: unknown,
    signal: AbortSignal,
    work: () => T,
  ): Promise<T> {
    const request = { verb, key, body, outcome: 'under way' };
    this.requests.push(request);
    const add = (count: number): void => void this.#underWay.set(key, (this.#underWay.get(key) ?? 0) + count);
    add(1);
    this.mostOfOnePod = Math.max(this.mostOfOnePod, this.#underWay.get(key) ?? 0);
    this.mostAtOnce = Math.max(
      this.mostAtOnce,
      [...this.#underWay.values()].reduce((sum, count) => sum + count, 0),
    );
    try {
      await this.#pause(this.latencyMs());
      signal.throwIfAborted();
      if (this.network !== 'up') throw new ApiError('API_UNREACHABLE', 'connect ECONNREFUSED', { sent: false });
      const failure = this.failures.shift();
      if (failure !== undefined) throw refusal(failure, 'InternalError');
      const answer = structuredClone(work());
      await this.#pause(this.latencyMs());
      // Done, but the answer is lost.
      if (this.network !== 'up') throw new ApiError('API_UNREACHABLE', 'read ECONNRESET');
      request.outcome = 'ok';
      return answer;
    } catch (error) {
      request.outcome = error instanceof ApiError ? error.code : 'aborted';
      throw error;
    } finally {
      add(-1);
    }
  }

  #pause(ms: number): Promise<void> {
    return ms === 0 ? Promise.resolve() : new Promise((resolve) => this.#clock.after(ms, resolve));
  }

  #stored(key: string): Stored {
    const pod = this.#pods.get(key);
    if (pod === undefined) throw refusal(404, 'NotFound');
    return pod;
  }

  /** A write that changes nothing makes no new version. */
  #store(pod: Stored): Stored {
    const key = `${pod.metadata.namespace}/${pod.metadata.name}`;
    const before = this.#pods.get(key);
    if (before !== undefined && canonical(before) === canonical(pod)) return before;
    const next = structuredClone(pod);
    next.metadata.resourceVersion = String(++this.#version);
    this.#pods.set(key, next);
    this.#tell([key, structuredClone(next)]);
    return next;
  }

  #remove(key: string): void {
    const pod = this.#stored(key);
    this.#pods.delete(key);
    this.#version++;
    this.#tell([key, pod.metadata.uid]);
  }

  /** Events keep their order, however late they are; a watch that broke tells none. */
  #tell([key, change]: [string, Stored | string]): void {
    if (!this.#watching) return;
    this.#deliveryAtMs = Math.max(this.#deliveryAtMs, this.#clock.now() + this.latencyMs() + this.watchDelayMs);
    this.#clock.after(this.#deliveryAtMs - this.#clock.now(), () => {
      if (this.#watching) this.#deliver(key, change);
    });
  }

  #deliver(key: string, change: Stored | string): void {
    if (typeof change === 'string') {
      this.#told.delete(key);
      this.#listener?.events([{ type: 'deleted', key, uid: change }]);
      return;
    }
    const { uid, resourceVersion: version } = change.metadata;
    const before = this.#told.get(key);
    // A reflector tells of a state once, also when a new list has it.
    if (before?.uid === uid && before.version === version) return;
    this.#told.set(key, { uid, version });
    this.#listener?.events([
      ...(before !== undefined && before.uid !== uid ? [{ type: 'deleted' as const, key, uid: before.uid }] : []),
      { type: 'set', key, uid, object: readApiPod(change) },
    ]);
  }

  #list(): void {
    for (const [key, pod] of this.#pods) this.#deliver(key, structuredClone(pod));
    for (const [key, { uid }] of [...this.#told]) if (!this.#pods.has(key)) this.#deliver(key, uid);
    this.#watching = true;
    if (!this.#listed) this.#listener?.synced?.();
    this.#listed = true;
  }
}

const mergeKeys: Readonly<Record<string, string>> = { conditions: 'type', hostIPs: 'ip', podIPs: 'ip' };

function mergeStatus(original: Json, patch: Json): Json {
  const merged = structuredClone(original);
  for (const [field, value] of Object.entries(patch)) {
    if (field.startsWith('$setElementOrder/')) {
      if (merged[field.slice(17)] === undefined) throw refusal(500, `unable to find api field ${field}`);
      continue;
    }
    const key = mergeKeys[field];
    if (value === null) delete merged[field];
    else if (key === undefined || !Array.isArray(value)) merged[field] = value;
    else merged[field] = mergeList(merged[field], value as Json[], key);
  }
  for (const [field, order] of Object.entries(patch)) {
    if (!field.startsWith('$setElementOrder/')) continue;
    const key = mergeKeys[field.slice(17)]!;
    const places = (order as Json[]).map((entry) => entry[key]);
    (merged[field.slice(17)] as Json[]).sort((a, b) => places.indexOf(a[key]) - places.indexOf(b[key]));
  }
  return merged;
}

function mergeList(original: unknown, patch: Json[], key: string): Json[] {
  if (!Array.isArray(original)) {
    // Without a list to apply them to, directives and nulls would be stored as they are.
    if (patch.some((entry) => '$patch' in entry || Object.values(entry).includes(null))) {
      throw refusal(500, 'a directive without a list');
    }
    return patch;
  }
  const list = structuredClone(original) as Json[];
  for (const entry of patch) {
    const index = list.findIndex((other) => other[key] === entry[key]);
    if (entry.$patch === 'delete') {
      if (index >= 0) list.splice(index, 1);
    } else if (index < 0) list.push(entry);
    else {
      const next = { ...list[index], ...entry };
      list[index] = Object.fromEntries(Object.entries(next).filter(([, value]) => value !== null));
    }
  }
  return list;
}

function validate(before: Pod, next: Pod): void {
  const { podIP, podIPs, qosClass } = next.status ?? {};
  if (podIPs !== undefined && podIPs.length > 0 && podIPs[0]?.ip !== podIP)
    throw refusal(422, 'podIPs[0] is not podIP');
  if (before.status?.qosClass !== undefined && before.status.qosClass !== qosClass) throw refusal(422, 'qosClass');
}

const refusal = (status: number, reason: string): ApiError =>
  errorOfStatus('fake API server', status, { reason, message: reason });
