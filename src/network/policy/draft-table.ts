/**
 * The table as it should be, and what changed in it since the last step: sets of counted elements, and chains.
 * Layer: network/policy (pure). Knows nothing of policies. An element that comes and goes between two steps leaves no trace.
 */
import type { Verdict } from '../../linux/nftables/expression.ts';
import type { Chain, Element, InTable, NftablesOperation, NftSet, Rule } from '../../linux/nftables/types.ts';

/** What the kernel is told of one element. */
export interface DraftValue {
  readonly data?: Verdict;
  readonly comment?: string;
}

/** A set whose elements have a name each, from which their key is made; several owners may hold one element. */
export class DraftSet {
  readonly set: NftSet;
  readonly #keyOf: (name: string) => Uint8Array;
  readonly #counts = new Map<string, number>();
  readonly #values = new Map<string, DraftValue>();
  /** What the kernel has of the elements that were touched since the last step; undefined: nothing. */
  readonly #before = new Map<string, DraftValue | undefined>();

  constructor(set: NftSet, keyOf: (name: string) => Uint8Array) {
    this.set = set;
    this.#keyOf = keyOf;
  }

  get size(): number {
    return this.#counts.size;
  }

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  get isTouched(): boolean {
    return this.#before.size > 0;
  }

  /** One more owner. */
  add(name: string): void {
    const count = this.#counts.get(name) ?? 0;
    if (count === 0) this.#touch(name);
    this.#counts.set(name, count + 1);
  }

  /** One owner less; the last takes the element along. */
  delete(name: string): void {
    const count = this.#counts.get(name) ?? 0;
    if (count > 1) this.#counts.set(name, count - 1);
    else if (count === 1) this.#remove(name);
  }

  /** In a map: the only owner gives it this value, or takes it away. */
  put(name: string, value: DraftValue | undefined): void {
    if (value === undefined) {
      if (this.#counts.has(name)) this.#remove(name);
      return;
    }
    const now = this.#values.get(name);
    if (now !== undefined && this.#counts.has(name) && isSame(now, value)) return;
    this.#touch(name);
    this.#counts.set(name, 1);
    this.#values.set(name, value);
  }

  *elements(): Generator<Element, void, undefined> {
    for (const name of this.#counts.keys()) yield this.#element(name);
  }

  /** What leads from the last step to now, and forgets it. Deletions first: a changed element is in both. */
  takeChanges(): { deletes: Element[]; adds: Element[] } {
    const deletes: Element[] = [];
    const adds: Element[] = [];
    for (const [name, before] of this.#before) {
      const now = this.#counts.has(name) ? (this.#values.get(name) ?? nothing) : undefined;
      if (before !== undefined && now !== undefined && isSame(before, now)) continue;
      if (before !== undefined) deletes.push({ key: this.#keyOf(name) });
      if (now !== undefined) adds.push(this.#element(name));
    }
    this.#before.clear();
    return { deletes, adds };
  }

  #touch(name: string): void {
    if (this.#before.has(name)) return;
    this.#before.set(name, this.#counts.has(name) ? (this.#values.get(name) ?? nothing) : undefined);
  }

  #remove(name: string): void {
    this.#touch(name);
    this.#counts.delete(name);
    this.#values.delete(name);
  }

  #element(name: string): Element {
    return { key: this.#keyOf(name), ...this.#values.get(name) };
  }
}

/** Of an element that is in a set without data. */
const nothing: DraftValue = {};

const isSame = (a: DraftValue, b: DraftValue): boolean =>
  a.comment === b.comment && JSON.stringify(a.data) === JSON.stringify(b.data);

/** A set whose elements never change: its name says which they are. */
export interface FixedSet {
  readonly set: NftSet;
  readonly elements: readonly Element[];
}

interface DraftChain {
  readonly chain: Chain;
  /** Made whenever they are asked for: kept, those of many policies would be most of what this takes. */
  rules: () => readonly Rule[];
}

export class DraftTable {
  readonly #at: InTable;
  readonly #skeletonSets: DraftSet[] = [];
  readonly #sets = new Map<string, DraftSet | FixedSet>();
  readonly #chains = new Map<string, DraftChain>();
  readonly #newSets = new Set<string>();
  readonly #newChains = new Set<string>();
  readonly #changedChains = new Set<string>();
  /** In the kernel, to be removed with the next step. */
  readonly #goneSets = new Set<string>();
  readonly #goneChains = new Set<string>();
  readonly #touched = new Set<DraftSet>();

  constructor(at: InTable) {
    this.#at = at;
  }

  /** Besides those of the skeleton. */
  get counts(): { sets: number; elements: number; chains: number } {
    let elements = 0;
    for (const set of this.#sets.values()) elements += set instanceof DraftSet ? set.size : set.elements.length;
    return { sets: this.#sets.size, elements, chains: this.#chains.size };
  }

  /** One that the skeleton declares: its elements are this draft's, the set is not. */
  adoptSet(set: DraftSet): void {
    this.#skeletonSets.push(set);
  }

  /** @param set must not be there */
  addSet<Set extends DraftSet | FixedSet>(set: Set): Set {
    const { name } = set.set;
    this.#sets.set(name, set);
    this.#newSets.add(name);
    return set;
  }

  /** Once its users are gone; not to be added again before the next step. */
  deleteSet({ set: { name } }: DraftSet | FixedSet): void {
    const set = this.#sets.get(name);
    this.#sets.delete(name);
    if (set instanceof DraftSet) this.#touched.delete(set);
    if (!this.#newSets.delete(name)) this.#goneSets.add(name);
  }

  /** To be called when elements of it may have changed. */
  touched(set: DraftSet): void {
    if (set.isTouched) this.#touched.add(set);
  }

  /** Makes the chain, or gives it other rules. */
  setChain(chain: Chain, rules: () => readonly Rule[]): void {
    const { name } = chain;
    if (!this.#chains.has(name)) this.#newChains.add(name);
    else if (!this.#newChains.has(name)) this.#changedChains.add(name);
    this.#chains.set(name, { chain, rules });
  }

  /** As deleteSet: once nothing goes there. */
  deleteChain(name: string): void {
    this.#chains.delete(name);
    this.#changedChains.delete(name);
    if (!this.#newChains.delete(name)) this.#goneChains.add(name);
  }

  /** @param skeleton makes the table with what is always there */
  plan(skeleton: readonly NftablesOperation[]): NftablesOperation[] {
    return [
      ...skeleton,
      ...Array.from(this.#sets.values(), ({ set }): NftablesOperation => ({ op: 'setAdd', set })),
      ...Array.from(this.#chains.values(), ({ chain }): NftablesOperation => ({ op: 'chainAdd', chain })),
      ...Array.from(this.#chains.values()).flatMap(({ rules }) =>
        rules().map((rule): NftablesOperation => ({ op: 'ruleAdd', rule })),
      ),
      ...[...this.#skeletonSets, ...this.#sets.values()].flatMap((set) => this.#fill(set)),
    ];
  }

  /**
   * From the last step to now, and forgets it. In the order of phases.ts: what comes anew, what changes, what goes. Every
   * chain is emptied before it is filled, so that a step that was already taken does no harm.
   */
  takeStep(): NftablesOperation[] {
    const chainsNow = (names: Iterable<string>): DraftChain[] =>
      Array.from(names).flatMap((name) => this.#chains.get(name) ?? []);
    const fill = ({ chain, rules }: DraftChain): NftablesOperation[] => [
      { op: 'ruleFlush', ...this.#at, chain: chain.name },
      ...rules().map((rule): NftablesOperation => ({ op: 'ruleAdd', rule })),
    ];
    const newChains = chainsNow(this.#newChains);
    const newSets = Array.from(this.#newSets).flatMap((name) => this.#sets.get(name) ?? []);
    const step: NftablesOperation[] = [
      ...newSets.map(({ set }): NftablesOperation => ({ op: 'setAdd', set })),
      ...newChains.map(({ chain }): NftablesOperation => ({ op: 'chainAdd', chain })),
      ...newSets.flatMap((set) => this.#fill(set)),
      ...newChains.flatMap(fill),
    ];
    for (const set of newSets) if (set instanceof DraftSet) set.takeChanges();
    for (const set of this.#touched) {
      const { deletes, adds } = set.takeChanges();
      const at = { ...this.#at, set: set.set.name };
      if (deletes.length > 0) step.push({ op: 'elementsDelete', ...at, elements: deletes });
      if (adds.length > 0) step.push({ op: 'elementsAdd', ...at, elements: adds });
    }
    step.push(...chainsNow(this.#changedChains).flatMap(fill));
    for (const name of this.#goneChains) step.push({ op: 'ruleFlush', ...this.#at, chain: name });
    for (const name of this.#goneChains) step.push({ op: 'chainDelete', ...this.#at, name });
    for (const name of this.#goneSets) step.push({ op: 'setDelete', ...this.#at, name });
    for (const names of [this.#newSets, this.#newChains, this.#changedChains, this.#goneSets, this.#goneChains])
      names.clear();
    this.#touched.clear();
    return step;
  }

  #fill(set: DraftSet | FixedSet): NftablesOperation[] {
    const elements = set instanceof DraftSet ? [...set.elements()] : set.elements;
    return elements.length === 0 ? [] : [{ op: 'elementsAdd', ...this.#at, set: set.set.name, elements }];
  }
}
