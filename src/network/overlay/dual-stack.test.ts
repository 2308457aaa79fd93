/**
 * Overlays of both families on the fake kernel: a link for each, over the family that the nodes have, and what is refused.
 * With packets: test/kernel/overlay-dual-stack.test.ts.
 */
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakeSysctls } from '../../linux/fake-host.ts';
import { FakeRtnetlink } from '../../linux/fake-rtnetlink.ts';
import { describe } from '../../linux/netlink/describe.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { Overlay, OverlayOptions, OverlayStatus } from './contract.ts';
import { flannelAnnotation, parseFlannel } from './flannel.ts';
import { startOverlay } from './overlay.ts';
import type { PeerListener, PeerNode, PeerSource } from './peer.ts';
import { linkLocalOf, vtepMac } from './vtep.ts';

const options: OverlayOptions = {
  backend: 'vxlan',
  directRouting: false,
  vni: 1,
  port: 8472,
  mtu: 1430,
  nodeName: 'own',
  nodeIPs: ['192.0.2.10', 'fd00::10'],
  podCIDRs: ['10.244.0.0/24', 'fd00:244::/64'],
};
const peer4 = (name: string, number: number, more: Partial<PeerNode> = {}): PeerNode => ({
  name,
  createdAt: `2026-01-01T00:00:${10 + number}Z`,
  podCIDR: `10.244.${number}.0/24`,
  address: `192.0.2.${10 + number}`,
  ...more,
});
const peer6 = (name: string, number: number, more: Partial<PeerNode> = {}): PeerNode =>
  peer4(name, number, { podCIDR: `fd00:244:0:${number}::/64`, address: `fd00::${10 + number}`, ...more });

class FakeSource implements PeerSource {
  readonly #listeners = { 4: new Set<PeerListener>(), 6: new Set<PeerListener>() };
  readonly #peers: Record<4 | 6, PeerNode[]>;

  constructor(four: readonly PeerNode[], six: readonly PeerNode[]) {
    this.#peers = { 4: [...four], 6: [...six] };
  }

  follow(family: 4 | 6, listener: PeerListener): () => void {
    this.#listeners[family].add(listener);
    listener(
      this.#peers[family].map((peer) => ({ type: 'set', peer })),
      true,
    );
    return () => this.#listeners[family].delete(listener);
  }

  tell(family: 4 | 6, peer: PeerNode): void {
    for (const listener of this.#listeners[family]) listener([{ type: 'set', peer }], true);
  }
}

async function setUp(t: ExecutionContext, four: readonly PeerNode[], six: readonly PeerNode[]) {
  const kernel = new FakeRtnetlink();
  const admin = await kernel.open();
  await admin.apply([
    { op: 'linkSet', link: { name: 'lo' }, up: true },
    { op: 'linkAddVeth', name: 'eth0', peer: { name: 'wire' } },
  ]);
  const eth0 = (await admin.link({ name: 'eth0' }))?.ifindex ?? 0;
  await admin.apply([
    { op: 'linkSet', link: { ifindex: eth0 }, up: true },
    { op: 'addressAdd', ifindex: eth0, prefix: '192.0.2.10/24' },
    { op: 'addressAdd', ifindex: eth0, prefix: 'fd00::10/64' },
    { op: 'routeReplace', destination: '0.0.0.0/0', gateway: '192.0.2.1', protocol: 3 },
    { op: 'routeReplace', destination: '::/0', gateway: 'fd00::1', ifindex: eth0, protocol: 3 },
  ]);
  const clock = new FakeClock();
  const source = new FakeSource(four, six);
  const defaults = { accept_ra: '1', autoconf: '1', addr_gen_mode: '0', disable_ipv6: '0' };
  const sysctls = new FakeSysctls(
    Object.fromEntries(
      Object.entries(defaults).flatMap(([name, value]) =>
        ['keelson-vxlan', 'keelson-vxlan6'].map((link) => [`net/ipv6/conf/${link}/${name}`, value]),
      ),
    ),
  );
  const networks = {
    all: [] as string[],
    settled: 0,
    async add(cidrs: readonly string[]) {
      networks.all.push(...cidrs);
    },
    async remove(cidrs: readonly string[]) {
      networks.all = networks.all.filter((cidr) => !cidrs.includes(cidr));
    },
    async settle() {
      networks.settled++;
    },
  };
  const start = async (more: Partial<OverlayOptions> = {}): Promise<Overlay> => {
    const dependencies = { rtnetlinkOpener: kernel, sysctls, source, networks, log: silentLogger, clock };
    const overlay = await startOverlay({ ...options, ...more }, dependencies);
    t.teardown(() => overlay.stop());
    await clock.advance(1_000);
    await overlay.idle();
    return overlay;
  };
  let seen = kernel.applied.length;
  /** What was sent since the last question, with names in place of numbers. */
  const sent = async (): Promise<string[]> => {
    const links = await admin.links();
    const all = kernel.applied.slice(seen).map(({ operation }) => describe(operation));
    seen = kernel.applied.length;
    return all.map((text) =>
      text.replace(/\bif(\d+)\b/, (_, n) => links.find((l) => l.ifindex === Number(n))?.name ?? n),
    );
  };
  await sent();
  return { kernel, admin, eth0, clock, source, sysctls, networks, start, sent };
}

const second = (overlay: Overlay): OverlayStatus => {
  const status = overlay.status().second;
  if (status === undefined) throw new Error('one family only');
  return status;
};
const reasons = ({ unreached }: OverlayStatus): string[] => unreached.map(({ reason }) => reason);

test('two families between nodes of both: a link for each, as flannel has them', async (t) => {
  const { start, sent, networks, sysctls } = await setUp(t, [peer4('a', 1)], [peer6('a', 1)]);
  const overlay = await start();
  const mac = vtepMac('a');
  t.deepEqual(await sent(), [
    `ip link add keelson-vxlan address ${vtepMac('own')} mtu 1430 type vxlan id 1 local 192.0.2.10 nolearning dstport 8472 udpcsum`,
    'ip link set dev keelson-vxlan alias keelson:vxlan',
    'ip link set dev keelson-vxlan up',
    'ip addr replace 10.244.0.0/32 dev keelson-vxlan',
    `bridge fdb replace ${mac} dev keelson-vxlan dst 192.0.2.11 self permanent`,
    `ip neigh replace 10.244.1.0 lladdr ${mac} dev keelson-vxlan nud permanent`,
    'ip route replace 10.244.1.0/24 via 10.244.1.0 dev keelson-vxlan onlink proto 75',
    `ip link add keelson-vxlan6 address ${vtepMac('own')} mtu 1430 type vxlan id 1 local fd00::10 nolearning dstport 8472 udpcsum`,
    'ip link set dev keelson-vxlan6 alias keelson:vxlan6',
    'ip link set dev keelson-vxlan6 up',
    'ip addr replace fd00:244::/128 dev keelson-vxlan6 nodad',
    `bridge fdb replace ${mac} dev keelson-vxlan6 dst fd00::11 self permanent`,
    `ip neigh replace ${linkLocalOf(mac)} lladdr ${mac} dev keelson-vxlan6 nud permanent`,
    `ip -6 route replace fd00:244:0:1::/64 via ${linkLocalOf(vtepMac('a'))} dev keelson-vxlan6 proto 75`,
  ]);
  t.deepEqual(networks.all, ['10.244.1.0/24', 'fd00:244:0:1::/64']);
  t.is(networks.settled, 1);
  t.like(overlay.status(), {
    family: 4,
    vxlan: 1,
    faults: [],
    second: { family: 6, vxlan: 1, faults: [], unreached: [] },
  });
  t.is(sysctls.values.get('net/ipv6/conf/keelson-vxlan/disable_ipv6'), '1');
  for (const [name, value] of [
    ['accept_ra', '0'],
    ['autoconf', '0'],
    ['addr_gen_mode', '1'],
    ['disable_ipv6', '0'],
  ] as const)
    t.is(sysctls.values.get(`net/ipv6/conf/keelson-vxlan6/${name}`), value);
  await overlay.stop();
  // The next process finds all of it.
  await start();
  t.deepEqual(await sent(), []);
});

test('the link-local name of a MAC address', (t) => {
  t.is(linkLocalOf('02:00:5e:10:00:01'), 'fe80::5eff:fe10:1');
  t.is(linkLocalOf('6a:11:22:33:44:66'), 'fe80::6811:22ff:fe33:4466');
});

test('nodes with IPv4 addresses only: IPv6 pods by a second VNI between them', async (t) => {
  const six = [peer6('own', 0, { address: '192.0.2.10' }), peer6('a', 1, { address: '192.0.2.11' })];
  const { start, sent } = await setUp(t, [peer4('own', 0), peer4('a', 1)], six);
  const overlay = await start({ nodeIPs: ['192.0.2.10'] });
  const all = await sent();
  t.true(all.some((text) => /add keelson-vxlan6 .* id 8388609 local 192\.0\.2\.10 /.test(text)));
  t.true(all.includes(`bridge fdb replace ${vtepMac('a')} dev keelson-vxlan6 dst 192.0.2.11 self permanent`));
  t.like(second(overlay), { vxlan: 1, unreached: [], faults: [] });
});

test('a node with one family among nodes with both is named on each side, and pods of the other family go on', async (t) => {
  const six = [peer6('a', 1), peer6('b', 2, { address: '192.0.2.12' })];
  const { start } = await setUp(t, [peer4('a', 1), peer4('b', 2)], six);
  const overlay = await start();
  t.is(overlay.status().vxlan, 2);
  t.is(second(overlay).vxlan, 1);
  t.regex(
    reasons(second(overlay)).join(),
    /^it is reached by IPv4 \(192\.0\.2\.12\), and this node sends by IPv6: give .*--node-ip/,
  );
  const lone = await setUp(t, [peer4('a', 1)], [peer6('own', 0, { address: '192.0.2.10' }), peer6('a', 1)]);
  const other = await lone.start({ nodeIPs: ['192.0.2.10'] });
  t.regex(reasons(second(other)).join(), /^it is reached by IPv6 \(fd00::11\), and this node sends by IPv4/);
});

test('host-gw: a route by the IPv6 neighbour; a node without such an address is named', async (t) => {
  const six = [peer6('a', 1), peer6('b', 2, { address: '192.0.2.12' }), peer6('c', 3, { address: '2001:db8::3' })];
  const { start, sent } = await setUp(t, [peer4('a', 1)], six);
  const overlay = await start({ backend: 'host-gw' });
  t.deepEqual(await sent(), [
    'ip route replace 10.244.1.0/24 via 192.0.2.11 dev eth0 proto 75',
    'ip -6 route replace fd00:244:0:1::/64 via fd00::11 dev eth0 proto 75',
  ]);
  t.deepEqual(reasons(second(overlay)), [
    'it has no IPv6 address (192.0.2.12), and host-gw needs one: give it --node-ip with both',
    'its address 2001:db8::3 is on no network of this node, and host-gw needs that',
  ]);
});

test('an IPv6-only node has one overlay, and what IPv4 left is removed', async (t) => {
  const { start, sent, admin } = await setUp(t, [peer4('a', 1)], [peer6('a', 1)]);
  const before = await start();
  await before.stop();
  await sent();
  const overlay = await start({ podCIDRs: ['fd00:244::/64'], nodeIPs: ['fd00::10'] });
  t.like(overlay.status(), { family: 6, vxlan: 1, faults: [] });
  t.is(overlay.status().second, undefined);
  t.is(await admin.link({ name: 'keelson-vxlan' }), undefined);
  t.false((await admin.routes()).some(({ destination }) => destination === '10.244.1.0/24'));
  await overlay.stop();
  await sent();
  await start({ podCIDRs: ['fd00:244::/64'], nodeIPs: ['fd00::10'] });
  t.deepEqual(await sent(), []);
});

test('bad and taken pod networks of IPv6 are refused for IPv6 alone', async (t) => {
  const six = [
    peer6('a', 1),
    peer6('twin', 5, { podCIDR: 'fd00:244:0:1::/64' }),
    peer6('wide', 6, { podCIDR: 'fd00:244::/48' }),
    peer6('host', 7, { podCIDR: 'fd00::/64' }),
    peer6('local', 8, { podCIDR: 'fe80:0:0:8::/64' }),
    peer6('mine', 9, { address: 'fd00:0:0::10' }),
    peer6('multicast', 12, { address: 'ff02::1' }),
    peer6('loop', 13, { address: '::ffff:127.0.0.1' }),
    peer6('odd', 14, { podCIDR: 'FD00:244:0:E::/64' }),
    peer6('long', 15, { address: `fd00::${'0'.repeat(500)}1` }),
  ];
  const { start } = await setUp(t, [peer4('a', 1)], six);
  const overlay = await start();
  t.like(overlay.status(), { vxlan: 1, unreached: [], faults: [] });
  const status = second(overlay);
  t.is(status.vxlan, 1);
  const of = Object.fromEntries(status.unreached.map(({ node, reason }) => [node, reason]));
  t.deepEqual(Object.keys(of), ['host', 'local', 'long', 'loop', 'mine', 'multicast', 'odd', 'twin', 'wide']);
  t.regex(of.twin ?? '', /overlaps podCIDR fd00:244:0:1::\/64 of node a/);
  t.regex(of.wide ?? '', /overlaps podCIDR fd00:244::\/64 of this node/);
  t.regex(of.host ?? '', /overlaps address fd00::10 of this node|lies in its own podCIDR/);
  t.regex(of.mine ?? '', /address fd00::10 overlaps address fd00::10 of this node/);
  t.regex(of.local ?? '', /fe80::\/10/);
  t.regex(of.odd ?? '', /canonical/);
  for (const reason of Object.values(of)) t.true(reason.length < 300, reason);
});

test('an address in another spelling than the kernel’s makes nothing anew', async (t) => {
  const six = [peer6('own', 0, { address: 'FD00:0:0::0010' }), peer6('a', 1, { address: 'fd00:0:0:0::0011' })];
  const { start, sent, clock } = await setUp(t, [peer4('a', 1)], six);
  const overlay = await start();
  await sent();
  for (let round = 0; round < 5; round++) {
    await clock.advance(60_000);
    await overlay.idle();
  }
  t.deepEqual(await sent(), []);
  await overlay.stop();
  await start();
  t.deepEqual(await sent(), []);
});

test('what somebody removes of one family is put back; the other’s is not touched', async (t) => {
  const { start, sent, admin, clock } = await setUp(t, [peer4('a', 1)], [peer6('a', 1)]);
  const overlay = await start();
  await sent();
  const ifindex = (await admin.link({ name: 'keelson-vxlan6' }))?.ifindex ?? 0;
  await admin.apply([{ op: 'routeDelete', destination: 'fd00:244:0:1::/64', ifindex }]);
  await sent();
  await clock.advance(1_000);
  await overlay.idle();
  t.deepEqual(await sent(), [
    `ip -6 route replace fd00:244:0:1::/64 via ${linkLocalOf(vtepMac('a'))} dev keelson-vxlan6 proto 75`,
  ]);
  await admin.apply([{ op: 'linkSet', link: { ifindex }, mtu: 1280 }]);
  await clock.advance(1_000);
  await overlay.idle();
  t.is((await admin.link({ name: 'keelson-vxlan6' }))?.mtu, 1430);
  overlay.setMtu(1380);
  await overlay.idle();
  for (const name of ['keelson-vxlan', 'keelson-vxlan6']) t.is((await admin.link({ name }))?.mtu, 1380);
});

test('flannel’s annotations of each family are read for its own', async (t) => {
  const mac = '6a:11:22:33:44:55';
  const annotations = {
    [flannelAnnotation.managed]: 'true',
    [flannelAnnotation.backendType]: 'vxlan',
    [flannelAnnotation.backendData]: '{"VNI":1,"VtepMAC":"6a:00:00:00:00:04"}',
    [flannelAnnotation.publicIP]: '192.0.2.11',
    [flannelAnnotation.backendV6Data]: `{"VNI":1,"VtepMAC":"${mac}"}`,
    [flannelAnnotation.publicIPv6]: 'fd00::99',
  };
  const four = peer4('a', 1, { flannel: parseFlannel(annotations) });
  const six = peer6('a', 1, { address: '192.0.2.11', flannel: parseFlannel(annotations, 6) });
  const { start, sent, source } = await setUp(t, [four], [six]);
  const overlay = await start();
  t.true((await sent()).includes(`bridge fdb replace ${mac} dev keelson-vxlan6 dst fd00::99 self permanent`));
  for (const [change, expected] of [
    [{ [flannelAnnotation.backendV6Data]: 'null' }, /backend-v6-data does not say the MAC/],
    [{ [flannelAnnotation.publicIPv6]: '192.0.2.11' }, /public-ipv6 "192\.0\.2\.11" is no address/],
    [{ [flannelAnnotation.backendV6Data]: `{"VNI":2,"VtepMAC":"${mac}"}` }, /VNI 2/],
  ] as const) {
    source.tell(6, { ...six, flannel: parseFlannel({ ...annotations, ...change }, 6) });
    await overlay.idle();
    t.regex(reasons(second(overlay)).join(), expected);
    t.deepEqual(reasons(overlay.status()), []);
  }
});

test('flannel’s link of IPv6 has our VNI: IPv6 is down, IPv4 is not', async (t) => {
  const { start, admin } = await setUp(t, [peer4('a', 1)], [peer6('a', 1)]);
  const rival = { op: 'linkAddVxlan', name: 'flannel-v6.1', mac: '6a:00:00:00:00:06', mtu: 1430, vni: 1 } as const;
  await admin.apply([{ ...rival, port: 8472, local: 'fd00::10' }]);
  const overlay = await start();
  t.is(overlay.status().down, undefined);
  t.regex(second(overlay).down ?? '', /link keelson-vxlan6: VNI 1 on port 8472 is taken by link flannel-v6\.1/);
});
