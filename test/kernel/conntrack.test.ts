/**
 * UDP flows to former endpoints, with real traffic: a node, two pods that serve, one that asks from fixed ports, and an
 * uplink that swallows what is nobody's. The Service table is the proxy's own. Root only; needs ip and nsenter.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { kernelConntrack } from '../../src/kernel/conntrack.ts';
import { NetlinkSocket } from '../../src/kernel/netlink-socket.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { addressKey } from '../../src/linux/conntrack/address-key.ts';
import { cases } from '../../src/linux/conntrack/conntrack-cases.fake.ts';
import type { Conntrack } from '../../src/linux/conntrack/edge.ts';
import { aFlow, encodeFlowAdds } from '../../src/linux/conntrack/flow-add.fake.ts';
import type { Flow, IpFamily, TransportProtocol } from '../../src/linux/conntrack/types.ts';
import { NLMSG_ERROR, netlinkProtocol } from '../../src/linux/netlink/constants.ts';
import { readAcknowledgement } from '../../src/linux/netlink/message-reader.ts';
import type { Nftables } from '../../src/linux/nftables/edge.ts';
import { type Logger, silentLogger } from '../../src/observe/logger.ts';
import { createFlowForgetter, type FlowForgetter } from '../../src/proxy/conntrack/flow-forgetter.ts';
import { planReplacement } from '../../src/proxy/nftables/plan.ts';
import { endpointRef } from '../../src/proxy/services/address.ts';
import type { ConntrackCleanup } from '../../src/proxy/services/dataplane.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { ServiceTracker } from '../../src/proxy/services/service-tracker.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';

const prefix = `kc${process.pid}`;
const [node, uplink, client] = [`${prefix}-node`, `${prefix}-up`, `${prefix}-client`];
const pods = ['2', '3'].map((last) => ({
  netns: `${prefix}-${last}`,
  IPv4: `10.244.1.${last}`,
  IPv6: `fd00:244::${last}`,
}));
const namespaces = [node, uplink, client, ...pods.map(({ netns }) => netns)];
const [a, b] = pods as [(typeof pods)[0], (typeof pods)[0]];
const gateway = '10.244.1.1';
const servers: ChildProcess[] = [];
let nftables: Nftables;
let conntrack: Conntrack;
let forgetter: FlowForgetter;
const warnings: object[] = [];

interface FamilyUnderTest {
  tracker: ServiceTracker;
  podCIDR: string;
  service: string;
  late: string;
  foreign: string;
}
const families = {} as Record<IpFamily, FamilyUnderTest>;

const ip = (...args: string[]) => execFileSync('ip', args);
const inNetns = (netns: string, ...command: string[]) =>
  execFileSync('nsenter', [`--net=/run/netns/${netns}`, '--', ...command], { encoding: 'utf8' });

/** Answers each datagram with its own address, and each line of a connection too. */
const serverScript = `
const [four, six] = process.argv.slice(1);
let ready = 0;
const done = () => ++ready === 3 && console.log('ready');
for (const [kind, address] of [['udp4', four], ['udp6', six]]) {
  const udp = require('dgram').createSocket(kind);
  udp.on('message', (_, from) => udp.send(address, from.port, from.address)).bind(5353, address, done);
}
require('net').createServer((s) => s.on('error', () => {}).on('data', () => s.write(four))).listen(5353, four, done);`;

/** One datagram from a fixed port; prints the answer. */
const askScript = `
const [from, address, port] = process.argv.slice(1);
const s = require('dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
const end = (text) => { console.log(text); process.exit(); };
setTimeout(() => end('none'), 300);
s.on('message', (d) => end(String(d))).on('error', (e) => end(e.code));
s.bind(+from, () => s.send('x', +port, address));`;

/** A connection that lives as long as the process; a line of input is a question. */
const connectScript = `
const [address, port] = process.argv.slice(1);
const s = require('net').connect(+port, address, () => s.write('x'));
s.on('data', (d) => console.log(String(d))).on('error', (e) => console.log(e.code));
process.stdin.on('data', () => s.write('x'));`;

const nodeScript = (netns: string, script: string, ...args: string[]): ChildProcess =>
  spawn('nsenter', [`--net=/run/netns/${netns}`, '--', process.execPath, '-e', script, '--', ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });

/** Who answers a datagram to `address`; `none` when nobody does. */
const ask = (from: number, address: string, port = 53): string =>
  inNetns(client, process.execPath, '-e', askScript, '--', String(from), address, String(port)).trim();

function addLink(netns: string, hostEnd: string, four: string, six: string): void {
  ip('-n', node, 'link', 'add', hostEnd, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
  ip('-n', node, 'link', 'set', hostEnd, 'up');
  ip('-n', node, 'addr', 'add', 'fe80::1/64', 'dev', hostEnd, 'nodad');
  ip('-n', netns, 'link', 'set', 'lo', 'up');
  ip('-n', netns, 'addr', 'add', `${four}/32`, 'dev', 'eth0');
  ip('-n', netns, 'addr', 'add', `${six}/128`, 'dev', 'eth0', 'nodad');
  ip('-n', netns, 'link', 'set', 'eth0', 'up');
  ip('-n', netns, 'route', 'add', 'default', 'via', gateway, 'dev', 'eth0', 'onlink');
  ip('-n', netns, '-6', 'route', 'add', 'default', 'via', 'fe80::1', 'dev', 'eth0');
  ip('-n', node, 'route', 'add', `${four}/32`, 'dev', hostEnd, 'src', gateway);
  ip('-n', node, '-6', 'route', 'add', `${six}/128`, 'dev', hostEnd);
}

/** The flows of a change, in the order that the daemon keeps: first the table, then the cleanup. */
async function change(family: IpFamily): Promise<readonly ConntrackCleanup[]> {
  const { tracker, podCIDR } = families[family];
  const { delta } = tracker.flush();
  await nftables.apply(planReplacement(tracker.model, trafficOfPods([podCIDR])));
  return delta.conntrack;
}

function setEndpoints(family: IpFamily, service: string, endpoints: (typeof pods)[0][]): void {
  const slice = {
    addressType: family,
    endpoints: endpoints.map((pod) => pod[family]),
    ports: [
      { name: 'udp', port: 5353, protocol: 'UDP' as const },
      { name: 'tcp', port: 5353, protocol: 'TCP' as const },
    ],
  };
  families[family].tracker.sliceSet(aSlice(`${service}-${family}`, service, slice));
}

function addService(family: IpFamily, name: string, clusterIP: string, nodePort: number): void {
  families[family].tracker.serviceSet(
    aService(name, {
      type: 'NodePort',
      ipFamilies: [family],
      clusterIP,
      clusterIPs: [clusterIP],
      ports: [
        { name: 'udp', port: 53, protocol: 'UDP', nodePort },
        { name: 'tcp', port: 53, protocol: 'TCP', nodePort },
      ],
    }),
  );
}

const list = async (family: IpFamily, protocol: TransportProtocol = 'UDP'): Promise<Flow[]> =>
  (await conntrack.flows({ family, protocol }, () => true)).sort((one, other) => one.id - other.id);

const fromPort = (flows: Flow[], port: number): Flow[] => flows.filter(({ original }) => original.sourcePort === port);

test.before(async () => {
  for (const name of namespaces) ip('netns', 'add', name);
  ip('-n', node, 'link', 'set', 'lo', 'up');
  ip('-n', node, 'addr', 'add', `${gateway}/32`, 'dev', 'lo');
  ip('-n', node, 'addr', 'add', 'fd00:244::1/128', 'dev', 'lo');
  for (const setting of ['ipv4.ip_forward', 'ipv6.conf.all.forwarding'])
    inNetns(node, 'sysctl', '-qw', `net.${setting}=1`);
  addLink(client, 'client0', '10.244.1.9', 'fd00:244::9');
  for (const [index, { netns, IPv4, IPv6 }] of pods.entries()) addLink(netns, `pod${index}`, IPv4, IPv6);
  ip('-n', node, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', uplink);
  ip('-n', node, 'link', 'set', 'up0', 'up');
  ip('-n', uplink, 'link', 'set', 'eth0', 'up');
  for (const flag of ['-4', '-6']) ip('-n', node, flag, 'route', 'add', 'default', 'dev', 'up0');
  for (const { netns, IPv4, IPv6 } of pods) servers.push(nodeScript(netns, serverScript, IPv4, IPv6));
  for (const { stdout } of servers) await once(stdout!, 'data');
  const path = `/run/netns/${node}`;
  nftables = await kernelNftables.open(path);
  conntrack = await kernelConntrack.open(path);
  const log: Logger = { ...silentLogger, warn: (fields) => warnings.push(fields) };
  forgetter = createFlowForgetter({
    conntrack: { open: () => kernelConntrack.open(path) },
    localAddresses: async () => [gateway, 'fd00:244::1'],
    log,
  });
  for (const [family, net, podCIDR] of [
    ['IPv4', '10.96.0.', '10.244.0.0/16'],
    ['IPv6', 'fd00:96::', 'fd00:244::/64'],
  ] as const) {
    const tracker = new ServiceTracker({ family, nodeName: 'node-a' });
    const foreign = family === 'IPv4' ? '198.51.100.1' : 'fd00:51::1';
    families[family] = { tracker, podCIDR, service: `${net}1`, late: `${net}2`, foreign };
    addService(family, 'dns', `${net}1`, 30053);
    setEndpoints(family, 'dns', [a]);
    await forgetter.forgetFlows(family, await change(family));
  }
});

test.after.always(() => {
  forgetter?.close();
  conntrack?.close();
  nftables?.close();
  for (const server of servers) server.kill('SIGKILL');
  for (const name of namespaces) {
    try {
      ip('netns', 'del', name);
    } catch {
      // Not made, since the setup failed before.
    }
  }
});

for (const family of ['IPv4', 'IPv6'] as const) {
  test.serial(
    `${family}: a client that keeps its port goes on to who serves, once its flow is forgotten`,
    async (t) => {
      const { service, foreign } = families[family];
      const nodeAddress = family === 'IPv4' ? gateway : 'fd00:244::1';
      t.is(ask(4000, service), a[family]);
      t.is(ask(4001, nodeAddress, 30053), a[family]);
      // Foreign: past the Service to the same endpoint, to the same ports elsewhere.
      t.is(ask(4002, a[family], 5353), a[family]);
      t.is(ask(4003, foreign), 'none');
      t.is(ask(4004, foreign, 30053), 'none');
      const connection = family === 'IPv4' ? nodeScript(client, connectScript, service, '53') : undefined;
      if (connection !== undefined) {
        t.teardown(() => connection.kill('SIGKILL'));
        t.is(String(await once(connection.stdout!, 'data')).trim(), a[family]);
      }
      setEndpoints(family, 'dns', [b]);
      const cleanups = await change(family);
      t.is(ask(4000, service), a[family], 'a new table alone moves no flow');
      t.is(ask(4001, nodeAddress, 30053), a[family]);
      t.is(ask(4005, service), b[family]);
      const [before, connections] = [await list(family), await list(family, 'TCP')];
      await forgetter.forgetFlows(family, cleanups);
      const kept = before.filter(({ original: { sourcePort } }) => sourcePort !== 4000 && sourcePort !== 4001);
      t.deepEqual(await list(family), kept);
      t.true(kept.length >= 4);
      t.deepEqual(await list(family, 'TCP'), connections);
      t.is(ask(4000, service), b[family]);
      t.is(ask(4001, nodeAddress, 30053), b[family]);
      if (connection !== undefined) {
        connection.stdin?.write('\n');
        t.is(String(await once(connection.stdout!, 'data')).trim(), a[family], 'the connection lives on');
      }
      t.deepEqual(warnings, []);
    },
  );

  test.serial(
    `${family}: a client that was there before the Service is served, once its flow is forgotten`,
    async (t) => {
      const { late } = families[family];
      t.is(ask(4010, late), 'none');
      t.is(fromPort(await list(family), 4010)[0]?.reply.source, addressKey(late));
      addService(family, 'late', late, 30054);
      setEndpoints(family, 'late', [a]);
      const cleanups = await change(family);
      t.is(ask(4010, late), 'none', 'a new table alone moves no flow');
      t.is(ask(4011, late), a[family]);
      await forgetter.forgetFlows(family, cleanups);
      t.is(ask(4010, late), a[family]);
      t.is(fromPort(await list(family), 4011).length, 1);
    },
  );
}

let counter = 0;

async function emptyNamespace(t: ExecutionContext) {
  const name = `${prefix}-n${counter++}`;
  ip('netns', 'add', name);
  const path = `/run/netns/${name}`;
  const socket = await NetlinkSocket.open(netlinkProtocol.netfilter, path);
  t.teardown(() => {
    socket.close();
    ip('netns', 'del', name);
  });
  const add = async (...flows: Flow[]): Promise<void> => {
    for (let start = 0; start < flows.length; start += 1000) {
      const batch = flows.slice(start, start + 1000);
      await socket.transact('add flows', encodeFlowAdds(batch, socket.reserveSequence(batch.length)), (message) => {
        const errno = message.type === NLMSG_ERROR ? readAcknowledgement(message).errno : 0;
        if (errno !== 0) throw new Error(`flow not made: errno ${errno}`);
      });
    }
  };
  return { open: () => kernelConntrack.open(path), add };
}

for (const { name, run } of cases) {
  test.serial(`kernel: ${name}`, async (t) => {
    await run(t, await emptyNamespace(t));
  });
}

test.serial('of 50,000 flows just the stale ones go', async (t) => {
  const { open, add } = await emptyNamespace(t);
  const flows = Array.from({ length: 50_000 }, (_, index) => {
    const from = `10.0.${index >> 14}.1:${1024 + (index & 16383)}`;
    return aFlow(from, `10.96.0.${1 + (index % 50)}:53`, `10.244.0.${1 + (index % 7)}:5353`);
  });
  await add(...flows, ...flows.slice(0, 1000).map((flow) => ({ ...flow, protocol: 'TCP' as const })));
  const forget = createFlowForgetter({ conntrack: { open }, localAddresses: async () => [], log: silentLogger });
  const endpoint = (last: number) => endpointRef(0x0af40000 + last, 5353);
  const cleanup = (last: number, remove: number[]) => ({
    ip: `10.96.0.${last}`,
    port: 53,
    remove: remove.map(endpoint),
    keep: [1, 2, 3, 4, 5, 6, 7].filter((other) => !remove.includes(other)).map(endpoint),
  });
  // Few destinations, which the kernel selects, and then more than it is asked for one by one.
  for (const [from, to] of [
    [1, 2],
    [3, 40],
  ] as const) {
    const cleanups = Array.from({ length: to - from + 1 }, (_, index) => cleanup(from + index, [1, 2]));
    await forget.forgetFlows('IPv4', cleanups);
    const conntrack = await open();
    const left = await conntrack.flows({ family: 'IPv4', protocol: 'UDP' }, () => true);
    const expected = flows.filter((_, index) => index % 50 >= to || index % 7 >= 2);
    const key = ({ original }: Flow) => `${original.source} ${original.sourcePort}`;
    t.is(left.length, expected.length);
    t.is(new Set([...left, ...expected].map(key)).size, expected.length);
    t.is((await conntrack.flows({ family: 'IPv4', protocol: 'TCP' }, () => true)).length, 1000);
    conntrack.close();
  }
  forget.close();
});
