import test from 'ava';
import { hasMasqueradeTable, renderMasquerade, renderMasqueradeRemoval, startNft } from './masquerade.ts';
import { NetworkError } from './network-error.ts';

test('the rules are one transaction on our own table', (t) => {
  t.is(
    renderMasquerade('10.244.0.0/24'),
    `add table ip keelson-network
delete table ip keelson-network
table ip keelson-network {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.0.0/24 ip daddr != { 10.244.0.0/24, 224.0.0.0/4 } masquerade fully-random comment "keelson: pods leave with the address of the node"
  }
}
`,
  );
  t.is(renderMasqueradeRemoval(), 'add table ip keelson-network\ndelete table ip keelson-network\n');
});

test('the table is found in the list of nft', async (t) => {
  t.true(await hasMasqueradeTable(async () => 'table ip kube-proxy\ntable ip keelson-network\n'));
  t.false(await hasMasqueradeTable(async () => 'table ip keelson-network-2\n'));
});

test('a missing nft says what to install', async (t) => {
  const error = await t.throwsAsync(startNft('list tables\n', '/nonexistent'), { instanceOf: NetworkError });
  t.is(error?.code, 'NETWORK_NFT_MISSING');
  t.regex(error?.toLine() ?? '', /install the nftables package/);
});
