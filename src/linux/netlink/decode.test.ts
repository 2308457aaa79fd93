/**
 * What Linux 6.18 really answers, read back. Recorded in a fresh namespace `fx` (a second one: `fy`) after
 * `ip link add br0 type bridge; ip link add v0 address 02:00:00:00:00:01 mtu 1400 type veth peer name p0 netns fy;
 * ip link set v0 master br0 alias keelson:pod up; ip link set br0 up; ip addr add 10.1.0.1/24 dev br0;
 * ip addr add 192.0.2.1 peer 192.0.2.2/32 dev br0; ip route add 10.9.0.0/16 via 10.1.0.2 proto 75;
 * ip route add 10.8.0.0/16 via inet6 fe80::1 dev br0; ip route add 10.7.0.0/16 nexthop via 10.1.0.3 nexthop via 10.1.0.4;
 * ip neigh add 10.1.0.5 lladdr 02:00:00:00:00:05 dev br0` by dumping each kind; the link without counters and IFLA_AF_SPEC.
 */
import test from 'ava';
import type { RtnetlinkNotification } from '../rtnetlink.ts';
import { MessageCursor } from './message-reader.ts';
import { decodeNotification } from './operation.ts';

function decode(hex: string): RtnetlinkNotification | undefined {
  const message = new MessageCursor(Buffer.from(hex, 'hex'));
  if (!message.next()) throw new Error('no message');
  const decoded = decodeNotification(message);
  if (message.next()) throw new Error('more than one message');
  return decoded;
}

test('a veth end that is a port of a bridge and has its peer elsewhere', (t) => {
  const hex =
    'f00200001000020001000000cf29000000000100030000000310000000000000070003007630000008000d00e80300000500' +
    '100002000000050011000000000005004300000000000800040078050000080032004400000008003300ffff000008001b00' +
    '0000000008001e000100000008003d000100000008001f000200000008002800ffff0000080029000000010008003a000000' +
    '010008003f0000000100080040000000010008003b00f8ff070008003c00ffff000008004200000000000800200002000000' +
    '08000a00020000000500210000000000100014006b65656c736f6e3a706f6400080023000100000008002f00000000000800' +
    '3000010000000600440000000000060045000000000005002700000000000a00010002000000000100000a000200ffffffff' +
    'ffff00000c002b0005000200000000006c0112000900010076657468000000000b0004006272696467650000500105000500' +
    '0100000000000600020020000000080003000200000005000400000000000500050000000000050006000000000005000700' +
    '0000000005001c00000000000500080001000000050009000100000005001b000100000005001e000100000005000a000000' +
    '000005000c00000000000c000d0080000200000000010c000e00800002000000000106000f00018000000600100000000000' +
    '060011000180000006001200010000000500130000000000050014000000000005001d000000000006001f00000000000500' +
    '2000000000000500230000000000050024000000000005002100000000000500270000000000050028000000000005002b00' +
    '000000000c00150000000000000000000c00160000000000000000000c001700000000000000000005001900010000000800' +
    '2500000200000800260000000000080029000000000008002a0000000000080025000000000008000500020000000c000600' +
    '6e6f71756575650024000e00000000000000000000000000000000000000000000000000000000000000000004003e800400' +
    '4180';
  const link = {
    ifindex: 3,
    name: 'v0',
    kind: 'veth',
    mtu: 1400,
    up: true,
    mac: '02:00:00:00:00:01',
    alias: 'keelson:pod',
    parentIfindex: 2,
    linkNetnsId: 0,
    masterIfindex: 2,
  };
  t.deepEqual(decode(hex), { event: 'linkNew', link });
  t.deepEqual(decode(hex.replace(/^(.{8})1000/, '$11100')), { event: 'linkDelete', link });
  // The same in the bridge's family (7) is about the port, not the link.
  t.is(decode(hex.replace(/^(.{32})00/, '$107')), undefined);
});

test('addresses: the own end of a point-to-point pair', (t) => {
  t.deepEqual(
    decode(
      '4c0000001400020001000000902400000218800002000000080001000a010001080002000a0100010800030062723000080008008000000014000600ffffffffffffffff5cd205005cd20500',
    ),
    { event: 'addressNew', address: { ifindex: 2, prefix: '10.1.0.1/24', scope: 'global' } },
  );
  t.deepEqual(
    decode(
      '4c000000140002000100000090240000022080000200000008000100c000020208000200c00002010800030062723000080008008000000014000600ffffffffffffffff5dd205005dd20500',
    ),
    { event: 'addressNew', address: { ifindex: 2, prefix: '192.0.2.1/32', scope: 'global' } },
  );
});

test('routes: connected, by gateway, by an IPv6 gateway, with several next hops', (t) => {
  const common = {
    gateway: undefined,
    ifindex: 2,
    source: undefined,
    scope: 'global',
    type: 'unicast',
    table: 254,
    onlink: false,
  };
  for (const [hex, route] of [
    [
      '3c00000018002200010000009024000002180000fe02fd011000000008000f00fe000000080001000a010000080007000a0100010800040002000000',
      { destination: '10.1.0.0/24', source: '10.1.0.1', scope: 'link', protocol: 2 },
    ],
    [
      '3c00000018002200010000009024000002100000fe4b00011000000008000f00fe000000080001000a090000080005000a0100020800040002000000',
      { destination: '10.9.0.0/16', gateway: '10.1.0.2', protocol: 75 },
    ],
    [
      '4c00000018002200010000009024000002100000fe0300010000000008000f00fe000000080001000a080000160012000a00fe80000000000000000000000000000100000800040002000000',
      { destination: '10.8.0.0/16', gateway: 'fe80::1', protocol: 3 },
    ],
    [
      '5000000018002200010000009024000002100000fe0300011000000008000f00fe000000080001000a070000240009001000100002000000080005000a0100031000100002000000080005000a010004',
      { destination: '10.7.0.0/16', ifindex: undefined, protocol: 3 },
    ],
  ] as const) {
    t.deepEqual(decode(hex) as unknown, { event: 'routeNew', route: { ...common, ...route } });
  }
});

test('a neighbour', (t) => {
  t.deepEqual(
    decode(
      '4c0000001c0002000100000090240000020000000200000080000001080001000a0100050a00020002000000000500000800040000000000140003000e0000000e0000000e00000000000000',
    ),
    { event: 'neighNew', neighbour: { ifindex: 2, ip: '10.1.0.5', mac: '02:00:00:00:00:05', permanent: true } },
  );
});
