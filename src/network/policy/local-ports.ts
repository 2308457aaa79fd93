/**
 * Where pods of this node have ports of a name, for rules of ingress: the sets exist while a rule uses them.
 * Layer: network/policy (pure). Addresses of pods are those that they have here, which the cluster may not know yet.
 */
import { familyOf } from '../ipam/ip-prefix.ts';
import { portElements, type SharedSets } from './cluster-pods.ts';
import type { PortName } from './compile.ts';
import type { DraftTable } from './draft-table.ts';
import { policyFamilies } from './ip-block.ts';
import type { NamedPort } from './policy-pod.ts';
import { namedPortSets } from './table.ts';

interface LocalPortSet extends SharedSets {
  readonly key: string;
}

/** One pod of this node as it is in the sets. */
interface Placed {
  readonly ips: readonly string[];
  readonly ports: readonly NamedPort[];
}

export class LocalPorts {
  readonly #draft: DraftTable;
  readonly #sets = new Map<string, LocalPortSet>();
  readonly #placed = new Map<string, Placed>();
  readonly #unused = new Set<LocalPortSet>();

  constructor(draft: DraftTable) {
    this.#draft = draft;
  }

  /** @param pod undefined when it is gone */
  place(uid: string, pod: Placed | undefined): void {
    const had = portElements(this.#placed.get(uid));
    const has = portElements(pod);
    if (pod === undefined) this.#placed.delete(uid);
    else this.#placed.set(uid, pod);
    if (had.join() === has.join()) return;
    for (const [key, ip, element] of has) this.#change(this.#sets.get(key), ip, element, 'add');
    for (const [key, ip, element] of had) this.#change(this.#sets.get(key), ip, element, 'delete');
  }

  /** To be released as often as acquired. */
  acquireNamedPort(port: PortName): SharedSets {
    const key = `${port.protocol} ${port.name}`;
    let set = this.#sets.get(key);
    if (set === undefined) {
      set = { key, sets: namedPortSets('local', port), users: 0 };
      this.#sets.set(key, set);
      for (const family of policyFamilies) this.#draft.addSet(set.sets[family]);
      for (const pod of this.#placed.values())
        for (const [of, ip, element] of portElements(pod)) if (of === key) this.#change(set, ip, element, 'add');
    }
    set.users++;
    this.#unused.delete(set);
    return set;
  }

  release(shared: SharedSets): void {
    shared.users--;
    const set = [...this.#sets.values()].find((one) => one === shared);
    if (set !== undefined && shared.users === 0) this.#unused.add(set);
  }

  /** See ClusterPods. */
  sweep(): void {
    for (const { key, sets, users } of this.#unused) {
      if (users > 0) continue;
      this.#sets.delete(key);
      for (const family of policyFamilies) this.#draft.deleteSet(sets[family]);
    }
    this.#unused.clear();
  }

  #change(set: LocalPortSet | undefined, ip: string, element: string, change: 'add' | 'delete'): void {
    if (set === undefined) return;
    const draftSet = set.sets[familyOf(ip)];
    draftSet[change](element);
    this.#draft.touched(draftSet);
  }
}
