/**
 * Which owners have a prefix that overlaps a given one, without looking at all of them.
 * Layer: network/overlay (pure). Of each family and length a map by first address, and the first addresses in order: shorter prefixes
 * are looked up, longer ones lie next to each other.
 */
import { type IpFamily, type IpPrefix, prefixAt } from '../ipam/ip-prefix.ts';

interface OfLength {
  family: IpFamily;
  length: number;
  owners: Map<bigint, Set<string>>;
  /** Keys of `owners`, ascending. */
  bases: bigint[];
}

export class PrefixIndex {
  readonly #lengths = new Map<string, OfLength>();

  add({ family, base, length }: IpPrefix, owner: string): void {
    const key = keyOf(family, length);
    const list = this.#lengths.get(key) ?? { family, length, owners: new Map(), bases: [] };
    this.#lengths.set(key, list);
    const { owners, bases } = list;
    const present = owners.get(base);
    if (present !== undefined) {
      present.add(owner);
      return;
    }
    owners.set(base, new Set([owner]));
    bases.splice(firstAtLeast(bases, base), 0, base);
  }

  delete({ family, base, length }: IpPrefix, owner: string): void {
    const key = keyOf(family, length);
    const list = this.#lengths.get(key);
    const present = list?.owners.get(base);
    if (list === undefined || present === undefined || !present.delete(owner) || present.size > 0) return;
    list.owners.delete(base);
    list.bases.splice(firstAtLeast(list.bases, base), 1);
    if (list.bases.length === 0) this.#lengths.delete(key);
  }

  /** Each at most once, in no order. */
  overlapping(prefix: IpPrefix): Set<string> {
    const found = new Set<string>();
    for (const { family, length, owners, bases } of this.#lengths.values()) {
      if (family !== prefix.family) continue;
      if (length <= prefix.length) {
        const { base } = prefixAt({ family, value: prefix.base }, length);
        for (const owner of owners.get(base) ?? []) found.add(owner);
        continue;
      }
      for (let at = firstAtLeast(bases, prefix.base); at < bases.length; at++) {
        const base = bases[at];
        if (base === undefined || base > prefix.last) break;
        for (const owner of owners.get(base) ?? []) found.add(owner);
      }
    }
    return found;
  }
}

const keyOf = (family: IpFamily, length: number): string => `${family}/${length}`;

function firstAtLeast(sorted: readonly bigint[], value: bigint): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0n) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
