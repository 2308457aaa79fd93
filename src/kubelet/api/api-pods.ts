/**
 * The pods that the API server has bound to this node, as the watch tells them: the one copy that the pod source, the
 * status sync and the mirror pods read.
 * Layer: kubelet/api. Keeps and tells; decides nothing and asks nothing.
 */
import type { ApiClient } from '../../api/client.ts';
import { type ReflectorListener, startReflector } from '../../api/reflector.ts';
import { collectionPath, pods as podsResource } from '../../api/resource.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import { configSeenAnnotation } from '../plan/pod-origin.ts';
import { type ApiPod, readApiPod } from './api-pod.ts';

/** Follows a collection until aborted; startReflector behind `followPods`, a fake in tests. */
export type Follow<T> = (listener: ReflectorListener<T>, signal: AbortSignal) => void;

export interface FollowPodsOptions {
  client: ApiClient;
  nodeName: string;
  clock: Clock;
  log: Logger;
}

export function followPods({ client, nodeName, clock, log }: FollowPodsOptions): Follow<ApiPod> {
  return (listener, signal) => {
    startReflector({
      client,
      path: collectionPath(podsResource),
      fieldSelector: `spec.nodeName=${nodeName}`,
      project: readApiPod,
      listener,
      signal,
      clock,
      log,
    });
  };
}

export interface ApiPodsChange {
  /** Of pods that came, changed or went. */
  uids: ReadonlySet<string>;
  /** Nothing but statuses changed, in a way that is nobody's work here: most changes are our own patches coming back. */
  statusOnly: boolean;
  /** The server answers again after it did not. */
  recovered: boolean;
  /**
   * A deleted pod goes next, and only now has the grace that it was given last: a deletion by force marks the pod and
   * removes it at one stroke. Whoever gathers changes has to look at once.
   */
  lastSight: boolean;
}

export class ApiPods {
  readonly #clock: Clock;
  readonly #byUid = new Map<string, ApiPod>();
  readonly #uidByName = new Map<string, string>();
  readonly #listeners = new Set<(change: ApiPodsChange) => void>();
  #synced = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The first list came. From then on a pod that is not here does not exist. */
  get synced(): boolean {
    return this.#synced;
  }

  get(uid: string): ApiPod | undefined {
    return this.#byUid.get(uid);
  }

  find(namespace: string, name: string): ApiPod | undefined {
    return this.#byUid.get(this.#uidByName.get(`${namespace}/${name}`) ?? '');
  }

  list(): ApiPod[] {
    return [...this.#byUid.values()];
  }

  /** Listeners are called in the order in which they came; returns how to stop. They must not throw. */
  onChange(listener: (change: ApiPodsChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(follow: Follow<ApiPod>, signal: AbortSignal): void {
    follow(
      {
        events: (batch) => {
          let statusOnly = true;
          let uids = new Set<string>();
          for (const event of batch) {
            uids.add(event.uid);
            if (event.type === 'set') {
              statusOnly = this.#set(event.key, event.object) && statusOnly;
              continue;
            }
            if (this.#byUid.get(event.uid)?.pod.metadata.deletionTimestamp !== undefined) {
              this.#tell({ uids, statusOnly, recovered: false, lastSight: true });
              uids = new Set([event.uid]);
            }
            this.#delete(event.key, event.uid);
            statusOnly = false;
          }
          this.#tell({ uids, statusOnly, recovered: false, lastSight: false });
        },
        synced: () => {
          if (this.#synced) return;
          this.#synced = true;
          this.#tell({ uids: new Set(), statusOnly: false, recovered: false, lastSight: false });
        },
        status: (error) => {
          if (error === undefined) this.#tell({ uids: new Set(), statusOnly: true, recovered: true, lastSight: false });
        },
      },
      signal,
    );
  }

  /** @returns whether only the status differs from what was known */
  #set(key: string, object: ApiPod): boolean {
    const { pod } = object;
    const { uid } = pod.metadata;
    const before = this.#byUid.get(uid);
    const seen = before?.pod.metadata.annotations?.[configSeenAnnotation] ?? new Date(this.#clock.now()).toISOString();
    const annotations = { [configSeenAnnotation]: seen, ...pod.metadata.annotations };
    const after = { ...object, pod: { ...pod, metadata: { ...pod.metadata, annotations } } };
    this.#byUid.set(uid, after);
    this.#uidByName.set(key, uid);
    return before !== undefined && wishOf(before) === wishOf(after);
  }

  #delete(key: string, uid: string): void {
    this.#byUid.delete(uid);
    if (this.#uidByName.get(key) === uid) this.#uidByName.delete(key);
  }

  #tell(change: ApiPodsChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

/** All of a pod but its status; with readiness gates the conditions that others set are wishes too. */
function wishOf({ pod, askedFor }: ApiPod): string {
  const { resourceVersion: _, ...metadata } = pod.metadata;
  const gated = (pod.spec.readinessGates ?? []).length > 0;
  return JSON.stringify([metadata, pod.spec, askedFor, gated ? pod.status?.conditions : []]);
}
