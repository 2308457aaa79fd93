import test from 'ava';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { describe } from '../linux/nftables/describe.ts';
import { planTableDifference } from '../linux/nftables/table-difference.ts';
import { silentLogger } from '../observe/logger.ts';
import { KeptMasquerade } from './kept-masquerade.ts';
import { masqueradeTableOf, networksOf, planMasquerade, planNetworkChange, removeMasquerade } from './masquerade.ts';
import { NetworkError } from './network-error.ts';

const masqueradeTable = masqueradeTableOf(4);
const context = () => ({ family: 4, masquerades: true, log: silentLogger, clock: new FakeClock() }) as const;
const words = (networks: Parameters<typeof planMasquerade>[1], family: 4 | 6 = 4): string[] =>
  planMasquerade(family, networks).map((operation) => describe(operation));
const end =
  'ip daddr & 240.0.0.0 != 224.0.0.0 masquerade fully-random comment "keelson: pods leave with the address of the node"';

test('the plan in the words of nft', (t) => {
  t.deepEqual(words({ own: ['10.244.0.0/20'], peers: [] }), [
    'add table ip keelson-network { comment "keelson-network schema 2"; }',
    'add set ip keelson-network pods-20 { type ipv4_addr; }',
    'add chain ip keelson-network postrouting { type nat hook postrouting priority 100; policy accept; }',
    `add rule ip keelson-network postrouting ip saddr & 255.255.240.0 10.244.0.0 ip daddr & 255.255.240.0 != @pods-20 ${end}`,
    'add element ip keelson-network pods-20 { 0x0af40000 }',
  ]);
  t.throws(() => planMasquerade(4, { own: ['10.244.0.1/20'], peers: [] }), { instanceOf: NetworkError });
});

test('a set for each prefix length; former networks leave as the own one does', (t) => {
  t.deepEqual(words({ own: ['10.0.1.0/24', '10.1.0.0/22'], peers: ['10.0.2.0/24', '10.0.3.0/24'] }).slice(1), [
    'add set ip keelson-network pods-22 { type ipv4_addr; }',
    'add set ip keelson-network pods-24 { type ipv4_addr; }',
    'add chain ip keelson-network postrouting { type nat hook postrouting priority 100; policy accept; }',
    ...['ip saddr & 255.255.255.0 10.0.1.0', 'ip saddr & 255.255.252.0 10.1.0.0'].map(
      (from) =>
        `add rule ip keelson-network postrouting ${from} ` +
        `ip daddr & 255.255.252.0 != @pods-22 ip daddr & 255.255.255.0 != @pods-24 ${end}`,
    ),
    'add element ip keelson-network pods-22 { 0x0a010000 }',
    'add element ip keelson-network pods-24 { 0x0a000100, 0x0a000200, 0x0a000300 }',
  ]);
});

test('IPv6: the same with its own offsets, and nothing to link-local addresses either', (t) => {
  const own = ['fd00:10:244:1::/64'];
  t.deepEqual(words({ own, peers: ['fd00:10:244:2::/64'] }, 6), [
    'add table ip6 keelson-network { comment "keelson-network schema 2"; }',
    'add set ip6 keelson-network pods-64 { type ipv6_addr; }',
    'add chain ip6 keelson-network postrouting { type nat hook postrouting priority 100; policy accept; }',
    'add rule ip6 keelson-network postrouting ip6 saddr & ffff:ffff:ffff:ffff:: fd00:10:244:1:: ' +
      'ip6 daddr & ffff:ffff:ffff:ffff:: != @pods-64 ip6 daddr & ffc0:: != fe80:: ip6 daddr & ff00:: != ff00:: ' +
      'masquerade fully-random comment "keelson: pods leave with the address of the node"',
    'add element ip6 keelson-network pods-64 { 0xfd00001002440001 0000000000000000, 0xfd00001002440002 0000000000000000 }'.replaceAll(
      ' 0000',
      '0000',
    ),
  ]);
  const without = planMasquerade(6, { own, peers: [] }, false).map((operation) => describe(operation));
  t.false(without.some((line) => line.includes('masquerade')));
  t.true(without.some((line) => line.startsWith('add element')));
});

test('kept, IPv6: what a predecessor knew stays until every node was told', async (t) => {
  const kernel = new FakeNftables();
  const [ours, foreign] = [await kernel.open(), await kernel.open()];
  const own = ['fd00:1::/64'];
  await ours.apply(planMasquerade(6, { own, peers: ['fd00:2::/64', 'fd00:3::/56'] }));
  const kept = await KeptMasquerade.start(ours, own, true, { ...context(), family: 6 });
  t.teardown(() => kept.stop());
  const isRight = async (peers: string[]): Promise<boolean> =>
    planTableDifference(await foreign.dump(masqueradeTableOf(6)), planMasquerade(6, { own, peers })).length === 0;
  t.true(await isRight(['fd00:2::/64', 'fd00:3::/56']));
  await kept.add(['fd00:4::/64']);
  await kept.settle();
  t.true(await isRight(['fd00:4::/64']));
  t.is(kernel.tables.size, 1);
});

test('one network more or less is one element, unless its length is new', (t) => {
  const change = (
    ...[what, known]: [Parameters<typeof planNetworkChange>[1], ReadonlySet<number>]
  ): string[] | undefined => planNetworkChange(4, what, known)?.map((operation) => describe(operation));
  const lengths = new Set([24]);
  t.deepEqual(change({ add: ['10.0.2.0/24', '10.0.3.0/24'] }, lengths), [
    'add element ip keelson-network pods-24 { 0x0a000200, 0x0a000300 }',
  ]);
  t.deepEqual(change({ remove: ['10.0.2.0/24'] }, lengths), [
    'delete element ip keelson-network pods-24 { 0x0a000200 }',
  ]);
  t.is(change({ add: ['10.0.4.0/22'] }, lengths), undefined);
});

test('kept: networks come and go, pass from one peer to another, and are there again after a foreign change', async (t) => {
  const kernel = new FakeNftables();
  const [ours, foreign] = [await kernel.open(), await kernel.open()];
  const kept = await KeptMasquerade.start(ours, ['10.0.1.0/24'], false, context());
  t.teardown(() => kept.stop());
  const state = { own: ['10.0.1.0/24'], peers: [] as string[] };
  const isRight = async (): Promise<boolean> =>
    planTableDifference(await foreign.dump(masqueradeTable), planMasquerade(4, state)).length === 0;
  const lastBatch = (): string[] => kernel.applied.at(-1)?.map((operation) => describe(operation)) ?? [];

  state.peers = ['10.0.2.0/24', '10.0.3.0/24'];
  await kept.add(state.peers);
  t.true(await isRight());
  t.deepEqual(lastBatch(), ['add element ip keelson-network pods-24 { 0x0a000200, 0x0a000300 }']);
  // Another peer has it before the first gives it up.
  await kept.add(['10.0.2.0/24']);
  await kept.remove(['10.0.2.0/24', '10.0.3.0/24']);
  state.peers = ['10.0.2.0/24'];
  t.true(await isRight());
  t.deepEqual(lastBatch(), ['delete element ip keelson-network pods-24 { 0x0a000300 }']);
  state.peers.push('10.0.4.0/22');
  await kept.add(['10.0.4.0/22']);
  t.true(await isRight(), 'of a new length');
  await kept.remove(['10.0.4.0/22']);
  state.peers.pop();
  t.true(await isRight(), 'and without it');
  // Its own network is not taken away with a peer's claim to it.
  await kept.add(['10.0.1.0/24']);
  await kept.remove(['10.0.1.0/24']);
  t.true(await isRight());
  state.own = ['10.0.9.0/24', '10.0.1.0/24'];
  await kept.setOwn(state.own);
  t.true(await isRight());
  await foreign.apply([{ op: 'tableDelete', table: masqueradeTable }]);
  await settle();
  t.true(await isRight());
});

test('kept: what a predecessor knew stays until every node was told', async (t) => {
  const kernel = new FakeNftables();
  const [ours, foreign] = [await kernel.open(), await kernel.open()];
  const own = ['10.0.1.0/24'];
  const odd = { op: 'elementsAdd', family: 'ip', table: 'keelson-network', set: 'pods-24' } as const;
  await ours.apply([
    ...planMasquerade(4, { own, peers: ['10.0.2.0/24', '10.0.3.0/24', '10.0.4.0/22'] }),
    // Not a network of that length, and no pods' network: whoever put them there, they go.
    { ...odd, elements: [{ key: Uint8Array.of(10, 0, 9, 9) }, { key: Uint8Array.of(224, 0, 0, 0) }] },
  ]);
  const kept = await KeptMasquerade.start(ours, own, true, context());
  t.teardown(() => kept.stop());
  const isRight = async (peers: string[]): Promise<boolean> =>
    planTableDifference(await foreign.dump(masqueradeTable), planMasquerade(4, { own, peers })).length === 0;
  t.true(await isRight(['10.0.2.0/24', '10.0.3.0/24', '10.0.4.0/22']));
  await kept.add(['10.0.2.0/24', '10.0.5.0/24']);
  t.true(await isRight(['10.0.2.0/24', '10.0.3.0/24', '10.0.4.0/22', '10.0.5.0/24']));
  await kept.remove(['10.0.5.0/24']);
  await kept.settle();
  t.true(await isRight(['10.0.2.0/24']));
  await kept.settle();
  await kept.remove(['10.0.2.0/24']);
  t.true(await isRight([]));
  await kept.stop();
  const alone = await KeptMasquerade.start(ours, ['10.0.8.0/24'], false, context());
  t.teardown(() => alone.stop());
  t.deepEqual(networksOf(4, await foreign.dump(masqueradeTable)), ['10.0.8.0/24']);
  t.deepEqual(networksOf(4, undefined), []);
});

test('removing takes the table, and says whether there was one', async (t) => {
  const kernel = new FakeNftables();
  const socket = await kernel.open();
  await socket.apply([
    ...planMasquerade(4, { own: ['10.0.0.0/24'], peers: [] }),
    { op: 'tableAdd', table: { family: 'ip', name: 'other' } },
  ]);
  t.true(await removeMasquerade(kernel, 4));
  t.false(await removeMasquerade(kernel, 4));
  t.is(await socket.dump(masqueradeTable), undefined);
  t.is(kernel.tables.size, 1);
  socket.close();
  t.is(kernel.openSockets, 0);
  kernel.intercept = () => new Error('no');
  await t.throwsAsync(removeMasquerade(kernel, 4), { message: 'no' });
  t.is(kernel.openSockets, 0);
});
