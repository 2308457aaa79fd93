/**
 * The Services that pods are told of by environment variables: the API server's own for every pod, those of its namespace
 * for a pod with enableServiceLinks.
 * Layer: kubelet/api. Keeps a name, an address and ports of each; a pod's start costs its namespace, not the cluster.
 */
import type { ApiClient } from '../../api/client.ts';
import type { Pod } from '../../api/core.ts';
import { projectService } from '../../api/project-service.ts';
import { type ReflectorListener, startReflector } from '../../api/reflector.ts';
import { collectionPath, services } from '../../api/resource.ts';
import type { Service } from '../../api/service.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import { type LinkedService, serviceVariables } from '../plan/service-variables.ts';
import { ObjectUnknownError } from './object-watches.ts';

/** The API server itself, as pods reach it. */
const apiServerService = { namespace: 'default', name: 'kubernetes' };
/** How long a pod's start waits for the first list. */
const patienceMs = 1_000;

export class ServiceLinks {
  readonly #byNamespace = new Map<string, Map<string, LinkedService>>();
  readonly #synced = Promise.withResolvers<void>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Follows until aborted. */
  follow({ client, log }: { client: ApiClient; log: Logger }, signal: AbortSignal): void {
    const listener = this.listener();
    startReflector({
      client,
      path: collectionPath(services),
      project: (raw) => linkOf(projectService(raw)),
      listener,
      signal,
      clock: this.#clock,
      log,
    });
  }

  listener(): ReflectorListener<LinkedService> {
    return {
      events: (batch) => {
        for (const event of batch) {
          const [namespace = '', name = ''] = event.key.split('/');
          if (event.type === 'set') this.#of(namespace).set(name, event.object);
          else this.#remove(namespace, name);
        }
      },
      synced: () => this.#synced.resolve(),
    };
  }

  /** Resolves once the first list came. @throws ObjectUnknownError when it does not come soon, the signal's reason */
  async known(signal: AbortSignal): Promise<void> {
    const waiting = new AbortController();
    const late = sleep(patienceMs, AbortSignal.any([signal, waiting.signal]), this.#clock).then(() => {
      throw new ObjectUnknownError('Services', 'have not been read from the API server yet');
    });
    try {
      await Promise.race([this.#synced.promise, late]);
    } finally {
      waiting.abort();
      late.catch(() => undefined);
    }
  }

  variables(pod: Pod): ReadonlyMap<string, string> {
    const { namespace } = pod.metadata;
    const apiServer = this.#byNamespace.get(apiServerService.namespace)?.get(apiServerService.name);
    const own = pod.spec.enableServiceLinks === false ? [] : (this.#byNamespace.get(namespace)?.values() ?? []);
    return serviceVariables([...(apiServer === undefined ? [] : [apiServer]), ...own]);
  }

  #of(namespace: string): Map<string, LinkedService> {
    const known = this.#byNamespace.get(namespace) ?? new Map<string, LinkedService>();
    this.#byNamespace.set(namespace, known);
    return known;
  }

  #remove(namespace: string, name: string): void {
    const known = this.#byNamespace.get(namespace);
    known?.delete(name);
    if (known?.size === 0) this.#byNamespace.delete(namespace);
  }
}

/** Undefined for headless Services and those without an address yet. */
function linkOf({ metadata, spec }: Service): LinkedService | undefined {
  const clusterIP = spec.clusterIP ?? '';
  const ports = spec.ports ?? [];
  if (clusterIP === '' || clusterIP === 'None' || ports.length === 0) return undefined;
  return {
    name: metadata.name,
    clusterIP,
    ports: ports.map(({ name = '', protocol = 'TCP', port }) => ({ name, protocol, port })),
  };
}
