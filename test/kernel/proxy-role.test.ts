/**
 * The proxy role on a real kernel with real connections: over restarts, and under other people's hands. A node, two
 * pods that serve and one that asks, in namespaces of their own. Root only; needs nft, ip and nsenter.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import test from 'ava';
import { systemClock } from '../../src/base/clock.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { silentLogger } from '../../src/observe/logger.ts';
import { cleanupProxy } from '../../src/proxy/cleanup.ts';
import { FakeSource } from '../../src/proxy/fake-source.ts';
import type { DataplaneLimits } from '../../src/proxy/nftables/service-dataplane.ts';
import { type ProxyRole, startProxy } from '../../src/proxy/proxy.ts';
import type { ServiceEvent } from '../../src/proxy/service-source.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';

const nftPath = '/usr/sbin/nft';
const prefix = `kr${process.pid}`;
const node = `${prefix}-node`;
const pods = [1, 2, 3].map((number) => ({ netns: `${prefix}-${number}`, ip: `10.244.1.${number + 1}` }));
const netnsPath = `/run/netns/${node}`;
const clusterIP = '10.96.0.1';
const [podIp, otherPodIp] = pods.map(({ ip }) => ip) as [string, string];
const children: ChildProcess[] = [];
let role: ProxyRole | undefined;

const ip = (...args: string[]) => execFileSync('ip', args);
const nft = (...args: string[]) =>
  execFileSync('nsenter', [`--net=${netnsPath}`, '--', nftPath, ...args], { encoding: 'utf8' });
const ownTable = () => nft('list', 'table', 'ip', 'keelson-proxy');

/** Says its address once for each line. */
const serverScript = `
const [ip] = process.argv.slice(1);
require('net').createServer((s) => s.on('error', () => {}).on('data', () => s.write(ip + '\\n')))
  .listen(8080, ip, () => console.log('ready'));`;

/** For each line on stdin: \`new\` and \`held\` ask over a new connection or the one that stays; prints answer or code. */
const clientScript = `
const net = require('net');
const ask = (s) => new Promise((done) => {
  const end = (text) => { s.removeAllListeners(); s.on('error', () => {}); done(text); };
  s.setTimeout(3000, () => end('TIMEOUT'));
  s.on('data', (d) => end(String(d).trim())).on('error', (e) => end(e.code)).on('close', () => end('CLOSED'));
  s.write('x\\n');
});
const connect = () => net.connect(80, '${clusterIP}');
let held;
require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  if (line === 'held') return console.log(await ask(held ??= connect()));
  const s = connect();
  console.log(await ask(s));
  s.destroy();
});`;

function run(netns: string, script: string, ...args: string[]): ChildProcess {
  const command = [`--net=/run/netns/${netns}`, '--', process.execPath, '-e', script, '--', ...args];
  const child = spawn('nsenter', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}

let ask: (how: 'new' | 'held') => Promise<string>;

const service: ServiceEvent = {
  event: 'serviceSet',
  service: aService('web', { clusterIP, clusterIPs: [clusterIP], ipFamilies: ['IPv4'] }),
};
const endpoints = (...addresses: string[]): ServiceEvent => ({
  event: 'sliceSet',
  slice: aSlice('web-1', 'web', { endpoints: addresses }),
});
/** Its endpoint is the first pod, where the held connection goes. */
const objects = [service, endpoints(podIp)];

async function start(events = objects, limits?: DataplaneLimits): Promise<{ source: FakeSource; role: ProxyRole }> {
  const source = new FakeSource(events);
  role = await startProxy(
    {
      nodeName: 'node-a',
      families: ['IPv4', 'IPv6'],
      ...trafficOfPods(['10.244.0.0/16']),
      ...(limits ? { limits } : {}),
    },
    {
      source,
      nftablesOpener: kernelNftables,
      netnsPath,
      forgetFlows: async () => undefined,
      clock: systemClock,
      log: silentLogger,
    },
    new AbortController().signal,
  );
  return { source, role };
}

async function generation(): Promise<number> {
  const nftables = await kernelNftables.open(netnsPath);
  try {
    return await nftables.generation();
  } finally {
    nftables.close();
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('did not happen');
}

/** The role puts it back when `damage` has taken it away. */
async function repaired(damage: () => void): Promise<void> {
  const repairs = role?.status().repairs ?? 0;
  damage();
  await until(() => (role?.status().repairs ?? 0) > repairs);
}

/** Elements in one order. */
const inOrder = (listing: string): string[] =>
  listing
    .split(/[{},\n]/)
    .map((part) => part.trim())
    .sort();

test.before(async () => {
  for (const name of [node, ...pods.map(({ netns }) => netns)]) ip('netns', 'add', name);
  ip('-n', node, 'link', 'set', 'lo', 'up');
  ip('-n', node, 'addr', 'add', '10.244.1.1/32', 'dev', 'lo');
  execFileSync('nsenter', [`--net=${netnsPath}`, '--', 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  for (const [index, { netns, ip: address }] of pods.entries()) {
    ip('-n', node, 'link', 'add', `pod${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
    ip('-n', node, 'link', 'set', `pod${index}`, 'up');
    ip('-n', node, 'route', 'add', `${address}/32`, 'dev', `pod${index}`, 'src', '10.244.1.1');
    ip('-n', netns, 'addr', 'add', `${address}/32`, 'dev', 'eth0');
    ip('-n', netns, 'link', 'set', 'eth0', 'up');
    ip('-n', netns, 'route', 'add', 'default', 'via', '10.244.1.1', 'dev', 'eth0', 'onlink');
    const { stdout } = run(netns, serverScript, address);
    if (stdout !== null) await once(stdout, 'data');
  }
  // Cluster IPs are routed like any address before they are refused.
  ip('-n', node, 'route', 'add', 'default', 'via', podIp, 'dev', 'pod0', 'onlink');
  nft('add table ip foreign; add chain ip foreign c; add rule ip foreign c counter; add table ip6 foreign');
  const client = run(pods[2]?.netns ?? '', clientScript);
  if (client.stdout === null) throw new Error('no pipe');
  const answers = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  ask = async (how) => {
    client.stdin?.write(`${how}\n`);
    return (await answers.next()).value ?? 'ENDED';
  };
});

test.after.always(async () => {
  await role?.stop();
  for (const child of children) child.kill('SIGKILL');
  for (const name of [node, ...pods.map(({ netns }) => netns)]) {
    try {
      ip('netns', 'del', name);
    } catch {
      // Not made, since the setup failed before.
    }
  }
});

test.serial('a restart leaves an equal table alone, and connections over the Service alive', async (t) => {
  await (await start()).role.stop();
  t.is(await ask('new'), podIp);
  t.is(await ask('held'), podIp);
  const before = await generation();
  await (await start()).role.stop();
  t.is(await generation(), before);
  t.is(await ask('held'), podIp);
  // Other objects: the difference only, and the connection stays where it is.
  await (await start([service, endpoints(otherPodIp, podIp)])).role.stop();
  t.is(await generation(), before + 1);
  t.is(await ask('held'), podIp);
});

test.serial('while the whole table is replaced, every new connection meets the old or the new one', async (t) => {
  const answers: string[] = [];
  const connecting = (async () => {
    while (answers.length < 300) answers.push(await ask('new'));
  })();
  let restarts = 0;
  while (answers.length < 300) {
    await (await start(objects, { listedElements: 0, watchedElements: 0 })).role.stop();
    restarts++;
  }
  await connecting;
  t.true(restarts >= 3, String(restarts));
  const wrong = answers.filter((answer) => !pods.some((pod) => pod.ip === answer));
  t.deepEqual(wrong, []);
  t.is(await ask('held'), podIp);
});

test.serial('a change is in the kernel moments after its event', async (t) => {
  const { source } = await start();
  source.tell(endpoints());
  await until(() => ownTable().includes(`${clusterIP} . tcp . 80`) && !ownTable().includes(podIp));
  t.is(await ask('new'), 'ECONNREFUSED');
  source.tell(endpoints(podIp));
  await until(() => ownTable().includes(podIp));
  t.is(await ask('new'), podIp);
});

test.serial('elements, rules and the table that others delete come back; other tables are as they were', async (t) => {
  const whole = inOrder(ownTable());
  const foreign = nft('list', 'table', 'ip', 'foreign');
  for (const damage of [
    `delete element ip keelson-proxy endpoints { ${clusterIP} . tcp . 80 . 0 }`,
    `add element ip keelson-proxy services { 10.96.9.9 . tcp . 80 }`,
    'flush chain ip keelson-proxy prerouting',
    'delete table ip keelson-proxy',
  ]) {
    await repaired(() => nft(damage));
    t.deepEqual(inOrder(ownTable()), whole, damage);
    t.is(await ask('new'), podIp);
    t.is(nft('list', 'table', 'ip', 'foreign'), foreign);
    // The next one is not answered at once if it comes too soon.
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  t.is(await ask('held'), podIp);
});

test.serial('after nft flush ruleset both tables are back, and traffic with them', async (t) => {
  const before = [ownTable(), nft('list', 'table', 'ip6', 'keelson-proxy')].map(inOrder);
  nft('flush', 'ruleset');
  await until(() => /ip6 keelson-proxy/.test(nft('list', 'tables')) && /ip keelson-proxy/.test(nft('list', 'tables')));
  t.is(await ask('new'), podIp);
  t.deepEqual([ownTable(), nft('list', 'table', 'ip6', 'keelson-proxy')].map(inOrder), before);
  t.is(nft('list', 'tables').trim().split('\n').length, 2, "what was not ours is its owner's affair");
});

test.serial('cleanup takes both tables away and no other', async (t) => {
  await role?.stop();
  nft('add table ip foreign');
  const { removed, failed } = await cleanupProxy(kernelNftables, netnsPath);
  t.deepEqual([removed.length, failed.length], [2, 0]);
  t.is(nft('list', 'tables').trim(), 'table ip foreign');
});
