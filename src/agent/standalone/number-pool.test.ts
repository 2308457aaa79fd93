/** Numbers that are given out: never twice, never one asked for by hand, stable, and the same after a restart. */
import test from 'ava';
import fc from 'fast-check';
import { giveNumbers, type NumberPool } from './number-pool.ts';

const pool: NumberPool = { first: 1, dynamicFirst: 5, last: 12 };
const none = new Set<number>();

test('the dynamic band first, then the static one, then nothing is left', (t) => {
  const names = Array.from({ length: 14 }, (_, index) => `ns/s${String(index).padStart(2, '0')}`);
  const eight = giveNumbers(names.slice(0, 8), pool, none, new Map());
  t.deepEqual(
    [...eight.values()].sort((a, b) => a - b),
    [5, 6, 7, 8, 9, 10, 11, 12],
  );
  const all = giveNumbers(names, pool, none, new Map());
  t.is(all.size, 12);
  t.deepEqual(
    names.filter((name) => !all.has(name)),
    ['ns/s12', 'ns/s13'],
  );
  t.is(giveNumbers(['a'], { first: 1, dynamicFirst: 2, last: 1 }, none, new Map()).get('a'), 1);
});

test('who had a number keeps it, unless it is asked for by hand or outside', (t) => {
  const before = new Map([
    ['b', 7],
    ['c', 99],
    ['gone', 8],
  ]);
  const kept = giveNumbers(['a', 'b', 'c'], pool, none, before);
  t.is(kept.get('b'), 7);
  t.false(kept.has('gone'));
  t.true((kept.get('c') ?? 0) <= 12);
  const moved = giveNumbers(['b'], pool, new Set([7]), before).get('b');
  t.not(moved, 7);
  t.is(giveNumbers(['b'], pool, new Set([7]), new Map()).get('b'), moved, 'as after a restart');
});

test('any sequence of changes: within the pool, distinct, off by-hand numbers, kept; order plays no part', (t) => {
  const names = fc.uniqueArray(fc.constantFrom<string[]>('a/a', 'a/b', 'b/a', 'b/b', 'c/x', 'c/y', 'd/z', 'e/e'));
  const steps = fc.array(
    fc.record({ names, byHand: fc.uniqueArray(fc.integer({ min: 0, max: 13 }), { maxLength: 6 }) }),
  );
  fc.assert(
    fc.property(steps, (changes) => {
      let before: ReadonlyMap<string, number> = new Map();
      for (const { names: owners, byHand } of changes) {
        const asked = new Set(byHand);
        const given = giveNumbers(owners, pool, asked, before);
        t.is(new Set(given.values()).size, given.size);
        const room = 12 - byHand.filter((number) => number >= 1 && number <= 12).length;
        t.is(given.size, Math.min(owners.length, room));
        for (const [owner, number] of given) {
          t.true(owners.includes(owner) && number >= 1 && number <= 12 && !asked.has(number));
          const had = before.get(owner);
          if (had !== undefined && !asked.has(had)) t.is(number, had);
        }
        const turned = giveNumbers([...owners].reverse(), pool, asked, before);
        t.deepEqual([...turned].sort(), [...given].sort());
        before = given;
      }
    }),
  );
});

test('most names keep their number when others come and go between two starts', (t) => {
  const wide: NumberPool = { first: 1, dynamicFirst: 257, last: 65534 };
  const names = Array.from({ length: 1000 }, (_, index) => `default/service-${index}`);
  const all = giveNumbers(names, wide, none, new Map());
  const half = giveNumbers(
    names.filter((_, index) => index % 2 === 0),
    wide,
    none,
    new Map(),
  );
  const same = [...half].filter(([name, number]) => all.get(name) === number).length;
  t.true(same >= 490, String(same));
});
