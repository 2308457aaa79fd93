/** What each mode leaves is taken away, and nothing else is. */
import test from 'ava';
import { FakeIptables } from '../linux/fake-iptables.ts';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { FakeRtnetlink } from '../linux/fake-rtnetlink.ts';
import type { IptablesOperation } from '../linux/iptables.ts';
import type { VirtualServer } from '../linux/ipvs/edge.ts';
import { FakeIpvs } from '../linux/ipvs/fake-ipvs.ts';
import { KernelError } from '../linux/kernel-error.ts';
import { cleanupOtherModes, type ProxyMode } from './mode-cleanup.ts';

const server: VirtualServer = {
  family: 'IPv4',
  protocol: 'TCP',
  address: '10.96.0.1',
  port: 80,
  scheduler: 'rr',
  persistentSeconds: 0,
  schedulerFlags: 0,
};

async function setup() {
  const iptables = new FakeIptables();
  const chain = (table: 'nat' | 'filter', name: string): IptablesOperation => ({ op: 'chain', table, chain: name });
  const add = (table: 'nat' | 'filter', name: string, rule: string): IptablesOperation => ({
    op: 'append',
    table,
    chain: name,
    rule,
  });
  await iptables.restore([
    ...['KUBE-SERVICES', 'KUBE-NODE-PORT', 'KUBE-SVC-NPX46M4PTMTKRN6Y', 'MINE'].map((name) => chain('nat', name)),
    ...['KUBE-FIREWALL', 'KUBE-FORWARD', 'KUBE-IPVS-FILTER'].map((name) => chain('filter', name)),
    add('nat', 'PREROUTING', '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
    add('nat', 'PREROUTING', '-j MINE'),
    add('nat', 'MINE', '-j KUBE-SERVICES'),
    add('nat', 'KUBE-SERVICES', '-d 10.96.0.1/32 -j KUBE-SVC-NPX46M4PTMTKRN6Y'),
    add('nat', 'KUBE-SERVICES', '-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT'),
    add('filter', 'INPUT', '-j KUBE-FIREWALL'),
    add('filter', 'INPUT', '-j KUBE-IPVS-FILTER'),
    add('filter', 'FORWARD', '-j KUBE-FORWARD'),
  ]);
  const nftables = new FakeNftables();
  const socket = await nftables.open();
  for (const name of ['kube-proxy', 'keelson-proxy', 'keelson-proxy-ipvs', 'mine'])
    await socket.apply([{ op: 'tableAdd', table: { family: 'ip', name } }]);
  const rtnetlink = new FakeRtnetlink();
  const link = await rtnetlink.open();
  await link.apply([{ op: 'linkAddBridge', name: 'kube-ipvs0' }]);
  const ipvs = new FakeIpvs();
  await ipvs.apply([
    { op: 'serviceAdd', service: server },
    { op: 'serviceAdd', service: { ...server, address: '192.0.2.1' } },
  ]);
  const sets = new Set(['KUBE-CLUSTER-IP', 'KUBE-6-LOAD-BALANCER-SOURCE-CID', 'mine']);
  const ipset = {
    async destroy(names: readonly string[]) {
      return { destroyed: names.filter((name) => sets.delete(name)), failed: new Map<string, Error>() };
    },
  };
  // One family, or its chains would be counted twice.
  const opener = {
    open: async () => iptables,
    inUse: async (family: string) => (family === 'IPv4' ? iptables.inUse() : []),
  };
  const edges = { nftables, iptables: opener, ipvs, ipset, rtnetlink };
  return { iptables, nftables, rtnetlink, ipvs, sets, edges, link };
}

const tablesAfter: [ProxyMode | undefined, string[]][] = [
  ['nftables', ['ip keelson-proxy', 'ip mine']],
  ['iptables', ['ip mine']],
  ['ipvs', ['ip keelson-proxy-ipvs', 'ip mine']],
  [undefined, ['ip mine']],
];

for (const [mode, tables] of tablesAfter)
  test(`after a change to ${mode ?? 'nothing'}`, async (t) => {
    const { iptables, nftables, ipvs, sets, edges, link } = await setup();
    const { failed, removed } = await cleanupOtherModes(mode, edges, ['192.0.2.0/24']);
    t.deepEqual(failed, []);
    t.true(removed.includes('nf_tables table ip kube-proxy'));
    t.deepEqual([...nftables.tables.keys()].sort(), tables);
    const nat = iptables.chains('nat').filter((name) => name.startsWith('KUBE-'));
    t.deepEqual(nat, mode === 'iptables' ? ['KUBE-SERVICES', 'KUBE-SVC-NPX46M4PTMTKRN6Y'] : []);
    t.false(iptables.chains('filter').includes('KUBE-IPVS-FILTER'));
    t.deepEqual(iptables.rules('filter', 'INPUT'), ['-j KUBE-FIREWALL']);
    t.deepEqual(iptables.rules('nat', 'MINE'), mode === 'iptables' ? ['-j KUBE-SERVICES'] : []);
    t.deepEqual([...sets], ['mine']);
    const isIpvs = mode === 'ipvs';
    t.deepEqual([...ipvs.servers.keys()], isIpvs ? ['TCP 10.96.0.1:80', 'TCP 192.0.2.1:80'] : ['TCP 192.0.2.1:80']);
    t.is((await link.link({ name: 'kube-ipvs0' })) !== undefined, isIpvs);
    const again = await cleanupOtherModes(mode, edges, ['192.0.2.0/24']);
    t.deepEqual(again, { removed: [], failed: [] });
  });

test('a daemon that starts runs no program where there is nothing to remove', async (t) => {
  const { edges, nftables, iptables } = await setup();
  let looks = 0;
  let hasLegacy = false;
  const counting = {
    ...edges,
    iptables: {
      ...edges.iptables,
      async inUse(family: string) {
        looks++;
        return edges.iptables.inUse(family);
      },
    },
    hasLegacyTables: async (family: string) => hasLegacy && family === 'IPv4',
  };
  await cleanupOtherModes('nftables', counting);
  t.is(looks, 0);
  t.true(iptables.chains('nat').includes('KUBE-SERVICES'), 'the fake ones are in no nf_tables');
  // What tells: one chain that every version of kube-proxy has.
  const socket = await nftables.open();
  await socket.apply([
    { op: 'tableAdd', table: { family: 'ip', name: 'mangle' } },
    { op: 'chainAdd', chain: { family: 'ip', table: 'mangle', name: 'KUBE-PROXY-CANARY' } },
  ]);
  await cleanupOtherModes('iptables', counting);
  t.is(looks, 0, 'no chain of the mode ipvs');
  await cleanupOtherModes('nftables', counting);
  t.is(looks, 1);
  t.false(iptables.chains('nat').includes('KUBE-SERVICES'));
  await socket.apply([{ op: 'tableDelete', table: { family: 'ip', name: 'mangle' } }]);
  hasLegacy = true;
  await cleanupOtherModes('ipvs', counting);
  t.is(looks, 2, 'legacy tables say nothing of what is in them');
  hasLegacy = false;
  await cleanupOtherModes(undefined, counting);
  t.is(looks, 4, 'who asks is told of everything');
  t.is(nftables.openSockets, 2, 'those of this test');
});

test('chains that no program here can list are told, not passed over', async (t) => {
  const { edges, nftables } = await setup();
  const socket = await nftables.open();
  await socket.apply([
    { op: 'tableAdd', table: { family: 'ip', name: 'mangle' } },
    { op: 'chainAdd', chain: { family: 'ip', table: 'mangle', name: 'KUBE-PROXY-CANARY' } },
  ]);
  const without = {
    ...edges,
    iptables: { ...edges.iptables, inUse: async () => [] },
    hasLegacyTables: async () => false,
  };
  const { failed } = await cleanupOtherModes('nftables', without);
  t.is(failed.length, 1);
  t.regex(failed[0] ?? '', /^iptables IPv4: .*install iptables$/);
});

test('what others mark by the proxy’s chain goes on being masqueraded', async (t) => {
  const { edges, iptables } = await setup();
  await iptables.restore([
    ...['KUBE-MARK-MASQ', 'KUBE-POSTROUTING', 'CNI-DN-0'].map(
      (chain) => ({ op: 'chain', table: 'nat', chain }) as const,
    ),
    { op: 'append', table: 'nat', chain: 'POSTROUTING', rule: '-j KUBE-POSTROUTING' },
    { op: 'append', table: 'nat', chain: 'CNI-DN-0', rule: '-p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ' },
  ]);
  await cleanupOtherModes('nftables', edges);
  const left = iptables.chains('nat');
  t.deepEqual(
    ['KUBE-MARK-MASQ', 'KUBE-POSTROUTING', 'CNI-DN-0', 'KUBE-SERVICES'].map((chain) => left.includes(chain)),
    [true, true, true, false],
  );
  t.is(iptables.rules('nat', 'CNI-DN-0')?.length, 1);
  t.true(iptables.rules('nat', 'POSTROUTING')?.includes('-j KUBE-POSTROUTING'));
});

test('in the mode iptables the chains of the other variant go as a whole', async (t) => {
  const { edges, iptables } = await setup();
  const own = new FakeIptables();
  own.backend = 'legacy';
  const both = { ...edges.iptables, open: async () => own };
  await cleanupOtherModes('iptables', { ...edges, iptables: both });
  t.deepEqual(
    iptables.chains('nat').filter((name) => name.startsWith('KUBE-')),
    [],
  );
});

test('packet counters go with the rules that count by them', async (t) => {
  const { edges } = await setup();
  const asked: string[] = [];
  const nfacct = {
    ensure: async () => true,
    packets: async () => 0,
    async destroy(names: readonly string[]) {
      asked.push(...names);
      return ['ct_state_invalid_dropped_pkts'];
    },
  };
  const { removed } = await cleanupOtherModes('nftables', { ...edges, nfacct });
  t.true(removed.includes('nfacct counter ct_state_invalid_dropped_pkts'));
  t.deepEqual(asked, ['ct_state_invalid_dropped_pkts', 'localhost_nps_accepted_pkts']);
  await cleanupOtherModes('iptables', { ...edges, nfacct });
  t.is(asked.length, 2, 'which are in use');
});

test("without the device virtual servers are somebody else's", async (t) => {
  const { ipvs, edges, link } = await setup();
  await link.apply([{ op: 'linkDelete', link: { name: 'kube-ipvs0' } }]);
  await cleanupOtherModes(undefined, edges);
  t.is(ipvs.servers.size, 2);
});

test('a failure is told, and the rest is done', async (t) => {
  const { edges, nftables, ipvs, link } = await setup();
  nftables.intercept = () => new KernelError(1, 'NFT_MSG_DELTABLE', 'nft');
  ipvs.intercept = () => new KernelError(1, 'IPVS', 'ipvsadm');
  const { failed, removed } = await cleanupOtherModes(undefined, edges);
  t.true(failed.some((line) => line.startsWith('nf_tables table ip kube-proxy: ')));
  t.true(failed.some((line) => line.startsWith('IPVS: ')));
  t.true(removed.includes('link kube-ipvs0'));
  t.is(await link.link({ name: 'kube-ipvs0' }), undefined);
});
