/**
 * An API server for Nodes and Leases that lives in memory and keeps the real one's rules: resource versions and their
 * conflicts, the status subresource, strategic merge of lists by key, NodeRestriction, garbage collection of a Node's
 * Lease. Layer: kubelet/node (test support). Must not be imported by production code.
 * Rules: plugin/pkg/admission/noderestriction, pkg/registry/core/node/strategy.go, apimachinery/pkg/util/strategicpatch.
 */
import { ApiError, errorOfStatus } from '../../api/api-error.ts';
import type { Lease, NewLease, NewNode, Node } from '../../api/node.ts';
import type { Clock } from '../../base/clock.ts';
import { applyStrategicMerge } from './fake-strategic-merge.ts';
import type { NodeApi, NodePatch } from './node-api.ts';

export interface FakeRequest {
  readonly verb: 'get' | 'create' | 'patch' | 'update';
  readonly kind: 'node' | 'lease';
  readonly atMs: number;
  readonly body?: unknown;
  /** undefined while it runs; `ok`, or the code of the error. */
  outcome?: string;
}

export class FakeNodeApi implements NodeApi {
  readonly nodes = new Map<string, Node>();
  readonly leases = new Map<string, Lease>();
  readonly requests: FakeRequest[] = [];
  /** Requests under way at one time, at most, of one kind. */
  mostAtOnce = 0;
  /** `refused`: no connection. `silent`: requests stay open until they are aborted. */
  network: 'up' | 'refused' | 'silent' = 'up';
  /** Milliseconds of the clock that a request takes. */
  latencyMs = 0;
  /** Errors for the next requests, in order: HTTP status and reason. `when` picks the requests concerned. */
  readonly failures: { status: number; reason: string; when?: (request: FakeRequest) => boolean }[] = [];
  /** Fields of a Node's status that this server is too old to know: it drops them. */
  unknownStatusFields: string[] = [];
  /** Called after every change of a Node; a watch. */
  onNode: (node: Node, deleted: boolean) => void = () => {};

  readonly #clock: Clock;
  readonly #credential: string;
  #version = 100;
  #uids = 0;
  readonly #underWay = { node: 0, lease: 0 };

  /** @param credential the node whose name the credential carries */
  constructor(clock: Clock, credential: string) {
    this.#clock = clock;
    this.#credential = credential;
  }

  /** Requests with this verb and kind; those that failed too. */
  made(verb: FakeRequest['verb'], kind: FakeRequest['kind']): FakeRequest[] {
    return this.requests.filter((request) => request.verb === verb && request.kind === kind);
  }

  getNode(name: string, _options: { fromCache: boolean }, signal: AbortSignal): Promise<Node> {
    return this.#serve({ verb: 'get', kind: 'node', atMs: this.#clock.now() }, signal, () => this.#stored(name));
  }

  createNode(node: NewNode, signal: AbortSignal): Promise<Node> {
    return this.#serve({ verb: 'create', kind: 'node', atMs: this.#clock.now(), body: node }, signal, () => {
      const { name } = node.metadata;
      this.#allow(name, 'create', Object.keys(node.metadata.labels ?? {}));
      if (this.nodes.has(name)) throw refusal(409, 'AlreadyExists');
      const uid = `node-uid-${++this.#uids}`;
      return this.#store({ ...structuredClone(node), metadata: { ...structuredClone(node.metadata), uid } });
    });
  }

  patchNodeStatus(name: string, patch: NodePatch, signal: AbortSignal): Promise<Node> {
    return this.#serve({ verb: 'patch', kind: 'node', atMs: this.#clock.now(), body: patch }, signal, () => {
      const stored = this.#stored(name);
      // Through JSON, as it would travel: undefined disappears.
      const patched = applyStrategicMerge(stored, JSON.parse(JSON.stringify(patch))) as Node;
      const changed = [
        ...new Set([...Object.keys(stored.metadata.labels ?? {}), ...Object.keys(patched.metadata.labels ?? {})]),
      ].filter((key) => stored.metadata.labels?.[key] !== patched.metadata.labels?.[key]);
      this.#allow(name, 'update', changed);
      // The status subresource: whatever the patch says of the spec is not heard.
      return this.#store({ ...patched, spec: stored.spec });
    });
  }

  getLease(name: string, signal: AbortSignal): Promise<Lease> {
    return this.#serve({ verb: 'get', kind: 'lease', atMs: this.#clock.now() }, signal, () => this.#storedLease(name));
  }

  createLease(lease: NewLease, signal: AbortSignal): Promise<Lease> {
    return this.#serve({ verb: 'create', kind: 'lease', atMs: this.#clock.now(), body: lease }, signal, () => {
      const { name, namespace } = lease.metadata;
      if (name !== this.#credential || namespace !== 'kube-node-lease') throw refusal(403, 'Forbidden');
      if (this.leases.has(name)) throw refusal(409, 'AlreadyExists');
      return this.#storeLease({ ...lease, metadata: { ...lease.metadata, uid: `lease-uid-${++this.#uids}` } });
    });
  }

  updateLease(lease: Lease, signal: AbortSignal): Promise<Lease> {
    return this.#serve({ verb: 'update', kind: 'lease', atMs: this.#clock.now(), body: lease }, signal, () => {
      const stored = this.leases.get(lease.metadata.name);
      // Leases may be created by a PUT, so one that is gone is no 404 (pkg/registry/coordination/lease/strategy.go).
      if (stored === undefined) throw refusal(409, 'Conflict');
      if (lease.metadata.resourceVersion !== stored.metadata.resourceVersion) throw refusal(409, 'Conflict');
      if (lease.metadata.uid !== stored.metadata.uid) throw refusal(409, 'Conflict');
      return this.#storeLease(lease);
    });
  }

  /** Somebody else with every right changes the Node. */
  adminChange(name: string, change: (node: Node) => void): void {
    const node = structuredClone(this.#stored(name));
    change(node);
    this.#store(node);
  }

  /** Somebody else changes the Lease. */
  adminChangeLease(name: string, change: (lease: Lease) => void): void {
    const lease = structuredClone(this.#storedLease(name));
    change(lease);
    this.#storeLease(lease);
  }

  /** The Node goes, and with it the Lease that it owns. */
  adminDelete(name: string): void {
    const node = this.#stored(name);
    this.nodes.delete(name);
    this.#version++;
    const owners = this.leases.get(name)?.metadata.ownerReferences ?? [];
    if (owners.some(({ uid }) => uid === node.metadata.uid)) this.leases.delete(name);
    this.onNode(structuredClone(node), true);
  }

  async #serve<T>(request: FakeRequest, signal: AbortSignal, work: () => T): Promise<T> {
    this.requests.push(request);
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#underWay[request.kind]);
    try {
      signal.throwIfAborted();
      if (this.network === 'refused') throw new ApiError('API_UNREACHABLE', 'connect ECONNREFUSED');
      if (this.network === 'silent') await aborted(signal);
      if (this.latencyMs > 0) await new Promise<void>((resolve) => this.#clock.after(this.latencyMs, resolve));
      const index = this.failures.findIndex(({ when }) => when === undefined || when(request));
      const [failure] = index < 0 ? [] : this.failures.splice(index, 1);
      if (failure !== undefined) throw refusal(failure.status, failure.reason);
      const answer = structuredClone(work());
      request.outcome = 'ok';
      return answer;
    } catch (error) {
      request.outcome = error instanceof ApiError ? error.code : 'aborted';
      throw error;
    } finally {
      this.#underWay[request.kind]--;
    }
  }

  #stored(name: string): Node {
    const node = this.nodes.get(name);
    if (node === undefined) throw refusal(404, 'NotFound');
    return node;
  }

  #storedLease(name: string): Lease {
    const lease = this.leases.get(name);
    if (lease === undefined) throw refusal(404, 'NotFound');
    return lease;
  }

  /** A write that changes nothing makes no new version. */
  #store(node: Node): Node {
    const next = structuredClone(node);
    for (const field of this.unknownStatusFields) delete (next.status as Record<string, unknown> | undefined)?.[field];
    const { name } = next.metadata;
    const before = this.nodes.get(name);
    if (before !== undefined && JSON.stringify(sorted(before)) === JSON.stringify(sorted(next))) return before;
    next.metadata.resourceVersion = String(++this.#version);
    this.nodes.set(name, next);
    this.onNode(structuredClone(next), false);
    return next;
  }

  #storeLease(lease: Lease): Lease {
    const next = structuredClone(lease);
    next.metadata.resourceVersion = String(++this.#version);
    this.leases.set(next.metadata.name, next);
    return next;
  }

  /** NodeRestriction. */
  #allow(name: string, operation: string, labels: string[]): void {
    const forbidden = labels.filter(isForbiddenLabel);
    if (name === this.#credential && forbidden.length === 0) return;
    throw refusal(403, 'Forbidden', `node ${this.#credential} may not ${operation} ${name} ${forbidden.join(' ')}`);
  }
}

const own = ['hostname', 'os', 'arch', 'instance-type'].flatMap((name) => [
  `kubernetes.io/${name}`,
  `beta.kubernetes.io/${name}`,
]);

function isForbiddenLabel(key: string): boolean {
  const namespace = key.split('/').length === 2 ? key.slice(0, key.indexOf('/')) : '';
  if (!/(?:^|\.)(?:kubernetes|k8s)\.io$/.test(namespace)) return false;
  if (/(?:^|\.)node-restriction\.kubernetes\.io$/.test(namespace)) return true;
  if (/(?:^|\.)(?:kubelet|node)\.kubernetes\.io$/.test(namespace)) return false;
  return !own.includes(key) && !/^(?:topology|failure-domain\.beta)\.kubernetes\.io\/(?:zone|region)$/.test(key);
}

const refusal = (status: number, reason: string, message = reason): ApiError =>
  errorOfStatus('fake API server', status, { reason, message });

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, entry]) => [key, sorted(entry)]),
  );
}
