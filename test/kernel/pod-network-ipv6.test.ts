/**
 * Pods with IPv6 addresses, alone or beside IPv4, on the real kernel: what passes, what is built for it, and what the host
 * must not lose by it. Driven as pod-network.test.ts. What the families have in common is tested there.
 * Layer: test.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { planReplacement } from '../../src/proxy/nftables/plan.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';
import { eventually, exec, execResult, spawnIn } from '../support/exec.ts';
import { createNetns } from '../support/netns.ts';
import { type Node, type Pod, podCIDR, type Report } from './pod-network-node.ts';
import { ask, createdNode, get, serveTcp, serveUdp, startedNode } from './started-node.ts';

/** test/support/icmpv6.c, built. */
let icmpv6: string;
test.before(async (t) => {
  t.timeout(120_000);
  icmpv6 = join(mkdtempSync(join(tmpdir(), 'keelson-icmpv6-')), 'icmpv6');
  await exec('gcc', ['-O2', '-Wall', '-o', icmpv6, join(import.meta.dirname, '../support/icmpv6.c')]);
});
test.after.always(() => icmpv6 && rmSync(join(icmpv6, '..'), { recursive: true, force: true }));

const ping = async (netns: string, ip: string): Promise<boolean> =>
  (await execResult(icmpv6, ['ping', ip], { netns })).code === 0;

const six = 'fd00:10:244:7::/64';
const gateway6 = 'fd00:10:244:7::1';
const nodeIp6 = '2001:db8:100::2';
const outsideIp6 = '2001:db8:100::1';
const both = { podCIDRs: [podCIDR, six] };

/** The uplink of the node with IPv6 addresses at both ends, and a default route. */
async function giveIpv6({ network: { netns, outside } }: Node): Promise<void> {
  await exec('ip', ['-n', netns, 'addr', 'add', `${nodeIp6}/64`, 'dev', 'up0', 'nodad']);
  await exec('ip', ['-n', outside, 'addr', 'add', `${outsideIp6}/64`, 'dev', 'up0', 'nodad']);
  await exec('ip', ['-n', netns, '-6', 'route', 'add', 'default', 'via', outsideIp6]);
}

const sixOf = ({ ips }: Pod): string => ips.find((ip) => ip.includes(':')) ?? '';
const sysctl = async (netns: string, ...names: string[]): Promise<string[]> =>
  (await exec('sysctl', ['-n', ...names], { netns })).trim().split('\n');

async function meet(t: ExecutionContext, node: Node, a: Pod, b: Pod, when: string): Promise<void> {
  const { netns: host } = node.network;
  const [ipA, ipB] = [sixOf(a), sixOf(b)];
  t.is(await get(a.netns, ipB, 80), ipA, `pod to pod, ${when}`);
  t.is(await get(b.netns, ipA, 80), ipB, `pod to pod, the other way, ${when}`);
  t.is(await get(host, ipA, 80), gateway6, `node to pod, ${when}`);
  t.is(await get(a.netns, nodeIp6, 8080), ipA, `pod to node, ${when}`);
  t.is(await get(a.netns, gateway6, 8080), ipA, `pod to gateway, ${when}`);
  t.is(await get(a.netns, outsideIp6, 8080), nodeIp6, `pod to the world, masqueraded, ${when}`);
  t.is(await get(a.netns, ipA, 80), ipA, `pod to itself, ${when}`);
  t.is(await ask(a.netns, ipB, 53), `b ${ipA}`, `UDP, ${when}`);
  t.is(await ask(a.netns, outsideIp6, 53), `out ${nodeIp6}`, `UDP to the world, ${when}`);
  for (const ip of [ipB, gateway6, nodeIp6, outsideIp6]) t.true(await ping(a.netns, ip), `ping ${ip}, ${when}`);
  for (const ip of [ipA, ipB]) t.true(await ping(host, ip), `ping ${ip} from the node, ${when}`);
}

async function serveAll(t: ExecutionContext, node: Node, a: Pod, b: Pod): Promise<void> {
  const { netns: host, outside } = node.network;
  await serveTcp(t, a.netns, sixOf(a), 80);
  await serveTcp(t, b.netns, sixOf(b), 80);
  await serveTcp(t, host, '::', 8080);
  await serveTcp(t, outside, outsideIp6, 8080);
  await serveUdp(t, b.netns, 53, 'b', 6);
  await serveUdp(t, outside, 53, 'out', 6);
}

test('both families: pods, node and world, with both settings of bridge-nf-call-ip6tables', async (t) => {
  const node = await startedNode(t, both);
  const { netns: host, outside, nodeIp, outsideIp } = node.network;
  await giveIpv6(node);
  const [a, b] = [await node.addPod(), await node.addPod()];
  t.deepEqual(
    [a.ips, b.ips],
    [
      ['10.244.7.2', 'fd00:10:244:7::2'],
      ['10.244.7.3', 'fd00:10:244:7::3'],
    ],
  );
  await serveAll(t, node, a, b);
  const knob = 'net.bridge.bridge-nf-call-ip6tables';
  const { code } = await execResult('sysctl', ['-n', knob], { netns: host });
  for (const value of code === 0 ? ['0', '1'] : [undefined]) {
    if (value !== undefined) await exec('sysctl', ['-qw', `${knob}=${value}`], { netns: host });
    await meet(t, node, a, b, `${value}`);
  }
  // IPv4 beside it.
  await serveTcp(t, b.netns, b.ip, 81);
  await serveTcp(t, outside, outsideIp, 81);
  t.is(await get(a.netns, b.ip, 81), a.ip);
  t.is(await get(a.netns, outsideIp, 81), nodeIp);
  // Nobody asked a neighbour, and nobody was asked.
  const links = await node.podLinks();
  const neighbours = (await exec('ip', ['-6', 'neigh'], { netns: host })).trim().split('\n');
  t.deepEqual(
    neighbours.filter((line) => links.some((link) => line.includes(link)) && !line.includes('PERMANENT')),
    [],
  );
  t.regex(
    await exec('ip', ['-6', 'neigh'], { netns: a.netns }),
    /^fd00:10:244:7::1 dev eth0 lladdr \S+ router PERMANENT|^fd00:10:244:7::1 dev eth0 lladdr \S+ PERMANENT/,
  );
  // An address that no pod has is refused at once.
  for (const netns of [a.netns, host]) {
    const { code: refused } = await execResult(
      'curl',
      ['-sS', '--max-time', '3', '-g', 'http://[fd00:10:244:7::99]/'],
      {
        netns,
      },
    );
    t.is(refused, 7);
  }
});

test('what is built is what the documentation says', async (t) => {
  const node = await startedNode(t, both);
  const { netns } = node.network;
  const pod = await node.addPod();
  const [link = ''] = await node.podLinks();
  const ipv6 = sixOf(pod);
  t.regex(await node.ip('-6', 'route', 'show', ipv6), new RegExp(`^${ipv6} dev ${link} proto 75 src ${gateway6} `));
  t.regex(await node.ip('-6', 'route', 'show', six), /^unreachable .*proto 75/);
  t.regex(await node.ip('-6', 'neigh', 'show', 'dev', link), new RegExp(`^${ipv6} lladdr \\S+ PERMANENT`));
  t.is((await node.ip('-6', 'addr', 'show', 'dev', link)).trim(), '', 'the host end has no address, so no redirects');
  t.regex(
    await node.ip('-6', 'addr', 'show', 'dev', 'lo'),
    new RegExp(`inet6 ${gateway6}/128 scope global.* deprecated`),
  );
  const of = (name: string) => `net.ipv6.conf.${link}.${name}`;
  t.deepEqual(
    await sysctl(netns, 'net.ipv6.conf.all.forwarding', of('disable_ipv6'), of('accept_ra'), of('addr_gen_mode')),
    ['1', '0', '0', '1'],
  );
  const inPod = (...args: string[]): Promise<string> => exec('ip', ['-6', ...args], { netns: pod.netns });
  t.regex(await inPod('addr', 'show', 'eth0'), new RegExp(`inet6 ${ipv6}/128 scope global`));
  const routes = (await inPod('route')).trim().split('\n');
  t.true(
    routes.some((line) => line.startsWith(`default via ${gateway6} dev eth0 proto 75`)),
    routes.join('|'),
  );
  t.true(
    routes.some((line) => line.startsWith(`${gateway6} dev eth0 proto 75`)),
    routes.join('|'),
  );
  t.deepEqual(await sysctl(pod.netns, 'net.ipv6.conf.eth0.accept_ra'), ['0']);
  const rules = await exec('/usr/sbin/nft', ['list', 'table', 'ip6', 'keelson-network'], { netns });
  t.regex(
    rules,
    /ip6 saddr .*fd00:10:244:7::.*ip6 daddr .* @pods-64 .*ip6 daddr .*fe80::.*ip6 daddr .*ff00::.*masquerade fully-random/,
  );
});

test('a program binds the address right after ADD, where addresses are looked for on the link first', async (t) => {
  const node = await startedNode(t, both);
  for (let round = 0; round < 5; round++) {
    const netns = await createNetns(node.run, `-d${round}`);
    await exec('sysctl', ['-qw', 'net.ipv6.conf.default.accept_dad=1'], { netns });
    const { code, body } = await node.cni(node.env('ADD', `dad${round}`, `/run/netns/${netns}`), node.conf());
    t.is(code, 0, JSON.stringify(body));
    const address = (body.ips as { address: string }[])[1]?.address.replace('/128', '') ?? '';
    await serveTcp(t, netns, address, 80);
    t.is(await get(node.network.netns, address, 80), gateway6);
  }
});

test('a namespace in which IPv6 is switched off gets it for the link of the pod', async (t) => {
  const node = await startedNode(t, both);
  const netns = await createNetns(node.run, '-off');
  for (const name of ['all', 'default'])
    await exec('sysctl', ['-qw', `net.ipv6.conf.${name}.disable_ipv6=1`], { netns });
  const { code, body } = await node.cni(node.env('ADD', 'off', `/run/netns/${netns}`), node.conf());
  t.is(code, 0, JSON.stringify(body));
  await serveTcp(t, netns, 'fd00:10:244:7::2', 80);
  t.is(await get(node.network.netns, 'fd00:10:244:7::2', 80), gateway6);
});

/** Router advertisements by the link of the namespace, until the test ends; resolves when the first one is out. */
async function advertise(t: ExecutionContext, netns: string, link: string, prefix: string): Promise<ChildProcess> {
  const child = spawnIn(netns, icmpv6, ['advertise', link, prefix], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  await once(child.stdout!, 'data');
  return child;
}

test('a host whose default route a router advertises keeps it, and takes the next advertisement', async (t) => {
  const node = await createdNode(t, both);
  const { netns, outside } = node.network;
  // As in a namespace just made, but for what the tests set.
  t.deepEqual(await sysctl(netns, 'net.ipv6.conf.up0.accept_ra', 'net.ipv6.conf.all.forwarding'), ['1', '0']);
  await exec('sysctl', ['-qw', 'net.ipv6.conf.all.forwarding=1'], { netns: outside });
  const router = await advertise(t, outside, 'up0', '2001:db8:7::');
  const route = (): Promise<string> => node.ip('-6', 'route', 'show', 'default');
  await eventually('the route is told', async () => (await route()).includes('proto ra'));
  t.like(await node.start(), { ready: true });
  t.regex(await route(), /^default via fe80:\S+ dev up0 proto ra/, 'still there');
  t.deepEqual(await sysctl(netns, 'net.ipv6.conf.up0.accept_ra', 'net.ipv6.conf.all.forwarding'), ['2', '1']);
  // It goes on being told.
  await node.ip('-6', 'route', 'del', 'default');
  await eventually('the route is told again', async () => (await route()).includes('proto ra'));
  router.kill('SIGKILL');
});

test('a pod that sends router advertisements changes nothing on the host, even where links take them by default', async (t) => {
  const node = await createdNode(t, both);
  await exec('sysctl', ['-qw', 'net.ipv6.conf.default.accept_ra=2'], { netns: node.network.netns });
  t.like(await node.start(), { ready: true });
  const pod = await node.addPod();
  const before = await node.ip('-6', 'route');
  const addresses = await node.ip('-6', '-o', 'addr');
  const router = await advertise(t, pod.netns, 'eth0', '2001:db8:bad::');
  // Some more are out by the time that these are answered.
  for (let number = 0; number < 5; number++) await once(router.stdout!, 'data');
  t.is(await node.ip('-6', 'route'), before);
  t.is(await node.ip('-6', '-o', 'addr'), addresses);
});

test('without masquerading of IPv6 the world sees the address of the pod', async (t) => {
  const node = await startedNode(t, { ...both, masqueraded: [4] });
  const { outside, outsideIp, nodeIp } = node.network;
  await giveIpv6(node);
  await exec('ip', ['-n', outside, '-6', 'route', 'add', six, 'via', nodeIp6]);
  const pod = await node.addPod();
  await serveTcp(t, outside, outsideIp6, 8080);
  await serveTcp(t, outside, outsideIp, 8081);
  t.is(await get(pod.netns, outsideIp6, 8080), sixOf(pod));
  t.is(await get(pod.netns, outsideIp, 8081), nodeIp, 'IPv4 as ever');
  await node.daemon!.end('SIGKILL');
  node.listSandboxes([pod]);
  t.like(await node.start({ masqueraded: [4, 6] }), { ready: true });
  t.is(await get(pod.netns, outsideIp6, 8080), nodeIp6, 'and the other way round after a restart');
});

test('a Service over IPv6: from pods, the node and the endpoint itself', async (t) => {
  const node = await startedNode(t, both);
  await giveIpv6(node);
  const [a, b] = [await node.addPod(), await node.addPod()];
  await serveTcp(t, a.netns, sixOf(a), 8080);
  await serveUdp(t, a.netns, 5353, 'a', 6);
  const tracker = new ServiceTracker({ family: 'IPv6', nodeName: 'node-a', nodeIps: [nodeIp6] });
  const ports = [
    { name: 'http', port: 80, protocol: 'TCP' as const, nodePort: 30_080 },
    { name: 'dns', port: 53, protocol: 'UDP' as const, nodePort: 30_053 },
  ];
  tracker.serviceSet(aService('web', { type: 'NodePort', clusterIPs: ['fd00:96::10'], ipFamilies: ['IPv6'], ports }));
  tracker.sliceSet(
    aSlice('web-6', 'web', {
      addressType: 'IPv6',
      endpoints: [{ addresses: [sixOf(a)], nodeName: 'node-a', ready: true, serving: true, terminating: false }],
      ports: [
        { name: 'http', port: 8080, protocol: 'TCP' },
        { name: 'dns', port: 5353, protocol: 'UDP' },
      ],
    } as never),
  );
  tracker.flush();
  const nftables = await kernelNftables.open(`/run/netns/${node.network.netns}`);
  t.teardown(() => nftables.close());
  await nftables.apply(planReplacement(tracker.model, trafficOfPods([six])));
  for (const knob of ['0', '1']) {
    await execResult('sysctl', ['-qw', `net.bridge.bridge-nf-call-ip6tables=${knob}`], { netns: node.network.netns });
    t.is(await get(b.netns, 'fd00:96::10', 80), sixOf(b), 'pod to Service');
    t.is(await ask(b.netns, 'fd00:96::10', 53), `a ${sixOf(b)}`);
    t.not((await get(node.network.netns, 'fd00:96::10', 80)).slice(0, 4), 'curl', 'node to Service');
    t.not((await get(node.network.outside, nodeIp6, 30_080)).slice(0, 4), 'curl', 'world to node port');
    // Its own address as source would be answered on the spot and never be translated back.
    t.not((await get(a.netns, 'fd00:96::10', 80)).slice(0, 4), 'curl', 'hairpin');
    t.regex(await ask(a.netns, 'fd00:96::10', 53), /^a /, 'hairpin, UDP');
    t.not((await get(a.netns, nodeIp6, 30_080)).slice(0, 4), 'curl', 'hairpin by the node port');
  }
});

test('chain FORWARD of ip6tables drops by default: pods pass in both flavours, and nothing of it stays', async (t) => {
  const node = await startedNode(t, both);
  const { netns, outside } = node.network;
  await giveIpv6(node);
  await serveTcp(t, outside, outsideIp6, 8080);
  const [a, b] = [await node.addPod(), await node.addPod()];
  await serveTcp(t, b.netns, sixOf(b), 80);
  const run = (...args: string[]): Promise<string> => exec(args[0]!, args.slice(1), { netns });
  await run('/usr/sbin/ip6tables-nft', '-P', 'FORWARD', 'DROP');
  await run('/usr/sbin/ip6tables-legacy', '-P', 'FORWARD', 'DROP');
  // iptables-legacy tells nobody: the next start sees it.
  await node.daemon!.end('SIGKILL');
  node.listSandboxes([a, b]);
  t.like(await node.start(), { ready: true });
  for (const flavour of ['nft', 'legacy']) {
    const rules = async (): Promise<string> => run(`/usr/sbin/ip6tables-${flavour}`, '-S');
    await eventually(`the rules are there, ${flavour}`, async () =>
      (await rules()).includes('-A FORWARD -j KEELSON-FORWARD'),
    );
    t.regex(await rules(), /-A KEELSON-FORWARD -s fd00:10:244:7::\/64 -j ACCEPT/, flavour);
  }
  t.is(await get(a.netns, sixOf(b), 80), sixOf(a));
  t.is(await get(a.netns, outsideIp6, 8080), nodeIp6);
  await node.daemon!.end('SIGKILL');
  const { removed, failed } = await node.cleanup();
  t.deepEqual(failed, []);
  for (const what of [
    'chain KEELSON-FORWARD of ip6tables-nft',
    'chain KEELSON-FORWARD of ip6tables-legacy',
    'nft table ip6 keelson-network',
    `address ${gateway6}/128 of lo`,
    `route unreachable ${six}`,
  ])
    t.true(removed.includes(what), what);
  for (const flavour of ['nft', 'legacy']) t.notRegex(await run(`/usr/sbin/ip6tables-${flavour}`, '-S'), /KEELSON/);
  t.notRegex(await node.ip('-6', 'route', 'show', 'table', 'all'), /fd00:10:244:7/);
});

test('CHECK is content with what ADD made in both families, and names each thing that somebody broke', async (t) => {
  const node = await startedNode(t, both);
  const pod = await node.addPod();
  const [link = ''] = await node.podLinks();
  const check = (): ReturnType<Node['cni']> =>
    node.cni(node.env('CHECK', pod.containerID, pod.path), node.conf({ prevResult: pod.result }));
  t.deepEqual(await check(), { code: 0, body: {} });
  await node.ip('-6', 'neigh', 'del', sixOf(pod), 'dev', link);
  await node.ip('-6', 'route', 'del', sixOf(pod));
  await exec('ip', ['-6', 'route', 'del', 'default'], { netns: pod.netns });
  await exec('ip', ['-6', 'addr', 'del', `${sixOf(pod)}/128`, 'dev', 'eth0'], { netns: pod.netns });
  const { code, body } = await check();
  t.is(code, 1);
  t.is(body.code, 102);
  for (const part of [/host route to fd00/, /host neighbour entry of fd00/, /pod route to ::\/0/, /lacks address fd00/])
    t.regex(String(body.msg), part);
  t.notRegex(String(body.msg), /10\.244/);
});

test('kill -9: the next daemon knows the addresses of both families, and mends what is gone of one', async (t) => {
  const node = await startedNode(t, both);
  const [a, b] = [await node.addPod(), await node.addPod()];
  await serveTcp(t, a.netns, sixOf(a), 80);
  await node.daemon!.end('SIGKILL');
  await node.ip('-6', 'route', 'del', sixOf(a));
  node.listSandboxes([a, b]);
  t.like(await node.start(), { ready: true });
  t.like(await node.status(), { allocated: 2, second: { allocated: 2 } });
  await eventually('the route is back', async () => (await get(node.network.netns, sixOf(a), 80)) === gateway6);
  const c = await node.addPod();
  t.is(new Set([a, b, c].flatMap(({ ips }) => ips)).size, 6, 'no address twice');
  for (const pod of [a, b, c]) await node.deletePod(pod);
  t.like(await node.status(), { allocated: 0, second: { allocated: 0 } });
  t.deepEqual(await node.podLinks(), []);
  t.notRegex(await node.ip('-6', 'route'), /fd00:10:244:7::[2-9]/);
});

test('killed during storms of ADDs and DELs: no address of either family is shared or lost', async (t) => {
  t.timeout(300_000);
  const node = await startedNode(t, both);
  const before = await node.census();
  const waiting: { containerID: string; path: string }[] = [];
  for (let number = 0; number < 60; number++)
    waiting.push({ containerID: `storm${number}`, path: `/run/netns/${await createNetns(node.run, `-s${number}`)}` });
  const running = new Map<string, { containerID: string; path: string; ips: string[] }>();
  const addAll = () =>
    Promise.all(
      waiting
        .filter(({ containerID }) => !running.has(containerID))
        .map(async ({ containerID, path }) => {
          const { code, body } = await node.cni(node.env('ADD', containerID, path), node.conf());
          const ips = ((body.ips ?? []) as { address: string }[]).map(({ address }) => address.replace(/\/\d+$/, ''));
          if (code === 0) running.set(containerID, { containerID, path, ips });
        }),
    );
  for (const afterMs of [60, 250]) {
    const calls = addAll();
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await node.daemon!.end('SIGKILL');
    await calls;
    node.listSandboxes([...running.values()] as never);
    t.like(await node.start(), { ready: true });
    t.like(await node.daemon!.ask<Report>('reconcile'), { waiting: 0 });
    const count = running.size;
    t.like(await node.status(), { allocated: count, second: { allocated: count } }, `after ${afterMs} ms`);
    t.is((await node.podLinks()).length, count);
  }
  await addAll();
  t.is(running.size, 60);
  t.is(new Set([...running.values()].flatMap(({ ips }) => ips)).size, 120);
  const deletions = Promise.all(
    [...running.values()].map(({ containerID, path }) => node.cni(node.env('DEL', containerID, path), node.conf())),
  );
  await new Promise((resolve) => setTimeout(resolve, 80));
  await node.daemon!.end('SIGKILL');
  await deletions;
  node.listSandboxes([]);
  t.like(await node.start(), { ready: true });
  await node.daemon!.ask<Report>('reconcile');
  t.like(await node.status(), { allocated: 0, second: { allocated: 0 } });
  t.is(await node.census(), before);
  t.notRegex(await node.ip('-6', 'route'), /fd00:10:244:7:\S+ dev kl/);
});

test('IPv6 alone: one address, no rule and no sysctl of IPv4', async (t) => {
  const node = await startedNode(t, { podCIDRs: [six] });
  const { netns } = node.network;
  await giveIpv6(node);
  const [a, b] = [await node.addPod(), await node.addPod()];
  t.deepEqual(a.ips, ['fd00:10:244:7::2']);
  t.like(a.result, {
    ips: [{ address: 'fd00:10:244:7::2/128', gateway: gateway6, interface: 1 }],
    routes: [{ dst: '::/0', gw: gateway6 }],
  });
  await serveAll(t, node, a, b);
  await meet(t, node, a, b, 'IPv6 alone');
  t.deepEqual(await sysctl(netns, 'net.ipv4.ip_forward'), ['0']);
  t.notRegex(await exec('/usr/sbin/nft', ['list', 'tables'], { netns }), /table ip keelson/);
  t.like(await node.status(), { podCIDR: six, gateway: gateway6, allocated: 2 });
});

test('a node that gets the second family later: old pods go on, new ones have both', async (t) => {
  const node = await startedNode(t);
  const old = await node.addPod();
  await serveTcp(t, old.netns, old.ip, 80);
  await node.daemon!.end('SIGKILL');
  node.listSandboxes([old]);
  t.like(await node.start(both), { ready: true });
  const fresh = await node.addPod();
  t.is(fresh.ips.length, 2);
  t.is(await get(fresh.netns, old.ip, 80), fresh.ip);
  t.deepEqual(await node.cni(node.env('CHECK', old.containerID, old.path), node.conf({ prevResult: old.result })), {
    code: 0,
    body: {},
  });
  // And back: nothing of the second family stays once its last pod has gone.
  await node.daemon!.end('SIGKILL');
  node.listSandboxes([old, fresh]);
  t.like(await node.start(), { ready: true });
  t.deepEqual((await node.status()).former, [{ podCIDR: six, pods: 1 }]);
  await node.deletePod(fresh);
  await eventually('the former network is gone', async () => (await node.status()).former === undefined);
  t.notRegex(await node.ip('-6', 'route', 'show', 'table', 'all'), /fd00:10:244:7/);
  await node.daemon!.end('SIGKILL');
  t.like(await node.start(), { ready: true });
  t.notRegex(await exec('/usr/sbin/nft', ['list', 'tables'], { netns: node.network.netns }), /ip6 keelson-network/);
});

test('a host on which IPv6 is switched off is told so, with the switch, before anything is changed', async (t) => {
  const node = await createdNode(t, both);
  const { netns } = node.network;
  await exec('sysctl', ['-qw', 'net.ipv6.conf.all.disable_ipv6=1'], { netns });
  const before = await node.census();
  const { failed = '' } = await node.start();
  t.regex(
    failed,
    /fd00:10:244:7::\/64.*net\/ipv6\/conf\/all\/disable_ipv6 is 1.*net\.ipv6\.conf\.all\.disable_ipv6 to 0/,
  );
  t.is(await node.census(), before);
  t.like(await node.start({ podCIDRs: [podCIDR] }), { ready: true }, 'IPv4 alone does not ask');
});

test('bad pod CIDRs, MTUs and hosts in the way are refused before anything is changed', async (t) => {
  const node = await createdNode(t);
  await giveIpv6(node);
  const before = await node.census();
  for (const [options, message] of [
    [{ podCIDRs: ['2001:db8:100::/64'] }, /2001:db8:100::\/64.*2001:db8:100::2\/64 of up0/],
    [{ podCIDRs: ['10.0.0.0/24', '10.1.0.0/24'] }, /one IPv4 and one IPv6/],
    [{ podCIDRs: [] }, /one IPv4 and one IPv6/],
    [{ podCIDRs: ['fe80::/64'] }, /fe80::\/10/],
    [{ podCIDRs: [six], mtu: 1279 }, /1280/],
  ] as const) {
    const { failed = '' } = await node.start(options);
    t.regex(failed, message);
  }
  t.is(await node.census(), before);
  t.like(await node.start({ podCIDRs: [six], mtu: 1280 }), { ready: true });
  const pod = await createNetns(node.run, '-small');
  const { code, body } = await node.cni(node.env('ADD', 'small', `/run/netns/${pod}`), node.conf({ mtu: 1000 }));
  t.is(code, 1);
  t.like(body, { code: 7 });
  t.regex(String(body.msg), /mtu 1000.*1280/);
  t.is((await node.status()).allocated, 0);
});
