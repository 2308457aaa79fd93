/**
 * The overlay on the fake kernel: what it makes, what it leaves alone, what it puts back, and that it sends nothing when
 * all is right. The same on the real kernel, with packets: test/kernel/overlay.test.ts.
 */
import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { FakeSysctls } from '../../linux/fake-host.ts';
import { FakeRtnetlink } from '../../linux/fake-rtnetlink.ts';
import { KernelError } from '../../linux/kernel-error.ts';
import { describe } from '../../linux/netlink/describe.ts';
import type { RtnetlinkOperation } from '../../linux/rtnetlink.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { Overlay, OverlayOptions, PeerNetworks } from './contract.ts';
import { startOverlay } from './overlay.ts';
import type { PeerChange, PeerListener, PeerNode, PeerSource } from './peer.ts';
import { vtepMac } from './vtep.ts';

const options: OverlayOptions = {
  backend: 'vxlan',
  directRouting: false,
  vni: 1,
  port: 8472,
  mtu: 1450,
  nodeName: 'own',
  nodeIPs: ['192.0.2.10'],
  podCIDRs: ['10.244.0.0/24'],
};
const peer = (name: string, number: number, more: Partial<PeerNode> = {}): PeerNode => ({
  name,
  createdAt: `2026-01-01T00:00:${String(number % 60).padStart(2, '0')}Z`,
  podCIDR: `10.244.${number}.0/24`,
  address: `192.0.2.${10 + number}`,
  ...more,
});
const own = peer('own', 0);

class FakeSource implements PeerSource {
  readonly nodes = new Map<string, PeerNode>();
  complete = true;
  readonly #listeners = new Set<PeerListener>();

  constructor(nodes: readonly PeerNode[]) {
    for (const node of nodes) this.nodes.set(node.name, node);
  }

  follow(_family: 4 | 6, listener: PeerListener): () => void {
    this.#listeners.add(listener);
    listener(
      [...this.nodes.values()].map((node) => ({ type: 'set', peer: node })),
      this.complete,
    );
    return () => this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  tell(...changes: (PeerNode | string)[]): void {
    const told = changes.map((change): PeerChange => {
      if (typeof change === 'string') this.nodes.delete(change);
      else this.nodes.set(change.name, change);
      return typeof change === 'string' ? { type: 'deleted', name: change } : { type: 'set', peer: change };
    });
    for (const listener of this.#listeners) listener(told, this.complete);
  }
}

/** Counts, as what keeps the masquerade table does: one peer may take a network before another gives it up. */
class FakeNetworks implements PeerNetworks {
  readonly #counts = new Map<string, number>();
  settled = 0;

  get now(): string[] {
    return [...this.#counts.keys()].toSorted();
  }

  async add(podCIDRs: readonly string[]): Promise<void> {
    for (const cidr of podCIDRs) this.#counts.set(cidr, (this.#counts.get(cidr) ?? 0) + 1);
  }

  async settle(): Promise<void> {
    this.settled++;
  }

  async remove(podCIDRs: readonly string[]): Promise<void> {
    for (const cidr of podCIDRs) {
      const count = (this.#counts.get(cidr) ?? 0) - 1;
      if (count > 0) this.#counts.set(cidr, count);
      else this.#counts.delete(cidr);
    }
  }
}

async function setUp(t: ExecutionContext, nodes: readonly PeerNode[] = [own]) {
  const kernel = new FakeRtnetlink();
  const admin = await kernel.open();
  await admin.apply([
    { op: 'linkSet', link: { name: 'lo' }, up: true },
    { op: 'addressAdd', ifindex: 1, prefix: '10.244.0.1/32', scope: 'link' },
    { op: 'routeReplace', destination: '10.244.0.0/24', type: 'unreachable' },
    { op: 'linkAddVeth', name: 'eth0', peer: { name: 'wire' } },
  ]);
  const eth0 = (await admin.link({ name: 'eth0' }))?.ifindex ?? 0;
  await admin.apply([
    { op: 'addressAdd', ifindex: eth0, prefix: '192.0.2.10/24' },
    { op: 'linkSet', link: { ifindex: eth0 }, up: true },
    { op: 'routeReplace', destination: '0.0.0.0/0', gateway: '192.0.2.1', protocol: 3 },
  ]);
  const clock = new FakeClock();
  const source = new FakeSource(nodes);
  const sysctls = new FakeSysctls({ 'net/ipv6/conf/keelson-vxlan/disable_ipv6': '0' });
  const networks = new FakeNetworks();
  const start = async (more: Partial<OverlayOptions> = {}): Promise<Overlay> => {
    const overlay = await startOverlay(
      { ...options, ...more },
      { rtnetlinkOpener: kernel, sysctls, source, networks, log: silentLogger, clock },
    );
    t.teardown(() => overlay.stop());
    // What is told of our own changes.
    await clock.advance(1_000);
    return overlay;
  };
  const link = async () => (await admin.link({ name: 'keelson-vxlan' }))?.ifindex ?? 0;
  /** In the kernel, in words; `X` is the link of the VXLAN. */
  const state = async (): Promise<string[]> => {
    const { routes, neighbours, forwardingEntries } = kernel.namespace();
    const x = await link();
    const name = (ifindex: number | undefined) => (ifindex === x ? 'X' : ifindex === eth0 ? 'eth0' : `if${ifindex}`);
    return [
      ...routes
        .filter(({ protocol, gateway }) => protocol === 75 && gateway !== undefined)
        .map((r) => `${r.destination} via ${r.gateway} dev ${name(r.ifindex)}${r.onlink ? ' onlink' : ''}`),
      ...neighbours.map(({ ip, mac, ifindex }) => `${ip} at ${mac} dev ${name(ifindex)}`),
      ...forwardingEntries.map(({ ip, mac, ifindex }) => `${mac} to ${ip} dev ${name(ifindex)}`),
    ].toSorted();
  };
  /** What was sent since the last question. */
  let seen = kernel.applied.length;
  const sent = (): string[] => {
    const all = kernel.applied.slice(seen).map(({ operation }) => describe(operation));
    seen = kernel.applied.length;
    return all;
  };
  return { kernel, admin, eth0, clock, source, sysctls, networks, start, state, sent, link };
}

const throughVxlan = ({ name, podCIDR = '', address }: PeerNode): string[] => {
  const vtep = podCIDR.replace('/24', '');
  const mac = vtepMac(name);
  return [`${podCIDR} via ${vtep} dev X onlink`, `${vtep} at ${mac} dev X`, `${mac} to ${address} dev X`].toSorted();
};
const all = (...peers: PeerNode[]): string[] => peers.flatMap(throughVxlan).toSorted();
const direct = ({ podCIDR, address }: PeerNode): string => `${podCIDR} via ${address} dev eth0`;

const [a, b, c] = [peer('a', 1), peer('b', 2), peer('c', 3)];

test('VXLAN: the link, and for each peer a forwarding entry, a neighbour and a route, in this order', async (t) => {
  const { admin, kernel, sysctls, networks, start, state, sent, link } = await setUp(t, [own, a, b]);
  sent();
  const overlay = await start();
  const x = await link();
  t.deepEqual(sent(), [
    `ip link add keelson-vxlan address ${vtepMac('own')} mtu 1450 type vxlan id 1 local 192.0.2.10 nolearning dstport 8472 udpcsum`,
    'ip link set dev keelson-vxlan alias keelson:vxlan',
    `ip link set dev if${x} up`,
    `ip addr replace 10.244.0.0/32 dev if${x}`,
    `bridge fdb replace ${vtepMac('a')} dev if${x} dst 192.0.2.11 self permanent`,
    `bridge fdb replace ${vtepMac('b')} dev if${x} dst 192.0.2.12 self permanent`,
    `ip neigh replace 10.244.1.0 lladdr ${vtepMac('a')} dev if${x} nud permanent`,
    `ip neigh replace 10.244.2.0 lladdr ${vtepMac('b')} dev if${x} nud permanent`,
    `ip route replace 10.244.1.0/24 via 10.244.1.0 dev if${x} onlink proto 75`,
    `ip route replace 10.244.2.0/24 via 10.244.2.0 dev if${x} onlink proto 75`,
  ]);
  t.deepEqual(await state(), all(a, b));
  t.deepEqual(networks.now, ['10.244.1.0/24', '10.244.2.0/24']);
  t.is(sysctls.values.get('net/ipv6/conf/keelson-vxlan/disable_ipv6'), '1');
  t.deepEqual(overlay.status(), {
    family: 4,
    backend: 'vxlan',
    vxlan: 2,
    direct: 0,
    complete: true,
    unreached: [],
    faults: [],
  });
  await overlay.stop();
  await overlay.stop();
  admin.close();
  t.is(kernel.openSockets, 0);
});

test('a restart finds all as it should be and sends nothing', async (t) => {
  const { source, networks, start, state, sent } = await setUp(t, [own, a, b]);
  await (await start()).stop();
  sent();
  const again = await start();
  t.deepEqual(sent(), []);
  await again.stop();
  // Even while the API server is away: nothing is known of anybody.
  source.nodes.clear();
  source.complete = false;
  const alone = await start();
  t.deepEqual(sent(), []);
  t.deepEqual(await state(), all(a, b));
  t.like(alone.status(), { complete: false, vxlan: 0 });
  source.tell(own, a);
  await settle();
  t.deepEqual(sent(), []);
  // Only when the whole cluster was told, what nobody is there for goes.
  source.complete = true;
  t.is(networks.settled, 2, 'of the two before');
  source.tell();
  await settle();
  t.is(networks.settled, 3);
  t.deepEqual(await state(), all(a));
  t.is(sent().length, 3);
});

test('a peer comes, changes address, changes its network, goes: only its own entries are touched', async (t) => {
  const { source, networks, start, state, sent, link } = await setUp(t, [own, a, b]);
  await start();
  const x = await link();
  sent();
  source.tell(c);
  await settle();
  t.deepEqual(await state(), all(a, b, c));
  t.is(sent().length, 3);
  const moved = { ...c, address: '192.0.2.99' };
  source.tell(moved);
  await settle();
  t.deepEqual(sent(), [`bridge fdb replace ${vtepMac('c')} dev if${x} dst 192.0.2.99 self permanent`]);
  const renumbered = { ...moved, podCIDR: '10.244.77.0/24' };
  source.tell(renumbered);
  await settle();
  t.deepEqual(sent(), [
    `ip neigh replace 10.244.77.0 lladdr ${vtepMac('c')} dev if${x} nud permanent`,
    `ip route replace 10.244.77.0/24 via 10.244.77.0 dev if${x} onlink proto 75`,
    `ip route del 10.244.3.0/24 via 10.244.3.0 dev if${x} proto 75`,
    `ip neigh del 10.244.3.0 dev if${x}`,
  ]);
  t.deepEqual(networks.now, ['10.244.1.0/24', '10.244.2.0/24', '10.244.77.0/24']);
  source.tell(renumbered);
  await settle();
  t.deepEqual(sent(), []);
  source.tell('c');
  await settle();
  t.deepEqual(await state(), all(a, b));
  t.is(sent().length, 3);
  t.deepEqual(networks.now, ['10.244.1.0/24', '10.244.2.0/24']);
  // One leaves and another takes its network, in one word.
  source.tell('b', { ...c, podCIDR: '10.244.2.0/24' });
  await settle();
  t.deepEqual(await state(), all(a, { ...c, podCIDR: '10.244.2.0/24' }));
  t.deepEqual(networks.now, ['10.244.1.0/24', '10.244.2.0/24']);
});

test('a burst is applied in batches, all of it', async (t) => {
  const { source, start, state } = await setUp(t);
  await start();
  const many = Array.from({ length: 600 }, (_, index) => {
    const [high, low] = [index >> 8, index & 255];
    return peer(`n${index}`, index, { podCIDR: `10.${high}.${low}.0/24`, address: `198.18.${high}.${low}` });
  });
  source.tell(...many);
  await settle();
  t.deepEqual(await state(), all(...many));
});

test('what others change is put back: entries, the link, its settings, its address', async (t) => {
  const { admin, clock, start, state, sent, link } = await setUp(t, [own, a, b]);
  await start();
  const changes: [string, (x: number) => RtnetlinkOperation[]][] = [
    ['route deleted', () => [{ op: 'routeDelete', destination: '10.244.1.0/24' }]],
    ['neighbour deleted', (x) => [{ op: 'neighDelete', ifindex: x, ip: '10.244.1.0' }]],
    ['neighbour changed', (x) => [{ op: 'neighReplace', ifindex: x, ip: '10.244.1.0', mac: '02:00:00:00:00:66' }]],
    ['forwarding deleted', (x) => [{ op: 'fdbDelete', ifindex: x, mac: vtepMac('b') }]],
    ['forwarding changed', (x) => [{ op: 'fdbReplace', ifindex: x, mac: vtepMac('b'), ip: '203.0.113.66' }]],
    ['foreign entries', (x) => [{ op: 'fdbReplace', ifindex: x, mac: '02:00:00:00:00:77', ip: '203.0.113.66' }]],
    ['foreign neighbour', (x) => [{ op: 'neighReplace', ifindex: x, ip: '10.9.9.9', mac: '02:00:00:00:00:77' }]],
    ['link deleted', (x) => [{ op: 'linkDelete', link: { ifindex: x } }]],
    ['link down', (x) => [{ op: 'linkSet', link: { ifindex: x }, up: false }]],
    ['other MAC and MTU', (x) => [{ op: 'linkSet', link: { ifindex: x }, mac: '02:00:00:00:00:88', mtu: 1300 }]],
    ['renamed', (x) => [{ op: 'linkSet', link: { ifindex: x }, rename: 'other' }]],
    ['address deleted', (x) => [{ op: 'addressDelete', ifindex: x, prefix: '10.244.0.0/32' }]],
    ['another address', (x) => [{ op: 'addressAdd', ifindex: x, prefix: '10.1.1.1/24' }]],
    [
      'uplink down and up',
      () => [
        { op: 'linkSet', link: { name: 'eth0' }, up: false },
        { op: 'linkSet', link: { name: 'eth0' }, up: true },
      ],
    ],
  ];
  for (const [what, change] of changes) {
    const results = await admin.apply(change(await link()));
    t.deepEqual(
      results.filter((error) => error !== undefined),
      [],
      what,
    );
    await clock.advance(1_000);
    t.deepEqual(await state(), all(a, b), what);
    const now = await admin.link({ name: 'keelson-vxlan' });
    t.like(now, { up: true, mtu: 1450, mac: vtepMac('own'), alias: 'keelson:vxlan' }, what);
    const addresses = (await admin.addresses()).filter(({ ifindex }) => ifindex === now?.ifindex);
    t.deepEqual(
      addresses.map(({ prefix }) => prefix),
      ['10.244.0.0/32'],
      what,
    );
  }
  sent();
  await clock.advance(10_000);
  t.deepEqual(sent(), [], 'and then there is rest');
});

test('a quarrel is slow, lost notifications are looked for', async (t) => {
  const { admin, kernel, clock, start, state, sent } = await setUp(t, [own, a]);
  await start();
  sent();
  let repairs = 0;
  for (let ms = 0; ms < 1_000; ms += 20) {
    await admin.apply([{ op: 'routeDelete', destination: '10.244.1.0/24' }]);
    await clock.advance(20);
    repairs += sent().filter((line) => line.includes('route replace')).length;
  }
  t.true(repairs >= 3 && repairs <= 6, String(repairs));
  await clock.advance(1_000);
  kernel.namespace().routes = kernel.namespace().routes.filter(({ destination }) => destination !== '10.244.1.0/24');
  kernel.overrun();
  await clock.advance(1_000);
  t.deepEqual(await state(), all(a));
});

test('host-gw: a route by each peer that is a neighbour; others are named', async (t) => {
  const far = peer('far', 7, { address: '203.0.113.7' });
  const { admin, eth0, clock, source, networks, kernel, start, state } = await setUp(t, [own, a, far]);
  const overlay = await start({ backend: 'host-gw' });
  t.deepEqual(await state(), [direct(a)]);
  t.is(await admin.link({ name: 'keelson-vxlan' }), undefined);
  t.like(overlay.status(), { backend: 'host-gw', direct: 1, vxlan: 0, faults: [] });
  t.deepEqual(
    overlay.status().unreached.map(({ node }) => node),
    ['far'],
  );
  t.true(networks.now.includes('10.244.7.0/24'), 'its pods are pods, whoever routes to them');
  // The uplink loses its routes without a word about each when it goes down.
  await admin.apply([{ op: 'linkSet', link: { ifindex: eth0 }, up: false }]);
  await clock.advance(1_000);
  t.deepEqual(await state(), []);
  await admin.apply([{ op: 'linkSet', link: { ifindex: eth0 }, up: true }]);
  await clock.advance(1_000);
  t.deepEqual(await state(), [direct(a)]);
  // A second network makes the far one a neighbour.
  await admin.apply([{ op: 'addressAdd', ifindex: eth0, prefix: '203.0.113.10/24' }]);
  await clock.advance(1_000);
  t.deepEqual(await state(), [direct(a), direct(far)]);
  source.tell('a');
  await settle();
  t.deepEqual(await state(), [direct(far)]);
  t.deepEqual(kernel.namespace().neighbours, []);
});

test('VXLAN with direct routing: neighbours by a route, others encapsulated, and a change of that', async (t) => {
  const far = peer('far', 7, { address: '203.0.113.7' });
  const { source, start, state } = await setUp(t, [own, a, far]);
  const overlay = await start({ directRouting: true });
  t.deepEqual(await state(), [direct(a), ...throughVxlan(far)].toSorted());
  t.like(overlay.status(), { direct: 1, vxlan: 1, unreached: [] });
  source.tell({ ...far, address: '192.0.2.17' }, { ...a, address: '203.0.113.1' });
  await settle();
  t.deepEqual(
    await state(),
    [direct({ ...far, address: '192.0.2.17' }), ...throughVxlan({ ...a, address: '203.0.113.1' })].toSorted(),
  );
});

test('another backend takes over: nothing of the former stays, and no network is without a way in between', async (t) => {
  const { admin, kernel, start, state, sent } = await setUp(t, [own, a, b]);
  await (await start()).stop();
  sent();
  await (await start({ backend: 'host-gw' })).stop();
  t.deepEqual(await state(), [direct(a), direct(b)]);
  t.is(await admin.link({ name: 'keelson-vxlan' }), undefined);
  const order = sent();
  t.true(
    order.findIndex((line) => line.startsWith('ip link del')) >
      order.findIndex((line) => line.includes('route replace')),
  );
  t.false(order.some((line) => line.includes('route del')));
  await (await start()).stop();
  t.deepEqual(await state(), all(a, b));
  const alloc = await start({ backend: 'alloc' });
  t.deepEqual(await state(), []);
  t.is(await admin.link({ name: 'keelson-vxlan' }), undefined);
  t.like(alloc.status(), { backend: 'alloc', vxlan: 0, direct: 0, unreached: [] });
  t.is(kernel.namespace().forwardingEntries.length, 0);
});

test('settings that the kernel lets nobody change: the link is made anew', async (t) => {
  const { admin, start, state } = await setUp(t, [own, a]);
  await (await start()).stop();
  for (const more of [{ vni: 7 }, { port: 4789 }, { mtu: 1400 }]) {
    await (await start(more)).stop();
    t.deepEqual(await state(), all(a));
  }
  t.like(await admin.link({ name: 'keelson-vxlan' }), { mtu: 1400, vxlan: { vni: 1, port: 8472 } });
});

test('the address of this node: the Node’s when the machine has it; it may change', async (t) => {
  const { admin, eth0, clock, source, start, state } = await setUp(t, [a]);
  source.complete = false;
  await start();
  const local = async () => (await admin.link({ name: 'keelson-vxlan' }))?.vxlan?.local;
  t.is(await local(), '192.0.2.10');
  source.tell({ ...own, address: '203.0.113.66' });
  await clock.advance(1_000);
  t.is(await local(), '192.0.2.10', 'one that this machine does not have');
  await admin.apply([{ op: 'addressAdd', ifindex: eth0, prefix: '203.0.113.66/24' }]);
  await clock.advance(1_000);
  t.is(await local(), '203.0.113.66');
  t.deepEqual(await state(), all(a));
});

test('peers that are refused are named with the reason, and taken once it is gone', async (t) => {
  const twin = peer('twin', 9, { podCIDR: a.podCIDR });
  const lan = peer('lan', 8, { podCIDR: '192.0.2.0/24', address: '203.0.113.8' });
  const mine = peer('mine', 6, { podCIDR: '10.244.0.0/25' });
  const { admin, clock, source, networks, start, state } = await setUp(t, [own, a, twin, lan, mine]);
  const overlay = await start();
  t.deepEqual(await state(), all(a));
  t.deepEqual(overlay.status().unreached, [
    { node: 'lan', reason: 'podCIDR 192.0.2.0/24 overlaps address 192.0.2.10 of this node' },
    { node: 'mine', reason: 'podCIDR 10.244.0.0/25 overlaps podCIDR 10.244.0.0/24 of this node' },
    { node: 'twin', reason: 'podCIDR 10.244.1.0/24 overlaps podCIDR 10.244.1.0/24 of node a, which is older' },
  ]);
  t.deepEqual(networks.now, ['10.244.1.0/24']);
  source.tell('a');
  await settle();
  t.deepEqual(await state(), all(twin));
  // Somebody routes the network elsewhere: that is not ours to undo.
  await admin.apply([{ op: 'routeReplace', destination: '10.244.1.0/24', gateway: '192.0.2.1', protocol: 3 }]);
  await clock.advance(1_000);
  t.like(overlay.status().unreached.at(-1), {
    node: 'twin',
    reason: 'podCIDR 10.244.1.0/24 overlaps route 10.244.1.0/24 dev eth0',
  });
  await admin.apply([{ op: 'routeDelete', destination: '10.244.1.0/24', protocol: 3 }]);
  await clock.advance(1_000);
  t.deepEqual(await state(), all(twin));
});

test('this node’s own claims: former networks stay its own, and an older node is told of', async (t) => {
  const former = peer('late', 5, { podCIDR: '10.244.5.0/24' });
  const { source, start, state } = await setUp(t, [own, former]);
  const overlay = await start({ podCIDRs: ['10.244.0.0/24', '10.244.5.0/24'] });
  t.deepEqual(await state(), []);
  t.regex(overlay.status().unreached[0]?.reason ?? '', /former podCIDR/);
  overlay.setPodCIDRs(['10.244.0.0/24']);
  await settle();
  t.deepEqual(await state(), all(former));
  source.tell(peer('old', 4, { podCIDR: '10.244.0.0/24', createdAt: '2020-01-01T00:00:00Z' }));
  await settle();
  t.regex(overlay.status().faults.join(), /podCIDR 10\.244\.0\.0\/24 of node old, which is older/);
});

test('a link that cannot be made is a fault, said once, tried again at once when the reason goes', async (t) => {
  const { admin, kernel, clock, start, state } = await setUp(t, [own, a]);
  const flannel = {
    op: 'linkAddVxlan',
    name: 'flannel.1',
    mac: '02:00:00:00:00:99',
    mtu: 1450,
    vni: 1,
    port: 8472,
    local: '192.0.2.10',
  } as const;
  await admin.apply([flannel]);
  const overlay = await start();
  t.regex(overlay.status().faults.join(), /VNI 1 on port 8472 is taken by link flannel\.1/);
  t.deepEqual(await state(), []);
  await admin.apply([{ op: 'linkDelete', link: { name: 'flannel.1' } }]);
  await clock.advance(300);
  t.deepEqual(await state(), all(a));
  t.deepEqual(overlay.status().faults, []);
  await overlay.stop();

  await admin.apply([{ op: 'linkDelete', link: { name: 'keelson-vxlan' } }]);
  kernel.namespace().usedPorts.add(8472);
  const second = await start();
  t.regex(second.status().faults.join(), /UDP port 8472 is taken by another program/);
  kernel.namespace().usedPorts.clear();
  await clock.advance(70_000);
  t.deepEqual(await state(), all(a));
  await second.stop();

  await admin.apply([
    { op: 'linkDelete', link: { name: 'keelson-vxlan' } },
    { op: 'linkAddBridge', name: 'keelson-vxlan' },
  ]);
  const third = await start();
  t.regex(third.status().faults.join(), /a link of that name is there/);
  t.like(await admin.link({ name: 'keelson-vxlan' }), { kind: 'bridge' });
});

test('an entry that the kernel refuses is told, does not hold up others, and is tried again', async (t) => {
  const { kernel, clock, start, state } = await setUp(t, [own, a, b]);
  kernel.intercept = (operation) =>
    operation.op === 'routeReplace' && operation.destination === '10.244.1.0/24'
      ? new KernelError(105, 'RTM_NEWROUTE', describe(operation))
      : undefined;
  const overlay = await start();
  t.regex(overlay.status().faults.join(), /ip route replace 10\.244\.1\.0\/24.*ENOBUFS/);
  t.is((await state()).length, 5);
  kernel.intercept = undefined;
  await clock.advance(120_000);
  t.deepEqual(await state(), all(a, b));
  t.deepEqual(overlay.status().faults, []);
});

test('what is changed between a dump and its arrival is not lost', async (t) => {
  const { kernel, admin, clock, start, state } = await setUp(t, [own, a]);
  await (await start()).stop();
  const { open } = kernel;
  let isChanging = false;
  kernel.open = async (path) => {
    const socket = await open.call(kernel, path);
    const entries = socket.forwardingEntries.bind(socket);
    socket.forwardingEntries = async (ifindex) => {
      const listed = await entries(ifindex);
      if (isChanging) await admin.apply([{ op: 'fdbDelete', ifindex, mac: vtepMac('a') }]);
      isChanging = false;
      await settle();
      return listed;
    };
    return socket;
  };
  isChanging = true;
  await start();
  await clock.advance(1_000);
  t.false(isChanging);
  t.deepEqual(await state(), all(a));
});

test('a kernel that cannot be listed is asked again', async (t) => {
  const { kernel, clock, start, state } = await setUp(t, [own, a]);
  const { open } = kernel;
  let failing = true;
  kernel.open = async (path) => {
    const socket = await open.call(kernel, path);
    const links = socket.links.bind(socket);
    socket.links = () => (failing ? Promise.reject(new KernelError(4, 'recvmsg', 'RTM_GETLINK')) : links());
    return socket;
  };
  const overlay = await start();
  t.regex(overlay.status().faults.join(), /EINTR/);
  failing = false;
  await clock.advance(5_000);
  t.deepEqual(await state(), all(a));
  t.deepEqual(overlay.status().faults, []);
});
