/**
 * The RuntimeClasses of the API server: which handler of the runtime each one names. They are read from the first pod on
 * that has one; a node whose pods have none does not watch them.
 * Layer: kubelet/api. Source: pkg/kubelet/runtimeclass/runtimeclass_manager.go.
 */
import type { ApiClient } from '../../api/client.ts';
import { RawObject } from '../../api/raw-object.ts';
import { type ReflectorListener, startReflector } from '../../api/reflector.ts';
import { collectionPath, type Resource } from '../../api/resource.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import type { HandlerLookup } from '../isolation/isolate-pod.ts';
import { IsolationError } from '../isolation/isolation-error.ts';
import { ObjectUnknownError } from './object-watches.ts';

const runtimeClasses: Resource = { prefix: '/apis/node.k8s.io/v1', name: 'runtimeclasses', namespaced: false };
/** How long a pod's start waits for the first list. */
const patienceMs = 1_000;

export interface RuntimeClassesOptions {
  /** Follows all RuntimeClasses until the daemon stops: name -> handler. */
  follow(listener: ReflectorListener<string>): void;
  clock: Clock;
}

export class RuntimeClasses implements HandlerLookup {
  readonly #handlers = new Map<string, string>();
  readonly #synced = Promise.withResolvers<void>();
  readonly #options: RuntimeClassesOptions;
  #following = false;

  constructor(options: RuntimeClassesOptions) {
    this.#options = options;
  }

  /**
   * @throws IsolationError RUNTIME_CLASS when there is no such class; ObjectUnknownError when they cannot be read soon;
   * the signal's reason
   */
  async handler(name: string, signal: AbortSignal): Promise<string> {
    this.#follow();
    await this.#known(name, signal);
    const handler = this.#handlers.get(name);
    if (handler !== undefined) return handler;
    throw new IsolationError('RUNTIME_CLASS', `runtimeclass.node.k8s.io "${name}" not found`, {
      object: `RuntimeClass ${name}`,
      fix: 'create it, or correct runtimeClassName',
    });
  }

  #follow(): void {
    if (this.#following) return;
    this.#following = true;
    this.#options.follow({
      events: (batch) => {
        for (const event of batch) {
          if (event.type === 'set') this.#handlers.set(event.key, event.object);
          else this.#handlers.delete(event.key);
        }
      },
      synced: () => this.#synced.resolve(),
    });
  }

  async #known(name: string, signal: AbortSignal): Promise<void> {
    const waiting = new AbortController();
    const late = sleep(patienceMs, AbortSignal.any([signal, waiting.signal]), this.#options.clock).then(() => {
      throw new ObjectUnknownError(`RuntimeClass ${name}`, 'has not been read from the API server yet');
    });
    try {
      await Promise.race([this.#synced.promise, late]);
    } finally {
      waiting.abort();
      late.catch(() => undefined);
    }
  }
}

export interface FollowRuntimeClassesOptions {
  client: ApiClient;
  clock: Clock;
  log: Logger;
  signal: AbortSignal;
}

export const followRuntimeClasses =
  (options: FollowRuntimeClassesOptions): RuntimeClassesOptions['follow'] =>
  (listener) => {
    startReflector<string>({
      ...options,
      path: collectionPath(runtimeClasses),
      project: (raw) => new RawObject(raw).requiredText('handler'),
      listener,
    });
  };
