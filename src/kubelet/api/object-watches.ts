/**
 * The ConfigMaps and Secrets that pods of the API server name, each followed by a watch of its own from the first pod
 * that names it to the last: the node authoriser allows a node nothing wider.
 * Layer: kubelet/api. Source: pkg/kubelet/util/manager/watch_based_manager.go.
 */
import type { ApiClient } from '../../api/client.ts';
import type { ConfigMap, Pod, Secret } from '../../api/core.ts';
import { projectConfigMap } from '../../api/project-config-map.ts';
import { projectSecret } from '../../api/project-secret.ts';
import { type ReflectorListener, startReflector } from '../../api/reflector.ts';
import { collectionPath, configMaps, secrets } from '../../api/resource.ts';
import type { Clock } from '../../base/clock.ts';
import { checkDns1123Subdomain } from '../../config/names.ts';
import { errorLine, KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type ObjectReference, objectReferences, referenceKey } from '../plan/object-references.ts';
import type { NodeObjects } from './node-view.ts';

/** An object that a pod names is not known yet, or cannot be read. */
export class ObjectUnknownError extends KeelsonError {
  constructor(object: string, why: string) {
    super('OBJECT_UNKNOWN', why, { object, fix: 'look at the API server, or at the rights of this node' });
  }
}

/** Follows one object until aborted. */
export type FollowObject = (
  reference: ObjectReference,
  listener: ReflectorListener<ConfigMap | Secret>,
  signal: AbortSignal,
) => void;

/** The node authoriser learns of a pod's objects some milliseconds after the node learns of the pod. */
const firstRetryMs = 20;

export interface FollowObjectsOptions {
  client: ApiClient;
  clock: Clock;
  log: Logger;
}

export function followObjects({ client, clock, log }: FollowObjectsOptions): FollowObject {
  return ({ kind, namespace, name }, listener, signal) => {
    const [resource, project] = kind === 'configMap' ? [configMaps, projectConfigMap] : [secrets, projectSecret];
    const path = collectionPath(resource, namespace);
    startReflector<ConfigMap | Secret>({
      client,
      path,
      fieldSelector: `metadata.name=${name}`,
      project,
      listener,
      signal,
      clock,
      log,
      firstRetryMs,
    });
  };
}

interface Watched {
  reference: ObjectReference;
  object: ConfigMap | Secret | undefined;
  /** The first list came: without an object there is none. */
  synced: boolean;
  error: Error | undefined;
  scope: AbortController;
}

export interface ObjectWatchesOptions {
  follow: FollowObject;
  clock: Clock;
  /** Watches at a time; further objects stay unknown. Default 2000: a node with 110 pods needs a few hundred. */
  maxWatches?: number;
}

/** The stock kubelet's patience with a first list. */
const patienceMs = 1_000;
const defaultMaxWatches = 2_000;

export class ObjectWatches implements NodeObjects {
  readonly #options: ObjectWatchesOptions;
  readonly #watched = new Map<string, Watched>();
  readonly #waiters = new Set<() => void>();
  #listener: (changed: ReadonlySet<string>) => void = () => {};

  constructor(options: ObjectWatchesOptions) {
    this.#options = options;
  }

  /** Watches under way. */
  get size(): number {
    return [...this.#watched.values()].filter(({ scope }) => !scope.signal.aborted).length;
  }

  onChange(listener: (changed: ReadonlySet<string>) => void): void {
    this.#listener = listener;
  }

  configMap(namespace: string, name: string): ConfigMap | undefined {
    const object = this.#watched.get(referenceKey({ kind: 'configMap', namespace, name }))?.object;
    return object?.kind === 'ConfigMap' ? object : undefined;
  }

  secret(namespace: string, name: string): Secret | undefined {
    const object = this.#watched.get(referenceKey({ kind: 'secret', namespace, name }))?.object;
    return object?.kind === 'Secret' ? object : undefined;
  }

  want(pods: readonly Pod[]): void {
    const wanted = new Map(pods.flatMap(objectReferences).map((reference) => [referenceKey(reference), reference]));
    for (const [key, { scope }] of this.#watched) {
      if (wanted.has(key)) continue;
      this.#watched.delete(key);
      scope.abort(new Error('no pod names the object any more'));
    }
    const { maxWatches = defaultMaxWatches } = this.#options;
    for (const [key, reference] of wanted) {
      if (!this.#watched.has(key) && this.#watched.size < maxWatches) this.#start(key, reference);
    }
  }

  /** @throws ObjectUnknownError */
  async known(pod: Pod, signal: AbortSignal): Promise<void> {
    const references = objectReferences(pod);
    if (this.#firstUnknown(references) === undefined) return;
    await this.#until(() => this.#firstUnknown(references) === undefined, signal);
    const unknown = this.#firstUnknown(references);
    if (unknown !== undefined) throw this.#errorOf(unknown);
  }

  stop(): void {
    this.want([]);
  }

  #start(key: string, reference: ObjectReference): void {
    const scope = new AbortController();
    const watched: Watched = { reference, object: undefined, synced: false, error: undefined, scope };
    this.#watched.set(key, watched);
    const listener: ReflectorListener<ConfigMap | Secret> = {
      events: (batch) => {
        // A server that does not know the field selector tells of others too.
        const own = batch.filter((event) => event.key === `${reference.namespace}/${reference.name}`);
        for (const event of own) watched.object = event.type === 'set' ? event.object : undefined;
        // Before the first list is complete, absence means nothing.
        if (watched.synced) this.#changed(key, watched);
      },
      synced: () => {
        if (watched.synced) return;
        watched.synced = true;
        this.#changed(key, watched);
      },
      status: (error) => {
        watched.error = error;
      },
    };
    // A name that no API server has is no object; in a field selector it could mean something else.
    if (checkDns1123Subdomain(reference.name).length > 0) watched.synced = true;
    else this.#options.follow(reference, listener, scope.signal);
  }

  #changed(key: string, watched: Watched): void {
    if (this.#watched.get(key) !== watched) return;
    // It cannot change: the watch has nothing more to say.
    if (watched.object?.immutable) watched.scope.abort(new Error('the object is immutable'));
    for (const wake of [...this.#waiters]) wake();
    this.#listener(new Set([key]));
  }

  #firstUnknown(references: readonly ObjectReference[]): ObjectReference | undefined {
    return references.find((reference) => !this.#watched.get(referenceKey(reference))?.synced);
  }

  #errorOf(reference: ObjectReference): ObjectUnknownError {
    const watched = this.#watched.get(referenceKey(reference));
    const object = `${reference.kind} ${reference.namespace}/${reference.name}`;
    if (watched?.error) return new ObjectUnknownError(object, `is not known yet: ${errorLine(watched.error)}`);
    const why = watched ? 'is not known yet' : 'is not followed: the pods of this node name too many objects';
    return new ObjectUnknownError(object, why);
  }

  /** Resolves when `condition` holds, or when patience is over. Rejects when aborted. */
  #until(condition: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        cancel();
        this.#waiters.delete(check);
        signal.removeEventListener('abort', onAbort);
      };
      const check = (): void => {
        if (!condition()) return;
        end();
        resolve();
      };
      const onAbort = (): void => {
        end();
        reject(signal.reason);
      };
      const cancel = this.#options.clock.after(patienceMs, () => {
        end();
        resolve();
      });
      this.#waiters.add(check);
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
  }
}
