/** What is left of the uplinks' MTU for pods, and when the kernel is asked. Packets: test/kernel/uplink-mtu.test.ts. */
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { FakeRtnetlink } from '../linux/fake-rtnetlink.ts';
import type { Link, Route } from '../linux/rtnetlink.ts';
import { silentLogger } from '../observe/logger.ts';
import { podMtuFor, UplinkMtu, type UplinkMtuOptions, uplinkMtu } from './uplink-mtu.ts';

async function setUp(t: ExecutionContext, options: Partial<UplinkMtuOptions> = {}) {
  const kernel = new FakeRtnetlink();
  const admin = await kernel.open();
  await admin.apply([
    { op: 'linkAddVeth', name: 'eth0', mtu: 1500, peer: { name: 'wire0' } },
    { op: 'linkAddVeth', name: 'eth1', mtu: 9000, peer: { name: 'wire1' } },
  ]);
  const ifindexOf = async (name: string): Promise<number> => (await admin.link({ name }))?.ifindex ?? 0;
  const eth0 = await ifindexOf('eth0');
  const eth1 = await ifindexOf('eth1');
  const setMtu = (ifindex: number, mtu: number) => admin.apply([{ op: 'linkSet', link: { ifindex }, mtu }]);
  await admin.apply([
    { op: 'linkSet', link: { ifindex: eth0 }, up: true },
    { op: 'linkSet', link: { ifindex: eth1 }, up: true },
    { op: 'addressAdd', ifindex: eth0, prefix: '192.0.2.10/24' },
    { op: 'addressAdd', ifindex: eth1, prefix: '198.51.100.10/24' },
    { op: 'routeReplace', destination: '0.0.0.0/0', gateway: '192.0.2.1', ifindex: eth0, protocol: 3 },
  ]);
  const clock = new FakeClock();
  let dumps = 0;
  let failing = false;
  const host = {
    links: async () => {
      dumps++;
      if (failing) throw new Error('no');
      return admin.links();
    },
    routes: () => admin.routes(),
  };
  const told: number[] = [];
  const deps = { host, rtnetlinkOpener: kernel, podFamilies: [4] as const, clock, log: silentLogger };
  const mtu = await UplinkMtu.start(
    deps,
    { mtu: 1450, followUplink: { overheadBytes: 50, nodeFamilies: [4] }, ...options },
    (bytes: number) => told.push(bytes),
  );
  t.teardown(() => mtu.stop());
  return {
    kernel,
    admin,
    clock,
    mtu,
    told,
    eth0,
    eth1,
    setMtu,
    dumps: () => dumps,
    fail(now: boolean) {
      failing = now;
    },
  };
}

test('a changed uplink is told once, both ways, and a link that is no uplink is not looked at', async (t) => {
  const { mtu, told, clock, setMtu, eth0, eth1, dumps } = await setUp(t);
  t.is(mtu.bytes, 1450);
  t.deepEqual(told, []);
  await setMtu(eth0, 1400);
  await setMtu(eth0, 1300);
  await clock.advance(100);
  t.deepEqual(told, [1250]);
  await setMtu(eth0, 9000);
  await clock.advance(100);
  t.deepEqual(told, [1250, 8950]);
  t.is(mtu.bytes, 8950);
  const before = dumps();
  await setMtu(eth1, 1000);
  await clock.advance(100);
  t.is(dumps(), before);
  t.deepEqual(told, [1250, 8950]);
});

test('links and routes of pods are no reason to ask the kernel', async (t) => {
  const { admin, clock, dumps } = await setUp(t);
  const before = dumps();
  await admin.apply([{ op: 'linkAddVeth', name: 'kl0', peer: { name: 'p0' } }]);
  const link = await admin.link({ name: 'kl0' });
  const ifindex = link?.ifindex ?? 0;
  await admin.apply([
    { op: 'linkSet', link: { ifindex }, up: true },
    { op: 'routeReplace', destination: '10.244.0.7/32', ifindex, scope: 'link' },
    { op: 'routeReplace', destination: '10.244.0.0/24', type: 'unreachable' },
    { op: 'linkDelete', link: { ifindex } },
  ]);
  await clock.advance(1_000);
  t.is(dumps(), before);
});

test('the default route moves to another link; without one the last MTU counts', async (t) => {
  const { admin, told, mtu, clock, eth0, eth1, setMtu } = await setUp(t);
  const route = { destination: '0.0.0.0/0', protocol: 3 } as const;
  await admin.apply([{ op: 'linkSet', link: { ifindex: eth0 }, up: false }]);
  await clock.advance(100);
  t.is(mtu.bytes, 1450);
  await admin.apply([{ op: 'routeReplace', ...route, gateway: '198.51.100.1', ifindex: eth1 }]);
  await clock.advance(100);
  t.deepEqual(told, [8950]);
  await setMtu(eth0, 1200);
  await setMtu(eth1, 1600);
  await clock.advance(100);
  t.deepEqual(told, [8950, 1550]);
});

test('lost notifications are a reason to look, and a kernel that refuses is asked again', async (t) => {
  const { kernel, told, clock, eth0, setMtu, fail } = await setUp(t);
  fail(true);
  await setMtu(eth0, 1400);
  await clock.advance(100);
  t.deepEqual(told, []);
  fail(false);
  await clock.advance(10_000);
  t.deepEqual(told, [1350]);
  kernel.overrun();
  await clock.advance(100);
  t.deepEqual(told, [1350], 'nothing has changed');
});

test('what was given stays, and nobody listens', async (t) => {
  const { kernel, mtu, told, clock, eth0, setMtu, dumps } = await setUp(t);
  await mtu.stop();
  await setMtu(eth0, 1400);
  await clock.advance(10_000);
  t.deepEqual(told, []);
  const open = kernel.openSockets;
  const given = await UplinkMtu.start(
    { host: await kernel.open(), rtnetlinkOpener: kernel, podFamilies: [4], clock, log: silentLogger },
    { mtu: 1234 },
    () => t.fail(),
  );
  t.is(kernel.openSockets, open + 1);
  const before = dumps();
  await setMtu(eth0, 1300);
  await clock.advance(10_000);
  t.is(given.bytes, 1234);
  t.is(dumps(), before);
  await given.stop();
  await settle();
});

const link = (ifindex: number, mtu: number): Link => ({
  ifindex,
  name: `eth${ifindex}`,
  kind: undefined,
  mtu,
  up: true,
  mac: undefined,
  alias: undefined,
  parentIfindex: undefined,
  linkNetnsId: undefined,
  masterIfindex: undefined,
});
const route = (ifindex: number, destination: string, change: Partial<Route> = {}): Route => ({
  destination,
  gateway: undefined,
  ifindex,
  source: undefined,
  scope: 'global',
  type: 'unicast',
  protocol: 3,
  table: 254,
  onlink: false,
  ...change,
});

test('which links count', (t) => {
  const links = [link(1, 1500), link(2, 1400), link(3, 1300), link(4, 1200)];
  t.is(uplinkMtu(links, []), undefined);
  t.is(uplinkMtu(links, [route(1, '0.0.0.0/0')]), 1500);
  t.is(uplinkMtu(links, [route(1, '0.0.0.0/0'), route(2, '::/0')]), 1400);
  t.is(uplinkMtu(links, [route(1, '0.0.0.0/0'), route(2, '::/0')], [4]), 1500);
  t.is(uplinkMtu(links, [route(1, '0.0.0.0/0'), route(3, '10.0.0.0/8')]), 1500);
  t.is(uplinkMtu(links, [route(1, '0.0.0.0/0'), route(4, '0.0.0.0/0', { type: 'unreachable' })]), 1500);
  t.is(uplinkMtu(links, [route(1, '0.0.0.0/0'), route(4, '0.0.0.0/0', { table: 100 })]), 1500);
  t.is(uplinkMtu(links, [route(9, '0.0.0.0/0')]), undefined, 'a route without its link is about to go');
});

test('property: never more than the wire carries, never less than the family needs', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 68, max: 65_535 }), fc.constantFrom(0, 50, 70), (wire, overhead) => {
      for (const [families, least] of [
        [[4], 576],
        [[6], 1280],
        [[4, 6], 1280],
      ] as const) {
        const bytes = podMtuFor(wire, overhead, families);
        t.true(bytes >= least);
        if (wire - overhead >= least) t.is(bytes + overhead, wire);
      }
    }),
  );
});
