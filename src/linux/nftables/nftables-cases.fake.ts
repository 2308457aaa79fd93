/**
 * Layer: linux (test support, not built). What nf_tables does, told once and held against both: the fake
 * (fake-nftables.test.ts) and the real kernel (test/kernel/nftables.test.ts). A case gets an empty namespace.
 */
import type { ExecutionContext } from 'ava';
import { KernelError } from '../kernel-error.ts';
import { isGenerationOver, type Nftables, NftablesError, type NftablesNotification } from './edge.ts';
import type { Expression, Verdict } from './expression.ts';
import type { BaseChain, Element, NftablesOperation, NftSet } from './types.ts';

export interface Case {
  name: string;
  /** @param open one more socket in the namespace of the case */
  run(t: ExecutionContext, open: () => Promise<Nftables>): Promise<void>;
}

const at = { family: 'ip', table: 't' } as const;
const table: NftablesOperation = { op: 'tableAdd', table: { family: 'ip', name: 't' } };
const chain = (name: string, base?: BaseChain): NftablesOperation => ({
  op: 'chainAdd',
  chain: { ...at, name, ...(base && { base }) },
});
const rule = (name: string, ...expressions: Expression[]): NftablesOperation => ({
  op: 'ruleAdd',
  rule: { ...at, chain: name, expressions },
});
const goes = (verdict: Verdict): Expression => ({ expr: 'verdict', verdict });
const set = (name: string, more: Partial<NftSet> = {}): NftablesOperation => ({
  op: 'setAdd',
  set: { ...at, name, key: ['mark'], ...more },
});
const add = (name: string, ...elements: Element[]): NftablesOperation => ({
  op: 'elementsAdd',
  ...at,
  set: name,
  elements,
});
const remove = (name: string, ...elements: Element[]): NftablesOperation => ({
  op: 'elementsDelete',
  ...at,
  set: name,
  elements,
});
const word = (value: number): Uint8Array => Uint8Array.of(value, 0, 0, 0);
const natOut: BaseChain = { type: 'nat', hook: 'output', priority: -100 };
const filterOut: BaseChain = { type: 'filter', hook: 'output', priority: 0 };
const markLookup = (name: string, dreg?: number): Expression[] => [
  { expr: 'meta', key: 'mark', dreg: 1 },
  { expr: 'lookup', set: name, sreg: 1, ...(dreg === undefined ? {} : { dreg }) },
];

/** `ok`, or index of the refused operation and the name of the errno. */
async function outcome(socket: Nftables, ...operations: NftablesOperation[]): Promise<string> {
  try {
    await socket.apply(operations);
    return 'ok';
  } catch (error) {
    if (error instanceof NftablesError) return `${error.index ?? 'batch'} ${error.errnoName}`;
    if (error instanceof KernelError) return error.errnoName;
    throw error;
  }
}

/** Applies batch by batch and compares each outcome. */
async function expectOutcomes(
  t: ExecutionContext,
  socket: Nftables,
  batches: [NftablesOperation[], string][],
): Promise<void> {
  for (const [operations, expected] of batches)
    t.is(await outcome(socket, ...operations), expected, JSON.stringify(operations));
}

export async function eventually(condition: () => Promise<boolean>): Promise<boolean> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}

const name = { family: 'ip', name: 't' } as const;

export const cases: Case[] = [
  {
    name: 'objects are added once and deleted once',
    async run(t, open) {
      const socket = await open();
      await expectOutcomes(t, socket, [
        [[chain('c')], '0 ENOENT'],
        [[{ op: 'tableDelete', table: name }], '0 ENOENT'],
        [[table], 'ok'],
        [[table], 'ok'],
        [[{ ...table, exclusive: true } as NftablesOperation], '0 EEXIST'],
        [[chain('c')], 'ok'],
        [[chain('c')], 'ok'],
        [[{ ...chain('c'), exclusive: true } as NftablesOperation], '0 EEXIST'],
        [[chain('c', natOut)], '0 EEXIST'],
        [[{ op: 'chainDelete', ...at, name: 'x' }], '0 ENOENT'],
        [[set('s')], 'ok'],
        [[set('s')], 'ok'],
        [[{ ...set('s'), exclusive: true } as NftablesOperation], '0 EEXIST'],
        [[set('s', { data: ['mark'] })], '0 EEXIST'],
        [[{ op: 'setDelete', ...at, name: 'x' }], '0 ENOENT'],
        [[{ op: 'setDelete', ...at, name: 's' }], 'ok'],
        [[{ op: 'chainDelete', ...at, name: 'c' }], 'ok'],
        [[chain('c'), rule('c'), { op: 'tableDelete', table: name }], 'ok'],
        [[{ op: 'tableDelete', table: name }], '0 ENOENT'],
      ]);
      socket.close();
    },
  },
  {
    name: 'elements: same data is fine, other data exists, deletion needs them',
    async run(t, open) {
      const socket = await open();
      await socket.apply([table, set('s'), set('m', { data: ['mark'] })]);
      const one = { key: word(1), data: word(7) };
      await expectOutcomes(t, socket, [
        [[add('x', { key: word(1) })], '0 ENOENT'],
        [[add('s', { key: word(1) })], 'ok'],
        [[add('s', { key: word(1) })], 'ok'],
        [[{ ...add('s', { key: word(1) }), exclusive: true } as NftablesOperation], '0 EEXIST'],
        [[add('m', one)], 'ok'],
        [[add('m', one)], 'ok'],
        [[add('m', { key: word(1), data: word(8) })], '0 EEXIST'],
        [[remove('m', { key: word(1) }), add('m', { key: word(1), data: word(8) })], 'ok'],
        [[remove('m', { key: word(2) })], '0 ENOENT'],
        [[add('s', { key: Uint8Array.of(1, 2) })], '0 EINVAL'],
        [[add('m', { key: word(3) })], '0 EINVAL'],
        [[add('s', { key: word(3), data: word(1) })], '0 EINVAL'],
        [[add('s', { key: word(3), timeoutMs: 1000 })], '0 EINVAL'],
        [[{ op: 'setFlush', ...at, set: 's' }], 'ok'],
        [[remove('s', { key: word(1) })], '0 ENOENT'],
      ]);
      const dump = await socket.dump(name);
      const map = dump?.sets.find((other) => other.set.name === 'm')?.elements;
      if (map === undefined || !('count' in map)) throw new Error('not packed');
      t.deepEqual([map.count, [...map.keys], [...map.data]], [1, [...word(1)], [...word(8)]]);
      socket.close();
    },
  },
  {
    name: 'a set with a size is full',
    async run(t, open) {
      const socket = await open();
      await socket.apply([table, set('s', { size: 2 })]);
      const elements = [1, 2, 3].map((value) => ({ key: word(value) }));
      t.is(await outcome(socket, add('s', ...elements)), '0 ENFILE');
      t.is(await outcome(socket, add('s', ...elements.slice(0, 2))), 'ok');
      t.is(await outcome(socket, add('s', ...elements.slice(2))), '0 ENFILE');
      socket.close();
    },
  },
  {
    name: 'rules: order, replacement, deletion by handle, flush',
    async run(t, open) {
      const socket = await open();
      await socket.apply([table, chain('c'), rule('c', goes('accept')), rule('c', goes('drop'))]);
      const verdicts = async (): Promise<unknown[]> =>
        (await socket.dump(name))?.rules.flatMap((r) => r.expressions.map((e) => 'verdict' in e && e.verdict)) ?? [];
      t.deepEqual(await verdicts(), ['accept', 'drop']);
      const [first] = (await socket.dump(name))?.rules ?? [];
      const handle = first?.handle ?? 0;
      const returning = { ...at, chain: 'c', expressions: [goes('return')] };
      const continuing = { ...at, chain: 'c', expressions: [goes('continue')] };
      await socket.apply([
        { op: 'ruleAdd', rule: returning, position: 'first' },
        { op: 'ruleAdd', rule: continuing, position: { after: handle } },
      ]);
      t.deepEqual(await verdicts(), ['return', 'accept', 'continue', 'drop']);
      await socket.apply([{ op: 'ruleReplace', rule: { ...returning, expressions: [goes('drop')] }, handle }]);
      t.deepEqual(await verdicts(), ['return', 'drop', 'continue', 'drop']);
      await expectOutcomes(t, socket, [
        [[{ op: 'ruleDelete', ...at, chain: 'c', handle: 9999 }], '0 ENOENT'],
        [[{ op: 'ruleAdd', rule: returning, position: { before: 9999 } }], '0 ENOENT'],
        [[rule('c', goes({ jump: 'nowhere' }))], '0 ENOENT'],
        [[rule('c', ...markLookup('nothing'))], '0 ENOENT'],
        [[rule('x', goes('drop'))], '0 ENOENT'],
        [[{ op: 'ruleFlush', ...at, chain: 'c' }], 'ok'],
        [[{ op: 'ruleFlush', ...at, chain: 'c' }], 'ok'],
      ]);
      t.deepEqual(await verdicts(), []);
      socket.close();
    },
  },
  {
    name: 'what is in use is busy',
    async run(t, open) {
      const socket = await open();
      await socket.apply([
        table,
        chain('base', filterOut),
        chain('target'),
        chain('mapped'),
        set('s'),
        set('v', { data: 'verdict' }),
        rule('base', ...markLookup('s'), goes({ jump: 'target' })),
        rule('base', ...markLookup('v', 0)),
        add('v', { key: word(1), data: { goto: 'mapped' } }),
      ]);
      await expectOutcomes(t, socket, [
        [[{ op: 'chainDelete', ...at, name: 'target' }], '0 EBUSY'],
        [[{ op: 'chainDelete', ...at, name: 'mapped' }], '0 EBUSY'],
        [[{ op: 'setDelete', ...at, name: 's' }], '0 EBUSY'],
        [[add('v', { key: word(2), data: { goto: 'nowhere' } })], '0 ENOENT'],
        [[add('v', { key: word(2), data: { goto: 'base' } })], '0 EOPNOTSUPP'],
        [[add('v', { key: word(2), data: word(1) })], '0 EINVAL'],
        [[remove('v', { key: word(1) }), { op: 'chainDelete', ...at, name: 'mapped' }], 'ok'],
        [
          [
            { op: 'ruleFlush', ...at, chain: 'base' },
            { op: 'setDelete', ...at, name: 's' },
          ],
          'ok',
        ],
        [[{ op: 'chainDelete', ...at, name: 'target' }], 'ok'],
        [[{ op: 'chainDelete', ...at, name: 'base' }], 'ok'],
      ]);
      socket.close();
    },
  },
  {
    name: 'a batch applies as a whole or not at all',
    async run(t, open) {
      const socket = await open();
      await socket.apply([table, chain('c'), set('s'), add('s', { key: word(1) })]);
      const before = await socket.dump(name);
      const refused = await outcome(
        socket,
        add('s', { key: word(2) }),
        remove('s', { key: word(1) }),
        rule('c', goes('drop')),
        { op: 'ruleFlush', ...at, chain: 'c' },
        chain('d'),
        set('s2'),
        remove('s', { key: word(9) }),
        chain('e'),
      );
      t.is(refused, '6 ENOENT');
      t.deepEqual(await socket.dump(name), before);
      t.is(await outcome(socket, { op: 'tableDelete', table: name }, chain('late')), '1 ENOENT');
      t.deepEqual(await socket.dump(name), before);
      t.is(await socket.dump({ family: 'ip6', name: 't' }), undefined);
      socket.close();
    },
  },
  {
    name: 'generations: one for each batch that changes something, a stale one is refused',
    async run(t, open) {
      const socket = await open();
      const first = await socket.generation();
      await socket.apply([table, set('s')]);
      t.is(await socket.generation(), first + 1);
      await socket.apply([add('s', { key: word(1) })], { generation: first + 1 });
      t.is(await socket.generation(), first + 2);
      await socket.apply([add('s', { key: word(1) }), table]);
      t.is(await socket.generation(), first + 2, 'nothing changed');
      await socket.apply([]);
      const error = await t.throwsAsync(socket.apply([add('s', { key: word(2) })], { generation: first + 1 }));
      t.true(isGenerationOver(error), String(error));
      t.is((await socket.dump(name))?.generation, first + 2);
      socket.close();
    },
  },
  {
    name: 'notifications: one for each batch, own ones marked, foreign ones with their changes',
    async run(t, open) {
      const [ours, other] = [await open(), await open()];
      const seen: NftablesNotification[] = [];
      const unsubscribe = await ours.subscribe((notification) => seen.push(notification));
      await ours.apply([table, set('s')]);
      await other.apply([chain('c'), add('s', { key: word(1) }, { key: word(2) }), rule('c', goes('drop'))]);
      await other.apply([{ op: 'tableDelete', table: name }]);
      t.true(await eventually(async () => seen.length >= 3));
      const [own, foreign, deleted] = seen;
      if (own?.event !== 'transaction' || foreign?.event !== 'transaction' || deleted?.event !== 'transaction')
        throw new Error('no transactions');
      t.like(own, { own: true, changes: [] });
      t.is(foreign.own, false);
      t.is(foreign.generation, own.generation + 1);
      t.deepEqual(foreign.changes.slice(0, 2), [
        { change: 'chainNew', ...at, name: 'c' },
        { change: 'elementsNew', ...at, set: 's', count: 2 },
      ]);
      t.like(foreign.changes[2], { change: 'ruleNew', ...at, chain: 'c' });
      t.deepEqual(deleted.changes.at(-1), { change: 'tableDelete', ...at });
      unsubscribe();
      await other.apply([table]);
      t.is(seen.length, 3);
      ours.close();
      other.close();
    },
  },
  {
    name: 'nat wants a nat chain, chains may not go in circles',
    async run(t, open) {
      const socket = await open();
      await socket.apply([table, chain('f', filterOut), chain('n', { ...natOut, hook: 'postrouting', priority: 100 })]);
      await expectOutcomes(t, socket, [
        [[rule('f', { expr: 'masq' })], '0 EOPNOTSUPP'],
        [[rule('n', { expr: 'masq' })], 'ok'],
        [[chain('a'), chain('b'), rule('f', goes({ jump: 'a' })), rule('a', goes({ jump: 'b' }))], 'ok'],
        [[rule('b', goes({ jump: 'a' }))], '0 EMLINK'],
      ]);
      socket.close();
    },
  },
];
