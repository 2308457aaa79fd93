/**
 * Pods of several nodes on the real kernel: VXLAN and host-gw, nodes that come, go and change, what other programs break,
 * a thousand peers.
 * Layer: test.
 */
import test from 'ava';
import { eventually, exec, execResult, spawnIn } from '../support/exec.ts';
import { addressOf, Cluster, captured, get, type Member, meet, podMtu, tell } from './overlay-cluster.ts';

const run = (member: Member, command: string, ...args: string[]): Promise<string> =>
  exec(command, args, { netns: member.node.network.netns });
const overlayOf = async (member: Member) => (await member.node.status()).overlay;

test('VXLAN: pods of three nodes meet with their own addresses, and the wire sees the nodes only', async (t) => {
  const cluster = await Cluster.start(t, 3);
  await meet(t, cluster.members);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  for (const member of cluster.members) {
    const { encapsulated, plain } = await captured(member);
    t.true(encapsulated > 0);
    t.is(plain, 0);
    t.like(await overlayOf(member), { backend: 'vxlan', vxlan: 2, direct: 0, unreached: [], faults: [] });
  }
  // The node itself asks with an address that the other node answers through the VXLAN.
  t.is(await get(one.node.network.netns, two.pod.ip), '10.244.1.0');
  // A node's address is no pod's: pods go there as the node.
  await cluster.serveOn(two, 8080);
  t.regex(await get(one.pod.netns, addressOf(2), 8080), new RegExp(`${addressOf(1)}$`));
  // A connection that `masquerade` sends into the VXLAN, as the proxy does for clients from outside, gets an answer, too.
  const table =
    'table ip fake-proxy { chain post { type nat hook postrouting priority 90; oifname keelson-vxlan masquerade; }; }';
  await exec('/usr/sbin/nft', ['-f', '-'], {
    netns: one.node.network.netns,
    input: table.replace('masquerade;', 'masquerade\n'),
  });
  t.is(await get(one.pod.netns, two.pod.ip), '10.244.1.0');
  await run(one, '/usr/sbin/nft', 'delete', 'table', 'ip', 'fake-proxy');

  const link = JSON.parse(await run(one, 'ip', '-j', '-d', 'link', 'show', 'keelson-vxlan')) as Record<
    string,
    unknown
  >[];
  t.like(link[0], { mtu: podMtu, ifalias: 'keelson:vxlan' });
  t.like((link[0] as { linkinfo: { info_data: object } }).linkinfo.info_data, {
    id: 1,
    port: 8472,
    local: addressOf(1),
    learning: false,
  });
  t.is((await run(one, 'ip', '-6', 'addr', 'show', 'dev', 'keelson-vxlan')).trim(), '');
  t.regex(
    await run(one, 'ip', 'route', 'show', '10.244.2.0/24'),
    /^10\.244\.2\.0\/24 via 10\.244\.2\.0 dev keelson-vxlan proto 75 onlink/,
  );
});

test('MTU: large transfers arrive in both directions, and no packet on the wire is a fragment', async (t) => {
  const cluster = await Cluster.start(t, 2);
  await meet(t, cluster.members);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    const link = JSON.parse(await exec('ip', ['-j', 'link', 'show', 'eth0'], { netns: from.pod.netns })) as {
      mtu: number;
    }[];
    t.is(link[0]?.mtu, podMtu);
    const args = ['-sS', '--max-time', '10', '--noproxy', '*', `http://${to.pod.ip}/big`];
    t.is((await exec('curl', args, { netns: from.pod.netns })).length, 2e6);
    t.is((await captured(from)).fragments, 0);
  }
});

test('host-gw: the same without encapsulation', async (t) => {
  const cluster = await Cluster.start(t, 3, { backend: 'host-gw' });
  await meet(t, cluster.members);
  for (const member of cluster.members) {
    const { encapsulated, plain } = await captured(member);
    t.is(encapsulated, 0);
    t.true(plain > 0);
    t.is((await execResult('ip', ['link', 'show', 'keelson-vxlan'], { netns: member.node.network.netns })).code, 1);
  }
  t.regex(
    await run(cluster.member(1), 'ip', 'route', 'show', '10.244.2.0/24'),
    /^10\.244\.2\.0\/24 via 192\.0\.2\.12 dev eth0 proto 75/,
  );
  t.is(await get(cluster.member(1).node.network.netns, cluster.member(2).pod.ip), addressOf(1));
});

test('direct routing: neighbours by a route, a node behind a router through the VXLAN', async (t) => {
  const cluster = await Cluster.start(t, 2, { directRouting: true });
  await meet(t, cluster.members);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  t.is((await captured(two)).encapsulated, 0);
  // Node 2 moves to another network, behind a router that is node 1's default gateway in name only.
  await run(two, 'ip', 'addr', 'add', '198.51.100.2/24', 'dev', 'eth0');
  await run(one, 'ip', 'route', 'add', '198.51.100.0/24', 'via', addressOf(2));
  const moved = { ...two.peer, address: '198.51.100.2' };
  await tell(one, [moved]);
  await tell(two, [moved]);
  await eventually('the way is another', async () => (await overlayOf(one))?.vxlan === 1);
  t.regex(await run(one, 'ip', 'route', 'show', '10.244.2.0/24'), /dev keelson-vxlan/);
});

test('nodes come, go, and change their address', async (t) => {
  const cluster = await Cluster.start(t, 2);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  await meet(t, cluster.members);
  const three = await cluster.add(3);
  await meet(t, cluster.members, 'after the third came');

  await run(three, 'ip', 'addr', 'del', `${addressOf(3)}/24`, 'dev', 'eth0');
  await run(three, 'ip', 'addr', 'add', '192.0.2.99/24', 'dev', 'eth0');
  await run(three, 'ip', 'route', 'replace', 'default', 'via', '192.0.2.1');
  const moved = { ...three.peer, address: '192.0.2.99' };
  for (const member of cluster.members) await tell(member, [moved]);
  await meet(t, cluster.members, 'after the third has another address');

  for (const member of [one, two]) await tell(member, ['node-3']);
  for (const member of [one, two]) {
    await eventually('nothing of it is left', async () => {
      const state = [
        await run(member, 'ip', 'route'),
        await run(member, 'ip', 'neigh', 'show', 'nud', 'permanent'),
        await run(member, 'bridge', 'fdb', 'show', 'dev', 'keelson-vxlan'),
        await run(member, '/usr/sbin/nft', 'list', 'table', 'ip', 'keelson-network'),
      ].join();
      return !/10\.244\.3\.0|192\.0\.2\.99/.test(state);
    });
  }
  await meet(t, [one, two], 'after the third went');
});

test('what other programs break is put back', async (t) => {
  const cluster = await Cluster.start(t, 2);
  const [one] = [cluster.member(1)];
  await meet(t, cluster.members);
  const dev = ['dev', 'keelson-vxlan'];
  const breakages: string[][] = [
    ['ip', 'link', 'del', 'keelson-vxlan'],
    ['ip', 'link', 'set', 'keelson-vxlan', 'down'],
    ['ip', 'link', 'set', 'eth0', 'down'],
    ['ip', 'route', 'flush', ...dev],
    ['ip', 'route', 'flush', '10.244.2.0/24'],
    ['ip', 'neigh', 'flush', ...dev, 'nud', 'permanent'],
    ['ip', 'neigh', 'replace', '10.244.2.0', 'lladdr', '02:00:00:00:00:66', ...dev],
    ['ip', 'addr', 'flush', ...dev],
    ['ip', 'link', 'set', ...dev, 'mtu', '1000', 'address', '02:00:00:00:00:67'],
    ['/usr/sbin/nft', 'flush', 'ruleset'],
  ];
  const repaired = (await run(one, 'bridge', 'fdb', 'show', ...dev)).trim();
  const mac = repaired.split(' ')[0] ?? '';
  breakages.push(['bridge', 'fdb', 'del', mac, ...dev], ['bridge', 'fdb', 'replace', mac, ...dev, 'dst', '192.0.2.77']);
  for (const [command = '', ...args] of breakages) {
    await run(one, command, ...args);
    if (args.join(' ').includes('eth0 down')) {
      await run(one, 'ip', 'link', 'set', 'eth0', 'up');
      await run(one, 'ip', 'route', 'replace', 'default', 'via', '192.0.2.1');
    }
    await meet(t, cluster.members, `after ${command} ${args.join(' ')}`);
    await eventually(
      'every entry is there',
      async () => (await run(one, 'bridge', 'fdb', 'show', ...dev)).trim() === repaired,
    );
  }
  const link = JSON.parse(await run(one, 'ip', '-j', 'link', 'show', 'keelson-vxlan')) as { mtu: number }[];
  t.is(link[0]?.mtu, podMtu);
});

test('kill -9: traffic goes on, and the next daemon changes nothing', async (t) => {
  const cluster = await Cluster.start(t, 2);
  const [one, two] = [cluster.member(1), cluster.member(2)];
  await meet(t, cluster.members);
  const monitor = spawnIn(one.node.network.netns, 'ip', ['monitor', 'link', 'route', 'neigh', 'address'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let heard = '';
  monitor.stdout?.on('data', (data: Buffer) => {
    heard += data.toString();
  });
  t.teardown(() => monitor.kill());
  const asked: string[] = [];
  let isOver = false;
  const traffic = (async () => {
    while (!isOver) asked.push(await get(one.pod.netns, two.pod.ip, 80, 1));
  })();
  one.node.listSandboxes([one.pod]);
  await one.node.daemon?.end('SIGKILL');
  await one.node.start();
  // Before it knows any node, and after.
  t.like(await overlayOf(one), { complete: false });
  t.is(await get(one.pod.netns, two.pod.ip), one.pod.ip);
  await tell(
    one,
    cluster.members.map(({ peer }) => peer),
  );
  await eventually('it knows', async () => (await overlayOf(one))?.vxlan === 1);
  isOver = true;
  await traffic;
  t.true(asked.length > 5);
  t.deepEqual(
    asked.filter((answer) => answer !== one.pod.ip),
    [],
  );
  t.deepEqual(
    heard.split('\n').filter((line) => /vxlan|10\.244\.2\./.test(line)),
    [],
  );
});

for (const backend of ['vxlan', 'host-gw'] as const) {
  test(`chain FORWARD drops by default, ${backend}: pods pass in both flavours of iptables, and it still lists`, async (t) => {
    const legacy = (netns: string) => exec('/usr/sbin/iptables-legacy', ['-P', 'FORWARD', 'DROP'], { netns });
    const cluster = await Cluster.start(t, 2, { backend }, legacy);
    const [one, two] = [cluster.member(1), cluster.member(2)];
    await meet(t, cluster.members, 'with iptables-legacy');
    for (const member of cluster.members) await run(member, '/usr/sbin/iptables-nft', '-P', 'FORWARD', 'DROP');
    await meet(t, cluster.members, 'with both');
    // Docker starts anew.
    await run(one, '/usr/sbin/iptables-nft', '-F');
    await meet(t, cluster.members, 'after a flush');
    for (const flavour of ['nft', 'legacy']) {
      const listed = await run(one, `/usr/sbin/iptables-${flavour}`, '-S');
      t.regex(listed, /-A FORWARD -j KEELSON-FORWARD/, flavour);
      t.regex(listed, /-A KEELSON-FORWARD -s 10\.244\.1\.0\/24 -j ACCEPT/, flavour);
      if (backend === 'vxlan') t.regex(listed, /-A KEELSON-FORWARD -i keelson-vxlan -j ACCEPT/, flavour);
      else t.regex(listed, /-A KEELSON-FORWARD -d 10\.244\.2\.0\/24 -j ACCEPT/, flavour);
      const saved = await run(one, `/usr/sbin/iptables-${flavour}-save`);
      t.notRegex(saved, /incompatible/);
      await exec(`/usr/sbin/iptables-${flavour}-restore`, [], { netns: one.node.network.netns, input: saved });
    }
    await meet(t, cluster.members, 'after a restore of what was saved');
    // A rule of the host counts; only the policy does not.
    await run(two, '/usr/sbin/iptables-nft', '-I', 'FORWARD', '-s', one.pod.ip, '-j', 'DROP');
    t.is(await get(one.pod.netns, two.pod.ip, 80, 1), 'curl 28');
    await one.node.daemon?.end('SIGKILL');
    t.deepEqual(
      (await one.node.cleanup()).removed.filter((what) => what.startsWith('chain')),
      ['chain KEELSON-FORWARD of iptables-nft', 'chain KEELSON-FORWARD of iptables-legacy'],
    );
    for (const flavour of ['nft', 'legacy'])
      t.false((await run(one, `/usr/sbin/iptables-${flavour}`, '-S')).includes('KEELSON'));
  });
}

test('two nodes with one podCIDR: the younger one is named and does not get the other one’s traffic', async (t) => {
  const cluster = await Cluster.start(t, 2);
  const [one] = [cluster.member(1)];
  await meet(t, cluster.members);
  const twin = { ...cluster.member(2).peer, name: 'twin', address: '192.0.2.66', createdAt: '2026-06-01T00:00:00Z' };
  const lan = { name: 'lan', podCIDR: '192.0.2.0/25', address: '192.0.2.67', createdAt: '2020-06-01T00:00:00Z' };
  await tell(one, [twin, lan]);
  await eventually('both are named', async () => (await overlayOf(one))?.unreached.length === 2);
  t.deepEqual(
    (await overlayOf(one))?.unreached.map(({ node }) => node),
    ['lan', 'twin'],
  );
  await meet(t, cluster.members);
});

test('another backend takes over from the former, and cleanup leaves nothing', async (t) => {
  const cluster = await Cluster.start(t, 2);
  await meet(t, cluster.members);
  for (const member of cluster.members) {
    await member.node.daemon?.end('SIGKILL');
    member.node.listSandboxes([member.pod]);
    const { overlay } = member.node.options;
    if (!overlay) throw new Error('no overlay');
    await member.node.start({ overlay: { ...overlay, backend: 'host-gw' } });
    await tell(
      member,
      cluster.members.map(({ peer }) => peer),
    );
  }
  await meet(t, cluster.members, 'by host-gw');
  const one = cluster.member(1);
  t.false((await run(one, 'ip', 'link')).includes('keelson-vxlan'));
  await one.node.daemon?.end('SIGKILL');
  await one.node.start();
  await tell(
    one,
    cluster.members.map(({ peer }) => peer),
  );
  await eventually('the link is back', async () => (await run(one, 'ip', 'link')).includes('keelson-vxlan'));
  await one.node.daemon?.end('SIGKILL');
  const { removed, failed } = await one.node.cleanup();
  t.deepEqual(failed, []);
  t.true(removed.includes('link keelson-vxlan'));
  for (const args of [['link'], ['route'], ['neigh', 'show', 'nud', 'permanent'], ['addr']])
    t.notRegex(await run(one, 'ip', ...args), /keelson|proto 75|10\.244/);
  t.notRegex(await run(one, '/usr/sbin/nft', 'list', 'ruleset'), /keelson/);
});

test('a thousand peers: all of them, one more, one less, and none', async (t) => {
  const cluster = await Cluster.start(t, 1);
  const [one] = [cluster.member(1)];
  const many = Array.from({ length: 1_000 }, (_, index) => {
    const [high, low] = [index >> 8, index & 255];
    return {
      name: `peer-${index}`,
      podCIDR: `10.${100 + high}.${low}.0/24`,
      address: `198.18.${high}.${low}`,
      createdAt: '2026-01-02T00:00:00Z',
    };
  });
  const counts = async (): Promise<number[]> => {
    const lines = async (command: string, ...args: string[]): Promise<number> => {
      // While the link is not there, the commands fail.
      const { stdout } = await execResult(command, args, { netns: one.node.network.netns });
      return stdout.split('\n').filter((line) => line !== '').length;
    };
    const dev = ['show', 'dev', 'keelson-vxlan'];
    return [
      await lines('ip', 'route', ...dev),
      await lines('ip', 'neigh', ...dev),
      await lines('bridge', 'fdb', ...dev),
    ];
  };
  const become = (count: number) =>
    eventually(`${count} peers`, async () => (await counts()).every((found) => found === count));
  await tell(one, many);
  await become(1_000);
  await tell(one, [{ ...many[0], name: 'one-more', podCIDR: '10.99.0.0/24', address: '198.18.99.1', createdAt: '' }]);
  await become(1_001);
  await run(one, 'ip', 'link', 'del', 'keelson-vxlan');
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
