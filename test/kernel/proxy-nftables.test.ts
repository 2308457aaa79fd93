/**
 * The Service table in a real kernel with real traffic: a node, three pods, and a client outside that routes to the node
 * and, as no real network does, nothing else. Root only; needs nft, ip and nsenter.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'ava';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import type { Nftables } from '../../src/linux/nftables/edge.ts';
import { OwnCommits } from '../../src/proxy/nftables/own-commits.ts';
import { planInitial } from '../../src/proxy/nftables/plan.ts';
import { ServiceDataplane } from '../../src/proxy/nftables/service-dataplane.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';

const nftPath = '/usr/sbin/nft';
const prefix = `kp${process.pid}`;
const [node, client] = [`${prefix}-node`, `${prefix}-out`];
const pods = [1, 2, 3].map((number) => ({ netns: `${prefix}-${number}`, ip: `10.244.1.${number + 1}` }));
const [nodeIp, clientIp] = ['198.51.100.2', '198.51.100.1'];
const ips = pods.map(({ ip }) => ip);
const servers: ChildProcess[] = [];
let nftables: Nftables;
let dataplane: ServiceDataplane;
const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node-a' });

const ip = (...args: string[]) => execFileSync('ip', args);
const inNetns = (netns: string, ...command: string[]) =>
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...command], { encoding: 'utf8' });

/** Answers with its own address and whom it sees. */
const serverScript = `
const [ip] = process.argv.slice(1);
require('net').createServer((s) => s.on('error', () => {}).end(ip + ' ' + s.remoteAddress)).listen(8080, ip, () => {
  const udp = require('dgram').createSocket('udp4');
  udp.on('message', (_, from) => udp.send(ip + ' ' + from.address, from.port, from.address));
  udp.bind(8053, ip, () => console.log('ready'));
});`;

/** `count` connections in turn; prints answers or error codes. */
const clientScript = `
const [kind, ip, port, count] = process.argv.slice(1);
const tcp = () => new Promise((done) => {
  let text = '';
  const s = require('net').connect(+port, ip).setTimeout(1500, () => { done('TIMEOUT'); s.destroy(); });
  s.on('data', (d) => text += d).on('end', () => done(text)).on('error', (e) => done(e.code));
});
const udp = () => new Promise((done) => {
  const s = require('dgram').createSocket('udp4');
  const end = (text) => { clearTimeout(timer); s.close(); done(text); };
  const timer = setTimeout(() => end('TIMEOUT'), 1500);
  s.on('message', (d) => end(String(d))).on('error', (e) => end(e.code));
  s.connect(+port, ip, () => s.send('x'));
});
(async () => {
  const answers = [];
  for (let i = 0; i < +count; i++) answers.push(await (kind === 'udp' ? udp : tcp)());
  console.log(JSON.stringify(answers));
})();`;

function ask(netns: string, kind: 'tcp' | 'udp', address: string, port: number, count = 1): string[] {
  const args = [kind, address, String(port), String(count)];
  return JSON.parse(inNetns(netns, process.execPath, '-e', clientScript, '--', ...args));
}

const distinct = (answers: string[]): string[] => [...new Set(answers)].sort();
const serversOf = (answers: string[]): string[] => distinct(answers.map((answer) => answer.split(' ')[0] ?? ''));

async function setEndpoints(service: string, addresses: string[], ports = [{ name: '', port: 8080 }]): Promise<void> {
  const endpoints = addresses.map((address) => ({ addresses: [address], nodeName: 'node-a' }));
  tracker.sliceSet(aSlice(`${service}-1`, service, { endpoints, ports }));
  if (!(await dataplane.change(tracker.flush().delta))) throw new Error('not loaded');
}

function addLink(netns: string, hostEnd: string, address: string, gateway: string): void {
  ip('-n', node, 'link', 'add', hostEnd, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
  ip('-n', node, 'link', 'set', hostEnd, 'up');
  ip('-n', netns, 'addr', 'add', address, 'dev', 'eth0');
  ip('-n', netns, 'link', 'set', 'eth0', 'up');
  ip('-n', netns, 'link', 'set', 'lo', 'up');
  ip('-n', netns, 'route', 'add', 'default', 'via', gateway, 'dev', 'eth0', 'onlink');
}

test.before(async () => {
  for (const name of [node, client, ...pods.map(({ netns }) => netns)]) ip('netns', 'add', name);
  // Hairpin traffic would draw redirects, which the kernel counts against the limit of other ICMP errors to the pod.
  for (const scope of ['all', 'default']) inNetns(node, 'sysctl', '-qw', `net.ipv4.conf.${scope}.send_redirects=0`);
  ip('-n', node, 'link', 'set', 'lo', 'up');
  ip('-n', node, 'addr', 'add', '10.244.1.1/32', 'dev', 'lo', 'scope', 'link');
  addLink(client, 'up0', `${clientIp}/24`, nodeIp);
  ip('-n', node, 'addr', 'add', `${nodeIp}/24`, 'dev', 'up0');
  ip('-n', node, 'route', 'add', 'default', 'via', clientIp);
  for (const [index, { netns, ip: address }] of pods.entries()) {
    addLink(netns, `pod${index}`, `${address}/32`, '10.244.1.1');
    ip('-n', node, 'route', 'add', `${address}/32`, 'dev', `pod${index}`, 'src', '10.244.1.1');
  }
  inNetns(node, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
  for (const { netns, ip: address } of pods) {
    const args = [`--net=/run/netns/${netns}`, '--', process.execPath, '-e', serverScript, '--', address];
    servers.push(spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] }));
  }
  for (const { stdout } of servers) if (stdout !== null) await once(stdout, 'data');
  const base = { ipFamilies: ['IPv4' as const] };
  const withIp = (clusterIP: string) => ({ ...base, clusterIP, clusterIPs: [clusterIP] });
  tracker.serviceSet(
    aService('web', { ...withIp('10.96.0.1'), type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] }),
  );
  tracker.serviceSet(aService('dns', { ...withIp('10.96.0.2'), ports: [{ port: 53, protocol: 'UDP' }] }));
  tracker.serviceSet(
    aService('none', { ...withIp('10.96.0.3'), type: 'NodePort', ports: [{ port: 80, nodePort: 30081 }] }),
  );
  tracker.serviceSet(aService('none-udp', { ...withIp('10.96.0.4'), ports: [{ port: 53, protocol: 'UDP' }] }));
  const endpoints = ips.map((address) => ({ addresses: [address], nodeName: 'node-a' }));
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints }));
  tracker.sliceSet(aSlice('dns-1', 'dns', { endpoints, ports: [{ name: '', port: 8053, protocol: 'UDP' }] }));
  tracker.flush();
  inNetns(node, nftPath, 'add table ip foreign; add chain ip foreign c; add rule ip foreign c counter');
  nftables = await kernelNftables.open(`/run/netns/${node}`);
  dataplane = new ServiceDataplane(new OwnCommits(nftables), { family: 'IPv4', ...trafficOfPods(['10.244.0.0/16']) });
  await dataplane.load(tracker.model);
});

test.after.always(() => {
  nftables?.close();
  for (const server of servers) server.kill('SIGKILL');
  for (const name of [node, client, ...pods.map(({ netns }) => netns)]) {
    try {
      ip('netns', 'del', name);
    } catch {
      // Not made, since the setup failed before.
    }
  }
});

test.serial('a cluster IP reaches every endpoint, from the node, from a pod and from outside; UDP too', (t) => {
  for (const from of [node, pods[0]?.netns ?? '', client])
    t.deepEqual(serversOf(ask(from, 'tcp', '10.96.0.1', 80, 60)), ips);
  t.deepEqual(serversOf(ask(pods[0]?.netns ?? '', 'udp', '10.96.0.2', 53, 40)), ips);
});

test.serial('endpoints that are fewer than the slots are met equally often', (t) => {
  const counts = new Map<string, number>();
  for (const answer of ask(node, 'tcp', '10.96.0.1', 80, 900)) {
    const server = answer.split(' ')[0] ?? '';
    counts.set(server, (counts.get(server) ?? 0) + 1);
  }
  // 300 each; below 220 or above 380 is more than five standard deviations away.
  for (const count of counts.values()) t.true(count > 220 && count < 380, JSON.stringify([...counts]));
});

test.serial('pods keep their address, but to themselves; from outside the node stands in', (t) => {
  const [first] = pods;
  const answers = distinct(ask(first?.netns ?? '', 'tcp', '10.96.0.1', 80, 60));
  t.deepEqual(answers, [`10.244.1.2 ${nodeIp}`, '10.244.1.3 10.244.1.2', '10.244.1.4 10.244.1.2']);
  const outside = ask(client, 'tcp', '10.96.0.1', 80, 20).concat(ask(client, 'tcp', nodeIp, 30080, 20));
  t.deepEqual(distinct(outside.map((answer) => answer.split(' ')[1] ?? '')), [nodeIp]);
});

test.serial('a node port is served at every address of the node but loopback', (t) => {
  t.deepEqual(serversOf(ask(client, 'tcp', nodeIp, 30080, 60)), ips);
  t.deepEqual(serversOf(ask(node, 'tcp', nodeIp, 30080, 60)), ips);
  t.deepEqual(ask(node, 'tcp', '127.0.0.1', 30080), ['ECONNREFUSED']);
});

test.serial('without endpoints connections are refused at once', (t) => {
  for (const from of [node, pods[0]?.netns ?? '', client]) {
    t.deepEqual(ask(from, 'tcp', '10.96.0.3', 80), ['ECONNREFUSED']);
    t.deepEqual(ask(from, 'udp', '10.96.0.4', 53), ['ECONNREFUSED'], from);
  }
  t.deepEqual(ask(client, 'tcp', nodeIp, 30081), ['ECONNREFUSED']);
});

test.serial('ports of a cluster IP that no Service has are refused', (t) => {
  for (const from of [node, pods[0]?.netns ?? '', client]) {
    t.deepEqual(ask(from, 'tcp', '10.96.0.1', 81), ['ECONNREFUSED'], from);
    t.deepEqual(ask(from, 'udp', '10.96.0.1', 80), ['ECONNREFUSED'], from);
  }
});

test.serial('endpoints go, come, all go and come back', async (t) => {
  const seen = () => serversOf(ask(pods[2]?.netns ?? '', 'tcp', '10.96.0.1', 80, 40));
  await setEndpoints('web', ips.slice(1));
  t.deepEqual(seen(), ips.slice(1));
  await setEndpoints('web', ips.slice(0, 2));
  t.deepEqual(seen(), ips.slice(0, 2));
  await setEndpoints('web', []);
  t.deepEqual(seen(), ['ECONNREFUSED']);
  await setEndpoints('web', ips);
  t.deepEqual(seen(), ips);
});

test.serial('nft lists it in text and JSON, reads its own listing, and other tables are as they were', async (t) => {
  const foreign = () => inNetns(node, nftPath, 'list', 'table', 'ip', 'foreign');
  const before = foreign();
  await dataplane.load(tracker.model);
  t.is(foreign(), before);
  const listed = inNetns(node, nftPath, 'list', 'ruleset');
  for (const line of [
    'comment "keelson-proxy schema 3"',
    'ip daddr . ip protocol . th dport @services goto services',
    'ip daddr . ip protocol . th dport @services-4 goto lb-4',
    'ip daddr . ip protocol . th dport . numgen random mod 4 map @endpoints',
    'ip protocol . th dport @node-ports jump node-port-address',
    'ip daddr != 127.0.0.0/8 fib daddr type local goto node-ports',
    'ip daddr . ip protocol . th dport @special-services jump special-services',
    'ip daddr . ip protocol . th dport . numgen random mod 1 map @endpoints',
    'ip saddr . ip daddr @hairpin masquerade',
    'ct original ip daddr @masqueraded masquerade',
    'ip saddr 10.244.0.0/16 return',
    'reject with tcp reset',
  ])
    t.true(listed.includes(line), `${line}\n${listed}`);
  t.notRegex(listed, /meta mark|ct mark/);
  t.true(JSON.parse(inNetns(node, nftPath, '-j', 'list', 'ruleset')).nftables.length > 30);
  execFileSync('nsenter', [`--net=/run/netns/${node}`, '--', nftPath, '-c', '-f', '-'], { input: listed });
});

test.serial('the kernel has after changes what a plan from scratch gives, and takes and lists IPv6', async (t) => {
  const list = () => inNetns(node, nftPath, '-j', 'list', 'table', 'ip', 'keelson-proxy').replace(/"handle": \d+/g, '');
  const sorted = (text: string) => text.split(/[{}]/).sort();
  await setEndpoints('web', ips.slice(1));
  await setEndpoints('web', ips);
  const changed = list();
  await dataplane.load(tracker.model);
  t.deepEqual(sorted(list()), sorted(changed));
  const six = new ServiceTracker({ family: 'IPv6', nodeName: 'node-a' });
  const spec = { clusterIP: 'fd00:1::1', clusterIPs: ['fd00:1::1'], ipFamilies: ['IPv6' as const] };
  six.serviceSet(aService('web', spec));
  six.sliceSet(aSlice('web-1', 'web', { addressType: 'IPv6', endpoints: ['fd00:4::1', 'fd00:4::2'] }));
  six.flush();
  await nftables.apply(planInitial(six.model, trafficOfPods(['fd00:4::/32'])));
  const listed = inNetns(node, nftPath, 'list', 'table', 'ip6', 'keelson-proxy');
  t.regex(listed, /fd00:1::1 \. tcp \. 80 \. 1 : fd00:4::2 \. 8080/);
  execFileSync('nsenter', [`--net=/run/netns/${node}`, '--', nftPath, '-c', '-f', '-'], { input: listed });
});
