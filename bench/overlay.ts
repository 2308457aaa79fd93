/**
 * The way to pods of other nodes: how long a changed Node takes to be reachable, beside 2 and beside 1,000 others; what
 * 1,000 peers cost; throughput between pods as a share of the bare link; for IPv4 and for IPv6 pods. Nodes are network
 * namespaces on one bridge.
 * Usage: sudo script/bench overlay   (COUNT=50, PEERS=1000)
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { PeerNode } from '../src/network/overlay/peer.ts';
import {
  addressOf,
  addressOf6,
  type Backend,
  Cluster,
  type Families,
  ipv4Only,
  type Member,
  tell,
} from '../test/kernel/overlay-cluster.ts';
import { eventually, exec, execResult, spawnIn } from '../test/support/exec.ts';
import { median, percentile, usage } from './figures.ts';

const count = Number(process.env.COUNT ?? 50);
const peerCount = Number(process.env.PEERS ?? 1_000);

const cleanups: (() => Promise<void> | void)[] = [];
/** As much of a test's context as a cluster needs. */
const context = {
  passed: true,
  log: console.log,
  teardown: (cleanup: () => Promise<void> | void) => void cleanups.push(cleanup),
} as unknown as Parameters<typeof Cluster.start>[0];

/** Sends a datagram a millisecond and prints the time of every answer that follows a gap. */
const asker = `const [ip] = process.argv.slice(1); const s = require('node:dgram').createSocket(ip.includes(':') ? 'udp6' : 'udp4'); let last = 0;
s.on('message', () => { const now = performance.timeOrigin + performance.now(); if (now - last > 20) console.log(now); last = now; });
s.on('error', () => {}); setInterval(() => s.send('x', 7777, ip, () => {}), 1);`;
const echo = `const s = require('node:dgram').createSocket('udp6'); s.on('message', (m, r) => s.send(m, r.port, r.address));
s.on('error', () => {}); s.bind(7777, () => console.log('up'));`;
const sink = `require('node:net').createServer((s) => s.resume()).listen(7778, '::', () => console.log('up'))`;
const source = `const [ip, ms] = process.argv.slice(1); const s = require('node:net').connect(7778, ip, () => { let n = 0;
const b = Buffer.alloc(1 << 18); const began = performance.now(); const go = () => { while (performance.now() - began < ms) { n += b.length; if (!s.write(b)) { s.once('drain', go); return; } }
console.log(n / (performance.now() - began) / 125); process.exit(); }; go(); });`;

function start(netns: string, program: string, ...args: string[]): ChildProcess {
  const child = spawnIn(netns, process.execPath, ['-e', program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.unshift(() => void child.kill('SIGKILL'));
  return child;
}

async function started(netns: string, program: string): Promise<void> {
  const { stdout } = start(netns, program);
  if (stdout) await once(stdout, 'data');
}

const now = (): number => performance.timeOrigin + performance.now();

/** Milliseconds from the word that node 2 is there until its pod answers one of node 1. */
async function changes(one: Member, two: Member): Promise<number[]> {
  const child = start(one.pod.netns, asker, measuredIp(two));
  const times: number[] = [];
  if (!child.stdout) throw new Error('no output');
  createInterface({ input: child.stdout }).on('line', (line) => times.push(Number(line)));
  const took: number[] = [];
  for (let round = 0; round < count; round++) {
    await tell(one, [two.name]);
    await new Promise((resolve) => setTimeout(resolve, 60));
    times.length = 0;
    const began = now();
    await tell(one, two.peers);
    await eventually('an answer', () => times.length > 0, 10_000, 5);
    took.push((times[0] ?? Number.NaN) - began);
  }
  child.kill('SIGKILL');
  return took;
}

/** Of the family that is measured: the last one that pods have. */
const measuredIp = ({ pod }: Member): string => pod.ips.at(-1) ?? pod.ip;

const others = (family: 4 | 6): PeerNode[] =>
  Array.from({ length: peerCount }, (_, index) => ({
    name: `peer-${index}`,
    podCIDR:
      family === 4 ? `10.${100 + (index >> 8)}.${index & 255}.0/24` : `fd00:244:1:${(index + 1).toString(16)}::/64`,
    address: family === 4 ? `198.18.${index >> 8}.${index & 255}` : `fd00:1::1:${(index + 1).toString(16)}`,
    createdAt: '2026-01-02T00:00:00Z',
  }));

async function routes(member: Member, family: 4 | 6): Promise<number> {
  const { netns } = member.node.network;
  const { stdout } = await execResult('ip', [`-${family}`, 'route', 'show', 'proto', '75'], { netns });
  return stdout.split('\n').filter((line) => line.includes(' via ')).length;
}

/** Megabit a second. */
async function throughput(from: string, ip: string): Promise<number> {
  const { stdout } = await execResult(process.execPath, ['-e', source, ip, '3000'], { netns: from });
  return Number(stdout);
}

async function measure(backend: Backend['backend'], families: Families = ipv4Only): Promise<void> {
  const cluster = await Cluster.start(context, 2, { backend }, undefined, families);
  const family = families.pods.at(-1) ?? 4;
  const [one, two] = [cluster.member(1), cluster.member(2)];
  // The network of the others, so that host-gw takes them.
  for (const [index, { node }] of [one, two].entries()) {
    const addresses = family === 4 ? [`198.19.0.${index + 1}/15`] : [`fd00:1::${index + 1}/64`, 'nodad'];
    await exec('ip', ['-n', node.network.netns, 'addr', 'add', ...addresses, 'dev', 'eth0']);
  }
  await started(two.pod.netns, echo);
  await started(two.pod.netns, sink);
  await started(two.node.network.netns, sink);
  const few = await changes(one, two);
  const bare = await throughput(one.node.network.netns, family === 4 ? addressOf(2) : addressOf6(2));
  const pods = await throughput(one.pod.netns, measuredIp(two));

  const pid = one.node.daemon?.child.pid ?? 0;
  const before = usage(pid);
  const began = now();
  await tell(one, others(family));
  await eventually('all routes', async () => (await routes(one, family)) === peerCount + 1, 60_000, 10);
  const tookMs = now() - began;
  const after = usage(pid);
  const many = await changes(one, two);
  const row = (what: string, values: readonly number[]): string =>
    `  ${what}: p50 ${median(values).toFixed(2)} ms, p99 ${percentile(values, 0.99).toFixed(2)} ms`;
  console.log(
    `\n${backend}, IPv${family}: a Node is told -> its pod answers, ${count} times, one question a millisecond`,
  );
  console.log(row('beside no other', few));
  console.log(row(`beside ${peerCount} others`, many));
  console.log(`  ${peerCount} at once: ${tookMs.toFixed(0)} ms until the last route is seen (looking every 10 ms)`);
  const cpuMs = (after.cpuSeconds - before.cpuSeconds) * 1000;
  console.log(
    `  daemon: ${cpuMs.toFixed(0)} ms of processor, RSS ${before.rssMiB.toFixed(1)} -> ${after.rssMiB.toFixed(1)} MiB`,
  );
  const share = (100 * pods) / bare;
  console.log(
    `  TCP: ${pods.toFixed(0)} Mbit/s between pods, ${bare.toFixed(0)} between their nodes: ${share.toFixed(0)} %`,
  );
}

try {
  await measure('vxlan');
  await measure('host-gw');
  const both: Families = { pods: [4, 6], nodes: [4, 6], mtu: 1430 };
  await measure('vxlan', both);
  await measure('host-gw', { ...both, mtu: 1500 });
} finally {
  for (const cleanup of cleanups.splice(0)) await cleanup();
}
