/**
 * What load balancers are told at healthCheckNodePort, for each Service that has one.
 * Rules of kube-proxy: pkg/proxy/serviceport.go (HealthCheckNodePorts), pkg/proxy/endpointschangetracker.go
 * (LocalReadyEndpoints).
 * Layer: proxy/services (pure). Must not serve anything.
 */
import type { Address } from './address.ts';
import type { Change, HealthCheck } from './dataplane.ts';
import { endpointFlag, type SliceRecord } from './slice-record.ts';

export class HealthChecks {
  readonly #current = new Map<string, HealthCheck>();
  readonly #published = new Map<string, HealthCheck>();
  readonly #touched = new Set<string>();

  /** As of the last `drain`; live. */
  get published(): ReadonlyMap<string, HealthCheck> {
    return this.#published;
  }

  /** @param port 0: the Service has none */
  set(service: string, port: number, slices: readonly SliceRecord[]): void {
    const before = this.#current.get(service);
    if (port === 0) {
      if (before === undefined) return;
      this.#current.delete(service);
    } else {
      const localEndpoints = countLocal(slices);
      if (before?.port === port && before.localEndpoints === localEndpoints) return;
      this.#current.set(service, { service, port, localEndpoints });
    }
    this.#touched.add(service);
  }

  drain(): Change<HealthCheck>[] {
    const changes: Change<HealthCheck>[] = [];
    for (const service of this.#touched) {
      const [before, after] = [this.#published.get(service), this.#current.get(service)];
      if (after === undefined) this.#published.delete(service);
      else this.#published.set(service, after);
      if (before !== after) changes.push({ before, after });
    }
    this.#touched.clear();
    return changes;
  }
}

/** Of an address that two slices name, the better sighting counts, as where endpoints are merged. */
function countLocal(slices: readonly SliceRecord[]): number {
  const best = new Map<Address, number>();
  for (const { addresses, flags } of slices)
    for (const [index, address] of addresses.entries()) {
      const own = flags[index] ?? 0;
      if ((own & endpointFlag.local) !== 0) best.set(address, Math.max(best.get(address) ?? 0, own));
    }
  let count = 0;
  for (const flags of best.values()) if ((flags & endpointFlag.ready) !== 0) count++;
  return count;
}
