import test from 'ava';
import { type Address, keelsonRouteProtocol, type Link, type Route } from '../linux/rtnetlink.ts';
import { type HostState, refuseOverlap } from './host-conflict.ts';
import { NetworkError } from './network-error.ts';

const link = (ifindex: number, name: string): Link => ({
  ifindex,
  name,
  kind: undefined,
  mtu: 1500,
  up: true,
  mac: undefined,
  alias: undefined,
  parentIfindex: undefined,
  linkNetnsId: undefined,
  masterIfindex: undefined,
});
const address = (ifindex: number, prefix: string): Address => ({ ifindex, prefix, scope: 'global' });
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
const links = [link(1, 'lo'), link(2, 'eth0'), link(3, 'cni0')];
const state = (addresses: Address[], routes: Route[] = []): HostState => ({ links, addresses, routes });
const check = (host: HostState): void => refuseOverlap('10.244.3.0/24', '10.244.3.1', host);

const fine: [string, HostState][] = [
  ['an empty host', state([])],
  [
    'other networks',
    state([address(1, '127.0.0.1/8'), address(2, '192.0.2.2/24'), address(2, 'fd00::2/64')], [route('192.0.2.0/24')]),
  ],
  ['our gateway on lo', state([address(1, '10.244.3.1/32')])],
  [
    'our end of a VXLAN',
    {
      links: [...links, { ...link(9, 'keelson-vxlan'), alias: 'keelson:vxlan' }],
      addresses: [address(9, '10.244.3.0/32')],
      routes: [],
    },
  ],
  ['our pod routes', state([], [route('10.244.3.7/32', { protocol: keelsonRouteProtocol })])],
  ['default routes, a VPN’s halves too', state([], [route('0.0.0.0/0'), route('0.0.0.0/1'), route('128.0.0.0/1')])],
  ['a wide route that only refuses', state([], [route('10.0.0.0/8', { type: 'blackhole', ifindex: undefined })])],
  ['an IPv6 route', state([], [route('fd00::/64')])],
];
const six = (host: HostState): void => refuseOverlap('fd00:10:244:3::/64', 'fd00:10:244:3::1', host);
const fineSix: [string, HostState][] = [
  ['IPv4 and other networks', state([address(2, '10.244.3.9/24'), address(2, 'fd00::2/64')], [route('fe80::/64')])],
  [
    'our gateway on lo, and the route that the kernel makes for it',
    state([address(1, 'fd00:10:244:3::1/128')], [route('fd00:10:244:3::1/128', { ifindex: 1 })]),
  ],
  [
    'our end of a VXLAN, with its route',
    {
      links: [...links, { ...link(9, 'keelson-vxlan6'), alias: 'keelson:vxlan6' }],
      addresses: [address(9, 'fd00:10:244:3::/128')],
      routes: [route('fd00:10:244:3::/128', { ifindex: 9 })],
    },
  ],
  ['default routes, and OpenVPN’s', state([], [route('::/0'), route('::/3'), route('2000::/4'), route('fc00::/7')])],
];
for (const [name, host] of fineSix) test(`no conflict, IPv6: ${name}`, (t) => t.notThrows(() => six(host)));
for (const [name, host, message] of [
  ['a subnet around', state([address(2, 'fd00:10:244::5/48')]), /address fd00:10:244::5\/48 of eth0/],
  ['the gateway elsewhere', state([address(3, 'fd00:10:244:3::1/128')]), /address fd00:10:244:3::1\/128 of cni0/],
  ['a route around', state([], [route('fd00::/8')]), /route fd00::\/8 dev eth0/],
] as const)
  test(`conflict, IPv6: ${name}`, (t) => {
    t.is(t.throws(() => six(host), { instanceOf: NetworkError, message })?.code, 'NETWORK_POD_CIDR_OVERLAP');
  });

for (const [name, host] of fine) test(`no conflict: ${name}`, (t) => t.notThrows(() => check(host)));

const conflicts: [string, HostState, RegExp][] = [
  ['an address inside', state([address(2, '10.244.3.9/32')]), /address 10\.244\.3\.9\/32 of eth0/],
  ['a subnet around', state([address(2, '10.244.0.5/16')]), /address 10\.244\.0\.5\/16 of eth0/],
  ['the gateway elsewhere', state([address(3, '10.244.3.1/32')]), /address 10\.244\.3\.1\/32 of cni0/],
  ['the gateway with a subnet', state([address(1, '10.244.3.1/24')]), /of lo/],
  ['a route inside', state([], [route('10.244.3.128/25', { ifindex: 3 })]), /route 10\.244\.3\.128\/25 dev cni0/],
  ['a route around', state([], [route('10.0.0.0/8')]), /route 10\.0\.0\.0\/8 dev eth0/],
  [
    'a refusing route inside',
    state([], [route('10.244.3.0/24', { type: 'blackhole', ifindex: undefined })]),
    /blackhole/,
  ],
];
for (const [name, host, message] of conflicts) {
  test(`conflict: ${name}`, (t) => {
    const error = t.throws(() => check(host), { instanceOf: NetworkError, message });
    t.is(error?.code, 'NETWORK_POD_CIDR_OVERLAP');
    t.is(error?.object, 'pod CIDR 10.244.3.0/24');
  });
}
