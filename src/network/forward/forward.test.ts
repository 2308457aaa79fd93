/** Chain FORWARD in both flavours: what is planned, kept and taken away. Packets: test/kernel/overlay.test.ts. */
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import { describe } from '../../linux/nftables/describe.ts';
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import { silentLogger } from '../../observe/logger.ts';
import { formatIpPrefix, type IpPrefix, parseIpPrefix } from '../ipam/ip-prefix.ts';
import { type Accepted, joinPrefixes } from './accepted.ts';
import { KeptForward, removeForward } from './kept-forward.ts';
import { planLegacyForward } from './legacy-filter.ts';
import type { LegacyFilter } from './legacy-program.ts';
import { filterTableOf, planNftForward } from './nft-filter.ts';

const accepted: Accepted = { networks: ['10.244.1.0/24'], links: ['keelson-vxlan'] };
const at = { family: 'ip', table: 'filter' } as const;
const filterTable = filterTableOf(4);
const forward = (policy: 'accept' | 'drop'): NftablesOperation => ({
  op: 'chainAdd',
  chain: { ...at, name: 'FORWARD', base: { type: 'filter', hook: 'forward', priority: 0, policy } },
});
const dockerRule: NftablesOperation = {
  op: 'ruleAdd',
  rule: {
    ...at,
    chain: 'FORWARD',
    expressions: [{ expr: 'counter' }, { expr: 'verdict', verdict: { jump: 'DOCKER-USER' } }],
  },
};
const docker: NftablesOperation[] = [
  { op: 'tableAdd', table: filterTable },
  forward('drop'),
  { op: 'chainAdd', chain: { ...at, name: 'DOCKER-USER' } },
  dockerRule,
];

const prefix = (text: string): IpPrefix => {
  const parsed = parseIpPrefix(text);
  if (!parsed) throw new Error(text);
  return parsed;
};

test('networks are named with as few prefixes as possible', (t) => {
  for (const [given, expected] of [
    [[], []],
    [['10.1.0.0/24'], ['10.1.0.0/24']],
    [['10.1.1.0/24', '10.1.0.0/24'], ['10.1.0.0/23']],
    [
      ['10.1.1.0/24', '10.1.2.0/24'],
      ['10.1.1.0/24', '10.1.2.0/24'],
    ],
    [['10.1.3.0/24', '10.1.0.0/24', '10.1.2.0/24', '10.1.1.0/24'], ['10.1.0.0/22']],
    [['10.1.0.0/16', '10.1.7.0/24'], ['10.1.0.0/16']],
    [['255.255.255.0/25', '255.255.255.128/25'], ['255.255.255.0/24']],
  ] as const)
    t.deepEqual(joinPrefixes(given.map(prefix)).map(formatIpPrefix), expected);
});

test('property: joined prefixes name the same addresses, without overlap or a pair that could be one', (t) => {
  const some = fc
    .tuple(fc.integer({ min: 0, max: 63 }), fc.integer({ min: 26, max: 32 }))
    .map(([low, length]) => prefix(`10.0.0.${low}/${length}`));
  fc.assert(
    fc.property(fc.array(some, { maxLength: 20 }), (prefixes) => {
      const joined = joinPrefixes(prefixes);
      for (let address = prefix('10.0.0.0/32').base, end = address + 80n; address < end; address++) {
        const isIn = (list: readonly IpPrefix[]): number =>
          list.filter(({ base, last }) => base <= address && address <= last).length;
        t.is(isIn(joined), isIn(prefixes) > 0 ? 1 : 0);
      }
      for (const [index, one] of joined.entries()) {
        const next = joined[index + 1];
        if (next?.length === one.length && next.base === one.last + 1n)
          t.not(one.base % (2n * (one.last - one.base + 1n)), 0n);
      }
    }),
  );
});

async function setUp(t: ExecutionContext, table: readonly NftablesOperation[] = docker) {
  const kernel = new FakeNftables();
  const [nftables, admin] = [await kernel.open(), await kernel.open()];
  await admin.apply(table);
  const clock = new FakeClock();
  const start = async (legacy?: LegacyFilter, what = accepted): Promise<KeptForward> => {
    const kept = await KeptForward.start({ family: 4, nftables, legacy, log: silentLogger, clock }, what);
    t.teardown(() => kept.stop());
    return kept;
  };
  const rules = async (chain: string): Promise<string[]> =>
    ((await admin.dump(filterTable))?.rules ?? [])
      .filter((rule) => rule.chain === chain)
      .map((rule) => describe({ op: 'ruleAdd', rule }).replace(/^add rule ip filter \S+ /, ''));
  return { kernel, nftables, admin, clock, start, rules };
}

const ourRules = [
  'ip saddr & 255.255.255.0 10.244.1.0 counter packets 0 bytes 0 accept',
  'ip daddr & 255.255.255.0 10.244.1.0 counter packets 0 bytes 0 accept',
  'iifname "keelson-vxlan" counter packets 0 bytes 0 accept',
  'oifname "keelson-vxlan" counter packets 0 bytes 0 accept',
];
const plain = (lines: readonly string[]): string[] =>
  lines.map((line) => line.replace(/counter( packets \d+ bytes \d+)?/, 'counter'));

test('nft: a chain of ours, jumped to at the end of FORWARD, and nothing twice', async (t) => {
  const { kernel, admin, start, rules } = await setUp(t);
  const kept = await start();
  t.deepEqual(plain(await rules('KEELSON-FORWARD')), plain(ourRules));
  t.deepEqual(plain(await rules('FORWARD')), ['counter jump DOCKER-USER', 'counter jump KEELSON-FORWARD']);
  t.deepEqual(kept.faults, []);
  await kept.stop();
  const before = kernel.generation;
  await (await start()).stop();
  t.is(kernel.generation, before, 'what is right is left alone');
  t.deepEqual(await removeForward(admin, undefined), ['chain KEELSON-FORWARD of iptables-nft']);
  t.deepEqual(plain(await rules('FORWARD')), ['counter jump DOCKER-USER']);
  t.deepEqual(await removeForward(admin, undefined), []);
});

test('nft: nothing where nothing drops, and without such a table', async (t) => {
  const { kernel, start, rules } = await setUp(t, [{ op: 'tableAdd', table: filterTable }, forward('accept')]);
  const before = kernel.generation;
  await (await start()).stop();
  t.is(kernel.generation, before);
  t.deepEqual(await rules('FORWARD'), []);
  const empty = new FakeNftables();
  const socket = await empty.open();
  const kept = await KeptForward.start(
    { family: 4, nftables: socket, legacy: undefined, log: silentLogger, clock: new FakeClock() },
    accepted,
  );
  await kept.stop();
  t.is(empty.tables.size, 0);
  t.deepEqual(planNftForward(4, undefined, accepted), []);
});

test('nft: follows what others change: Docker that starts later, a flush, another policy', async (t) => {
  const { admin, clock, start, rules } = await setUp(t, [{ op: 'tableAdd', table: { family: 'ip', name: 'other' } }]);
  await start();
  await admin.apply(docker);
  await clock.advance(2_000);
  t.is((await rules('FORWARD')).length, 2);
  await admin.apply([{ op: 'ruleFlush', ...at, chain: 'FORWARD' }]);
  await clock.advance(2_000);
  t.deepEqual(plain(await rules('FORWARD')), ['counter jump KEELSON-FORWARD']);
  await admin.apply([{ op: 'ruleFlush', ...at, chain: 'KEELSON-FORWARD' }]);
  await clock.advance(2_000);
  t.is((await rules('KEELSON-FORWARD')).length, 4);
  await admin.apply([{ op: 'tableDelete', table: filterTable }]);
  await clock.advance(2_000);
  await admin.apply(docker);
  await clock.advance(2_000);
  t.is((await rules('FORWARD')).length, 2);
});

test('nft: what the host appends later is asked before ours, and ours is there once', async (t) => {
  const { admin, clock, start, rules } = await setUp(t);
  await start();
  const later = (jump: string): NftablesOperation => ({
    op: 'ruleAdd',
    rule: { ...at, chain: 'FORWARD', expressions: [{ expr: 'counter' }, { expr: 'verdict', verdict: { jump } }] },
  });
  await admin.apply([
    { op: 'chainAdd', chain: { ...at, name: 'ufw-before-forward' } },
    later('ufw-before-forward'),
    later('KEELSON-FORWARD'),
    later('ufw-before-forward'),
  ]);
  await clock.advance(2_000);
  t.deepEqual(plain(await rules('FORWARD')), [
    'counter jump DOCKER-USER',
    'counter jump ufw-before-forward',
    'counter jump ufw-before-forward',
    'counter jump KEELSON-FORWARD',
  ]);
});

test('other networks are taken up, others’ chains are no reason to look', async (t) => {
  const { kernel, nftables, admin, clock, start, rules } = await setUp(t);
  const kept = await start();
  kept.accept({ networks: ['10.244.1.0/24', '10.244.0.0/24', '10.245.0.0/16'], links: [] });
  await clock.advance(2_000);
  t.deepEqual(plain(await rules('KEELSON-FORWARD')), [
    'ip saddr & 255.255.254.0 10.244.0.0 counter accept',
    'ip daddr & 255.255.254.0 10.244.0.0 counter accept',
    'ip saddr & 255.255.0.0 10.245.0.0 counter accept',
    'ip daddr & 255.255.0.0 10.245.0.0 counter accept',
  ]);
  let dumps = 0;
  const dump = nftables.dump.bind(nftables);
  nftables.dump = (...parameters) => {
    dumps++;
    return dump(...parameters);
  };
  await admin.apply([{ op: 'ruleAdd', rule: { ...at, chain: 'DOCKER-USER', expressions: [{ expr: 'counter' }] } }]);
  await admin.apply([{ op: 'tableAdd', table: { family: 'ip', name: 'unrelated' } }]);
  await clock.advance(2_000);
  t.is(dumps, 0);
  await kept.unwatched(() => admin.apply([{ op: 'ruleFlush', ...at, chain: 'FORWARD' }]));
  await clock.advance(2_000);
  t.is((await rules('FORWARD')).length, 1, 'what nobody listened to is looked for');
  kernel.intercept = () => new Error('no');
  await admin.dump(filterTable);
  kernel.intercept = undefined;
  await kept.stop();
  nftables.close();
  admin.close();
  t.is(kernel.openSockets, 0);
});

test('a kernel that refuses is a fault, and no reason to fail', async (t) => {
  const { kernel, clock, start, rules } = await setUp(t);
  kernel.intercept = () => new Error('refused');
  const kept = await start();
  t.deepEqual(kept.faults, ['packets of pods may be dropped by chain FORWARD: refused']);
  kernel.intercept = undefined;
  kernel.overrun();
  await clock.advance(2_000);
  t.deepEqual(kept.faults, []);
  t.is((await rules('FORWARD')).length, 2);
});

const listing = (...more: string[]): string =>
  ['-P INPUT ACCEPT', '-P FORWARD DROP', '-P OUTPUT ACCEPT', ...more].join('\n');
const legacyRules = [
  '-A KEELSON-FORWARD -s 10.244.1.0/24 -j ACCEPT',
  '-A KEELSON-FORWARD -d 10.244.1.0/24 -j ACCEPT',
  '-A KEELSON-FORWARD -i keelson-vxlan -j ACCEPT',
  '-A KEELSON-FORWARD -o keelson-vxlan -j ACCEPT',
];

test('legacy: what is to be restored', (t) => {
  const chain = ':KEELSON-FORWARD - [0:0]';
  const jump = '-A FORWARD -j KEELSON-FORWARD';
  const batch = (...lines: string[]): string => ['*filter', ...lines, 'COMMIT', ''].join('\n');
  t.is(planLegacyForward(listing(), accepted), batch(chain, ...legacyRules, jump));
  const right = listing('-N KEELSON-FORWARD', '-A FORWARD -j DOCKER-USER', jump, ...legacyRules);
  t.is(planLegacyForward(right, accepted), undefined);
  t.is(planLegacyForward(right.replace(`${jump}\n`, ''), accepted), batch(chain, ...legacyRules, jump));
  t.is(planLegacyForward(right.replace('10.244.1.0', '10.244.9.0'), accepted), batch(chain, ...legacyRules));
  t.is(planLegacyForward(listing().replace('FORWARD DROP', 'FORWARD ACCEPT'), accepted), undefined);
  const behind = right.replace(jump, `${jump}\n-A FORWARD -j ufw-before-forward`);
  const moved = batch(chain, ...legacyRules, '-D FORWARD -j KEELSON-FORWARD', jump);
  t.is(planLegacyForward(behind, accepted), moved, 'what the host appended later is asked first');
  const removal = batch('-D FORWARD -j KEELSON-FORWARD', '-F KEELSON-FORWARD', '-X KEELSON-FORWARD');
  t.is(planLegacyForward(right, undefined), removal);
  t.is(planLegacyForward(right.replace('FORWARD DROP', 'FORWARD ACCEPT'), accepted), removal);
  t.is(planLegacyForward(listing(), undefined), undefined);
  t.is(planLegacyForward('', accepted), undefined);
});

test('legacy: asked only where it is used, and again once a minute', async (t) => {
  const { clock, start } = await setUp(t);
  const asked: string[] = [];
  const legacy = {
    used: false,
    failing: false,
    isUsed: async () => legacy.used,
    list: async () => {
      asked.push('list');
      if (legacy.failing) throw new Error('no program');
      return listing();
    },
    restore: async (commands: string) => void asked.push(commands.split('\n')[1] ?? ''),
  };
  const kept = await start(legacy);
  t.deepEqual(asked, []);
  legacy.used = true;
  await clock.advance(61_000);
  t.deepEqual(asked, ['list', ':KEELSON-FORWARD - [0:0]']);
  legacy.failing = true;
  await clock.advance(60_000);
  t.deepEqual(kept.faults, ['packets of pods may be dropped by chain FORWARD: no program']);
  legacy.failing = false;
  await clock.advance(60_000);
  t.deepEqual(kept.faults, []);
  await kept.stop();
  const count = asked.length;
  await clock.advance(300_000);
  await settle();
  t.is(asked.length, count);
});

test('IPv6: its own table and chain, not touching those of IPv4', async (t) => {
  const kernel = new FakeNftables();
  const [nftables, admin] = [await kernel.open(), await kernel.open()];
  const table = filterTableOf(6);
  const of6 = { family: 'ip6', table: 'filter' } as const;
  await admin.apply([
    ...docker,
    { op: 'tableAdd', table },
    {
      op: 'chainAdd',
      chain: { ...of6, name: 'FORWARD', base: { type: 'filter', hook: 'forward', priority: 0, policy: 'drop' } },
    },
  ]);
  const clock = new FakeClock();
  const what = { networks: ['fd00:10:244:1::/64'], links: ['keelson-vxlan6'] };
  const kept = await KeptForward.start({ family: 6, nftables, legacy: undefined, log: silentLogger, clock }, what);
  t.teardown(() => kept.stop());
  const rules = async (): Promise<string[]> =>
    ((await admin.dump(table))?.rules ?? []).map((rule) =>
      describe({ op: 'ruleAdd', rule }).replace(/counter( packets \d+ bytes \d+)?/, 'counter'),
    );
  const expected = [
    'add rule ip6 filter FORWARD counter jump KEELSON-FORWARD',
    'add rule ip6 filter KEELSON-FORWARD ip6 saddr & ffff:ffff:ffff:ffff:: fd00:10:244:1:: counter accept',
    'add rule ip6 filter KEELSON-FORWARD ip6 daddr & ffff:ffff:ffff:ffff:: fd00:10:244:1:: counter accept',
    'add rule ip6 filter KEELSON-FORWARD iifname "keelson-vxlan6" counter accept',
    'add rule ip6 filter KEELSON-FORWARD oifname "keelson-vxlan6" counter accept',
  ];
  t.deepEqual((await rules()).toSorted(), expected.toSorted());
  t.is(
    (await admin.dump(filterTable))?.chains.some(({ name }) => name === 'KEELSON-FORWARD'),
    false,
  );
  await admin.apply([{ op: 'ruleFlush', ...of6, chain: 'FORWARD' }]);
  await clock.advance(2_000);
  t.deepEqual((await rules()).toSorted(), expected.toSorted());
  t.deepEqual(await removeForward(admin, undefined), ['chain KEELSON-FORWARD of ip6tables-nft']);
  t.is(
    planLegacyForward('-P FORWARD DROP', what)?.split('\n')[2],
    '-A KEELSON-FORWARD -s fd00:10:244:1::/64 -j ACCEPT',
  );
});
