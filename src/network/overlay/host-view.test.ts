import test from 'ava';
import type { Address, Link, Route } from '../../linux/rtnetlink.ts';
import { parseIpPrefix } from '../ipam/ip-prefix.ts';
import { viewHost } from './host-view.ts';

const link = (ifindex: number, name: string, alias?: string): Link => ({
  ifindex,
  name,
  kind: undefined,
  mtu: 1500,
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
const route = (destination: string, more: Partial<Route> = {}): Route => ({
  destination,
  gateway: undefined,
  ifindex: 2,
  source: undefined,
  scope: 'link',
  type: 'unicast',
  protocol: 2,
  table: 254,
  onlink: false,
  ...more,
});
const via = { gateway: '192.0.2.1', protocol: 3 };
const host = viewHost({
  links: [link(1, 'lo'), link(2, 'eth0'), link(3, 'docker0'), link(4, 'keelson-vxlan', 'keelson:vxlan')],
  addresses: [
    address(1, '127.0.0.1/8', 'host'),
    address(1, '10.244.0.1/32', 'link'),
    address(2, '192.0.2.10/24'),
    address(2, 'fd00::1/64'),
    address(3, '172.17.0.1/16'),
    address(4, '10.244.0.0/32'),
  ],
  routes: [
    route('0.0.0.0/0', via),
    route('192.0.2.0/24'),
    route('172.17.0.0/16', { ifindex: 3 }),
    route('10.0.0.0/8', via),
    route('10.250.0.0/16', { type: 'blackhole', ifindex: undefined, protocol: 3 }),
    route('10.251.7.0/25', via),
    route('198.51.100.0/24', via),
    route('198.51.100.7/32'),
    route('203.0.113.0/24', { type: 'unreachable', ifindex: undefined }),
    route('10.244.9.0/24', { gateway: '192.0.2.9', protocol: 75 }),
  ],
});
const conflict = (text: string, mayBeRouted = false): string | undefined => {
  const prefix = parseIpPrefix(text);
  return prefix && host.conflict(prefix, mayBeRouted);
};

test('what is in the way of a peer’s network', (t) => {
  t.is(conflict('10.244.9.0/24'), undefined, 'our own route, and wider ones by a router');
  t.is(conflict('10.244.0.0/24'), undefined, 'our own addresses');
  t.is(conflict('10.250.3.0/24'), undefined, 'a wider route that only refuses');
  t.is(conflict('192.0.2.0/24'), 'overlaps address 192.0.2.10/24 of eth0');
  t.is(conflict('192.0.2.128/25'), 'overlaps route 192.0.2.0/24 dev eth0', 'inside a network that the host is in');
  t.is(conflict('172.17.4.0/24'), 'overlaps route 172.17.0.0/16 dev docker0');
  t.is(conflict('10.251.7.0/24'), 'overlaps route 10.251.7.0/25 dev eth0');
  t.is(conflict('10.251.7.0/24', true), undefined);
  t.is(conflict('172.17.4.0/24', true), 'overlaps route 172.17.0.0/16 dev docker0');
});

test('who is a neighbour, by the longest prefix', (t) => {
  for (const [ip, ifindex] of [
    ['192.0.2.77', 2],
    ['172.17.9.9', 3],
    ['198.51.100.7', 2],
    ['198.51.100.8', undefined],
    ['203.0.113.5', undefined],
    ['8.8.8.8', undefined],
    ['10.250.0.1', undefined],
    ['nonsense', undefined],
  ] as const)
    t.is(host.neighbourLink(ip), ifindex, ip);
});

test('the host’s own addresses and links', (t) => {
  t.true(host.hasAddress('192.0.2.10'));
  t.false(host.hasAddress('10.244.0.0'));
  t.false(host.hasAddress('192.0.2.11'));
  t.deepEqual([...host.uplinks].toSorted(), [1, 2, 3]);
});
