/**
 * The Lease of the node in kube-node-lease, renewed every quarter of its duration: while it is renewed, the node
 * controller takes the node for alive. Layer: kubelet/node (a loop over injected edges).
 * Rules: staging/src/k8s.io/component-helpers/apimachinery/lease/controller.go, pkg/kubelet/util/nodelease.go.
 * Must not depend on the status sync: a status that cannot be written must not cost the Lease.
 */
import { isApiError } from '../../api/api-error.ts';
import type { Lease, LeaseSpec, NewLease, Node } from '../../api/node.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import { type KnownNode, type NodeApi, nodeLeaseNamespace } from './node-api.ts';
import { PeriodicTask } from './periodic-task.ts';
import { OutageLog, RetryDelay, withDeadline } from './request-care.ts';

export interface NodeLeaseOptions {
  readonly api: NodeApi;
  readonly known: KnownNode;
  readonly nodeName: string;
  /** KubeletConfiguration nodeLeaseDurationSeconds. */
  readonly durationSeconds: number;
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** Why it cannot be renewed, in one line; undefined when it can again. */
  readonly onTrouble?: ((complaint: string | undefined) => void) | undefined;
  /** The Lease vanished: it goes with its Node, so that may be gone as well. */
  readonly onLeaseGone: () => void;
}

const renewFraction = 0.25;
const maxUpdates = 5;
const retryLimits = { initialMs: 200, maxMs: 7_000 };

export class NodeLease {
  readonly #options: NodeLeaseOptions;
  readonly #task: PeriodicTask;
  readonly #outage: OutageLog;
  readonly #retry: RetryDelay;
  /** As the API server last answered it; updates start from it without asking first. */
  #latest: Lease | undefined;

  constructor(options: NodeLeaseOptions) {
    const { clock, random, log } = options;
    this.#options = options;
    this.#outage = new OutageLog(log, clock, 'the renewal of the node lease', options.onTrouble);
    this.#retry = new RetryDelay(retryLimits, random);
    const periodMs = options.durationSeconds * 1000 * renewFraction;
    this.#task = new PeriodicTask({ clock, random, log, periodMs, run: (signal) => this.#renew(signal) });
  }

  start(): void {
    this.#task.start();
  }

  /** The Node was registered: a Lease that waited for its owner can be made. */
  wake(): void {
    this.#task.wake();
  }

  stop(): Promise<void> {
    return this.#task.stop();
  }

  async #renew(signal: AbortSignal): Promise<number | undefined> {
    try {
      const done = this.#latest === undefined ? await this.#ensure(signal) : await this.#update(this.#latest, signal);
      if (!done) return this.#retry.failed();
      this.#retry.succeeded();
      this.#outage.succeeded();
      return undefined;
    } catch (error) {
      if (signal.aborted) throw error;
      // What is stored is not known any more: ask for it first.
      this.#latest = undefined;
      this.#outage.failed(error);
      return this.#retry.failed();
    }
  }

  /** False while there is no Node to own the Lease. */
  async #ensure(signal: AbortSignal): Promise<boolean> {
    const lease = await this.#find(signal);
    return lease === undefined ? this.#create(signal) : this.#update(lease, signal);
  }

  async #find(signal: AbortSignal): Promise<Lease | undefined> {
    const { api, nodeName } = this.#options;
    try {
      return await this.#ask(signal, (request) => api.getLease(nodeName, request));
    } catch (error) {
      if (isApiError(error, 'API_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  async #create(signal: AbortSignal): Promise<boolean> {
    const { api, nodeName, known } = this.#options;
    const { node } = known;
    // Without its owner nobody would ever remove the Lease.
    if (node === undefined) return false;
    const lease: NewLease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: nodeName, namespace: nodeLeaseNamespace, ownerReferences: [nodeReference(node)] },
      spec: this.#spec({}),
    };
    this.#latest = await this.#ask(signal, (request) => api.createLease(lease, request));
    return true;
  }

  /** Tries a few times in a row; false when the Lease is gone. */
  async #update(base: Lease, signal: AbortSignal): Promise<boolean> {
    let lease = base;
    for (let attempt = 1; ; attempt++) {
      try {
        this.#latest = await this.#ask(signal, (request) =>
          this.#options.api.updateLease(this.#renewed(lease), request),
        );
        return true;
      } catch (error) {
        if (signal.aborted || attempt === maxUpdates) throw error;
        // An API server answers a conflict for a Lease that is gone, too: a PUT could make a new one, but no old version.
        if (!isApiError(error, 'API_CONFLICT', 'API_NOT_FOUND')) continue;
        const found = await this.#find(signal);
        if (found === undefined) {
          this.#latest = undefined;
          this.#options.onLeaseGone();
          return false;
        }
        lease = found;
      }
    }
  }

  #renewed(lease: Lease): Lease {
    const { node } = this.#options.known;
    const { ownerReferences: owners = [], ...metadata } = lease.metadata;
    // A Node that was made anew has another uid, and a Lease of the old one would be removed as an orphan.
    const others = owners.filter(({ kind, name }) => kind !== 'Node' || name !== node?.metadata.name);
    const ownerReferences = node === undefined ? owners : [...others, nodeReference(node)];
    return { ...lease, metadata: { ...metadata, ownerReferences }, spec: this.#spec(lease.spec) };
  }

  #spec(spec: LeaseSpec): LeaseSpec {
    return {
      ...spec,
      holderIdentity: this.#options.nodeName,
      leaseDurationSeconds: this.#options.durationSeconds,
      renewTime: microTime(this.#options.clock.now()),
    };
  }

  #ask<T>(signal: AbortSignal, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withDeadline(this.#options.clock, this.#options.requestTimeoutMs, signal, request);
  }
}

const nodeReference = ({ metadata }: Node) => ({
  apiVersion: 'v1',
  kind: 'Node',
  name: metadata.name,
  uid: metadata.uid,
});

/** metav1.MicroTime. */
const microTime = (epochMs: number): string => new Date(epochMs).toISOString().replace('Z', '000Z');
