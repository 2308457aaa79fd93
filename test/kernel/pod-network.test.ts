/**
 * The pod network on the real kernel, driven as a container runtime drives it: the plugin binary, with CNI variables and
 * the installed configuration. The node is a network namespace with an uplink to another one; pods are namespaces too.
 * Layer: test.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import type { PodNetworkOptions } from '../../src/network/pod-network.ts';
import { eventually, exec, execResult, spawnIn } from '../support/exec.ts';
import { createTestNetwork } from '../support/netns.ts';
import { createRunDir } from '../support/run-dir.ts';
import { gateway, mtu, Node, type Pod, type Report } from './pod-network-node.ts';

async function createNode(t: ExecutionContext, options: Partial<PodNetworkOptions> = {}): Promise<Node> {
  const run = createRunDir();
  const node = new Node(run, await createTestNetwork(run), options);
  t.teardown(async () => {
    await node.daemon?.end('SIGKILL');
    if (!t.passed && existsSync(node.logFile)) t.log(readFileSync(node.logFile, 'utf8').slice(-4000));
    await run.remove();
  });
  return node;
}

async function startedNode(t: ExecutionContext, options: Partial<PodNetworkOptions> = {}): Promise<Node> {
  const node = await createNode(t, options);
  const first = await node.start();
  if (!first.ready) throw new Error(JSON.stringify(first));
  return node;
}

/** An HTTP server in the namespace that answers with the address it sees; ended with the run. */
async function serve(netns: string, ip: string, port: number): Promise<void> {
  const program = `require('node:http').createServer((q, r) => r.end(q.socket.remoteAddress)).listen(${port}, '${ip}', () => console.log('up'))`;
  const child = spawnIn(netns, process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  servers.push(child);
  await once(child.stdout!, 'data');
}
const servers: ChildProcess[] = [];
test.afterEach.always(async () => {
  for (const child of servers.splice(0)) {
    // The teardown of a test ends its namespaces' processes too.
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

const get = (netns: string, ip: string, port: number): Promise<string> =>
  exec('curl', ['-sS', '--max-time', '5', '--noproxy', '*', `http://${ip}:${port}/`], { netns });

test('pods reach each other, the node and the world, with both settings of bridge-nf-call-iptables', async (t) => {
  const node = await startedNode(t);
  const { netns: host, outside, nodeIp, outsideIp } = node.network;
  const [a, b] = [await node.addPod(), await node.addPod()];
  await serve(a.netns, a.ip, 80);
  await serve(b.netns, b.ip, 80);
  await serve(host, '0.0.0.0', 8080);
  await serve(outside, outsideIp, 8080);

  const knob = 'net.bridge.bridge-nf-call-iptables';
  const { code } = await execResult('sysctl', ['-n', knob], { netns: host });
  for (const value of code === 0 ? ['0', '1'] : [undefined]) {
    if (value !== undefined) await exec('sysctl', ['-qw', `${knob}=${value}`], { netns: host });
    t.is(await get(a.netns, b.ip, 80), a.ip, `pod to pod, ${value}`);
    t.is(await get(b.netns, a.ip, 80), b.ip, `pod to pod, the other way, ${value}`);
    t.is(await get(host, a.ip, 80), gateway, `node to pod, ${value}`);
    t.regex(await get(a.netns, nodeIp, 8080), new RegExp(`${a.ip}$`), `pod to node, ${value}`);
    t.regex(await get(a.netns, gateway, 8080), new RegExp(`${a.ip}$`), `pod to gateway, ${value}`);
    t.is(await get(a.netns, outsideIp, 8080), nodeIp, `pod to the world, masqueraded, ${value}`);
    t.is(await get(a.netns, a.ip, 80), a.ip, `pod to itself, ${value}`);
  }
  // The gateway is in nobody's way: what the node sends itself has the address of its uplink.
  t.is(await get(host, outsideIp, 8080), nodeIp);
});

test('an unnumbered uplink does not get the gateway as source address', async (t) => {
  const node = await startedNode(t);
  const { netns, outsideIp, nodeIp } = node.network;
  await node.ip('addr', 'del', `${nodeIp}/24`, 'dev', 'up0');
  await node.ip('route', 'add', outsideIp, 'dev', 'up0');
  t.notRegex(await exec('ip', ['route', 'get', outsideIp], { netns }), new RegExp(`src ${gateway}`));
});

test('an address that no pod has is refused at once instead of leaving by the default route', async (t) => {
  const node = await startedNode(t);
  const pod = await node.addPod();
  for (const netns of [pod.netns, node.network.netns]) {
    const { code, stderr } = await execResult('curl', ['-sS', '--max-time', '3', 'http://10.244.7.200/'], { netns });
    t.is(code, 7, stderr);
  }
});

test('what is built is what the documentation says', async (t) => {
  const node = await startedNode(t);
  const pod = await node.addPod();
  const [link] = await node.podLinks();
  const host = JSON.parse(await node.ip('-j', 'link', 'show', link!)) as Record<string, unknown>[];
  t.like(host[0], { ifalias: `keelson:${pod.containerID}/eth0`, mtu, operstate: 'UP' });
  const route = await node.ip('route', 'show', pod.ip);
  t.regex(route, new RegExp(`^${pod.ip} dev ${link} proto 75 scope link src ${gateway}`));
  t.is((await node.ip('-6', 'addr', 'show', 'dev', link!)).trim(), '', 'no IPv6 on the host end');
  const inPod = JSON.parse(await exec('ip', ['-j', '-4', 'addr', 'show', 'eth0'], { netns: pod.netns })) as {
    mtu: number;
    addr_info: { local: string; prefixlen: number }[];
  }[];
  t.like(inPod[0], { mtu });
  t.like(inPod[0]?.addr_info[0], { local: pod.ip, prefixlen: 32 });
  const routes = (await exec('ip', ['route'], { netns: pod.netns }))
    .trim()
    .split('\n')
    .map((line) => line.trim());
  t.deepEqual(routes, [`default via ${gateway} dev eth0 proto 75`, `${gateway} dev eth0 proto 75 scope link`]);
  const neighbour = await exec('ip', ['neigh', 'show', 'dev', 'eth0'], { netns: pod.netns });
  t.regex(neighbour, new RegExp(`^${gateway} lladdr ${(host[0] as { address: string }).address} PERMANENT`));
  t.regex(await node.ip('addr', 'show', 'dev', 'lo'), new RegExp(`inet ${gateway}/32 scope link lo`));
  t.is((await exec('sysctl', ['-n', 'net.ipv4.ip_forward'], { netns: node.network.netns })).trim(), '1');
  // Every program that lists the rules can read ours.
  const rules = await exec('/usr/sbin/nft', ['list', 'table', 'ip', 'keelson-network'], { netns: node.network.netns });
  t.regex(rules, /masquerade fully-random/);
  const redirects = ['all', link].map((name) => `net.ipv4.conf.${name}.send_redirects`);
  t.is(await exec('sysctl', ['-n', ...redirects], { netns: node.network.netns }), '0\n0\n');
  // Other links do what they did.
  const others = ['up0', 'default'].map((name) => `net.ipv4.conf.${name}.send_redirects`);
  t.is(await exec('sysctl', ['-n', ...others], { netns: node.network.netns }), '1\n1\n');
});

test('pods are masqueraded again after nft flush ruleset; a restart changes no rule', async (t) => {
  const node = await startedNode(t);
  const { netns, outside, nodeIp, outsideIp } = node.network;
  const pod = await node.addPod();
  await serve(outside, outsideIp, 8080);
  const nft = (...args: string[]): Promise<string> => exec('/usr/sbin/nft', args, { netns });
  await nft('flush', 'ruleset');
  await eventually('the table is back', async () => (await nft('list', 'tables')).includes('keelson-network'));
  t.is(await get(pod.netns, outsideIp, 8080), nodeIp);
  const rules = await nft('-a', 'list', 'ruleset');
  await node.daemon!.end('SIGKILL');
  t.like(await node.start(), { ready: true });
  t.is(await nft('-a', 'list', 'ruleset'), rules, 'handles and all');
});

test('CHECK is content with what ADD made, and names each thing that somebody broke', async (t) => {
  const node = await startedNode(t);
  const pod = await node.addPod();
  const [link] = await node.podLinks();
  const check = (): ReturnType<Node['cni']> =>
    node.cni(node.env('CHECK', pod.containerID, pod.path), node.conf({ prevResult: pod.result }));
  t.deepEqual(await check(), { code: 0, body: {} });
  await node.ip('neigh', 'del', pod.ip, 'dev', link!);
  await node.ip('route', 'del', pod.ip);
  await exec('ip', ['route', 'del', 'default'], { netns: pod.netns });
  const { code, body } = await check();
  t.is(code, 1);
  t.is(body.code, 102);
  for (const part of [/host route to/, /host neighbour entry/, /pod route to 0\.0\.0\.0\/0/])
    t.regex(String(body.msg), part);
});

test('bad calls get the error of the specification and leave nothing', async (t) => {
  const node = await startedNode(t);
  const pod = await node.addPod();
  const before = await node.census();
  const absent = node.env('ADD', 'x1', '/run/netns/kt-absent');
  const cases: [string, Promise<{ code: number; body: Record<string, unknown> }>, number][] = [
    ['unknown netns', node.cni(absent, node.conf()), 3],
    ['a file that is no netns', node.cni({ ...absent, CNI_NETNS: '/etc/hostname' }, node.conf()), 4],
    [
      'the namespace of the node',
      node.cni({ ...absent, CNI_NETNS: `/run/netns/${node.network.netns}` }, node.conf()),
      8,
    ],
    ['missing variables', node.cni({ CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'x1' }, node.conf()), 4],
    ['another version', node.cni({ ...absent, CNI_NETNS: pod.path }, node.conf({ cniVersion: '0.2.0' })), 1],
    ['twice', node.cni(node.env('ADD', pod.containerID, pod.path), node.conf()), 101],
    ['an interface that another made', node.cni(node.env('ADD', 'x1', pod.path), node.conf()), 101],
  ];
  for (const [name, call, code] of cases) {
    const answer = await call;
    t.is(answer.code, 1, name);
    t.is(answer.body.code, code, `${name}: ${JSON.stringify(answer.body)}`);
  }
  t.is(await node.census(), before);
  t.is((await node.status()).allocated, 1);
});

test('DEL leaves nothing, repeated, without a namespace, and for what never was', async (t) => {
  const node = await startedNode(t);
  const before = await node.census();
  const pods = await Promise.all(Array.from({ length: 8 }, () => node.addPod()));
  t.is(new Set(pods.map(({ ip }) => ip)).size, 8);
  t.is((await node.status()).allocated, 8);
  await Promise.all(pods.map((pod) => node.deletePod(pod)));
  await node.deletePod(pods[0]!);
  await node.deletePod({ ...pods[1]!, path: '' });
  await node.deletePod({ ...pods[1]!, containerID: 'never' });
  t.is(await node.census(), before);
  t.is((await node.status()).allocated, 0);
  // A freed address rests.
  const next = await node.addPod();
  t.false(pods.some(({ ip }) => ip === next.ip));
});

test('a namespace that is destroyed frees the address by itself', async (t) => {
  const node = await startedNode(t);
  const pod = await node.addPod();
  await exec('ip', ['netns', 'del', pod.netns]);
  await eventually('the address is free', async () => (await node.status()).allocated === 0);
  t.deepEqual(await node.podLinks(), []);
  await node.deletePod(pod);
});

test('kill -9: the next daemon knows every address, disturbs no pod and removes what has no sandbox', async (t) => {
  const node = await startedNode(t);
  const pods = [await node.addPod(), await node.addPod(), await node.addPod()];
  const [kept, orphan, gone] = pods as [Pod, Pod, Pod];
  await serve(kept.netns, kept.ip, 80);
  const connection = spawnIn(node.network.netns, 'ping', ['-c', '40', '-i', '0.05', kept.ip], { stdio: 'ignore' });
  const linkBefore = await node.ip('-o', 'link', 'show', 'type', 'veth');
  await node.daemon!.end('SIGKILL');
  await exec('ip', ['netns', 'del', gone.netns]);
  node.listSandboxes([kept]);
  // One that died between creating and marking, which a single sendmsg does not allow, made by hand.
  await node.ip('link', 'add', 'kl0000000000000', 'type', 'veth', 'peer', 'name', 'klpeer');

  // First with a grace: the orphan may belong to a sandbox in creation.
  const patient = { grace: { addedMs: 60_000, adoptedMs: 60_000 } };
  t.like(await node.start(patient), { ready: true });
  t.is((await node.status()).allocated, 2);
  t.is((await node.daemon!.ask<Report>('reconcile')).waiting, 1);
  t.is((await node.podLinks()).length, 2);
  const fresh = await node.addPod();
  t.false(
    [kept, orphan].some(({ ip }) => ip === fresh.ip),
    'no address twice',
  );
  await node.deletePod(fresh);
  await node.daemon!.end('SIGKILL');

  t.like(await node.start(), { ready: true });
  await eventually('the orphan is gone', async () => (await node.podLinks()).length === 1);
  t.is((await node.status()).allocated, 1);
  t.is((await get(node.network.netns, kept.ip, 80)).length > 0, true);
  const after = await node.ip('-o', 'link', 'show', 'type', 'veth');
  t.true(
    linkBefore.includes(
      after
        .split('\n')
        .find((line) => line.includes(' kl'))!
        .split(':')[1]!
        .trim(),
    ),
  );
  const { code, body } = await node.cni(
    node.env('CHECK', kept.containerID, kept.path),
    node.conf({ prevResult: kept.result }),
  );
  t.is(code, 0, JSON.stringify(body));
  await node.deletePod(kept);
  await node.deletePod(orphan);
  t.is((await node.status()).allocated, 0);
  connection.kill();
});

test('an exhausted pod CIDR says so, with its name, and serves again after a DEL', async (t) => {
  const node = await startedNode(t, { podCIDRs: ['10.244.8.0/30'] });
  const pod = await node.addPod();
  const error = await t.throwsAsync(node.addPod());
  t.regex(error?.message ?? '', /"code":11.*10\.244\.8\.0\/30/);
  await node.deletePod(pod);
  t.is((await node.addPod()).ip, pod.ip);
});

test('a pod CIDR in use on the host is refused before anything is changed', async (t) => {
  const node = await createNode(t);
  const before = await node.census();
  for (const overlapping of ['198.51.100.0/25', '198.51.0.0/16']) {
    const { failed } = await node.start({ podCIDRs: [overlapping] });
    t.regex(failed ?? '', new RegExp(`${overlapping.replaceAll('.', '\\.')}.*198\\.51\\.100\\.2/24 of up0`));
  }
  t.is(await node.census(), before);
  t.false(existsSync(node.options.cniConfDir));
});

test('another pod CIDR replaces a former one without pods', async (t) => {
  const node = await startedNode(t);
  t.deepEqual(await node.daemon!.ask('stop'), { stopped: true });
  t.like(await node.start({ podCIDRs: ['10.245.0.0/24'] }), { ready: true });
  const state = await node.census();
  t.false(state.includes('10.244.7'));
  t.true(state.includes('10.245.0.1'));
});

test('stopping leaves the pods alone; cleanup takes everything', async (t) => {
  const node = await createNode(t);
  const before = await node.census();
  await node.start();
  const [a, b] = [await node.addPod(), await node.addPod()];
  await serve(a.netns, a.ip, 80);
  await node.daemon!.ask('stop');
  t.is(await get(b.netns, a.ip, 80), b.ip, 'pods talk while no daemon runs');
  t.false(existsSync(node.options.socketPath));
  const { code, body } = await node.cni(node.env('ADD', 'later', b.path), node.conf());
  t.is(code, 1, 'an ADD without a daemon fails');
  t.is(body.code, 11);

  node.listSandboxes([a, b]);
  await node.start();
  // As `keelson cleanup` demands: a daemon would put its tables back.
  await node.daemon!.end('SIGKILL');
  const report = await node.cleanup();
  t.deepEqual(report.failed, []);
  t.is(report.removed.filter((what) => what.startsWith('link kl')).length, 2);
  t.true(report.removed.includes('nft table ip keelson-network'));
  t.is(await node.census(), before);
  t.deepEqual(readdirSync(node.options.cniConfDir), []);
  t.deepEqual(readdirSync(node.options.cniBinDir), []);
  const tables = await exec('/usr/sbin/nft', ['list', 'tables'], { netns: node.network.netns });
  t.false(tables.includes('keelson'));
});

test('many calls at once: every address once, none left, and quick', async (t) => {
  const node = await startedNode(t);
  const before = await node.census();
  for (let round = 0; round < 3; round++) {
    const pods = await Promise.all(Array.from({ length: 10 }, () => node.addPod()));
    t.is(new Set(pods.map(({ ip }) => ip)).size, 10);
    await Promise.all(
      pods.map((pod, index) => (index % 2 ? node.deletePod(pod) : exec('ip', ['netns', 'del', pod.netns]))),
    );
    await eventually('all addresses are free', async () => (await node.status()).allocated === 0);
  }
  t.is(await node.census(), before);
  const durations = readFileSync(node.logFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"command":"ADD"') && line.includes('milliseconds'))
    .map((line) => (JSON.parse(line) as { milliseconds: number }).milliseconds)
    .sort((x, y) => x - y);
  t.log(`ADD in the daemon, ten at once: p50 ${durations[durations.length >> 1]} ms`);
});
