import test from 'ava';
import { FakeNftables } from '../fake-nftables.ts';
import { describe } from './describe.ts';
import type { Expression } from './expression.ts';
import { randomNumbers, randomPlan, randomTable } from './random-table.fake.ts';
import { planTableDifference } from './table-difference.ts';
import type { Element, NftablesOperation, NftSet, PackedElements, TableDump } from './types.ts';

const at = { family: 'ip', table: 't' } as const;
const table: NftablesOperation = { op: 'tableAdd', table: { family: 'ip', name: 't', comment: 'v1' } };
const set = (name: string, more: Partial<NftSet> = {}): NftablesOperation => ({
  op: 'setAdd',
  set: { ...at, name, key: ['mark'], ...more },
});
const chain = (name: string, policy?: 'accept' | 'drop'): NftablesOperation => ({
  op: 'chainAdd',
  chain: {
    ...at,
    name,
    ...(policy && { base: { type: 'filter', hook: 'output', priority: 0, policy } }),
  },
});
const rule = (name: string, ...expressions: Expression[]): NftablesOperation => ({
  op: 'ruleAdd',
  rule: { ...at, chain: name, expressions },
});
const elements = (name: string, ...list: Element[]): NftablesOperation => ({
  op: 'elementsAdd',
  ...at,
  set: name,
  elements: list,
});
const word = (value: number): Uint8Array => Uint8Array.of(value, 0, 0, 0);
const mark: Expression = { expr: 'meta', key: 'mark', dreg: 1 };
const lookup = (name: string, dreg?: number): Expression[] => [
  mark,
  { expr: 'lookup', set: name, sreg: 1, ...(dreg === undefined ? {} : { dreg }) },
];
const drop: Expression = { expr: 'verdict', verdict: 'drop' };
const jump = (to: string): Expression => ({ expr: 'verdict', verdict: { jump: to } });

/** What the fake kernel lists after the plan. */
async function installed(plan: readonly NftablesOperation[], name = 't'): Promise<TableDump | undefined> {
  const socket = await new FakeNftables().open();
  await socket.apply(plan);
  const dump = await socket.dump({ family: 'ip', name });
  socket.close();
  return dump;
}

const difference = async (from: NftablesOperation[], to: NftablesOperation[]): Promise<string[]> =>
  planTableDifference(await installed(from), to).map((operation) => describe(operation));

test('without a table the plan stands as it is, but for the removal of what was there', async (t) => {
  const plan = [table, chain('c'), rule('c', drop)];
  t.deepEqual(planTableDifference(undefined, plan), plan);
  t.deepEqual(planTableDifference(undefined, [table, { op: 'tableDelete', table: table.table }, ...plan]), plan);
});

test('no difference: what the kernel fills in, renumbers or counts', async (t) => {
  const plan = [
    table,
    set('s'),
    set('d', { dynamic: true, timeoutMs: 1000 }),
    chain('base', 'accept'),
    chain('c'),
    rule('base', { expr: 'meta', key: 'mark', dreg: 1 }, { expr: 'counter' }, jump('c')),
    rule('c', { expr: 'nat', type: 'dnat', family: 'ip', addressMin: 1, protoMin: 9, flags: ['persistent', 'random'] }),
    elements('s', { key: word(1) }, { key: word(2) }),
  ];
  const dump = await installed(plan);
  if (dump === undefined) throw new Error('no table');
  const other = [
    table,
    chain('c'),
    { op: 'chainAdd', chain: { ...at, name: 'base', base: { type: 'filter', hook: 'output', priority: 0 } } },
    set('d', { dynamic: true, timeout: true, timeoutMs: 1000, size: 65_535 }),
    set('s', { constant: false }),
    rule('c', {
      expr: 'nat',
      type: 'dnat',
      family: 'ip',
      addressMin: 8,
      addressMax: 8,
      protoMin: 9,
      flags: ['random', 'persistent'],
    }),
    rule('base', { dreg: 8, key: 'mark', expr: 'meta' }, { expr: 'counter', packets: 7, bytes: 9 }, jump('c')),
    elements('s', { key: word(2) }),
    elements('s', { key: word(1) }, { key: word(2) }),
  ] as NftablesOperation[];
  t.deepEqual(planTableDifference(dump, plan), []);
  t.deepEqual(planTableDifference(dump, other), []);
});

test('another comment, set or chain replaces the table as a whole', async (t) => {
  const plan = [table, set('s'), chain('base', 'accept'), chain('c')];
  const others: NftablesOperation[][] = [
    [{ op: 'tableAdd', table: { family: 'ip', name: 't', comment: 'v2' } }, ...plan.slice(1)],
    [table, set('s', { key: ['ipv4_addr'] }), ...plan.slice(2)],
    [table, set('s', { size: 3 }), ...plan.slice(2)],
    [table, set('s', { comment: 'of marks' }), ...plan.slice(2)],
    [table, set('s', { data: ['mark'] }), ...plan.slice(2)],
    [table, set('s'), chain('base', 'drop'), chain('c')],
    [table, set('s'), chain('base'), chain('c')],
    [table, set('s'), chain('base', 'accept'), chain('c', 'accept')],
  ];
  for (const other of others) {
    const operations = planTableDifference(await installed(plan), other);
    t.deepEqual(
      operations.slice(0, 2).map(({ op }) => op),
      ['tableAdd', 'tableDelete'],
    );
    t.deepEqual(operations.slice(2), other);
  }
});

test('single elements are deleted and added, those with other data both', async (t) => {
  const head = [table, set('m', { data: ['mark'] }), set('v', { data: 'verdict' }), chain('c')];
  const before = [
    ...head,
    elements('m', { key: word(1), data: word(1) }, { key: word(2), data: word(2) }, { key: word(3), data: word(3) }),
    elements('v', { key: word(1), data: 'drop' }, { key: word(2), data: { goto: 'c' } }),
  ];
  const after = [
    ...head,
    elements('m', { key: word(4), data: word(4) }, { key: word(2), data: word(9) }),
    elements('m', { key: word(2), data: word(9) }, { key: word(1), data: word(1) }),
    elements('v', { key: word(1), data: { goto: 'c' } }, { key: word(2), data: { goto: 'c' } }),
  ];
  t.deepEqual(await difference(before, after), [
    'delete element ip t m { 0x02000000, 0x03000000 }',
    'delete element ip t v { 0x01000000 }',
    'add element ip t m { 0x04000000 : 0x04000000, 0x02000000 : 0x09000000 }',
    'add element ip t v { 0x01000000 : goto c }',
  ]);
});

test('a set whose elements were not listed is flushed and filled, a dynamic one is left alone', async (t) => {
  const plan = [
    table,
    set('s'),
    set('d', { dynamic: true, timeoutMs: 1000 }),
    elements('s', { key: word(1) }, { key: word(2) }),
  ];
  const socket = await new FakeNftables().open();
  await socket.apply([...plan, elements('d', { key: word(5) })]);
  const name = { family: 'ip', name: 't' } as const;
  t.deepEqual(planTableDifference(await socket.dump(name), plan), []);
  const unlisted = planTableDifference(await socket.dump(name, { elementsOf: () => false }), plan);
  t.deepEqual(
    unlisted.map((operation) => describe(operation)),
    ['flush set ip t s', 'add element ip t s { 0x01000000, 0x02000000 }'],
  );
  await socket.apply(unlisted);
  t.deepEqual(planTableDifference(await socket.dump(name), plan), []);
});

test('intervals are filled again as a whole, since their boundaries may not overlap on the way', async (t) => {
  const head = [table, set('i', { interval: true })];
  const before = [...head, elements('i', { key: word(1) }, { key: word(5), intervalEnd: true })];
  const after = [...head, elements('i', { key: word(1) }, { key: word(7), intervalEnd: true })];
  t.deepEqual(await difference(before, before), []);
  t.deepEqual(await difference(before, after), [
    'flush set ip t i',
    'add element ip t i { 0x01000000, 0x07000000 (end) }',
  ]);
});

test('what goes is first used by nobody, what comes is there before its users', async (t) => {
  const before = [
    table,
    set('old'),
    set('oldmap', { data: 'verdict' }),
    chain('base', 'accept'),
    chain('same'),
    chain('gone'),
    rule('base', ...lookup('old'), jump('gone')),
    rule('same', drop),
    rule('gone', ...lookup('oldmap', 0)),
    elements('oldmap', { key: word(1), data: { goto: 'same' } }),
  ];
  const after = [
    table,
    set('new'),
    chain('base', 'accept'),
    chain('same'),
    chain('fresh'),
    rule('base', ...lookup('new'), jump('fresh')),
    rule('same', drop),
    rule('fresh', drop),
    elements('new', { key: word(1) }),
  ];
  t.deepEqual(await difference(before, after), [
    'add set ip t new { type mark; }',
    'add chain ip t fresh',
    'flush set ip t oldmap',
    'flush chain ip t base',
    'flush chain ip t gone',
    'delete set ip t old',
    'delete set ip t oldmap',
    'delete chain ip t gone',
    'add element ip t new { 0x01000000 }',
    'add rule ip t base meta mark @new jump fresh',
    'add rule ip t fresh drop',
  ]);
});

test('the set that a foreign rule says in place goes with the rule', async (t) => {
  const plan = [table, chain('c'), rule('c', drop)];
  const foreign = [...plan, set('__set0', { constant: true }), rule('c', ...lookup('__set0'), drop)];
  t.deepEqual(await difference(foreign, plan), ['flush chain ip t c', 'add rule ip t c drop']);
});

test('plans of another kind or table are refused', async (t) => {
  const dump = await installed([table]);
  const bad: NftablesOperation[][] = [
    [chain('c')],
    [table, { op: 'ruleFlush', ...at, chain: 'c' }],
    [table, { op: 'ruleAdd', rule: { ...at, chain: 'c', expressions: [] }, position: 'first' }],
    [{ op: 'tableAdd', table: { family: 'ip6', name: 't' } }],
  ];
  for (const plan of bad) t.throws(() => planTableDifference(dump, plan), { instanceOf: TypeError });
});

test('from any table to any other, and then nothing is left to do', async (t) => {
  const random = randomNumbers(7);
  const socket = await new FakeNftables().open();
  let replaced = 0;
  for (let round = 0; round < 500; round++) {
    const plan = randomPlan(random);
    const operations = planTableDifference(await socket.dump(randomTable), plan);
    if (operations.some(({ op }) => op === 'tableDelete')) replaced++;
    await t.notThrowsAsync(socket.apply(operations), operations.map((operation) => describe(operation)).join('\n'));
    const left = planTableDifference(await socket.dump(randomTable), plan);
    t.deepEqual(
      left.map((operation) => describe(operation)),
      [],
    );
  }
  t.true(replaced < 400, `${replaced} of 500 replaced as a whole`);
});

test('100,000 packed elements, a few of them different', (t) => {
  const count = 100_000;
  const packed = (change: (index: number) => number): PackedElements => {
    const keys = new Uint8Array(count * 12);
    const data = new Uint8Array(count * 8);
    for (let index = 0; index < count; index++) {
      const value = change(index);
      new DataView(keys.buffer).setUint32(index * 12, 0x0a600000 + (value % 1_000_000));
      new DataView(data.buffer).setUint32(index * 8, value);
    }
    return { count, keyBytes: 12, keys, dataBytes: 8, data };
  };
  const large: NftSet = {
    ...at,
    name: 'm',
    key: ['ip daddr', 'ip protocol', 'th dport'],
    data: ['ip daddr', 'tcp dport'],
  };
  const dump: TableDump = {
    generation: 1,
    table: table.table,
    chains: [],
    rules: [],
    // Another order, one other key, one other value.
    sets: [{ set: large, elements: packed((index) => (index === 5 ? 500_000 : count - 1 - index)) }],
  };
  const desired = packed((index) => (index === 7 ? 1_000_007 : index));
  const start = performance.now();
  const operations = planTableDifference(dump, [
    table,
    { op: 'setAdd', set: large },
    { op: 'elementsAdd', ...at, set: 'm', elements: desired },
  ]);
  t.log(`compared in ${(performance.now() - start).toFixed(1)} ms`);
  const counts = operations.map((operation) => [
    operation.op,
    'elements' in operation && 'count' in operation.elements && operation.elements.count,
  ]);
  t.deepEqual(counts, [
    ['elementsDelete', 2],
    ['elementsAdd', 2],
  ]);
});
