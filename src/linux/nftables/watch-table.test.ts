import test, { type ExecutionContext } from 'ava';
import { FakeNftables } from '../fake-nftables.ts';
import type { Nftables } from './edge.ts';
import type { NftablesOperation } from './types.ts';
import { type ForeignChange, watchTable } from './watch-table.ts';

const name = { family: 'ip', name: 't' } as const;
const at = { family: 'ip', table: 't' } as const;
const add: NftablesOperation = { op: 'tableAdd', table: name };
const remove: NftablesOperation = { op: 'tableDelete', table: name };
const chain: NftablesOperation = { op: 'chainAdd', chain: { ...at, name: 'c' } };

async function watched(t: ExecutionContext) {
  const kernel = new FakeNftables();
  const [ours, foreign] = [await kernel.open(), await kernel.open()];
  const seen: ForeignChange[] = [];
  const stop = await watchTable(ours, name, (change) => seen.push(change));
  t.teardown(() => {
    stop();
    ours.close();
    foreign.close();
  });
  /** What is told of one batch. */
  const told = async (socket: Nftables, ...operations: NftablesOperation[]): Promise<ForeignChange[]> => {
    await socket.apply(operations);
    return seen.splice(0);
  };
  return { kernel, ours, foreign, seen, stop, told };
}

test('once for each foreign transaction that touches the table', async (t) => {
  const { ours, foreign, told } = await watched(t);
  t.deepEqual(await told(foreign, add, chain), ['changed']);
  t.deepEqual(await told(foreign, { op: 'chainDelete', ...at, name: 'c' }), ['changed']);
  t.deepEqual(await told(foreign, remove), ['gone']);
  t.deepEqual(await told(ours, add, chain), []);
  t.deepEqual(await told(foreign, remove, add), ['changed']);
  t.deepEqual(await told(foreign, chain, remove), ['gone']);
  t.deepEqual(await told(ours, add, remove), []);
});

test('not for other tables, even of that name or in the same transaction', async (t) => {
  const { ours, foreign, told } = await watched(t);
  await ours.apply([add]);
  const six = { family: 'ip6', name: 't' } as const;
  const other = { family: 'ip', name: 'other' } as const;
  t.deepEqual(await told(foreign, { op: 'tableAdd', table: six }, { op: 'tableAdd', table: other }), []);
  t.deepEqual(await told(foreign, { op: 'tableDelete', table: six }, chain), ['changed']);
});

test('lost notifications are told, and nothing after the end', async (t) => {
  const { kernel, foreign, seen, stop, told } = await watched(t);
  kernel.overrun();
  t.deepEqual(seen.splice(0), ['overrun']);
  const open = kernel.openSockets;
  stop();
  t.is(kernel.openSockets, open - 1);
  t.deepEqual(await told(foreign, add), []);
});
