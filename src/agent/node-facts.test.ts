import { readFile } from 'node:fs/promises';
import test from 'ava';
import type { Address, Link, Route, Rtnetlink } from '../linux/rtnetlink.ts';
import { readMachineFacts, swapDevices } from './node-facts.ts';

const link = (ifindex: number, name: string, mtu = 1500, alias?: string): Link => ({
  ifindex,
  name,
  kind: undefined,
  mtu,
  up: true,
  mac: undefined,
  alias,
  parentIfindex: undefined,
  linkNetnsId: undefined,
  masterIfindex: undefined,
});
const address = (ifindex: number, prefix: string, scope: Address['scope'] = 'global'): Address => ({
  ifindex,
  prefix,
  scope,
});
const route = (ifindex: number, change: Partial<Route> = {}): Route => ({
  destination: '0.0.0.0/0',
  gateway: '192.0.2.1',
  ifindex,
  source: undefined,
  scope: 'global',
  type: 'unicast',
  protocol: 3,
  table: 254,
  onlink: false,
  ...change,
});

const loopback = link(1, 'lo', 65_536);
const facts = (
  state: { links?: Link[]; addresses?: Address[]; routes?: Route[] },
  overrides: { hostname?: string; nodeIPs?: string[]; preferredFamily?: 4 | 6; current?: string[] } = {},
) => {
  const stub: Pick<Rtnetlink, 'links' | 'addresses' | 'routes'> = {
    links: async () => [loopback, ...(state.links ?? [])],
    addresses: async () => [address(1, '127.0.0.1/8', 'host'), ...(state.addresses ?? [])],
    routes: async () => state.routes ?? [],
  };
  return readMachineFacts(stub as Rtnetlink, { hostname: undefined, ...overrides });
};

for (const [what, state, hostIPs, mtu] of [
  ['nothing but loopback', {}, [], 1500],
  [
    'the default route decides, not the order of links',
    {
      links: [link(2, 'docker0'), link(3, 'eth0', 1450)],
      addresses: [address(2, '172.17.0.1/16'), address(3, '192.0.2.2/24')],
      routes: [route(3)],
    },
    ['192.0.2.2'],
    1450,
  ],
  [
    'without a default route, the first real address',
    { links: [link(2, 'eth0', 9000)], addresses: [address(2, '192.0.2.2/24')] },
    ['192.0.2.2'],
    1500,
  ],
  [
    'a link of ours is no uplink',
    {
      links: [link(2, 'keelson0', 1500, 'keelson:gateway'), link(3, 'eth0')],
      addresses: [address(2, '10.244.0.1/32'), address(3, '192.0.2.2/24')],
    },
    ['192.0.2.2'],
    1500,
  ],
  [
    "link-local, host and IPv6 addresses are not the node's",
    {
      links: [link(2, 'eth0')],
      addresses: [address(2, '169.254.1.1/16', 'link'), address(2, '2001:db8::2/64'), address(2, '192.0.2.2/24')],
      routes: [route(2)],
    },
    ['192.0.2.2'],
    1500,
  ],
  [
    'the smallest MTU of two uplinks',
    {
      links: [link(2, 'eth0', 9000), link(3, 'eth1', 1400)],
      addresses: [address(2, '192.0.2.2/24'), address(3, '198.51.100.2/24')],
      routes: [route(2), route(3)],
    },
    ['192.0.2.2'],
    1400,
  ],
  [
    'a default route to nowhere does not count',
    {
      links: [link(2, 'wg0', 1420), link(3, 'eth0')],
      addresses: [address(2, '10.9.0.2/32'), address(3, '192.0.2.2/24')],
      routes: [route(2, { type: 'unreachable' }), route(3)],
    },
    ['192.0.2.2'],
    1500,
  ],
  [
    'a route that is not the default does not count',
    {
      links: [link(2, 'eth0', 1400), link(3, 'eth1')],
      addresses: [address(2, '192.0.2.2/24'), address(3, '198.51.100.2/24')],
      routes: [route(2, { destination: '10.0.0.0/8' }), route(3)],
    },
    ['198.51.100.2'],
    1500,
  ],
] as [string, Parameters<typeof facts>[0], string[], number][]) {
  test(what, async (t) => t.like(await facts(state), { hostIPs, mtu }));
}

test('IPv6 where it is preferred, where it is alone, and beside IPv4 where both are given', async (t) => {
  const state = {
    links: [link(2, 'eth0'), link(3, 'eth1', 1400)],
    addresses: [address(2, '192.0.2.2/24'), address(3, 'fe80::2/64', 'link'), address(3, '2001:db8::2/64')],
    routes: [route(2), route(3, { destination: '::/0', gateway: 'fe80::1' })],
  };
  t.like(await facts(state), { hostIPs: ['192.0.2.2'], mtu: 1500 });
  t.like(await facts(state, { preferredFamily: 6 }), { hostIPs: ['2001:db8::2'], mtu: 1400 });
  const alone = { ...state, addresses: state.addresses.slice(1), routes: state.routes.slice(1) };
  t.like(await facts(alone), { hostIPs: ['2001:db8::2'], mtu: 1400 });
  const both = ['2001:db8::2', '192.0.2.2'];
  t.like(await facts(state, { nodeIPs: both }), { hostIPs: both, mtu: 1400 });
});

test('flags win over what the machine says; the node name is lower case', async (t) => {
  const state = { links: [link(2, 'eth0')], addresses: [address(2, '192.0.2.2/24')], routes: [route(2)] };
  t.like(await facts(state, { hostname: 'Node-ONE', nodeIPs: ['203.0.113.9'] }), {
    nodeName: 'node-one',
    hostIPs: ['203.0.113.9'],
  });
  const machine = await facts(state);
  t.is(machine.nodeName, machine.nodeName.toLowerCase());
  t.true(machine.memoryBytes > 0 && machine.cores >= 1);
});

test('swap devices are those of /proc/swaps', async (t) => {
  const lines = (await readFile('/proc/swaps', 'utf8')).trim().split('\n').slice(1);
  t.deepEqual(
    await swapDevices(),
    lines.map((line) => line.split(/\s/)[0] ?? ''),
  );
});

test('an address in use stays while the machine has it, and nothing unlike it takes its place', async (t) => {
  const links = [loopback, link(2, 'eth0'), link(3, 'docker0')];
  const docker = address(3, '172.17.0.1/16');
  const two = {
    links,
    routes: [route(2)],
    addresses: [address(2, '192.0.2.9/24'), address(2, '192.0.2.7/24'), docker],
  };
  const ipsOf = async (state: Parameters<typeof facts>[0], current: string[]) =>
    (await facts(state, { current })).hostIPs;
  t.deepEqual(await ipsOf(two, ['192.0.2.7']), ['192.0.2.7']);
  t.deepEqual(await ipsOf(two, ['192.0.2.8']), ['192.0.2.9'], 'gone');
  t.deepEqual(await ipsOf({ links, routes: [], addresses: [docker] }, ['192.0.2.7']), [], 'the uplink is away');
  const six = { links, routes: [route(2, { destination: '::/0' })], addresses: [address(2, '2001:db8::7/64'), docker] };
  t.deepEqual(await ipsOf(six, ['192.0.2.7']), [], 'the other family is no stand-in');
});
