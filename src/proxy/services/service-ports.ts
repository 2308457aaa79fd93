/**
 * The ports of one Service and what they claim: made anew when its spec changes, their groups chosen anew when its endpoints do.
 * Layer: proxy/services (pure). Must not know which objects there are, nor when a flush happens: service-tracker.ts does.
 */
import { type Address, type EndpointRef, endpointAddress, endpointPort, formatAddress } from './address.ts';
import type { CountedSet } from './counted-set.ts';
import type { AdoptedDataplane } from './dataplane.ts';
import { mergeSlices, selectEndpoints, servingEndpoints } from './endpoint-selection.ts';
import { type Frontends, keyOf } from './frontends.ts';
import type { GroupTable } from './group-table.ts';
import { type Claim, claimsOf, PortState, policyOf, usesLocal } from './port-state.ts';
import type { ServiceSpec } from './service-spec.ts';
import type { SliceRecord } from './slice-record.ts';

/** What is known of one Service; without a spec, of its slices. */
export interface ServiceEntry {
  readonly key: string;
  spec: ServiceSpec | undefined;
  /** The spec that `ports` and `claims` were made from. */
  appliedSpec: ServiceSpec | undefined;
  slices: SliceRecord[];
  ports: PortState[];
  claims: Claim[];
}

export interface ServicePortsParts {
  groups: GroupTable;
  frontends: Frontends;
  hairpin: CountedSet<string>;
}

export class ServicePorts {
  readonly #groups: GroupTable;
  readonly #frontends: Frontends;
  readonly #hairpin: CountedSet<string>;
  #adopted: AdoptedDataplane | undefined;
  readonly #merged = new Map<EndpointRef, number>();

  /** @param adopted numbers to go on with, until `endAdoption` */
  constructor({ groups, frontends, hairpin }: ServicePortsParts, adopted: AdoptedDataplane | undefined) {
    this.#groups = groups;
    this.#frontends = frontends;
    this.#hairpin = hairpin;
    this.#adopted = adopted;
  }

  endAdoption(): void {
    this.#adopted = undefined;
  }

  /** @param servedBefore gets what served at UDP ports before this */
  apply(entry: ServiceEntry, servedBefore: Map<PortState, readonly EndpointRef[]>): void {
    const { spec } = entry;
    if (spec !== entry.appliedSpec) this.#applySpec(entry);
    else for (const claim of entry.claims) this.#frontends.touch(claim);
    if (spec !== undefined) for (const port of entry.ports) this.#applyEndpoints(port, spec, entry, servedBefore);
  }

  #applySpec(entry: ServiceEntry): void {
    const { spec } = entry;
    for (const claim of entry.claims) this.#frontends.remove(claim);
    const left = new Map(entry.ports.map((port) => [`${port.spec.protocol}/${port.spec.name}`, port]));
    entry.ports = (spec?.ports ?? []).map((portSpec) => {
      const name = `${portSpec.protocol}/${portSpec.name}`;
      const port = left.get(name) ?? new PortState(entry.key, portSpec);
      left.delete(name);
      port.spec = portSpec;
      return port;
    });
    for (const port of left.values()) this.#drop(port);
    entry.claims = spec === undefined ? [] : entry.ports.flatMap((port) => claimsOf(spec, port)).slice();
    for (const claim of entry.claims) this.#frontends.add(claim);
    entry.appliedSpec = spec;
  }

  #applyEndpoints(
    port: PortState,
    service: ServiceSpec,
    { slices, claims }: ServiceEntry,
    servedBefore: Map<PortState, readonly EndpointRef[]>,
  ): void {
    const endpoints = mergeSlices(slices, port.spec, this.#merged);
    const selection = selectEndpoints(endpoints, endpointAddress, policyOf(service, port.spec));
    const { affinitySeconds } = service;
    const former = this.#formerGroups(claims, port);
    const listed = affinitySeconds > 0 ? oneOfEachAddress : asTheyAre;
    port.cluster = this.#groups.update(port.cluster, listed(selection.cluster), affinitySeconds, former.cluster);
    port.local = this.#groups.update(port.local, listed(selection.local), affinitySeconds, former.local);
    port.any = selection.any;
    this.#setHairpin(port, selection.localAddresses.map(formatAddress));
    if (port.spec.protocol !== 'UDP') return;
    if (port.serving !== undefined) servedBefore.set(port, port.serving);
    port.serving = servingEndpoints(endpoints);
  }

  /** The numbers that the port's groups had in the predecessor's dataplane, 0 when unknown. */
  #formerGroups(claims: readonly Claim[], port: PortState): { cluster: number; local: number } {
    const former = { cluster: 0, local: 0 };
    if (this.#adopted === undefined) return former;
    for (const claim of claims) {
      if (claim.port !== port) continue;
      const { group, clusterGroup } = this.#adopted.frontends.get(keyOf(claim)) ?? { group: 0, clusterGroup: 0 };
      if (usesLocal(claim)) {
        former.local ||= group;
        former.cluster ||= clusterGroup;
      } else former.cluster ||= group;
    }
    return former;
  }

  #drop(port: PortState): void {
    this.#groups.update(port.cluster, [], 0);
    this.#groups.update(port.local, [], 0);
    this.#setHairpin(port, []);
  }

  #setHairpin(port: PortState, addresses: readonly string[]): void {
    if (port.hairpin.length + addresses.length === 0) return;
    for (const address of addresses) this.#hairpin.hold(address);
    for (const address of port.hairpin) this.#hairpin.release(address);
    port.hairpin = addresses;
  }
}

const asTheyAre = (endpoints: readonly EndpointRef[] = []): readonly EndpointRef[] => endpoints;

/** A client is tied to an address: one that slices give several ports counts with the lowest. */
function oneOfEachAddress(endpoints: readonly EndpointRef[] = []): readonly EndpointRef[] {
  const lowest = new Map<Address, EndpointRef>();
  for (const endpoint of endpoints) {
    const address = endpointAddress(endpoint);
    const known = lowest.get(address);
    if (known === undefined || endpointPort(endpoint) < endpointPort(known)) lowest.set(address, endpoint);
  }
  return lowest.size === endpoints.length ? endpoints : [...lowest.values()];
}
