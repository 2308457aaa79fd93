/**
 * Requests byte for byte as iproute2 6.1 sends them, and their description as the command that made them.
 * The bytes were captured in a fresh network namespace, link v0 being ifindex 2 and br0 ifindex 5, with
 * `strace -e trace=sendmsg,sendto -e write=3,4,5,6,7 ip ...`, taking the message that makes the change.
 */
import test from 'ava';
import fc from 'fast-check';
import type { RtnetlinkOperation } from '../rtnetlink.ts';
import { describe } from './describe.ts';
import { MessageCursor } from './message-reader.ts';
import { MessageWriter, NetlinkEncodeError } from './message-writer.ts';
import { decodeNotification, encodeOperation } from './operation.ts';

interface Fixture {
  command: string;
  operation: RtnetlinkOperation;
  hex: string;
}

const v0 = { ifindex: 2 };
const vxlan = {
  op: 'linkAddVxlan',
  name: 'x',
  mac: '02:00:00:00:00:01',
  mtu: 1450,
  vni: 1,
  port: 1,
  local: '192.0.2.9',
} as const;
/** The descriptor that `ip` happened to have for /run/netns/kb-peer. */
const capturedDescriptor = 4;

const fixtures: Fixture[] = [
  {
    command:
      'ip link add v0 address 02:00:00:00:00:01 mtu 1400 type veth peer name p0 address 02:00:00:00:00:02 mtu 1400 netns kb-peer',
    operation: {
      op: 'linkAddVeth',
      name: 'v0',
      mac: '02:00:00:00:00:01',
      mtu: 1400,
      peer: { name: 'p0', mac: '02:00:00:00:00:02', mtu: 1400, netnsPath: '/run/netns/kb-peer' },
    },
    hex: '84000000100005062d6f016b00000000000000000000000000000000000000000a0001000200000000010000080004007805000007000300763000004800120008000100766574683c00020038000100000000000000000000000000000000000a0001000200000000020000080004007805000008001c00040000000700030070300000',
  },
  {
    command: 'ip link add v1 type veth peer name p1',
    operation: { op: 'linkAddVeth', name: 'v1', peer: { name: 'p1' } },
    hex: '54000000100005062d6f016b000000000000000000000000000000000000000007000300763100002c0012000800010076657468200002001c000100000000000000000000000000000000000700030070310000',
  },
  {
    command: 'ip link add br0 type bridge',
    operation: { op: 'linkAddBridge', name: 'br0' },
    hex: '38000000100005062d6f016b00000000000000000000000000000000000000000800030062723000100012000a0001006272696467650000',
  },
  {
    command: 'ip link add i0 type ifb',
    operation: { op: 'linkAddIfb', name: 'i0' },
    hex: '34000000100005066908026b000000000000000000000000000000000000000007000300693000000c0012000700010069666200',
  },
  {
    command: 'tc qdisc add dev if3 ingress',
    operation: { op: 'qdiscAddIngress', ifindex: 3 },
    hex: '30000000240005066b08026b0000000000000000030000000000fffff1ffffff000000000c000100696e677265737300',
  },
  {
    command:
      'tc filter add dev if3 parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev if4',
    operation: { op: 'filterRedirect', ifindex: 3, toIfindex: 4 },
    hex: '8c0000002c0005061908026b000000000000000003000000000000000000ffff0003010008000100753332006000020038000700340001000b0001006d69727265640000240002802000020000000000000000000400000000000000000000000100000004000000240005000100010000000000000000000000000000000000000000000000000000000000',
  },
  {
    command:
      'ip link add keelson-vxlan address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 local 192.0.2.9 nolearning dstport 8472 udpcsum',
    operation: {
      op: 'linkAddVxlan',
      name: 'keelson-vxlan',
      mac: '02:00:00:00:00:01',
      mtu: 1450,
      vni: 1,
      port: 8472,
      local: '192.0.2.9',
    },
    hex: '8400000010000506efd6016b00000000000000000000000000000000000000000a000100020000000001000008000400aa050000120003006b65656c736f6e2d76786c616e0000003c0012000900010076786c616e0000002c0002000500120001000000080001000100000008000400c0000209050007000000000006000f0021180000',
  },
  {
    command: 'bridge fdb replace 02:00:00:00:00:05 dev if2 dst 192.0.2.8 self permanent',
    operation: { op: 'fdbReplace', ifindex: 2, mac: '02:00:00:00:00:05', ip: '192.0.2.8' },
    hex: '300000001c000505f0d6016b000000000700000002000000c00002000a000200020000000005000008000100c0000208',
  },
  {
    command: 'bridge fdb del 02:00:00:00:00:05 dev if2 dst 192.0.2.8 self',
    operation: { op: 'fdbDelete', ifindex: 2, mac: '02:00:00:00:00:05', ip: '192.0.2.8' },
    hex: '300000001d000500f0d6016b000000000700000002000000c00002000a000200020000000005000008000100c0000208',
  },
  {
    command: 'bridge fdb del 02:00:00:00:00:05 dev if2 self',
    operation: { op: 'fdbDelete', ifindex: 2, mac: '02:00:00:00:00:05' },
    hex: '280000001d000500f1d6016b000000000700000002000000c00002000a0002000200000000050000',
  },
  {
    command: 'ip link set dev if2 up',
    operation: { op: 'linkSet', link: v0, up: true },
    hex: '20000000100005002e6f016b0000000000000000020000000100000001000000',
  },
  {
    command: 'ip link set dev if2 down',
    operation: { op: 'linkSet', link: v0, up: false },
    hex: '20000000100005002d6f016b0000000000000000020000000000000001000000',
  },
  {
    command: 'ip link set dev if2 alias keelson:pod',
    operation: { op: 'linkSet', link: v0, alias: 'keelson:pod' },
    hex: '30000000100005002d6f016b00000000000000000200000000000000000000000f0014006b65656c736f6e3a706f6400',
  },
  {
    command: 'ip link set dev if2 mtu 1450',
    operation: { op: 'linkSet', link: v0, mtu: 1450 },
    hex: '28000000100005002d6f016b000000000000000002000000000000000000000008000400aa050000',
  },
  {
    command: 'ip link set dev if2 master if5',
    operation: { op: 'linkSet', link: v0, masterIfindex: 5 },
    hex: '28000000100005002d6f016b000000000000000002000000000000000000000008000a0005000000',
  },
  {
    command: 'ip link set dev if2 nomaster',
    operation: { op: 'linkSet', link: v0, masterIfindex: 0 },
    hex: '28000000100005002e6f016b000000000000000002000000000000000000000008000a0000000000',
  },
  {
    command: 'ip link set dev if2 address 02:00:00:00:00:09',
    operation: { op: 'linkSet', link: v0, mac: '02:00:00:00:00:09' },
    hex: '2c000000100005002f6f016b00000000000000000200000000000000000000000a0001000200000000090000',
  },
  {
    command: 'ip link set dev if4 name v2',
    operation: { op: 'linkSet', link: { ifindex: 4 }, rename: 'v2' },
    hex: '28000000100005002e6f016b00000000000000000400000000000000000000000700030076320000',
  },
  {
    command: 'ip addr add 10.1.0.1/24 dev if2',
    operation: { op: 'addressAdd', ifindex: 2, prefix: '10.1.0.1/24' },
    hex: '28000000140005062e6f016b000000000218000002000000080002000a010001080001000a010001',
  },
  {
    command: 'ip addr add 10.244.0.7/32 dev if2 scope link',
    operation: { op: 'addressAdd', ifindex: 2, prefix: '10.244.0.7/32', scope: 'link' },
    hex: '28000000140005062e6f016b00000000022000fd02000000080002000af40007080001000af40007',
  },
  {
    command: 'ip addr replace 10.1.0.1/24 dev if2',
    operation: { op: 'addressAdd', ifindex: 2, prefix: '10.1.0.1/24', replace: true },
    hex: '28000000140005052e6f016b000000000218000002000000080002000a010001080001000a010001',
  },
  {
    command: 'ip addr add fd00::1/64 dev if2',
    operation: { op: 'addressAdd', ifindex: 2, prefix: 'fd00::1/64' },
    hex: '40000000140005062e6f016b000000000a4000000200000014000200fd00000000000000000000000000000114000100fd000000000000000000000000000001',
  },
  {
    command: 'ip addr add fe80::5/64 dev if2 scope link',
    operation: { op: 'addressAdd', ifindex: 2, prefix: 'fe80::5/64', scope: 'link' },
    hex: '40000000140005062e6f016b000000000a4000fd0200000014000200fe80000000000000000000000000000514000100fe800000000000000000000000000005',
  },
  {
    command: 'ip addr del 10.1.0.1/24 dev if2',
    operation: { op: 'addressDelete', ifindex: 2, prefix: '10.1.0.1/24' },
    hex: '28000000150005002e6f016b000000000218000002000000080002000a010001080001000a010001',
  },
  {
    command: 'ip route replace 10.244.0.9/32 dev if2 proto 75',
    operation: { op: 'routeReplace', destination: '10.244.0.9/32', ifindex: 2 },
    hex: '2c000000180005052e6f016b0000000002200000fe4bfd0100000000080001000af400090800040002000000',
  },
  {
    command: 'ip route replace default via 10.1.0.2 dev if2 onlink proto 75',
    operation: { op: 'routeReplace', destination: '0.0.0.0/0', gateway: '10.1.0.2', ifindex: 2, onlink: true },
    hex: '2c000000180005052e6f016b0000000002000000fe4b000104000000080005000a0100020800040002000000',
  },
  {
    command: 'ip route replace default via 169.254.1.1 dev if2 src 10.244.0.7 onlink proto 75',
    operation: {
      op: 'routeReplace',
      destination: '0.0.0.0/0',
      gateway: '169.254.1.1',
      ifindex: 2,
      onlink: true,
      source: '10.244.0.7',
    },
    hex: '34000000180005052e6f016b0000000002000000fe4b00010400000008000500a9fe0101080007000af400070800040002000000',
  },
  {
    command: 'ip route replace 10.9.0.0/16 via 10.1.0.2 proto 75',
    operation: { op: 'routeReplace', destination: '10.9.0.0/16', gateway: '10.1.0.2' },
    hex: '2c000000180005052e6f016b0000000002100000fe4b000100000000080001000a090000080005000a010002',
  },
  {
    command: 'ip route replace blackhole 10.244.1.0/24 proto 75',
    operation: { op: 'routeReplace', destination: '10.244.1.0/24', type: 'blackhole' },
    hex: '24000000180005052e6f016b0000000002180000fe4b000600000000080001000af40100',
  },
  {
    command: 'ip route replace unreachable 10.244.2.0/24 table 1000 proto 75',
    operation: { op: 'routeReplace', destination: '10.244.2.0/24', type: 'unreachable', table: 1000 },
    hex: '2c000000180005052e6f016b0000000002180000004b000700000000080001000af4020008000f00e8030000',
  },
  {
    command: 'ip -6 route replace default via fe80::1 dev if2 onlink proto 75',
    operation: { op: 'routeReplace', destination: '::/0', gateway: 'fe80::1', ifindex: 2, onlink: true },
    hex: '4c000000180005052e6f016b000000000a000000fe4b000104000000140001000000000000000000000000000000000014000500fe8000000000000000000000000000010800040002000000',
  },
  {
    command: 'ip -6 route replace fd00:1::/64 dev if2 proto 75',
    operation: { op: 'routeReplace', destination: 'fd00:1::/64', ifindex: 2 },
    hex: '38000000180005052e6f016b000000000a400000fe4b00010000000014000100fd0000010000000000000000000000000800040002000000',
  },
  {
    command: 'ip route replace 10.7.0.0/16 via inet6 fe80::1 dev if2 proto 75',
    operation: { op: 'routeReplace', destination: '10.7.0.0/16', gateway: 'fe80::1', ifindex: 2 },
    hex: '44000000180005052e6f016b0000000002100000fe4b000100000000080001000a070000160012000a00fe80000000000000000000000000000100000800040002000000',
  },
  {
    command: 'ip route del 10.9.0.0/16 via 10.1.0.2',
    operation: { op: 'routeDelete', destination: '10.9.0.0/16', gateway: '10.1.0.2' },
    hex: '2c000000190005002e6f016b0000000002100000fe00ff0000000000080001000a090000080005000a010002',
  },
  {
    command: 'ip route del 10.244.0.9/32 dev if2',
    operation: { op: 'routeDelete', destination: '10.244.0.9/32', ifindex: 2 },
    hex: '2c000000190005002e6f016b0000000002200000fe00ff0000000000080001000af400090800040002000000',
  },
  {
    command: 'ip neigh replace 169.254.1.1 lladdr 02:00:00:00:00:05 dev if2 nud permanent',
    operation: { op: 'neighReplace', ifindex: 2, ip: '169.254.1.1', mac: '02:00:00:00:00:05' },
    hex: '300000001c0005052f6f016b0000000002000000020000008000000008000100a9fe01010a0002000200000000050000',
  },
  {
    command: 'ip neigh replace fd00::9 lladdr 02:00:00:00:00:05 dev if2 nud permanent',
    operation: { op: 'neighReplace', ifindex: 2, ip: 'fd00::9', mac: '02:00:00:00:00:05' },
    hex: '3c0000001c0005052f6f016b000000000a000000020000008000000014000100fd0000000000000000000000000000090a0002000200000000050000',
  },
  {
    command: 'ip link del dev if2',
    operation: { op: 'linkDelete', link: v0 },
    hex: '20000000110005002e6f016b0000000000000000020000000000000000000000',
  },
];

function encode(operation: RtnetlinkOperation, sequence = 1): Buffer {
  const writer = new MessageWriter();
  encodeOperation(writer, sequence, operation, () => capturedDescriptor);
  return writer.take();
}

for (const { command, operation, hex } of fixtures) {
  test(`as iproute2: ${command}`, (t) => {
    const captured = Buffer.from(hex, 'hex');
    t.is(encode(operation, captured.readUInt32LE(8)).toString('hex'), hex);
    t.is(describe(operation), command);
  });
}

test('describe: the forms that no capture has', (t) => {
  t.is(describe({ op: 'linkSet', link: { name: 'lo' }, up: true }), 'ip link set dev lo up');
  t.is(describe({ op: 'linkSet', link: v0, alias: 'two words' }), 'ip link set dev if2 alias "two words"');
  t.is(
    describe({ op: 'routeReplace', destination: '10.0.0.0/8', ifindex: 2, scope: 'global' }),
    'ip route replace 10.0.0.0/8 dev if2 scope global proto 75',
  );
  t.is(
    describe({ op: 'addressAdd', ifindex: 2, prefix: 'fd00::1/128', noDad: true }),
    'ip addr add fd00::1/128 dev if2 nodad',
  );
});

test('what cannot be said is refused and leaves the batch alone', (t) => {
  const writer = new MessageWriter();
  const refused: RtnetlinkOperation[] = [
    { op: 'linkSet', link: { name: 'a' }, rename: 'b' },
    { op: 'routeReplace', destination: '10.0.0.0/8', type: 'other' },
    { ...vxlan, vni: 0x1000000 },
    { ...vxlan, port: 65_536 },
    { ...vxlan, vni: -1 },
  ];
  for (const operation of refused) {
    t.throws(() => encodeOperation(writer, 1, operation, () => 0), { instanceOf: NetlinkEncodeError });
  }
  t.throws(() => encodeOperation(writer, 1, { op: 'addressAdd', ifindex: 1, prefix: '10.0.0.300/8' }, () => 0), {
    code: 'ADDRESS_MALFORMED',
  });
  t.throws(() => encodeOperation(writer, 1, { op: 'neighReplace', ifindex: 1, ip: '10.0.0.3', mac: 'zz' }, () => 0), {
    code: 'ADDRESS_MALFORMED',
  });
  t.is(writer.length, 0);
});

/** A request to make an object has the shape of the notification about it, so decoding one gives the object back. */
function decode(operation: RtnetlinkOperation): ReturnType<typeof decodeNotification> {
  const message = new MessageCursor(encode(operation));
  message.next();
  return decodeNotification(message);
}

const ifindex = fc.integer({ min: 1, max: 0x7fffffff });
const ip4 = fc.ipV4();
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:'),
);

test('property: routes survive', (t) => {
  const route = fc.record({
    destination: fc.tuple(ip4, fc.integer({ min: 1, max: 32 })).map(([ip, length]) => `${ip}/${length}`),
    gateway: fc.option(fc.oneof(ip4, fc.constant('fe80::1')), { nil: undefined }),
    ifindex: fc.option(ifindex, { nil: undefined }),
    source: fc.option(ip4, { nil: undefined }),
    scope: fc.constantFrom('global' as const, 'link' as const, 'host' as const),
    type: fc.constantFrom(
      'unicast' as const,
      'local' as const,
      'broadcast' as const,
      'blackhole' as const,
      'unreachable' as const,
      'prohibit' as const,
    ),
    protocol: fc.integer({ min: 0, max: 255 }),
    table: fc.integer({ min: 1, max: 0xffffffff }),
    onlink: fc.boolean(),
  });
  fc.assert(
    fc.property(route, (given) => {
      const { gateway, ifindex, source, ...rest } = given;
      const operation: RtnetlinkOperation = {
        op: 'routeReplace',
        ...rest,
        ...(gateway === undefined ? {} : { gateway }),
        ...(ifindex === undefined ? {} : { ifindex }),
        ...(source === undefined ? {} : { source }),
      };
      t.deepEqual(decode(operation), { event: 'routeNew', route: given });
    }),
  );
});

test('property: addresses, neighbours and forwarding entries survive', (t) => {
  fc.assert(
    fc.property(ip4, ifindex, mac, fc.integer({ min: 0, max: 32 }), (ip, ifindex, mac, length) => {
      const prefix = `${ip}/${length}`;
      t.deepEqual(decode({ op: 'addressAdd', ifindex, prefix, scope: 'host' }), {
        event: 'addressNew',
        address: { ifindex, prefix, scope: 'host' },
      });
      t.deepEqual(decode({ op: 'neighReplace', ifindex, ip, mac }), {
        event: 'neighNew',
        neighbour: { ifindex, ip, mac, permanent: true },
      });
      t.deepEqual(decode({ op: 'fdbReplace', ifindex, ip, mac }), {
        event: 'fdbNew',
        entry: { ifindex, ip, mac, permanent: true },
      });
      t.deepEqual(decode({ op: 'fdbDelete', ifindex, mac }), {
        event: 'fdbDelete',
        entry: { ifindex, ip: undefined, mac, permanent: true },
      });
    }),
  );
});

test('property: VXLAN links survive', (t) => {
  const local = fc.oneof(ip4, fc.constant('fd00::9'));
  fc.assert(
    fc.property(local, mac, fc.integer({ min: 0, max: 0xffffff }), fc.integer({ min: 0, max: 0xffff }), (...given) => {
      const [local, mac, vni, port] = given;
      const link = {
        name: 'x',
        kind: 'vxlan',
        mac,
        mtu: 1450,
        vxlan: { vni, port, local, lower: undefined, learning: false },
      };
      t.like(decode({ ...vxlan, local, mac, vni, port }), { event: 'linkNew', link });
    }),
  );
});

test('property: links survive', (t) => {
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,14}$/);
  fc.assert(
    fc.property(
      ifindex,
      name,
      mac,
      fc.integer({ min: 68, max: 65535 }),
      fc.string({ minLength: 1, maxLength: 60 }),
      (ifindex, name, mac, mtu, text) => {
        const alias = text.replaceAll('\0', '');
        t.like(
          decode({ op: 'linkSet', link: { ifindex }, rename: name, mac, mtu, alias, up: true, masterIfindex: 9 }),
          {
            event: 'linkNew',
            link: { ifindex, name, mac, mtu, alias, up: true, masterIfindex: 9 },
          },
        );
      },
    ),
  );
});
