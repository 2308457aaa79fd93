/**
 * Which owners have a prefix that overlaps a given one, without looking at all of them.
 * Layer: network/overlay (pure). Of each length a map by first address, and the first addresses in order: shorter prefixes
 * are looked up, longer ones lie next to each other.
 */
import type { Ipv4Prefix } from '../ipam/ipv4.ts';

interface OfLength {
  owners: Map<number, Set<string>>;
  /** Keys of `owners`, ascending. */
  bases: number[];
}

export class PrefixIndex {
  readonly #lengths = new Map<number, OfLength>();

  add({ base, length }: Ipv4Prefix, owner: string): void {
    let { owners, bases } = this.#lengths.get(length) ?? {};
    if (owners === undefined || bases === undefined) {
      owners = new Map();
      bases = [];
      this.#lengths.set(length, { owners, bases });
    }
    const present = owners.get(base);
    if (present !== undefined) {
      present.add(owner);
      return;
    }
    owners.set(base, new Set([owner]));
    bases.splice(firstAtLeast(bases, base), 0, base);
  }

  delete({ base, length }: Ipv4Prefix, owner: string): void {
    const list = this.#lengths.get(length);
    const present = list?.owners.get(base);
    if (list === undefined || present === undefined || !present.delete(owner) || present.size > 0) return;
    list.owners.delete(base);
    list.bases.splice(firstAtLeast(list.bases, base), 1);
    if (list.bases.length === 0) this.#lengths.delete(length);
  }

  /** Each at most once, in no order. */
  overlapping(prefix: Ipv4Prefix): Set<string> {
    const found = new Set<string>();
    for (const [length, { owners, bases }] of this.#lengths) {
      if (length <= prefix.length) {
        const base = prefix.base - (prefix.base % 2 ** (32 - length));
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

function firstAtLeast(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
