/**
 * The CSIDriver objects of the API server, read from the first CSI volume on; a node without one does not watch them.
 * Layer: kubelet/csi. What a driver without an object is taken to be is decided here, as the kubelet does.
 */
import type { ApiClient } from '../../api/client.ts';
import { type CsiDriverSpec, csiDrivers, projectCsiDriver } from '../../api/csi-objects.ts';
import { type ReflectorListener, startReflector } from '../../api/reflector.ts';
import { collectionPath } from '../../api/resource.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Logger } from '../../observe/logger.ts';
import { CsiError } from './csi-error.ts';

/** A driver without a CSIDriver object: attached by somebody, persistent volumes only. */
export const unknownDriver: CsiDriverSpec = {
  attachRequired: true,
  podInfoOnMount: false,
  fsGroupPolicy: 'ReadWriteOnceWithFSType',
  volumeLifecycleModes: ['Persistent'],
  tokenRequests: [],
  requiresRepublish: false,
  tokensInSecrets: false,
};

export interface CsiDriverObjectsOptions {
  /** Follows all CSIDrivers until the daemon stops. */
  follow(listener: ReflectorListener<CsiDriverSpec>): void;
  clock: Clock;
}

/** How long a mount waits for the first list. */
const patienceMs = 5_000;

export class CsiDriverObjects {
  readonly #specs = new Map<string, CsiDriverSpec>();
  readonly #synced = Promise.withResolvers<void>();
  readonly #options: CsiDriverObjectsOptions;
  #following = false;

  constructor(options: CsiDriverObjectsOptions) {
    this.#options = options;
  }

  /** undefined: there is no such object. @throws CsiError CSI_API when they cannot be read soon; the signal's reason */
  async find(name: string, signal: AbortSignal): Promise<CsiDriverSpec | undefined> {
    this.#follow();
    await this.#known(name, signal);
    return this.#specs.get(name);
  }

  /** What is known by now, without waiting. */
  peek(name: string): CsiDriverSpec | undefined {
    this.#follow();
    return this.#specs.get(name);
  }

  #follow(): void {
    if (this.#following) return;
    this.#following = true;
    this.#options.follow({
      events: (batch) => {
        for (const event of batch) {
          if (event.type === 'set') this.#specs.set(event.key, event.object);
          else this.#specs.delete(event.key);
        }
      },
      synced: () => this.#synced.resolve(),
    });
  }

  async #known(name: string, signal: AbortSignal): Promise<void> {
    const waiting = new AbortController();
    const late = sleep(patienceMs, AbortSignal.any([signal, waiting.signal]), this.#options.clock).then(() => {
      throw new CsiError('CSI_API', 'CSIDriver objects have not been read from the API server yet', {
        object: `CSIDriver ${name}`,
      });
    });
    try {
      await Promise.race([this.#synced.promise, late]);
    } finally {
      waiting.abort();
      late.catch(() => undefined);
    }
  }
}

export const followCsiDrivers =
  (options: { client: ApiClient; clock: Clock; log: Logger; signal: AbortSignal }): CsiDriverObjectsOptions['follow'] =>
  (listener) => {
    startReflector<CsiDriverSpec>({
      ...options,
      path: collectionPath(csiDrivers),
      project: projectCsiDriver,
      listener,
    });
  };
