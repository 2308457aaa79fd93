import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { FakeSysctls } from '../linux/fake-host.ts';
import { FakeNftables } from '../linux/fake-nftables.ts';
import { FakeRtnetlink } from '../linux/fake-rtnetlink.ts';
import { KernelError } from '../linux/kernel-error.ts';
import { silentLogger } from '../observe/logger.ts';
import { cleanupPodNetwork } from './cleanup.ts';
import { linkIdentity } from './links/link-identity.ts';
import type { KnownSandbox } from './links/reconcile.ts';
import { type PodNetwork, type PodNetworkOptions, startPodNetwork } from './pod-network.ts';

async function setUp(t: ExecutionContext) {
  const dir = await mkdtemp(join(tmpdir(), 'keelson-net-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  await writeFile(join(dir, 'shim'), 'binary with keelsonSocket');
  const options: PodNetworkOptions = {
    podCIDRs: ['10.1.0.0/24'],
    mtu: 1450,
    socketPath: join(dir, 'run/cni.sock'),
    cniConfDir: join(dir, 'net.d'),
    cniBinDir: join(dir, 'bin'),
    shimPath: join(dir, 'shim'),
  };
  const kernel = new FakeRtnetlink();
  const clock = new FakeClock();
  const sysctls = new FakeSysctls({ 'net/ipv4/ip_forward': '0', 'net/ipv4/conf/all/send_redirects': '1' });
  const nftables = new FakeNftables();
  const runtime = { sandboxes: [] as KnownSandbox[], error: undefined as Error | undefined, listings: 0 };
  const controller = new AbortController();
  const dependencies = {
    rtnetlinkOpener: kernel,
    sysctls,
    nftablesOpener: nftables,
    log: silentLogger,
    knownSandboxes: async () => {
      runtime.listings++;
      if (runtime.error) throw runtime.error;
      return runtime.sandboxes;
    },
    signal: controller.signal,
    clock,
  };
  const start = async (more: Partial<PodNetworkOptions> = {}): Promise<PodNetwork> => {
    const network = await startPodNetwork({ ...options, ...more }, dependencies);
    t.teardown(() => network.stop());
    return network;
  };
  return { options, kernel, clock, sysctls, nftables, runtime, controller, dependencies, start };
}

function cni(options: PodNetworkOptions, command: string, containerID: string): Promise<string> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerID,
    CNI_NETNS: `/run/netns/${containerID}`,
    CNI_IFNAME: 'eth0',
  };
  const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'keelson', type: 'keelson' });
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ path: options.socketPath, allowHalfOpen: true }, () =>
      socket.end(JSON.stringify({ env, stdin })),
    );
    socket.on('data', (chunk) => {
      text += chunk.toString();
    });
    socket.on('end', () => resolve(text));
    socket.on('error', reject);
  });
}

test('starts, serves, reports and stops without taking anything down', async (t) => {
  const { options, kernel, sysctls, nftables, start } = await setUp(t);
  const network = await start();
  t.is(sysctls.values.get('net/ipv4/ip_forward'), '1');
  t.is(sysctls.values.get('net/ipv4/conf/all/send_redirects'), '0');
  t.deepEqual([...nftables.tables.keys()], ['ip keelson-network', 'ip keelson-hostports']);
  t.deepEqual(await readdir(options.cniBinDir), ['keelson', 'loopback']);
  t.deepEqual(await readdir(options.cniConfDir), ['10-keelson.conflist']);
  kernel.addNamespace('/run/netns/a');
  t.regex(await cni(options, 'ADD', 'a'), /^\{"exit":0\}\n.*10\.1\.0\.2\/32/);
  t.deepEqual(network.status(), { podCIDR: '10.1.0.0/24', gateway: '10.1.0.1', allocated: 1, free: 252 });
  await network.stop();
  await network.stop();
  t.is(kernel.openSockets, 0);
  t.is(kernel.namespace().links.size, 2);
  t.false(existsSync(options.socketPath));
  t.true(existsSync(join(options.cniConfDir, '10-keelson.conflist')));

  t.is(nftables.openSockets, 0);
  t.is(nftables.tables.size, 2);
  const { generation } = nftables;
  const again = await start();
  t.is(again.status().allocated, 1);
  t.is(nftables.generation, generation, 'a table that is right stays as it is');
});

test('both families: tables, sysctls and status of each; the order of the node’s list is kept', async (t) => {
  const { options, kernel, sysctls, nftables, start } = await setUp(t);
  for (const [name, value] of [
    ['conf/all/disable_ipv6', '0'],
    ['conf/lo/disable_ipv6', '0'],
    ['conf/all/forwarding', '0'],
  ])
    sysctls.values.set(`net/ipv6/${name}`, value ?? '');
  const { hostName } = linkIdentity('a', 'eth0');
  for (const name of ['accept_ra', 'addr_gen_mode', 'disable_ipv6'])
    sysctls.values.set(`net/ipv6/conf/${hostName}/${name}`, '?');
  const podCIDRs = ['fd00:1::/64', '10.1.0.0/24'];
  const network = await start({ podCIDRs });
  t.is(sysctls.values.get('net/ipv6/conf/all/forwarding'), '1');
  t.deepEqual([...nftables.tables.keys()].toSorted(), [
    'ip keelson-hostports',
    'ip keelson-network',
    'ip6 keelson-hostports',
    'ip6 keelson-network',
  ]);
  kernel.addNamespace('/run/netns/a');
  t.regex(await cni(options, 'ADD', 'a'), /^\{"exit":0\}\n.*10\.1\.0\.2\/32.*fd00:1::2\/128/);
  t.is(sysctls.inNetns.get('/run/netns/a')?.get('net/ipv6/conf/eth0/accept_ra'), '0');
  const free = 2 ** 20 - 3;
  t.deepEqual(network.status(), {
    podCIDR: 'fd00:1::/64',
    gateway: 'fd00:1::1',
    allocated: 1,
    free,
    second: { podCIDR: '10.1.0.0/24', gateway: '10.1.0.1', allocated: 1, free: 252 },
  });
  await network.stop();

  // One family less: its tables go, what pods have of it stays until they end.
  const four = await start({ podCIDRs: ['10.1.0.0/24'] });
  t.deepEqual(four.status().former, [{ podCIDR: 'fd00:1::/64', pods: 1 }]);
  t.true(nftables.tables.has('ip6 keelson-network'), 'the pod still reaches the world');
  await cni(options, 'DEL', 'a');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.is(four.status().former, undefined);
  await four.stop();
  await start({ podCIDRs: ['10.1.0.0/24'] });
  t.false(nftables.tables.has('ip6 keelson-network'));
});

test('a host without IPv6, and a small MTU: refused where pods are to have IPv6', async (t) => {
  const { kernel, nftables, start } = await setUp(t);
  const podCIDRs = ['10.1.0.0/24', 'fd00:1::/64'];
  await t.throwsAsync(start({ podCIDRs }), { code: 'NETWORK_IPV6_DISABLED' });
  await t.throwsAsync(start({ podCIDRs, mtu: 1279 }), { code: 'NETWORK_MTU_TOO_SMALL' });
  t.is(kernel.applied.length, 0);
  t.is(nftables.tables.size, 0);
  t.is(kernel.openSockets, 0);
});

test('the abort signal stops it', async (t) => {
  const { options, kernel, controller, start } = await setUp(t);
  const network = await start();
  controller.abort();
  await network.stop();
  t.is(kernel.openSockets, 0);
  t.false(existsSync(options.socketPath));
});

test('the masquerade table is put back when another program deletes it, until the role stops', async (t) => {
  const { nftables, start } = await setUp(t);
  const network = await start();
  const foreign = await nftables.open();
  const flush = () => foreign.apply([{ op: 'tableDelete', table: { family: 'ip', name: 'keelson-network' } }]);
  await flush();
  await settle();
  t.is(nftables.tables.size, 2);
  await network.stop();
  await flush();
  await settle();
  t.false(nftables.tables.has('ip keelson-network'));
});

test('a namespace that ends frees its address', async (t) => {
  const { options, kernel, start } = await setUp(t);
  const network = await start();
  kernel.addNamespace('/run/netns/a');
  await cni(options, 'ADD', 'a');
  kernel.deleteNamespace('/run/netns/a');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.is(network.status().allocated, 0);
});

test('another pod CIDR: new pods get its addresses, the others keep theirs until they end, and nothing stays', async (t) => {
  const { options, kernel, nftables, runtime, start } = await setUp(t);
  const first = await start();
  for (const id of ['a', 'b']) {
    kernel.addNamespace(`/run/netns/${id}`);
    runtime.sandboxes.push({ containerID: id, ips: [id === 'a' ? '10.1.0.2' : '10.1.0.3'] });
    t.regex(await cni(options, 'ADD', id), /10\.1\.0\.[23]\/32/);
  }
  await first.stop();

  const network = await start({ podCIDRs: ['10.1.7.0/24'] });
  kernel.addNamespace('/run/netns/c');
  t.regex(await cni(options, 'ADD', 'c'), /10\.1\.7\.2\/32/);
  const of = (text: string): string[] => {
    const { routes, addresses } = kernel.namespace();
    return [...routes.map(({ destination }) => destination), ...addresses.map(({ prefix }) => prefix)].filter((one) =>
      one.startsWith(text),
    );
  };
  const rules = (): number => nftables.tables.get('ip keelson-network')?.chains.get('postrouting')?.rules.length ?? 0;
  t.deepEqual(network.status().former, [{ podCIDR: '10.1.0.0/24', pods: 2 }]);
  t.deepEqual(of('10.1.0.').toSorted(), ['10.1.0.0/24', '10.1.0.1/32', '10.1.0.2/32', '10.1.0.3/32']);
  t.is(rules(), 2, 'the old pods reach the world, too');
  await cni(options, 'DEL', 'a');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.deepEqual(network.status().former, [{ podCIDR: '10.1.0.0/24', pods: 1 }]);
  await cni(options, 'DEL', 'b');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.is(network.status().former, undefined);
  t.deepEqual(of('10.1.0.'), [], 'the CIDR may be another node’s now');
  t.is(rules(), 1);
  t.is(network.status().allocated, 1);
});

test('looks again while links wait for their sandbox or the runtime is away, and then rests', async (t) => {
  const { options, kernel, clock, runtime, start } = await setUp(t);
  const first = await start();
  kernel.addNamespace('/run/netns/a');
  await cni(options, 'ADD', 'a');
  await first.stop();

  runtime.error = new Error('containerd is away');
  const network = await start();
  t.is(network.status().allocated, 1);
  await t.throwsAsync(network.reconcile(), { message: 'containerd is away' });
  runtime.error = undefined;
  await clock.advance(5_000);
  t.is(network.status().allocated, 1, 'within its grace');
  await clock.advance(5_000);
  t.is(network.status().allocated, 0);
  const { listings } = runtime;
  await clock.advance(600_000);
  t.is(runtime.listings, listings);
});

test('nothing listens and nothing stays open when the start fails', async (t) => {
  const { options, kernel, nftables, dependencies } = await setUp(t);
  const refusing = new FakeNftables();
  refusing.intercept = () => new Error('no nft');
  const cases: [string, Partial<PodNetworkOptions>, Partial<typeof dependencies>, RegExp][] = [
    ['a bad pod CIDR', { podCIDRs: ['10.1.0.1/24'] }, {}, /host bits/],
    ['a long socket path', { socketPath: `/${'x'.repeat(120)}` }, {}, /121 bytes/],
    ['no plugin', { shimPath: '/absent' }, {}, /does not exist/],
    ['no nf_tables', {}, { nftablesOpener: refusing }, /cannot make it: .*no nft/],
    ['no sysctl', {}, { sysctls: new FakeSysctls({}) }, /ip_forward/],
    ['an aborted start', {}, { signal: AbortSignal.abort(new Error('enough')) }, /enough/],
  ];
  for (const [name, more, other, message] of cases) {
    await t.throwsAsync(startPodNetwork({ ...options, ...more }, { ...dependencies, ...other }), { message }, name);
    t.is(kernel.openSockets + nftables.openSockets + refusing.openSockets, 0, name);
    t.false(existsSync(options.socketPath), name);
    t.false(existsSync(options.cniConfDir), name);
  }
  kernel.intercept = ({ op }) => (op === 'addressAdd' ? new KernelError(1, 'RTM_NEWADDR', 'x') : undefined);
  await t.throwsAsync(startPodNetwork(options, dependencies), { message: /EPERM/ });
  t.is(kernel.openSockets, 0);
});

test('a conflist that cannot be written leaves no socket behind', async (t) => {
  const { options, kernel, dependencies } = await setUp(t);
  await writeFile(options.cniConfDir, 'a file in the way');
  await t.throwsAsync(startPodNetwork(options, dependencies), { message: /net\.d|EEXIST|ENOTDIR/ });
  t.is(kernel.openSockets, 0);
  t.false(existsSync(options.socketPath));
});

test('cleanup removes all of ours, says so, and leaves others alone', async (t) => {
  const { options, kernel, nftables, start, dependencies } = await setUp(t);
  const foreign = kernel.namespace();
  foreign.linkAddBridge({ op: 'linkAddBridge', name: 'cni0' });
  foreign.linkSet({ op: 'linkSet', link: { name: 'cni0' }, up: true });
  foreign.linkSet({ op: 'linkSet', link: { name: 'lo' }, up: true });
  foreign.addressAdd({ op: 'addressAdd', ifindex: 2, prefix: '10.9.0.1/24' });
  const state = (): unknown =>
    structuredClone({ addresses: foreign.addresses, routes: foreign.routes, links: [...foreign.links.keys()] });
  const before = state();
  const network = await start();
  kernel.addNamespace('/run/netns/a');
  await cni(options, 'ADD', 'a');
  await network.stop();
  await mkdir(join(options.socketPath, '..'), { recursive: true });
  await writeFile(options.socketPath, 'as after kill -9');

  const report = await cleanupPodNetwork(options, dependencies);
  t.deepEqual(report.failed, []);
  t.deepEqual(
    report.removed.map((what) => what.replace(/kl[0-9a-f]{13}/, 'kl')),
    [
      `file ${join(options.cniConfDir, '10-keelson.conflist')}`,
      `file ${join(options.cniBinDir, 'keelson')}`,
      `file ${join(options.cniBinDir, 'loopback')}`,
      `file ${options.socketPath}`,
      'link kl',
      'address 10.1.0.1/32 of lo',
      'route unreachable 10.1.0.0/24',
      'nft table ip keelson-network',
      'nft table ip keelson-hostports',
    ],
  );
  t.deepEqual(state(), before);
  t.is(nftables.tables.size, 0);
  t.is(kernel.openSockets + nftables.openSockets, 0);

  const nothing = await cleanupPodNetwork(options, dependencies);
  t.deepEqual(nothing, { removed: [], failed: [] });
});

test('cleanup goes on after a failure and reports it', async (t) => {
  const { options, kernel, nftables, start, dependencies } = await setUp(t);
  const network = await start();
  kernel.addNamespace('/run/netns/a');
  await cni(options, 'ADD', 'a');
  await network.stop();
  kernel.intercept = ({ op }) => (op === 'linkDelete' ? new KernelError(16, 'RTM_DELLINK', 'x') : undefined);
  nftables.intercept = () => new Error('nft broke');
  const report = await cleanupPodNetwork(options, dependencies);
  t.is(report.failed.length, 5);
  t.regex(report.failed.join(), /link kl.*EBUSY.*nft broke/);
  t.true(report.removed.includes('address 10.1.0.1/32 of lo'));
});
