/**
 * The proxy's ServiceSource without an API server: Services and EndpointSlices of the folder of manifests, with what an API
 * server gives out and what the endpoint slice controller derives from the pods.
 * Layer: agent/standalone (joins the kubelet role's edges to the proxy's). Decides nothing: service-allocation.ts and
 * endpoint-table.ts do. The work of a change is that of the Services that it touches, except that a changed folder is
 * looked through once.
 */
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service } from '../../api/service.ts';
import { formatIpv4, type Ipv4Network } from '../../config/ip.ts';
import { ManifestError } from '../../kubelet/static/manifest-error.ts';
import type { ManifestSnapshot } from '../../kubelet/static/manifest-snapshot.ts';
import type { SharedSource } from '../../kubelet/static/shared-source.ts';
import type { StatusBoard } from '../../kubelet/status/status-board.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ServiceEvent, ServiceSource } from '../../proxy/service-source.ts';
import { EndpointTable } from './endpoint-table.ts';
import { type Allocation, type AllocationProblem, allocateServices, emptyAllocation } from './service-allocation.ts';

export interface StandaloneServiceSourceOptions {
  /** The source that the kubelet starts. */
  manifests: Pick<SharedSource, 'onSnapshot'>;
  /** The kubelet's board. */
  pods: Pick<StatusBoard, 'list' | 'onChange'>;
  nodeName: string;
  /** RunOptions.serviceNetwork */
  serviceNetwork: Ipv4Network;
  log: Logger;
}

export interface StandaloneServiceSource extends ServiceSource {
  /** What of the Services in force cannot be given what it asks for, with file and line. */
  problems(): readonly ManifestError[];
}

/**
 * Start it once `startKubelet` has resolved: the board then has the status of every pod of the first snapshot, as the
 * runtime has it, so that after a restart no Service loses the endpoints that run, and none waits for pods that cannot.
 * Started earlier it waits for the first snapshot.
 */
export function createStandaloneServiceSource(options: StandaloneServiceSourceOptions): StandaloneServiceSource {
  const { manifests, pods } = options;
  const state = new FolderServices(options);
  return {
    problems: () => state.problems,
    async start(listener, signal) {
      await firstSnapshot(manifests, signal);
      const tell = (events: readonly ServiceEvent[]): void => {
        if (events.length > 0 && !signal.aborted) listener(events);
      };
      for (const entry of pods.list()) state.pods.setPod(entry);
      let initial: readonly ServiceEvent[] | undefined;
      // Called at once with the latest snapshot, which is handed over whole, and even when it has no Service.
      const unfollow = manifests.onSnapshot((snapshot) => {
        const events = state.setSnapshot(snapshot);
        if (initial !== undefined) tell(events);
        else {
          initial = events;
          listener(initial);
        }
      });
      const unwatch = pods.onChange((entry, change) => {
        const { uid } = entry.pod.metadata;
        tell(change === 'deleted' ? state.pods.deletePod(uid) : state.pods.setPod(entry));
      });
      const stop = (): void => {
        unfollow();
        unwatch();
      };
      signal.addEventListener('abort', stop, { once: true });
    },
  };
}

/** Resolves once there is a snapshot; rejects with the signal's reason. */
async function firstSnapshot(manifests: Pick<SharedSource, 'onSnapshot'>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let unfollow: (() => void) | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      unfollow = manifests.onSnapshot(() => resolve());
    });
  } finally {
    unfollow?.();
  }
}

/** What was told of the folder so far. */
class FolderServices {
  readonly pods: EndpointTable;
  problems: readonly ManifestError[] = [];
  readonly #options: StandaloneServiceSourceOptions;
  #allocation: Allocation = emptyAllocation;
  #services: ReadonlyMap<string, Service> = new Map();
  #slices: ReadonlyMap<string, EndpointSlice> = new Map();

  constructor(options: StandaloneServiceSourceOptions) {
    this.#options = options;
    this.pods = new EndpointTable(options.nodeName);
  }

  setSnapshot(snapshot: ManifestSnapshot): ServiceEvent[] {
    const { serviceNetwork } = this.#options;
    const { services, problems, allocation } = allocateServices(snapshot.services, serviceNetwork, this.#allocation);
    this.#reportProblems(problems, snapshot);
    this.#reportMoves(allocation);
    this.#allocation = allocation;
    const events: ServiceEvent[] = [];
    const changes = differences(this.#services, services);
    for (const [key, service] of changes.gone) {
      events.push({ event: 'serviceDeleted', service: service.metadata }, ...this.pods.deleteService(key));
    }
    for (const [key, service] of changes.fresh) {
      events.push({ event: 'serviceSet', service }, ...this.pods.setService(key, service));
    }
    this.#services = services;
    const slices = differences(this.#slices, snapshot.endpointSlices);
    for (const [, slice] of slices.gone) events.push({ event: 'sliceDeleted', slice: slice.metadata });
    for (const [, slice] of slices.fresh) events.push({ event: 'sliceSet', slice });
    this.#slices = snapshot.endpointSlices;
    return events;
  }

  /** Each line when it is new. */
  #reportProblems(problems: readonly AllocationProblem[], { places }: ManifestSnapshot): void {
    const known = new Set(this.problems.map(errorLine));
    this.problems = problems.map(({ service, code, field, message, fix }) => {
      const document = `service ${service}`;
      const { file = '', line } = places.get(document) ?? {};
      return new ManifestError(code, message, { file, line, document, field, fix });
    });
    for (const problem of this.problems) {
      const error = errorLine(problem);
      if (!known.has(error)) this.#options.log.error({ file: problem.file, error }, 'Service is not served as written');
    }
  }

  #reportMoves(next: Allocation): void {
    for (const [service, address] of next.addresses) {
      const before = this.#allocation.addresses.get(service);
      if (before === undefined || before === address) continue;
      const fields = { service, from: formatIpv4(before), to: formatIpv4(address) };
      this.#options.log.warn(fields, 'Service has moved: another asks for its address by hand');
    }
  }
}

/** Compared as texts: a file that changed gives new objects for what is the same in it. */
function differences<T>(
  before: ReadonlyMap<string, T>,
  next: ReadonlyMap<string, T>,
): { gone: [string, T][]; fresh: [string, T][] } {
  const fresh = [...next].filter(([key, object]) => {
    const known = before.get(key);
    return known !== object && (known === undefined || JSON.stringify(known) !== JSON.stringify(object));
  });
  return { gone: [...before].filter(([key]) => !next.has(key)), fresh };
}
