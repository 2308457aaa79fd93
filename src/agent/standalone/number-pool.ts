/**
 * Gives numbers out of a range to named owners, in a way that a restart repeats: addresses and node ports are such numbers.
 * The rule, in this order:
 * 1. A number that somebody asks for by hand is given to nobody else, even if that moves an owner that had it.
 * 2. An owner keeps what it was given before.
 * 3. The others are served in the order of their names: each has its own place in the dynamic band, by the hash of its
 *    name, and takes the first free number from there, going round; the static band is used when the dynamic one is full.
 * So the files' order and the order of changes matter only where two names hash to neighbouring places.
 * Layer: agent/standalone (pure).
 */
import { fnv128a } from '../../kubelet/static/fnv.ts';

/** Whole numbers, both ends inclusive; below `dynamicFirst` lies the static band, left to people as far as possible. */
export interface NumberPool {
  readonly first: number;
  readonly dynamicFirst: number;
  readonly last: number;
}

/**
 * @param owners who needs a number, each once
 * @param byHand numbers that people asked for
 * @param before what was given out earlier; owners that are not asked for any more lose theirs
 * @returns a number for each owner; owners for whom none is left are absent
 */
export function giveNumbers(
  owners: Iterable<string>,
  pool: NumberPool,
  byHand: ReadonlySet<number>,
  before: ReadonlyMap<string, number>,
): ReadonlyMap<string, number> {
  const given = new Map<string, number>();
  const taken = new Set(byHand);
  const waiting: string[] = [];
  for (const owner of owners) {
    const number = before.get(owner);
    if (number === undefined || taken.has(number) || number < pool.first || number > pool.last) waiting.push(owner);
    else {
      given.set(owner, number);
      taken.add(number);
    }
  }
  for (const owner of waiting.sort()) {
    const number = firstFree(owner, pool, taken);
    // The next owner would search the whole range in vain again.
    if (number === undefined) break;
    given.set(owner, number);
    taken.add(number);
  }
  return given;
}

function firstFree(
  owner: string,
  { first, dynamicFirst, last }: NumberPool,
  taken: ReadonlySet<number>,
): number | undefined {
  const size = last - dynamicFirst + 1;
  const start = size > 0 ? Number.parseInt(fnv128a(owner).slice(-8), 16) % size : 0;
  for (let step = 0; step < size; step++) {
    const number = dynamicFirst + ((start + step) % size);
    if (!taken.has(number)) return number;
  }
  for (let number = first; number < dynamicFirst; number++) if (!taken.has(number)) return number;
  return undefined;
}
