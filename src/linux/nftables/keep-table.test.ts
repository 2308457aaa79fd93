import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import type { Logger } from '../../observe/logger.ts';
import { FakeNftables } from '../fake-nftables.ts';
import type { Nftables } from './edge.ts';
import { keepTable } from './keep-table.ts';
import { planTableDifference } from './table-difference.ts';
import type { NftablesOperation } from './types.ts';

const name = { family: 'ip', name: 't' } as const;
const at = { family: 'ip', table: 't' } as const;
const drop: NftablesOperation = {
  op: 'ruleAdd',
  rule: { ...at, chain: 'c', expressions: [{ expr: 'verdict', verdict: 'drop' }] },
};
const plan: NftablesOperation[] = [
  { op: 'tableAdd', table: name },
  { op: 'chainAdd', chain: { ...at, name: 'c' } },
  drop,
];
const remove: NftablesOperation = { op: 'tableDelete', table: name };
const flush: NftablesOperation = { op: 'ruleFlush', ...at, chain: 'c' };
const other: NftablesOperation = { op: 'tableAdd', table: { family: 'ip', name: 'other' } };

async function setUp(t: ExecutionContext) {
  const kernel = new FakeNftables();
  const [ours, foreign] = [await kernel.open(), await kernel.open()];
  const clock = new FakeClock();
  const lines: string[] = [];
  const line =
    (level: string) =>
    (...said: unknown[]): void =>
      void lines.push(`${level} ${said.at(-1)}`);
  const level = { info: line('info'), warn: line('warn'), error: line('error') };
  const log = { child: () => level } as unknown as Logger;
  const current: { plan: readonly NftablesOperation[] } = { plan };
  const keep = async (nftables: Nftables = ours) => {
    const kept = await keepTable(nftables, name, () => current.plan, { log, clock });
    t.teardown(() => kept.stop());
    return kept;
  };
  const isRight = async (): Promise<boolean> => {
    const dump = await foreign.dump(name);
    return dump !== undefined && planTableDifference(dump, current.plan).length === 0;
  };
  return { kernel, ours, foreign, clock, lines, keep, isRight, current };
}

test('makes the table, repairs it when it is deleted or changed, and only then', async (t) => {
  const { kernel, foreign, clock, lines, keep, isRight } = await setUp(t);
  await keep();
  t.true(await isRight());
  await foreign.apply([remove]);
  await settle();
  t.true(await isRight(), 'at once');
  await clock.advance(1_000);
  await foreign.apply([flush]);
  await settle();
  t.true(await isRight());
  t.deepEqual(lines, Array(2).fill('warn another program changed our nft table; repaired it'));
  await clock.advance(1_000);
  const batches = kernel.applied.length;
  await foreign.apply([other]);
  kernel.overrun();
  await clock.advance(10_000);
  t.is(kernel.applied.length, batches + 1, 'nothing to repair');
  t.is(lines.length, 2);
});

test('a table that is right is left alone at start', async (t) => {
  const { foreign, keep } = await setUp(t);
  await foreign.apply(plan);
  const generation = await foreign.generation();
  await keep();
  t.is(await foreign.generation(), generation);
});

test('many changes in a moment are one repair, and a quarrel is slow', async (t) => {
  const { kernel, foreign, clock, keep, isRight } = await setUp(t);
  await keep();
  for (const operation of [flush, drop, flush]) await foreign.apply([operation]);
  const before = kernel.applied.length;
  await settle();
  t.is(kernel.applied.length, before + 1);
  await foreign.apply([remove]);
  await settle();
  t.is(await foreign.dump(name), undefined, 'rests after a repair');
  await clock.advance(200);
  t.true(await isRight());
});

test('a repair that fails is told once and tried again, ever more slowly', async (t) => {
  const { kernel, ours, foreign, clock, lines, keep, isRight } = await setUp(t);
  await keep();
  let refused = 0;
  await foreign.apply([remove]);
  kernel.intercept = (operations) => {
    if (operations.every(({ op }) => op !== 'tableAdd')) return undefined;
    refused++;
    return new Error('no');
  };
  await clock.advance(20_000);
  t.true(refused >= 4 && refused < 7, `${refused} tries in 20 s`);
  t.deepEqual(lines, ['error cannot repair our nft table; going on']);
  kernel.intercept = undefined;
  await clock.advance(60_000);
  t.true(await isRight());
  t.is(lines.length, 2);
  ours.close();
});

test('what others do between our dump and our batch is seen', async (t) => {
  const { ours, foreign, keep, isRight } = await setUp(t);
  let meanwhile = 3;
  const slow: Nftables = {
    apply: (...args) => ours.apply(...args),
    generation: () => ours.generation(),
    subscribe: (listener) => ours.subscribe(listener),
    close: () => ours.close(),
    async dump(...args) {
      const dump = await ours.dump(...args);
      if (meanwhile-- > 0) await foreign.apply([...plan, { op: 'chainAdd', chain: { ...at, name: `x${meanwhile}` } }]);
      return dump;
    },
  };
  await keep(slow);
  await settle();
  t.true(await isRight());
});

test('nobody listens during unwatched work, after which the table is looked at', async (t) => {
  const { kernel, foreign, clock, keep, isRight } = await setUp(t);
  const kept = await keep();
  const open = kernel.openSockets;
  const result = await kept.unwatched(async () => {
    t.is(kernel.openSockets, open - 1);
    await kept.unwatched(() => foreign.apply([remove]));
    await clock.advance(1_000);
    t.is(kernel.openSockets, open - 1, 'the outer one goes on');
    t.is(await foreign.dump(name), undefined);
    return 'done';
  });
  t.is(result, 'done');
  await settle();
  t.true(await isRight());
  t.is(kernel.openSockets, open);
  await clock.advance(1_000);
  await t.throwsAsync(
    kept.unwatched(() => Promise.reject(new Error('failed'))),
    { message: 'failed' },
  );
  await settle();
  await clock.advance(1_000);
  await foreign.apply([flush]);
  await settle();
  t.true(await isRight());
  await kept.unwatched(() => kept.stop());
  await settle();
  t.is(kernel.openSockets, open - 1);
});

test('stopping ends watch and retries; a start that fails watches nothing', async (t) => {
  const { kernel, ours, foreign, clock, keep } = await setUp(t);
  const kept = await keep();
  kernel.intercept = (operations) => (operations[0]?.op === 'tableAdd' ? new Error('no') : undefined);
  await foreign.apply([remove]);
  await settle();
  await kept.stop();
  await kept.stop();
  kernel.intercept = undefined;
  await clock.advance(600_000);
  t.is(await foreign.dump(name), undefined);
  kernel.intercept = () => new Error('never');
  await t.throwsAsync(keep(), { message: 'never' });
  ours.close();
  foreign.close();
  t.is(kernel.openSockets, 0);
});

test('a new plan: by its step alone, or by comparing when that is refused', async (t) => {
  const { kernel, ours, foreign, clock, lines, keep, isRight, current } = await setUp(t);
  const kept = await keep();
  const dumps = counted(ours);
  current.plan = [...plan, drop];
  await kept.replan([drop]);
  t.true(await isRight());
  t.is(dumps(), 0);
  const chain: NftablesOperation = { op: 'chainAdd', chain: { ...at, name: 'd' }, exclusive: true };
  current.plan = [...plan, { op: 'chainAdd', chain: { ...at, name: 'd' } }];
  await kept.replan();
  t.true(await isRight());
  t.is(dumps(), 1);
  // The step does not fit what is there.
  await kept.replan([chain]);
  t.true(await isRight());
  t.is(dumps(), 2);
  t.deepEqual(lines, []);
  await foreign.apply([remove]);
  await settle();
  t.true(await isRight(), 'a repair takes the new plan');
  await clock.advance(1_000);
  kernel.intercept = (operations) => (operations.length > 0 ? new Error('no') : undefined);
  current.plan = plan;
  await kept.replan();
  t.false(await isRight());
  kernel.intercept = undefined;
  await clock.advance(2_000);
  t.true(await isRight(), 'tried again');
  await kept.stop();
  current.plan = [...plan, drop];
  await kept.replan([drop]);
  t.false(await isRight(), 'not after the end');
});

function counted(nftables: Nftables): () => number {
  let count = 0;
  const { dump } = nftables;
  nftables.dump = (...parameters) => {
    count++;
    return dump.apply(nftables, parameters);
  };
  return () => count;
}
