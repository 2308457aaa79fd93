import test from 'ava';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { describe } from '../linux/nftables/describe.ts';
import { masqueradeTable, planMasquerade, removeMasquerade } from './masquerade.ts';
import { NetworkError } from './network-error.ts';

test('the plan in the words of nft', (t) => {
  t.deepEqual(
    planMasquerade('10.244.0.0/20').map((operation) => describe(operation)),
    [
      'add table ip keelson-network { comment "keelson-network schema 1"; }',
      'add chain ip keelson-network postrouting { type nat hook postrouting priority 100; policy accept; }',
      'add rule ip keelson-network postrouting ip saddr & 255.255.240.0 10.244.0.0 ' +
        'ip daddr & 255.255.240.0 != 10.244.0.0 ip daddr & 240.0.0.0 != 224.0.0.0 ' +
        'masquerade fully-random comment "keelson: pods leave with the address of the node"',
    ],
  );
  t.deepEqual(
    planMasquerade('10.0.1.0/24', ['10.0.2.0/24'])
      .slice(2)
      .map((operation) => describe(operation)),
    ['10.0.1.0', '10.0.2.0'].map(
      (pods) =>
        `add rule ip keelson-network postrouting ip saddr & 255.255.255.0 ${pods} ` +
        'ip daddr & 255.255.255.0 != 10.0.1.0 ip daddr & 255.255.255.0 != 10.0.2.0 ip daddr & 240.0.0.0 != 224.0.0.0 ' +
        'masquerade fully-random comment "keelson: pods leave with the address of the node"',
    ),
  );
  t.throws(() => planMasquerade('10.244.0.1/20'), { instanceOf: NetworkError });
});

test('removing takes the table, and says whether there was one', async (t) => {
  const kernel = new FakeNftables();
  const socket = await kernel.open();
  await socket.apply([...planMasquerade('10.0.0.0/24'), { op: 'tableAdd', table: { family: 'ip', name: 'other' } }]);
  t.true(await removeMasquerade(kernel));
  t.false(await removeMasquerade(kernel));
  t.is(await socket.dump(masqueradeTable), undefined);
  t.is(kernel.tables.size, 1);
  socket.close();
  t.is(kernel.openSockets, 0);
  kernel.intercept = () => new Error('no');
  await t.throwsAsync(removeMasquerade(kernel), { message: 'no' });
  t.is(kernel.openSockets, 0);
});
