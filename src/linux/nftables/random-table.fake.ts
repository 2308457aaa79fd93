/**
 * Random tables, as plans from scratch that the kernel accepts: for tests that go from one to another.
 * Layer: linux (test support, not built). Names come from a small stock, so that two tables have much in common.
 */
import type { Expression } from './expression.ts';
import type { Element, NftablesOperation, NftSet } from './types.ts';

export const randomTable = { family: 'ip', name: 'r' } as const;
const at = { family: 'ip', table: 'r' } as const;

/** Repeatable numbers below `limit` (mulberry32). */
export function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % limit;
  };
}

/** Chains c0 to c4, of which c0 is always at a hook and the others are jumped to by chains before them. */
export function randomPlan(random: (limit: number) => number): NftablesOperation[] {
  const chains = ['c0', 'c1', 'c2', 'c3', 'c4'].filter((name) => name === 'c0' || random(3) > 0);
  const sets = [
    { ...at, name: 's', key: ['mark'] },
    { ...at, name: 'm', key: ['ipv4_addr', 'inet_service'], data: ['inet_service'] },
    { ...at, name: 'v', key: ['mark'], data: 'verdict' },
    { ...at, name: 'i', key: ['ipv4_addr'], interval: true },
    { ...at, name: 'd', key: ['ipv4_addr'], dynamic: true, timeoutMs: 600_000 },
  ].filter(() => random(4) > 0) as NftSet[];
  const plan: NftablesOperation[] = [{ op: 'tableAdd', table: { ...randomTable, comment: `v${random(8) >> 2}` } }];
  for (const set of sets) plan.push({ op: 'setAdd', set: set.name === 's' && random(8) === 0 ? sized(set) : set });
  for (const name of chains) {
    if (name !== 'c0') plan.push({ op: 'chainAdd', chain: { ...at, name } });
    else plan.push({ op: 'chainAdd', chain: { ...at, name, base: { type: 'filter', hook: 'output', priority: 0 } } });
  }
  for (const [index, chain] of chains.entries()) {
    const later = chains.slice(index + 1);
    for (let count = random(4); count > 0; count--)
      plan.push({ op: 'ruleAdd', rule: { ...at, chain, expressions: randomRule(random, sets, later) } });
  }
  for (const set of sets) {
    const elements = randomElements(random, set, chains.slice(-1));
    if (elements.length > 0) plan.push({ op: 'elementsAdd', ...at, set: set.name, elements });
  }
  return plan;
}

const sized = (set: NftSet): NftSet => ({ ...set, size: 1000 });

function randomRule(random: (limit: number) => number, sets: NftSet[], later: string[]): Expression[] {
  const set = sets[random(sets.length + 1)];
  const target = later[random(later.length + 1)];
  const end: Expression = { expr: 'verdict', verdict: target === undefined ? 'accept' : { jump: target } };
  const mark: Expression = { expr: 'meta', key: 'mark', dreg: random(2) === 0 ? 1 : 8 };
  const daddr: Expression = { expr: 'payload', base: 'network', offset: 16, length: 4, dreg: 1 };
  switch (set?.name) {
    case 's':
      return [mark, { expr: 'lookup', set: 's', sreg: 1, inverted: random(2) === 0 }, { expr: 'counter' }, end];
    // A verdict map leads to the last chain: from there it would go in circles.
    case 'v':
      return later.length > 0 ? [mark, { expr: 'lookup', set: 'v', sreg: 1, dreg: 0 }] : [end];
    case 'i':
      return [daddr, { expr: 'lookup', set: 'i', sreg: 1 }, end];
    case 'd':
      return [daddr, { expr: 'dynset', op: 'update', set: 'd', key: 1, timeoutMs: 60_000 * (1 + random(2)) }];
    case 'm':
      return [
        daddr,
        { expr: 'payload', base: 'transport', offset: 2, length: 2, dreg: 9 },
        { expr: 'lookup', set: 'm', sreg: 1, dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(0, random(3)) },
        end,
      ];
    default:
      return [end];
  }
}

function randomElements(random: (limit: number) => number, set: NftSet, [last = '']: string[]): Element[] {
  const chosen = [...Array(12).keys()].filter(() => random(2) === 0);
  switch (set.name) {
    case 'm':
      return chosen.map((n) => ({ key: Uint8Array.of(10, 0, 0, n, 0, 80, 0, 0), data: Uint8Array.of(0, random(3)) }));
    case 'v':
      return chosen.map((n) => ({
        key: Uint8Array.of(n, 0, 0, 0),
        data: last === 'c0' || random(2) === 0 ? 'drop' : { goto: last },
      }));
    case 'i':
      return chosen.flatMap((n) => [
        { key: Uint8Array.of(10, n, 0, 0) },
        { key: Uint8Array.of(10, n, 8 + random(3), 0), intervalEnd: true },
      ]);
    case 'd':
      return [];
    default:
      return chosen.map((n) => ({ key: Uint8Array.of(n, 0, 0, 0) }));
  }
}
