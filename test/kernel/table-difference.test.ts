/**
 * Tables compared with what the real kernel lists, and kept against nft(8) as the other program. In fresh network
 * namespaces; root only, needs nft.
 * Layer: test.
 */
import { execFileSync } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../../src/base/clock.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { describe } from '../../src/linux/nftables/describe.ts';
import type { Nftables } from '../../src/linux/nftables/edge.ts';
import { keepTable } from '../../src/linux/nftables/keep-table.ts';
import { eventually } from '../../src/linux/nftables/nftables-cases.fake.ts';
import { randomNumbers, randomPlan, randomTable } from '../../src/linux/nftables/random-table.fake.ts';
import { planTableDifference } from '../../src/linux/nftables/table-difference.ts';
import type { NftablesOperation, TableRef } from '../../src/linux/nftables/types.ts';
import { type ForeignChange, watchTable } from '../../src/linux/nftables/watch-table.ts';
import { masqueradeTableOf, planMasquerade, removeMasquerade } from '../../src/network/masquerade.ts';
import { silentLogger } from '../../src/observe/logger.ts';
import { planReplacement } from '../../src/proxy/nftables/plan.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';

const nftPath = '/usr/sbin/nft';
let counter = 0;

async function setUp(
  t: ExecutionContext,
): Promise<{ path: string; nftables: Nftables; nft: (script: string) => string }> {
  const netns = `kd${process.pid}-${counter++}`;
  execFileSync('ip', ['netns', 'add', netns]);
  t.teardown(() => execFileSync('ip', ['netns', 'del', netns]));
  const path = `/run/netns/${netns}`;
  const nftables = await kernelNftables.open(path);
  t.teardown(() => nftables.close());
  const nft = (script: string) =>
    execFileSync('nsenter', [`--net=${path}`, '--', nftPath, '-f', '-'], { input: script, encoding: 'utf8' });
  return { path, nftables, nft };
}

const texts = (operations: readonly NftablesOperation[]): string[] => operations.map((o) => describe(o));

async function left(nftables: Nftables, table: TableRef, plan: readonly NftablesOperation[]): Promise<string[]> {
  const dump = await nftables.dump(table);
  return dump === undefined ? ['no table'] : texts(planTableDifference(dump, plan));
}

test.serial('from any table to any other, and then nothing is left to do', async (t) => {
  const { nftables } = await setUp(t);
  const random = randomNumbers(11);
  for (let round = 0; round < 150; round++) {
    const plan = randomPlan(random);
    const operations = planTableDifference(await nftables.dump(randomTable), plan);
    await t.notThrowsAsync(nftables.apply(operations), texts(operations).join('\n'));
    t.deepEqual(await left(nftables, randomTable, plan), [], texts(plan).join('\n'));
  }
});

/** Services with one, two and three endpoints and none, TCP and UDP, node ports, local policies. */
function aModel(family: 'IPv4' | 'IPv6', count: number) {
  const tracker = new ServiceTracker({ family, nodeName: 'node-a' });
  const [serviceIp, podIp] =
    family === 'IPv4'
      ? [(n: number) => `10.96.0.${n}`, (n: number) => `10.244.0.${n}`]
      : [(n: number) => `fd00:1::${n}`, (n: number) => `fd00:4::${n}`];
  for (let n = 1; n <= count; n++) {
    const protocol = n % 2 ? 'TCP' : 'UDP';
    const clusterIP = serviceIp(n);
    const type = n % 3 === 0 ? 'ClusterIP' : 'NodePort';
    const ports = [{ port: 80, protocol, ...(type === 'NodePort' ? { nodePort: 30000 + n } : {}) } as const];
    const externalTrafficPolicy = n % 5 === 0 && type === 'NodePort' ? 'Local' : 'Cluster';
    tracker.serviceSet(
      aService(`s${n}`, {
        clusterIP,
        clusterIPs: [clusterIP],
        ipFamilies: [family],
        type,
        ports,
        externalTrafficPolicy,
      }),
    );
    const endpoints = [0, 1, 2].slice(0, n % 4).map((i) => ({ addresses: [podIp(n * 4 + i)], nodeName: 'node-a' }));
    const slicePorts = [{ name: '', port: 8080, protocol } as const];
    tracker.sliceSet(aSlice(`s${n}-1`, `s${n}`, { addressType: family, endpoints, ports: slicePorts }));
  }
  tracker.flush();
  return tracker.model;
}

for (const family of ['IPv4', 'IPv6'] as const) {
  test.serial(`the Service table of ${family} lists as it was planned, and goes to another model`, async (t) => {
    const { nftables, nft } = await setUp(t);
    const table = { family: family === 'IPv4' ? 'ip' : 'ip6', name: 'keelson-proxy' } as const;
    const options = trafficOfPods(['10.244.0.0/16', 'fd00:4::/32']);
    const [small, large] = [6, 23].map((count) => planReplacement(aModel(family, count), options));
    if (small === undefined || large === undefined) throw new Error('no plans');
    t.true(large.length > small.length && small.length > 60);
    for (const plan of [small, large, small]) {
      const operations = planTableDifference(await nftables.dump(table), plan);
      t.false(operations.some(({ op }) => op === 'tableDelete'));
      await nftables.apply(operations);
      t.deepEqual(await left(nftables, table, plan), []);
    }
    nft(`flush chain ${table.family} keelson-proxy services; add set ${table.family} keelson-proxy x { type mark; }`);
    await nftables.apply(planTableDifference(await nftables.dump(table), small));
    t.deepEqual(await left(nftables, table, small), []);
    const unlisted = await nftables.dump(table, { elementsOf: ({ name }) => name !== 'endpoints' });
    const refill = planTableDifference(unlisted, small);
    t.deepEqual(
      refill.map(({ op }) => op),
      ['setFlush', 'elementsAdd'],
    );
    await nftables.apply(refill);
    t.deepEqual(await left(nftables, table, small), []);
  });
}

test.serial('what nft does to a table is told, once for each transaction', async (t) => {
  const { nftables, nft } = await setUp(t);
  const table = { family: 'ip', name: 'mine' } as const;
  const seen: [ForeignChange, string | undefined][] = [];
  const stop = await watchTable(nftables, table, (change, by) => seen.push([change, by]));
  t.teardown(stop);
  await nftables.apply([{ op: 'tableAdd', table }]);
  nft('add table ip theirs; add chain ip theirs c; add rule ip theirs c drop');
  nft('add chain ip mine c; add rule ip mine c drop; add set ip mine s { type mark; elements = { 1 }; }');
  nft('flush chain ip mine c; delete set ip mine s');
  nft('delete table ip mine; add table ip mine');
  nft('flush ruleset');
  t.true(await eventually(async () => seen.length >= 4));
  t.deepEqual(
    seen,
    (['changed', 'changed', 'changed', 'gone'] as const).map((change) => [change, 'nft']),
  );
});

test.serial('the masquerade table outlives nft, other tables and a restart see nothing of it', async (t) => {
  const { path, nftables, nft } = await setUp(t);
  const plan = planMasquerade(4, { own: ['10.244.7.0/24'], peers: ['10.244.8.0/24', '10.245.0.0/22'] });
  const dependencies = { log: silentLogger, clock: systemClock };
  // Of a former version, which had it made by nft.
  nft('table ip keelson-network { chain postrouting { type nat hook postrouting priority srcnat; }; }');
  nft('table ip theirs { chain c { counter; }; }');
  const theirs = nft('list table ip theirs');
  const first = await keepTable(nftables, masqueradeTableOf(4), () => plan, dependencies);
  t.deepEqual(await left(nftables, masqueradeTableOf(4), plan), []);
  t.is(nft('list table ip theirs'), theirs);

  const listed = nft('list table ip keelson-network');
  t.regex(
    listed,
    /ip saddr 10\.244\.7\.0\/24 ip daddr & 255\.255\.252\.0 != @pods-22 ip daddr & 255\.255\.255\.0 != @pods-24 ip daddr != 224\.0\.0\.0\/4 masquerade fully-random comment/,
  );
  t.regex(listed, /type nat hook postrouting priority srcnat; policy accept;/);
  const handle = /# handle (\d+)\n\t\}/.exec(
    execFileSync('nsenter', [`--net=${path}`, '--', nftPath, '-a', 'list', 'table', 'ip', 'keelson-network'], {
      encoding: 'utf8',
    }),
  )?.[1];
  const repaired = async (script: string): Promise<void> => {
    nft(script);
    const isRepaired = await eventually(async () => (await left(nftables, masqueradeTableOf(4), plan)).length === 0);
    t.true(isRepaired, script);
  };
  await repaired(`delete rule ip keelson-network postrouting handle ${handle}`);
  await repaired('insert rule ip keelson-network postrouting ip daddr { 192.0.2.1, 192.0.2.7 } accept');
  await repaired('add chain ip keelson-network x; add rule ip keelson-network postrouting jump x');
  await repaired('add set ip keelson-network s { type mark; elements = { 1 }; }');
  await repaired('chain ip keelson-network postrouting { policy drop; }');
  t.is(nft('list table ip theirs'), theirs);
  await repaired('flush ruleset');
  await repaired('delete table ip keelson-network');
  await first.stop();

  const generation = await nftables.generation();
  const again = await keepTable(nftables, masqueradeTableOf(4), () => plan, dependencies);
  t.is(await nftables.generation(), generation);
  await again.stop();
  t.true(await removeMasquerade(kernelNftables, 4, path));
  t.false(await removeMasquerade(kernelNftables, 4, path));
  t.is(nft('list tables'), '');
});
