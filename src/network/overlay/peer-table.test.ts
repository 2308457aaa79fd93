/** Which nodes' claims are good: bad texts, overlaps, age. */
import test from 'ava';
import fc from 'fast-check';
import type { PeerChange, PeerNode } from './peer.ts';
import { PeerTable } from './peer-table.ts';

const own = { name: 'own', podCIDRs: ['10.244.0.0/24'], address: '192.0.2.10' };
const peer = (name: string, number: number, more: Partial<PeerNode> = {}): PeerNode => ({
  name,
  createdAt: `2026-01-01T00:00:${String(number % 60).padStart(2, '0')}Z`,
  podCIDR: `10.244.${number}.0/24`,
  address: `192.0.2.${10 + number}`,
  ...more,
});
const set = (node: PeerNode): PeerChange => ({ type: 'set', peer: node });
const refusal = (table: PeerTable, name: string): string | undefined => {
  const judged = table.judge(name);
  return judged !== undefined && 'refused' in judged ? judged.refused : undefined;
};

test('a peer with a pod network and an address is usable; one without waits', (t) => {
  const table = new PeerTable(own);
  t.deepEqual([...table.apply(set(peer('a', 1)))], ['a']);
  t.like(table.judge('a'), { name: 'a', podCIDR: '10.244.1.0/24', address: '192.0.2.11' });
  table.apply(set(peer('b', 2, { podCIDR: undefined })));
  table.apply(set(peer('c', 3, { address: undefined })));
  for (const name of ['b', 'c', 'never']) t.is(table.judge(name), undefined);
  t.deepEqual([...table.apply(set(peer('a', 1)))], [], 'nothing new is no change');
  t.deepEqual([...table.apply({ type: 'deleted', name: 'a' })], ['a']);
  t.is(table.judge('a'), undefined);
  t.deepEqual([...table.apply({ type: 'deleted', name: 'a' })], ['a']);
  t.deepEqual([...table.apply(set(peer('own', 9)))], [], 'this node is no peer of itself');
});

const bad: [Partial<PeerNode>, RegExp][] = [
  [{ podCIDR: '0.0.0.0/0' }, /outside \/8 to \/30/],
  [{ podCIDR: '10.244.1.7/24' }, /host bits/],
  [{ podCIDR: '127.0.0.0/24' }, /no host routes/],
  [{ podCIDR: '10.244.1.0/24 ' }, /not an IP prefix/],
  [{ podCIDR: '../../etc' }, /not an IP prefix/],
  [{ podCIDR: `10.${'1'.repeat(10_000)}.0.0/16` }, /not an IP prefix/],
  [{ address: '127.0.0.1' }, /no address of a host/],
  [{ address: '0.0.0.0' }, /no address of a host/],
  [{ address: '224.0.0.5' }, /no address of a host/],
  [{ address: '255.255.255.255' }, /no address of a host/],
  [{ address: '169.254.169.254' }, /no address of a host/],
  [{ address: '192.0.2.012' }, /no address of a host/],
  [{ address: 'node-a' }, /no address of a host/],
  [{ address: '10.244.1.9' }, /lies in its own podCIDR/],
  [{ podCIDR: '10.244.0.0/24' }, /overlaps podCIDR 10\.244\.0\.0\/24 of this node/],
  [{ podCIDR: '10.244.0.0/16' }, /overlaps podCIDR 10\.244\.0\.0\/24 of this node/],
  [{ podCIDR: '192.0.2.0/28', address: '203.0.113.5' }, /overlaps address 192\.0\.2\.10 of this node/],
  [{ address: '192.0.2.10' }, /192\.0\.2\.10 overlaps address 192\.0\.2\.10 of this node/],
  [{ address: '10.244.0.9' }, /overlaps podCIDR 10\.244\.0\.0\/24 of this node/],
];
for (const [more, message] of bad) {
  test(`refused: ${JSON.stringify(more).slice(0, 60)}`, (t) => {
    const table = new PeerTable(own);
    table.apply(set(peer('a', 1, more)));
    const reason = refusal(table, 'a') ?? '';
    t.regex(reason, message);
    t.true(reason.length < 300);
  });
}

test('of two nodes with one pod network, or one address, the younger is refused, until the older is gone', (t) => {
  for (const claim of [{ podCIDR: '10.244.1.0/24' }, { address: '192.0.2.11' }, { podCIDR: '10.244.0.0/23' }]) {
    const table = new PeerTable({ ...own, podCIDRs: ['10.9.0.0/24'] });
    const younger = peer('b', 2, claim);
    t.deepEqual([...table.apply(set(younger))], ['b']);
    t.is(refusal(table, 'b'), undefined);
    t.deepEqual([...table.apply(set(peer('a', 1)))].toSorted(), ['a', 'b'], 'the one that it touches is judged again');
    t.is(refusal(table, 'a'), undefined);
    t.regex(refusal(table, 'b') ?? '', /of node a, which is older/);
    t.deepEqual([...table.apply({ type: 'deleted', name: 'a' })].toSorted(), ['a', 'b']);
    t.is(refusal(table, 'b'), undefined);
  }
});

test('a node whose address lies in another one’s pod network, and nonsense that takes nothing from others', (t) => {
  const table = new PeerTable(own);
  table.apply(set(peer('a', 1)));
  table.apply(set(peer('b', 2, { address: '10.244.1.4' })));
  t.is(refusal(table, 'b'), 'address 10.244.1.4 overlaps podCIDR 10.244.1.0/24 of node a, which is older');
  table.apply(set(peer('c', 0, { podCIDR: '10.244.1.0/24', address: 'nonsense' })));
  t.is(refusal(table, 'a'), undefined);
});

test('what a refused node claims is in nobody’s way', (t) => {
  const table = new PeerTable(own);
  // The network of the nodes themselves as pod network.
  table.apply(set(peer('b', 2, { podCIDR: '198.51.100.0/24' })));
  table.apply(set(peer('a', 1, { address: '198.51.100.1' })));
  table.apply(set(peer('c', 3, { address: '198.51.100.3' })));
  t.regex(refusal(table, 'b') ?? '', /overlaps address 198\.51\.100\.1 of node a/);
  t.is(refusal(table, 'c'), undefined);
  t.deepEqual([...table.apply({ type: 'deleted', name: 'a' })].toSorted(), ['a', 'b', 'c']);
  t.is(refusal(table, 'b'), undefined);
  t.regex(refusal(table, 'c') ?? '', /overlaps podCIDR 198\.51\.100\.0\/24 of node b/);
  t.deepEqual([...table.setOwn({ ...own, address: '198.51.100.9' })].toSorted(), ['b', 'c']);
  t.regex(refusal(table, 'b') ?? '', /of this node/);
  t.is(refusal(table, 'c'), undefined);
});

test('made in one second the name decides; a node without a time is the youngest', (t) => {
  const table = new PeerTable(own);
  const claim = { createdAt: '2026-01-01T00:00:00Z', podCIDR: '10.244.5.0/24' };
  table.apply(set(peer('b', 2, claim)));
  table.apply(set(peer('a', 1, claim)));
  table.apply(set(peer('0', 3, { ...claim, createdAt: '' })));
  t.is(refusal(table, 'a'), undefined);
  t.regex(refusal(table, 'b') ?? '', /of node a/);
  t.regex(refusal(table, '0') ?? '', /of node a/);
});

test('what this node claims changes: former pod networks and the address count', (t) => {
  const table = new PeerTable(own);
  table.apply(set(peer('a', 1)));
  table.apply(set(peer('b', 2)));
  t.deepEqual([...table.setOwn({ ...own, podCIDRs: ['10.244.0.0/24', '10.244.1.0/24'] })], ['a']);
  t.is(refusal(table, 'a'), 'podCIDR 10.244.1.0/24 overlaps the former podCIDR 10.244.1.0/24 of this node');
  t.deepEqual([...table.setOwn({ ...own, address: '192.0.2.12' })].toSorted(), ['a', 'b']);
  t.is(refusal(table, 'a'), undefined);
  t.is(refusal(table, 'b'), 'address 192.0.2.12 overlaps address 192.0.2.12 of this node');
});

test('this node is named as the one that is wrong when the other is older', (t) => {
  const table = new PeerTable(own);
  table.apply(set(peer('a', 1, { podCIDR: '10.244.0.0/24' })));
  table.apply(set(peer('b', 2, { address: '192.0.2.10' })));
  t.deepEqual(table.ownFaults('2026-01-01T00:00:00Z'), []);
  t.deepEqual(table.ownFaults('2027-01-01T00:00:00Z').toSorted(), [
    'address 192.0.2.10 of node b, which is older, overlaps what this node has',
    'podCIDR 10.244.0.0/24 of node a, which is older, overlaps what this node has',
  ]);
});

test('property: whatever the order of changes, the judgement is that of the end, and who is told apart is who changed', (t) => {
  const node = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    createdAt: fc.constantFrom('', '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
    podCIDR: fc.option(fc.constantFrom('10.1.0.0/24', '10.1.1.0/24', '10.1.0.0/23', '10.1.1.128/25', 'x'), {
      nil: undefined,
    }),
    address: fc.option(fc.constantFrom('192.0.2.1', '192.0.2.2', '10.1.1.5', 'x'), { nil: undefined }),
  });
  const change = fc.oneof(
    node.map(set),
    fc.constantFrom('a', 'b', 'c', 'd', 'e').map((name): PeerChange => ({ type: 'deleted', name })),
  );
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const table = new PeerTable(own);
      const last = new Map<string, PeerNode>();
      const said = new Map<string, string>();
      for (const one of changes) {
        const before = new Map(said);
        if (one.type === 'set') last.set(one.peer.name, one.peer);
        else last.delete(one.name);
        const touched = table.apply(one);
        for (const name of ['a', 'b', 'c', 'd', 'e']) {
          const judgement = JSON.stringify(table.judge(name) ?? null, (_, value: unknown) =>
            typeof value === 'bigint' ? String(value) : value,
          );
          said.set(name, judgement);
          if (judgement !== (before.get(name) ?? 'null')) t.true(touched.has(name), `${name} is judged again`);
        }
      }
      const fresh = new PeerTable(own);
      for (const one of [...last.values()].toReversed()) fresh.apply(set(one));
      for (const name of ['a', 'b', 'c', 'd', 'e']) t.deepEqual(table.judge(name), fresh.judge(name), name);
    }),
  );
});
