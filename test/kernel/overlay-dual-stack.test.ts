/**
 * IPv6 pods of several nodes on the real kernel: VXLAN over IPv6 and over IPv4, host-gw, IPv6-only nodes, kill -9, what other
 * programs break, full-size packets, and flannel's IPv6 neighbours made by hand.
 * Layer: test.
 */
import test from 'ava';
import { flannelAnnotation, flannelAnnotations, parseFlannel } from '../../src/network/overlay/flannel.ts';
import { linkLocalOf, vtepMac } from '../../src/network/overlay/vtep.ts';
import { eventually, exec, execResult, spawnIn } from '../support/exec.ts';
import {
  addressOf,
  addressOf6,
  type Backend,
  Cluster,
  captured,
  type Families,
  get,
  type Member,
  meet,
  podCIDR6,
  tell,
} from './overlay-cluster.ts';

const both: Families = { pods: [4, 6], nodes: [4, 6], mtu: 1430 };
const overIpv4: Families = { pods: [4, 6], nodes: [4], mtu: 1450 };
const ipv6Only: Families = { pods: [6], nodes: [6], mtu: 1430 };
const shapes = { 'both families': both, 'IPv4 between the nodes': overIpv4, 'IPv6 alone': ipv6Only };

const start = (
  t: Parameters<typeof Cluster.start>[0],
  size: number,
  families: Families,
  backend: Partial<Backend> = {},
): Promise<Cluster> => Cluster.start(t, size, backend, undefined, families);
const run = (member: Member, command: string, ...args: string[]): Promise<string> =>
  exec(command, args, { netns: member.node.network.netns });
const overlayOf = async (member: Member) => (await member.node.status()).overlay;

for (const [name, families] of Object.entries(shapes)) {
  test(`VXLAN, ${name}: pods of three nodes meet with their own addresses`, async (t) => {
    const cluster = await start(t, 3, families);
    await meet(t, cluster.members);
    const { pods, nodes } = families;
    for (const member of cluster.members) {
      const { encapsulated, plain } = await captured(member);
      t.true(encapsulated > 0);
      t.is(plain, 0);
      const fine = { backend: 'vxlan', vxlan: 2, direct: 0, unreached: [], faults: [] } as const;
      const status = await overlayOf(member);
      t.like(status, { ...fine, family: pods[0] });
      t.is(status?.second?.family, pods[1]);
      if (status?.second !== undefined) t.like(status.second, fine);
    }
    const [one, two] = [cluster.member(1), cluster.member(2)];
    const link = JSON.parse(await run(one, 'ip', '-j', '-d', 'link', 'show', 'keelson-vxlan6')) as object[];
    t.like(link[0], { mtu: families.mtu, ifalias: 'keelson:vxlan6' });
    const wanted = nodes.includes(6) ? { id: 1, local6: addressOf6(1) } : { id: 8_388_609, local: addressOf(1) };
    t.like((link[0] as { linkinfo: { info_data: object } }).linkinfo.info_data, { ...wanted, port: 8472 });
    // One address, none of its own making.
    const addresses = (await run(one, 'ip', '-6', '-o', 'addr', 'show', 'dev', 'keelson-vxlan6')).trim().split('\n');
    t.is(addresses.length, 1, addresses.join());
    t.regex(addresses[0] ?? '', /inet6 fd00:244:0:1::\/128 scope global/);
    t.regex(
      await run(one, 'ip', '-6', 'route', 'show', podCIDR6(2)),
      /^fd00:244:0:2::\/64 via fe80::[0-9a-f:]+ dev keelson-vxlan6 proto 75/,
    );
    // The node itself asks with the address of its end.
    const six = two.pod.ips.at(-1) ?? '';
    t.is(await get(one.node.network.netns, six), 'fd00:244:0:1::');
    if (!pods.includes(4))
      t.is((await execResult('ip', ['link', 'show', 'keelson-vxlan'], { netns: one.node.network.netns })).code, 1);
  });

  test(`MTU, ${name}: large transfers arrive, and no packet on the wire is a fragment`, async (t) => {
    const cluster = await start(t, 2, families);
    await meet(t, cluster.members);
    for (const [from, to] of [
      [cluster.member(1), cluster.member(2)],
      [cluster.member(2), cluster.member(1)],
    ] as const) {
      for (const ip of to.pod.ips) {
        const url = `http://${ip.includes(':') ? `[${ip}]` : ip}/big`;
        const args = ['-sS', '--max-time', '10', '--noproxy', '*', url];
        t.is((await exec('curl', args, { netns: from.pod.netns })).length, 2e6);
      }
      t.is((await captured(from)).fragments, 0);
    }
  });
}

test('a wide route of the host that covers the pod networks of IPv6 is in nobody’s way', async (t) => {
  const cluster = await start(t, 2, both);
  const one = cluster.member(1);
  await meet(t, cluster.members);
  await run(one, 'ip', 'route', 'add', 'fd00::/8', 'via', 'fd00:db8::1', 'dev', 'eth0');
  await run(one, 'ip', '-6', 'route', 'flush', podCIDR6(2));
  await meet(t, cluster.members, 'after the route came');
  t.like(await overlayOf(one), { faults: [], second: { faults: [], vxlan: 1 } });
});

test('host-gw: both families as they are', async (t) => {
  const cluster = await start(t, 3, { ...both, mtu: 1500 }, { backend: 'host-gw' });
  await meet(t, cluster.members);
  for (const member of cluster.members) {
    const { encapsulated, plain } = await captured(member);
    t.is(encapsulated, 0);
    t.true(plain > 0);
  }
  t.regex(
    await run(cluster.member(1), 'ip', '-6', 'route', 'show', podCIDR6(2)),
    /^fd00:244:0:2::\/64 via fd00:db8::12 dev eth0 proto 75/,
  );
});

test('direct routing: IPv6 neighbours by a route, a node behind a router by the VXLAN', async (t) => {
  const cluster = await start(t, 2, both, { directRouting: true });
  await meet(t, cluster.members);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  t.is((await captured(two)).encapsulated, 0);
  await run(two, 'ip', 'addr', 'add', 'fd00:db9::2/64', 'dev', 'eth0', 'nodad');
  await run(one, 'ip', 'route', 'add', 'fd00:db9::/64', 'via', addressOf6(2));
  const moved = two.peers.map((peer) => (peer.podCIDR?.includes(':') ? { ...peer, address: 'fd00:db9::2' } : peer));
  for (const member of cluster.members) await tell(member, moved);
  await eventually('the way is another', async () => (await overlayOf(one))?.second?.vxlan === 1);
  t.like(await overlayOf(one), { direct: 1, vxlan: 0 });
  const route = (): Promise<string> => run(one, 'ip', '-6', 'route', 'show', podCIDR6(2));
  await eventually('the route is by the VXLAN', async () =>
    /^\S+ via \S+ dev keelson-vxlan6 [^\n]*\n$/.test(await route()),
  );
});

test('what other programs break of IPv6 is put back', async (t) => {
  const cluster = await start(t, 2, both);
  const one = cluster.member(1);
  await meet(t, cluster.members);
  const dev = ['dev', 'keelson-vxlan6'];
  const repaired = (await run(one, 'bridge', 'fdb', 'show', ...dev)).trim();
  const mac = repaired.split(' ')[0] ?? '';
  for (const [command, ...args] of [
    ['ip', 'link', 'del', 'keelson-vxlan6'],
    ['ip', 'link', 'set', 'keelson-vxlan6', 'down'],
    ['ip', '-6', 'route', 'flush', ...dev],
    ['ip', '-6', 'route', 'flush', podCIDR6(2)],
    ['ip', '-6', 'neigh', 'flush', ...dev, 'nud', 'permanent'],
    ['ip', 'neigh', 'replace', linkLocalOf(vtepMac('node-2')), 'lladdr', '02:00:00:00:00:66', ...dev],
    ['ip', '-6', 'addr', 'flush', ...dev],
    ['ip', 'link', 'set', ...dev, 'mtu', '1300', 'address', '02:00:00:00:00:67'],
    ['ip', '-6', 'route', 'replace', podCIDR6(2), 'via', addressOf6(2), 'dev', 'eth0', 'proto', '75'],
    ['bridge', 'fdb', 'del', mac, ...dev],
    ['bridge', 'fdb', 'replace', mac, ...dev, 'dst', 'fd00:db8::77'],
    ['/usr/sbin/nft', 'flush', 'ruleset'],
  ] as [string, ...string[]][]) {
    await run(one, command, ...args);
    await meet(t, cluster.members, `after ${command} ${args.join(' ')}`);
    const now = async (): Promise<string> => (await run(one, 'bridge', 'fdb', 'show', ...dev)).trim();
    await eventually('every entry is there', async () => (await now()) === repaired);
  }
  t.is((JSON.parse(await run(one, 'ip', '-j', 'link', 'show', 'keelson-vxlan6')) as { mtu: number }[])[0]?.mtu, 1430);
});

test('kill -9: traffic of both families goes on, and the next daemon changes nothing', async (t) => {
  const cluster = await start(t, 2, both);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  await meet(t, cluster.members);
  const events = ['monitor', 'link', 'route', 'neigh', 'address'];
  const monitor = spawnIn(one.node.network.netns, 'ip', events, { stdio: ['ignore', 'pipe', 'inherit'] });
  let heard = '';
  monitor.stdout?.on('data', (data: Buffer) => {
    heard += data.toString();
  });
  t.teardown(() => monitor.kill());
  const wrong: string[] = [];
  let isOver = false;
  let asked = 0;
  const traffic = (async () => {
    while (!isOver)
      for (const [at, ip] of two.pod.ips.entries()) {
        const answer = await get(one.pod.netns, ip);
        asked++;
        if (answer !== one.pod.ips[at]) wrong.push(`${ip}: ${answer}`);
      }
  })();
  one.node.listSandboxes([one.pod]);
  await one.node.daemon?.end('SIGKILL');
  await one.node.start();
  t.like(await overlayOf(one), { complete: false, second: { complete: false } });
  await tell(
    one,
    cluster.members.flatMap(({ peers }) => peers),
  );
  await eventually('it knows', async () => (await overlayOf(one))?.second?.vxlan === 1);
  isOver = true;
  await traffic;
  t.true(asked > 5);
  t.deepEqual(wrong, []);
  t.deepEqual(
    heard.split('\n').filter((line) => /vxlan|10\.244\.2\.|fd00:244:0:2:/.test(line)),
    [],
  );
});

test('from both families to IPv4 alone and back: nothing of IPv6 is left, and cleanup leaves nothing at all', async (t) => {
  const cluster = await start(t, 2, both);
  await meet(t, cluster.members);
  const one = cluster.member(1);
  await one.node.daemon?.end('SIGKILL');
  one.node.listSandboxes([]);
  t.true((await one.node.start({ podCIDRs: ['10.244.1.0/24'] })).ready);
  // Once the last pod that has an address of it is gone.
  await eventually('the link is gone', async () => !(await run(one, 'ip', 'link')).includes('keelson-vxlan6'));
  await eventually('its routes too', async () => !/fd00:244:0:2:/.test(await run(one, 'ip', '-6', 'route')));
  t.is((await overlayOf(one))?.second, undefined);
  await one.node.daemon?.end('SIGKILL');
  t.true((await one.node.start()).ready);
  await tell(
    one,
    cluster.members.flatMap(({ peers }) => peers),
  );
  await eventually('the link is back', async () => (await run(one, 'ip', 'link')).includes('keelson-vxlan6'));
  await one.node.daemon?.end('SIGKILL');
  const { removed, failed } = await one.node.cleanup();
  t.deepEqual(failed, []);
  t.true(removed.includes('link keelson-vxlan') && removed.includes('link keelson-vxlan6'), removed.join());
  for (const args of [['link'], ['route'], ['-6', 'route'], ['neigh', 'show', 'nud', 'permanent'], ['addr']])
    t.notRegex(await run(one, 'ip', ...args), /keelson|proto 75|10\.244|fd00:244/);
  t.notRegex(await run(one, '/usr/sbin/nft', 'list', 'ruleset'), /keelson/);
});

test('a thousand peers of IPv6: all of them, one more, one less, and none', async (t) => {
  const cluster = await start(t, 1, ipv6Only);
  const one = cluster.member(1);
  const many = Array.from({ length: 1_000 }, (_, index) => ({
    name: `peer-${index}`,
    podCIDR: `fd00:244:1:${(index + 1).toString(16)}::/64`,
    address: `fd00:1::${(index + 1).toString(16)}`,
    createdAt: '2026-01-02T00:00:00Z',
  }));
  const lines = async (command: string, ...args: string[]): Promise<number> => {
    const { stdout } = await execResult(command, args, { netns: one.node.network.netns });
    return stdout.split('\n').filter((line) => /fd00:1:|fd00:244:1:|fe80:/.test(line)).length;
  };
  const dev = ['show', 'dev', 'keelson-vxlan6'];
  const become = (count: number) =>
    eventually(`${count} peers`, async () =>
      [
        await lines('ip', '-6', 'route', ...dev),
        await lines('ip', '-6', 'neigh', ...dev),
        await lines('bridge', 'fdb', ...dev),
      ].every((found) => found === count),
    );
  await tell(one, many);
  await become(1_000);
  const more = { name: 'one-more', podCIDR: 'fd00:244:1:ffff::/64', address: 'fd00:1::ffff', createdAt: '' };
  await tell(one, [more]);
  await become(1_001);
  await run(one, 'ip', 'link', 'del', 'keelson-vxlan6');
  await become(1_001);
  await tell(one, ['one-more']);
  await become(1_000);
  await tell(
    one,
    many.map(({ name }) => name),
  );
  await become(0);
  t.like(await overlayOf(one), { vxlan: 0, unreached: [], faults: [] });
});

const number = 9;
const flannelMac = '6a:11:22:33:44:66';

/** The IPv6 half of a flannel node: link flannel-v6.1, bridge and a pod. */
async function flannelNode(cluster: Cluster, backend: 'vxlan' | 'host-gw') {
  const netns = await cluster.stranger(number);
  const pod = await cluster.strangerPod(number);
  const ip = (text: string): Promise<string> => exec('ip', ['-n', netns, ...text.split(' ')]);
  const inPod = (text: string): Promise<string> => exec('ip', ['-n', pod, ...text.split(' ')]);
  await exec('sysctl', ['-qw', 'net.ipv6.conf.all.forwarding=1'], { netns });
  if (backend === 'vxlan') {
    const end = `local ${addressOf6(number)} dev eth0 dstport 8472 nolearning`;
    await ip(`link add flannel-v6.1 address ${flannelMac} mtu 1450 type vxlan id 1 ${end}`);
    await exec('sysctl', ['-qw', 'net.ipv6.conf.flannel-v6/1.accept_ra=0'], { netns });
    await ip(`addr add fd00:244:0:${number}::/128 dev flannel-v6.1`);
    await ip('link set flannel-v6.1 up');
  }
  await ip('link add cni0 type bridge');
  await ip(`addr add fd00:244:0:${number}::1/64 dev cni0 nodad`);
  await ip('link set cni0 up');
  await ip(`link add veth0 mtu 1430 type veth peer name eth0 netns ${pod}`);
  await ip('link set veth0 up master cni0');
  const podIP = `fd00:244:0:${number}::2`;
  await inPod(`addr add ${podIP}/64 dev eth0 nodad`);
  await inPod('link set eth0 mtu 1430 up');
  await inPod(`route add default via fd00:244:0:${number}::1`);
  await cluster.serveIn(pod, podIP, 80);
  return { netns, pod, podIP, ip };
}

const peerOf = (backend: string, more: Record<string, string> = {}) => ({
  name: 'flannel-node',
  createdAt: '2026-01-01T00:00:30Z',
  podCIDR: podCIDR6(number),
  address: addressOf(number),
  flannel: parseFlannel(
    {
      [flannelAnnotation.managed]: 'true',
      [flannelAnnotation.backendType]: backend,
      [flannelAnnotation.backendV6Data]: backend === 'vxlan' ? `{"VNI":1,"VtepMAC":"${flannelMac}"}` : 'null',
      [flannelAnnotation.publicIPv6]: addressOf6(number),
      ...more,
    },
    6,
  ),
});

for (const backend of ['vxlan', 'host-gw'] as const) {
  test(`flannel’s IPv6, ${backend}: pods of its node and of ours meet with their own addresses, both ways`, async (t) => {
    const cluster = await start(t, 2, both, { backend });
    const flannel = await flannelNode(cluster, backend);
    for (const member of cluster.members) {
      const own = { backend, vni: 1, mac: vtepMac(member.name), address: addressOf6(member.number) };
      const annotations = flannelAnnotations(own, 6) ?? {};
      const publicIP = annotations['flannel.alpha.coreos.com/public-ipv6'] ?? '';
      const podCIDR = podCIDR6(member.number);
      if (backend === 'host-gw') await flannel.ip(`route add ${podCIDR} via ${publicIP} dev eth0`);
      else {
        const { VNI, VtepMAC } = JSON.parse(annotations['flannel.alpha.coreos.com/backend-v6-data'] ?? '') as {
          VNI: number;
          VtepMAC: string;
        };
        t.is(VNI, 1);
        const first = podCIDR.replace('/64', '');
        await flannel.ip(`neigh replace ${first} lladdr ${VtepMAC} dev flannel-v6.1 nud permanent`);
        const entry = `fdb replace ${VtepMAC} dev flannel-v6.1 dst ${publicIP} self permanent`;
        await exec('bridge', ['-n', flannel.netns, ...entry.split(' ')]);
        await flannel.ip(`route replace ${podCIDR} via ${first} dev flannel-v6.1 onlink`);
      }
      await tell(member, [peerOf(backend)]);
    }
    for (const member of cluster.members) {
      const { pod, name } = member;
      const six = pod.ips[1] ?? '';
      const there = () => get(pod.netns, flannel.podIP, 80, 1);
      await eventually(`${name} to flannel`, async () => (await there()) === six, 10_000, 50);
      t.is(await get(flannel.pod, six), flannel.podIP, `flannel to ${name}`);
      const { encapsulated, plain } = await captured(member);
      t.true(backend === 'vxlan' ? encapsulated > 0 && plain === 0 : plain > 0 && encapsulated === 0);
    }
  });
}
