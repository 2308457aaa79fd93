/**
 * Services and EndpointSlices in, the desired dataplane of one address family out: each flush costs what changed.
 * A dual-stack node runs one tracker for each family and gives both every event.
 * Layer: proxy/services (pure: no clock, no I/O). Must not know how the dataplane is stored or when flushes happen.
 */
import type { EndpointSlice } from '../../api/discovery.ts';
import type { IpFamily, Service } from '../../api/service.ts';
import type { EndpointRef } from './address.ts';
import { CountedSet } from './counted-set.ts';
import type { AdoptedDataplane, DataplaneDelta, DataplaneModel } from './dataplane.ts';
import { Frontends } from './frontends.ts';
import { GroupTable } from './group-table.ts';
import { HealthChecks } from './health-checks.ts';
import { type EventSource, isOutdated, type ObjectVersion, objectVersion } from './object-version.ts';
import type { PortState } from './port-state.ts';
import { disjointPrefixes } from './prefixes.ts';
import { type ServiceEntry, ServicePorts } from './service-ports.ts';
import { ReportBook, type ServiceReport } from './service-report.ts';
import { readService } from './service-spec.ts';
import { flagsInZone, readSlice, type SliceRecord } from './slice-record.ts';
import { ofFamily } from './traffic-options.ts';

export interface ServiceTrackerOptions {
  family: IpFamily;
  /** This node's name, which local endpoints carry; empty: none is local. */
  nodeName: string;
  /** This node's topology.kubernetes.io/zone label; setZone follows its changes. */
  zone?: string;
  /** Addresses of this node, of any family: see Frontend.sourceRanges. */
  nodeIps?: readonly string[];
  /** Numbers to go on with after a restart. The first flush, which must see all objects, ends this. */
  adopted?: AdoptedDataplane;
}

/** What a deletion must say; with a uid, only that very object is deleted. */
export interface ObjectName {
  namespace: string;
  name: string;
  uid?: string;
}

export interface Flush {
  delta: DataplaneDelta;
  /** What is newly wrong, each once. */
  reports: readonly ServiceReport[];
}

export class ServiceTracker {
  readonly family: IpFamily;
  #node: { nodeName: string; zone: string };
  readonly #entries = new Map<string, ServiceEntry>();
  readonly #slices = new Map<string, SliceRecord>();
  /** Versions of what the proxy has nothing to do for, so that a late event about it is known as such. */
  readonly #ignoredServices = new Map<string, ObjectVersion>();
  readonly #ignoredSlices = new Map<string, ObjectVersion>();
  readonly #dirty = new Set<ServiceEntry>();
  readonly #reports = new ReportBook();
  readonly #groups: GroupTable;
  readonly #frontends: Frontends;
  readonly #hairpin = new CountedSet<string>();
  readonly #healthChecks = new HealthChecks();
  readonly #serviceCIDRs = new CountedSet<string>();
  #heldCIDRs: readonly string[] = [];
  #hasNewCIDRs = false;
  readonly #ports: ServicePorts;

  constructor({ family, nodeName, zone = '', nodeIps = [], adopted }: ServiceTrackerOptions) {
    this.family = family;
    this.#node = { nodeName, zone };
    this.#groups = new GroupTable(adopted?.groups);
    this.#frontends = new Frontends(this.#reports, nodeIps);
    const parts = { groups: this.#groups, frontends: this.#frontends, hairpin: this.#hairpin };
    this.#ports = new ServicePorts(parts, adopted);
  }

  /** The desired dataplane as of the last flush; live: the next flush changes it. */
  get model(): DataplaneModel {
    const { groups } = this.#groups;
    const { services, nodePorts } = this.#frontends;
    return {
      family: this.family,
      groups,
      services,
      nodePorts,
      hairpin: this.#hairpin.published,
      healthChecks: this.#healthChecks.published,
      serviceCIDRs: this.#serviceCIDRs.published,
    };
  }

  /** Whether a flush has something to look at. */
  get pending(): boolean {
    return this.#dirty.size > 0 || this.#hasNewCIDRs;
  }

  /** Everything that is wrong as of the last flush. */
  reports(): readonly ServiceReport[] {
    return this.#reports.all();
  }

  /** A Service was added or changed. Outdated and repeated events change nothing. */
  serviceSet(service: Service, source: EventSource = 'watch'): void {
    const key = `${service.metadata.namespace}/${service.metadata.name}`;
    const known = this.#entries.get(key)?.spec;
    const version = objectVersion(service.metadata);
    if (isOutdated(known ?? this.#ignoredServices.get(key), version, source)) return;
    const { spec, reports } = readService(service, this.family);
    note(this.#ignoredServices, key, spec === undefined ? version : undefined);
    this.#reports.set(`service ${key}`, reports);
    if (known === undefined && spec === undefined) return;
    const entry = this.#entry(key);
    entry.spec = spec;
    this.#dirty.add(entry);
  }

  serviceDeleted({ namespace, name, uid }: ObjectName): void {
    const key = `${namespace}/${name}`;
    const entry = this.#entries.get(key);
    if (isOther((entry?.spec ?? this.#ignoredServices.get(key))?.uid, uid)) return;
    this.#ignoredServices.delete(key);
    this.#reports.set(`service ${key}`, undefined);
    if (entry?.spec === undefined) return;
    entry.spec = undefined;
    this.#dirty.add(entry);
  }

  /** An EndpointSlice was added or changed. Outdated and repeated events change nothing. */
  sliceSet(slice: EndpointSlice, source: EventSource = 'watch'): void {
    const key = `${slice.metadata.namespace}/${slice.metadata.name}`;
    const known = this.#slices.get(key);
    const version = objectVersion(slice.metadata);
    if (isOutdated(known ?? this.#ignoredSlices.get(key), version, source)) return;
    const { record, reports } = readSlice(slice, this.family, this.#node);
    note(this.#ignoredSlices, key, record === undefined ? version : undefined);
    this.#reports.set(`endpointslice ${key}`, reports);
    this.#replaceSlice(key, known, record);
  }

  sliceDeleted({ namespace, name, uid }: ObjectName): void {
    const key = `${namespace}/${name}`;
    const known = this.#slices.get(key);
    if (isOther((known ?? this.#ignoredSlices.get(key))?.uid, uid)) return;
    this.#ignoredSlices.delete(key);
    this.#reports.set(`endpointslice ${key}`, undefined);
    this.#replaceSlice(key, known, undefined);
  }

  /** The node's zone is another one: hints for zones are read anew. Costs what the slices with such hints are. */
  setZone(zone: string): void {
    if (zone === this.#node.zone) return;
    this.#node = { ...this.#node, zone };
    for (const record of this.#slices.values()) {
      const flags = flagsInZone(record, zone);
      if (flags === record.flags) continue;
      record.flags = flags;
      this.#dirty.add(this.#entry(record.serviceKey));
    }
  }

  /**
   * The cluster's Service networks, of any family; in place of those before.
   * @throws AddressFormatError for what is no prefix
   */
  setServiceCIDRs(prefixes: readonly string[]): void {
    const own = disjointPrefixes(ofFamily(prefixes, this.family));
    for (const prefix of own) this.#serviceCIDRs.hold(prefix);
    for (const prefix of this.#heldCIDRs) this.#serviceCIDRs.release(prefix);
    this.#heldCIDRs = own;
    this.#hasNewCIDRs = true;
  }

  /** Brings `model` up to date and says what that changed. */
  flush(): Flush {
    this.#groups.startFlush();
    const servedBefore = new Map<PortState, readonly EndpointRef[]>();
    for (const entry of this.#dirty) this.#apply(entry, servedBefore);
    this.#dirty.clear();
    this.#ports.endAdoption();
    const frontends = this.#frontends.drain(servedBefore);
    this.#hasNewCIDRs = false;
    const delta = {
      family: this.family,
      groups: this.#groups.drain(),
      ...frontends,
      hairpin: this.#hairpin.drain(),
      healthChecks: this.#healthChecks.drain(),
      serviceCIDRs: this.#serviceCIDRs.drain(),
    };
    return { delta, reports: this.#reports.drain() };
  }

  #entry(key: string): ServiceEntry {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { key, spec: undefined, appliedSpec: undefined, slices: [], ports: [], claims: [] };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #replaceSlice(key: string, known: SliceRecord | undefined, record: SliceRecord | undefined): void {
    if (known !== undefined && known.serviceKey !== record?.serviceKey) {
      const entry = this.#entry(known.serviceKey);
      entry.slices = entry.slices.filter((slice) => slice !== known);
      this.#dirty.add(entry);
    }
    if (record === undefined) {
      this.#slices.delete(key);
      return;
    }
    this.#slices.set(key, record);
    const entry = this.#entry(record.serviceKey);
    const index = known === undefined ? -1 : entry.slices.indexOf(known);
    // Not push: nearly every Service has one slice, and a list that grew has 17 places.
    if (index < 0) entry.slices = [...entry.slices, record];
    else entry.slices[index] = record;
    this.#dirty.add(entry);
  }

  #apply(entry: ServiceEntry, servedBefore: Map<PortState, readonly EndpointRef[]>): void {
    const { spec } = entry;
    this.#ports.apply(entry, servedBefore);
    this.#healthChecks.set(entry.key, spec?.healthCheckNodePort ?? 0, entry.slices);
    // A key is not kept for names that come and go.
    if (spec === undefined && entry.slices.length === 0) this.#entries.delete(entry.key);
  }
}

/** Both known and different: an object of the same name that lived before or after. */
const isOther = (known: string | undefined, uid: string | undefined): boolean =>
  uid !== undefined && uid !== '' && known !== undefined && known !== '' && known !== uid;

function note(versions: Map<string, ObjectVersion>, key: string, version: ObjectVersion | undefined): void {
  if (version === undefined) versions.delete(key);
  else versions.set(key, version);
}
