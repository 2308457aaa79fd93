/**
 * Every pod and namespace of the cluster, and the sets of addresses that follow them: those that selectors of peers mean,
 * and those of named ports.
 * Layer: network/policy (pure). A set exists while a policy of this node uses it; a change of a pod touches only the sets
 * that it is in or comes into.
 */

import type { Labels } from '../../api/network-policy.ts';
import { familyOf } from '../ipam/ip-prefix.ts';
import type { PeerSelector, PortName } from './compile.ts';
import type { DraftSet, DraftTable } from './draft-table.ts';
import { policyFamilies } from './ip-block.ts';
import { LabelIndex, selects } from './labels.ts';
import { type PolicyPod, podKey } from './policy-pod.ts';
import { type FamilySets, namedPortSets, peerSets } from './table.ts';

/** Used by rules; swept when none is left. */
export interface SharedSets {
  readonly sets: FamilySets<DraftSet>;
  /** Rules that use it. */
  users: number;
}

interface PeerSet extends SharedSets {
  readonly selector: PeerSelector;
  /** Names of namespaces that it means. */
  readonly namespaces: Set<string>;
}

interface NamedPortSet extends SharedSets {
  readonly key: string;
}

interface PodRecord {
  pod: PolicyPod;
  /** `noSets` when empty at first; then its own. */
  peerSets: Set<PeerSet>;
}

/** Shared, never added to. */
const noSets = new Set<PeerSet>();
const namedKey = ({ protocol, name }: PortName): string => `${protocol} ${name}`;

export class ClusterPods {
  readonly #draft: DraftTable;
  readonly #pods = new Map<string, PodRecord>();
  readonly #podsByNamespace = new Map<string, Set<PodRecord>>();
  readonly #namespaces = new Map<string, Labels>();
  readonly #peerSets = new Map<string, PeerSet>();
  /** Those that mean pods of a namespace. */
  readonly #peerSetsOf = new Map<string, LabelIndex<PeerSet>>();
  readonly #namedPorts = new Map<string, NamedPortSet>();
  /** Without users since the last sweep. */
  readonly #unused = new Set<PeerSet | NamedPortSet>();

  constructor(draft: DraftTable) {
    this.#draft = draft;
  }

  get podCount(): number {
    return this.#pods.size;
  }

  pod(key: string): PolicyPod | undefined {
    return this.#pods.get(key)?.pod;
  }

  *pods(): Generator<PolicyPod, void, undefined> {
    for (const { pod } of this.#pods.values()) yield pod;
  }

  labelsOf(namespace: string): Labels | undefined {
    return this.#namespaces.get(namespace);
  }

  setPod(pod: PolicyPod): void {
    const key = podKey(pod);
    const record = this.#pods.get(key) ?? { pod, peerSets: noSets };
    const before = this.#pods.has(key) ? record.pod : undefined;
    record.pod = pod;
    if (before === undefined) {
      this.#pods.set(key, record);
      const neighbours = this.#podsByNamespace.get(pod.namespace) ?? new Set();
      this.#podsByNamespace.set(pod.namespace, neighbours.add(record));
    }
    this.#place(record, before?.ips ?? [], this.#matching(pod));
    this.#placePorts(before, pod);
  }

  deletePod(key: string): void {
    const record = this.#pods.get(key);
    if (record === undefined) return;
    const { pod } = record;
    this.#place(record, pod.ips, noSets);
    this.#placePorts(pod, undefined);
    this.#pods.delete(key);
    const neighbours = this.#podsByNamespace.get(pod.namespace);
    if (neighbours?.delete(record) && neighbours.size === 0) this.#podsByNamespace.delete(pod.namespace);
  }

  /** @param labels undefined when it is gone */
  setNamespace(name: string, labels: Labels | undefined): void {
    if (labels === undefined) this.#namespaces.delete(name);
    else this.#namespaces.set(name, labels);
    for (const set of this.#peerSets.values()) {
      if ('name' in set.selector.namespaces) continue;
      const isMeant = labels !== undefined && selects(set.selector.namespaces.selector, labels);
      if (isMeant !== set.namespaces.has(name)) this.#mean(set, name, isMeant);
    }
  }

  /** The addresses of the pods that it means now and later; to be released as often as acquired. */
  acquirePeers(selector: PeerSelector): SharedSets {
    let set = this.#peerSets.get(selector.key);
    if (set === undefined) {
      const sets = peerSets(selector.key, selector.words);
      set = { selector, sets, users: 0, namespaces: new Set() };
      this.#peerSets.set(selector.key, set);
      for (const family of policyFamilies) this.#draft.addSet(sets[family]);
      const { namespaces } = selector;
      if ('name' in namespaces) this.#mean(set, namespaces.name, true);
      else
        for (const [name, labels] of this.#namespaces)
          if (selects(namespaces.selector, labels)) this.#mean(set, name, true);
    }
    return this.#acquire(set);
  }

  /** Where pods of the whole cluster have a port of this name. */
  acquireNamedPort(port: PortName): SharedSets {
    const key = namedKey(port);
    let set = this.#namedPorts.get(key);
    if (set === undefined) {
      const sets = namedPortSets('all', port);
      set = { key, sets, users: 0 };
      this.#namedPorts.set(key, set);
      for (const family of policyFamilies) this.#draft.addSet(sets[family]);
      for (const { pod } of this.#pods.values()) this.#placePorts(undefined, pod, set);
    }
    return this.#acquire(set);
  }

  release(shared: SharedSets): void {
    shared.users--;
    if (shared.users === 0) this.#unused.add(shared as PeerSet | NamedPortSet);
  }

  /** Lets go of sets that nobody has used since they were released. */
  sweep(): void {
    for (const shared of this.#unused) {
      if (shared.users > 0) continue;
      if ('selector' in shared) this.#forget(shared);
      else this.#namedPorts.delete(shared.key);
      for (const family of policyFamilies) this.#draft.deleteSet(shared.sets[family]);
    }
    this.#unused.clear();
  }

  #acquire<Set extends PeerSet | NamedPortSet>(shared: Set): Set {
    shared.users++;
    this.#unused.delete(shared);
    return shared;
  }

  #forget(set: PeerSet): void {
    this.#peerSets.delete(set.selector.key);
    for (const namespace of set.namespaces) {
      this.#unindex(set, namespace);
      for (const record of this.#podsByNamespace.get(namespace) ?? []) record.peerSets.delete(set);
    }
  }

  #matching({ namespace, labels }: PolicyPod): Set<PeerSet> {
    const found = this.#peerSetsOf.get(namespace)?.matching(labels) ?? [];
    return found.length === 0 ? noSets : new Set(found);
  }

  /** The pods of a namespace come in or go out. */
  #mean(set: PeerSet, namespace: string, isMeant: boolean): void {
    if (isMeant) {
      set.namespaces.add(namespace);
      const index = this.#peerSetsOf.get(namespace) ?? new LabelIndex<PeerSet>();
      this.#peerSetsOf.set(namespace, index);
      index.add(set, set.selector.pods);
    } else {
      set.namespaces.delete(namespace);
      this.#unindex(set, namespace);
    }
    for (const record of this.#podsByNamespace.get(namespace) ?? []) {
      if (!selects(set.selector.pods, record.pod.labels)) continue;
      // In place: a selector of all namespaces means every pod of the cluster.
      const { ips } = record.pod;
      if (isMeant === record.peerSets.has(set)) continue;
      if (!isMeant) record.peerSets.delete(set);
      else if (record.peerSets.size === 0) record.peerSets = new Set([set]);
      else record.peerSets.add(set);
      for (const ip of ips) this.#change(set.sets, ip, ip, isMeant ? 'add' : 'delete');
    }
  }

  #unindex(set: PeerSet, namespace: string): void {
    const index = this.#peerSetsOf.get(namespace);
    index?.delete(set, set.selector.pods);
    if (index?.isEmpty) this.#peerSetsOf.delete(namespace);
  }

  /** Moves the pod from the sets and addresses that it had to those that it has. */
  #place(record: PodRecord, ipsBefore: readonly string[], now: Set<PeerSet>): void {
    const { ips } = record.pod;
    const moved = ips.join() !== ipsBefore.join();
    for (const set of now) {
      const wasIn = record.peerSets.has(set);
      if (!wasIn || moved) for (const ip of ips) this.#change(set.sets, ip, ip, 'add');
    }
    for (const set of record.peerSets) {
      if (!now.has(set) || moved) for (const ip of ipsBefore) this.#change(set.sets, ip, ip, 'delete');
    }
    record.peerSets = now;
  }

  #placePorts(before: PolicyPod | undefined, now: PolicyPod | undefined, only?: NamedPortSet): void {
    if (this.#namedPorts.size === 0) return;
    const had = portElements(before);
    const has = portElements(now);
    if (had.join() === has.join()) return;
    for (const [elements, change] of [
      [has, 'add'],
      [had, 'delete'],
    ] as const)
      for (const [key, ip, element] of elements) {
        const set = this.#namedPorts.get(key);
        if (set !== undefined && (only === undefined || only === set)) this.#change(set.sets, ip, element, change);
      }
  }

  #change(sets: FamilySets<DraftSet>, ip: string, element: string, change: 'add' | 'delete'): void {
    const set = sets[familyOf(ip)];
    set[change](element);
    this.#draft.touched(set);
  }
}

/** Of each named port at each address: the key of its set, the address, the element. */
export function portElements(
  pod: Pick<PolicyPod, 'ips' | 'ports'> | undefined,
): (readonly [key: string, ip: string, element: string])[] {
  if (pod === undefined) return [];
  return pod.ports.flatMap((port) => pod.ips.map((ip) => [namedKey(port), ip, `${ip} ${port.port}`] as const));
}
