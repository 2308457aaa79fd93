/**
 * The process that service-soak-role.test.ts measures: the whole proxy role as the daemon has it, in the mode nftables or
 * iptables, under fifty changes a second while connections and datagrams go through a Service whose endpoints come and go.
 * Run in a network namespace of its own with `--expose-gc` and the flags of the daemon:
 * `service-soak-role-process.ts MODE SECONDS PARTS`. Prints one RoleSoakReport.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { startServiceProxy } from '../../src/agent/service-proxy.ts';
import { systemClock } from '../../src/base/clock.ts';
import { kernelConntrack } from '../../src/kernel/conntrack.ts';
import { kernelIptables } from '../../src/kernel/iptables.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { kernelSysctls } from '../../src/kernel/sysctls.ts';
import { elementCount } from '../../src/linux/nftables/types.ts';
import { silentLogger } from '../../src/observe/logger.ts';
import { FakeSource } from '../../src/proxy/fake-source.ts';
import { IptablesDataplane } from '../../src/proxy/iptables/iptables-dataplane.ts';
import type { ProxyEdges } from '../../src/proxy/proxy.ts';
import type { ServiceEvent } from '../../src/proxy/service-source.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';
import type { WatchEvent } from '../support/service-world.ts';
import { perSecond, roundOf, standing, standingServices } from './service-soak-changes.ts';

export interface RoleSoakState {
  /** MiB after garbage collection. */
  heap: number;
  rss: number;
  /** Open file descriptors. */
  files: number;
  /** What the kernel holds for the role. */
  rules: Record<string, number>;
  /** Flows that conntrack remembers after those of the traffic have had time to end. */
  flows: number;
}

export interface RoleSoakReport {
  /** After the warm-up, and after each part. */
  states: RoleSoakState[];
  changes: number;
  syncs: number;
  repairs: number;
  /** Milliseconds for each change, with children. */
  cpuMs: number;
  connections: number;
  failedConnections: number;
  datagrams: number;
  answered: number;
}

const [mode = '', seconds = 0, parts = 1] = process.argv
  .slice(2)
  .map((word, index) => (index === 0 ? word : +word)) as [string, number, number];
/** Until everything was compiled and every cache is as full as it gets. */
const warmUpRounds = 100;
const flowSeconds = 2;
const traffic = trafficOfPods(['10.244.0.0/16']);
const [clusterIP, port, backends] = ['10.96.255.1', 8080, ['10.250.0.1', '10.250.0.2']] as const;

// Seconds: what is remembered of a flow that ended.
for (const name of ['udp_timeout', 'udp_timeout_stream', 'tcp_timeout_close', 'tcp_timeout_time_wait'])
  writeFileSync(`/proc/sys/net/netfilter/nf_conntrack_${name}`, String(flowSeconds));

const asEvent = ({ type, object }: WatchEvent): ServiceEvent => {
  if (type === 'serviceSet') return { event: type, service: object };
  if (type === 'serviceDeleted') return { event: type, service: object };
  if (type === 'sliceSet') return { event: type, slice: object };
  return { event: type, slice: object };
};

/** The Service that the traffic goes through, over TCP and UDP. */
const ports = [
  { name: 'tcp', port: 80 },
  { name: 'udp', port: 80, protocol: 'UDP' as const },
];
const trafficService: ServiceEvent = {
  event: 'serviceSet',
  service: aService('traffic', { clusterIP, clusterIPs: [clusterIP], ipFamilies: ['IPv4'], ports }),
};
let version = 0;
const trafficSlice = (...addresses: string[]): ServiceEvent => ({
  event: 'sliceSet',
  slice: aSlice('traffic-x', 'traffic', {
    endpoints: addresses,
    ports: ports.map((each) => ({ ...each, port })),
    meta: { resourceVersion: String(++version), labels: { 'kubernetes.io/service-name': 'traffic' } },
  }),
});

const counts = { connections: 0, failedConnections: 0, datagrams: 0, answered: 0 };
let isBusy = false;

async function serve(): Promise<void> {
  for (const ip of backends) {
    createServer((socket) => socket.on('error', () => undefined).end('x')).listen(port, ip);
    const server = createSocket('udp4').bind(port, ip);
    server.on('message', (message, from) => server.send(message, from.port, from.address));
    await once(server, 'listening');
  }
}

const connection = (): Promise<void> =>
  new Promise((resolve) => {
    counts.connections++;
    const socket = connect(80, clusterIP);
    socket.setTimeout(5000, () => socket.destroy(new Error('nothing for 5 s')));
    socket.on('error', () => counts.failedConnections++);
    socket.resume().on('close', () => resolve());
  });

/** Connections one after the other, and datagrams from ports that stay for a while. */
async function ask(): Promise<void> {
  while (isBusy) {
    const sockets = Array.from({ length: 8 }, () => createSocket('udp4').on('message', () => counts.answered++));
    for (let times = 0; isBusy && times < 50; times++) {
      for (const socket of sockets) {
        counts.datagrams++;
        // Refused: an ICMP error that came meanwhile.
        socket.send('x', 80, clusterIP, () => undefined);
      }
      await connection();
      await sleep(20);
    }
    for (const socket of sockets) socket.on('error', () => undefined).close();
  }
}

const iptables = mode === 'iptables' ? await kernelIptables.open('IPv4') : undefined;
const nftables = await kernelNftables.open();
const conntrack = await kernelConntrack.open();

async function rules(): Promise<Record<string, number>> {
  if (iptables !== undefined) {
    const found: Record<string, number> = {};
    for (const table of ['nat', 'filter'] as const) {
      const ours = [...(await iptables.save(table))].filter(([name]) => name.startsWith('KUBE-'));
      found[`${table} chains`] = ours.length;
      found[`${table} rules`] = ours.reduce((sum, [, { rules }]) => sum + rules.length, 0);
    }
    return found;
  }
  const { sets = [], chains = [], rules = [] } = (await nftables.dump({ family: 'ip', name: 'keelson-proxy' })) ?? {};
  const elements = sets.reduce((sum, set) => sum + elementCount(set.elements ?? []), 0);
  return { elements, sets: sets.length, chains: chains.length, rules: rules.length };
}

/** Those that did not run out; nf_conntrack_count has those, too, that the kernel has not come round to. */
async function flows(): Promise<number> {
  let count = 0;
  for (const protocol of ['TCP', 'UDP'] as const)
    count += (await conntrack.flows({ family: 'IPv4', protocol }, () => true)).length;
  return count;
}

async function stateNow(): Promise<RoleSoakState> {
  const counted = await rules();
  for (let pass = 0; pass < 3; pass++) {
    global.gc?.();
    await sleep(10);
  }
  const { heapUsed, rss } = process.memoryUsage();
  return {
    heap: heapUsed / 2 ** 20,
    rss: rss / 2 ** 20,
    files: readdirSync('/proc/self/fd').length,
    rules: counted,
    flows: await flows(),
  };
}

/** User and system, of this process and its children that ended. */
function cpuMs(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? [];
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field) * 10, 0);
}

async function run(): Promise<RoleSoakReport> {
  await serve();
  const source = new FakeSource([...standingServices().map(asEvent), trafficService, trafficSlice(...backends)]);
  const dataplane: NonNullable<ProxyEdges['dataplane']> = async (family, sharedNftables) => {
    if (iptables === undefined) throw new Error('the mode has no iptables');
    const edges = { iptables, nftables: sharedNftables, sysctls: kernelSysctls, clock: systemClock };
    const options = { family, ...traffic, masqueradeBit: 14, localhostNodePorts: true, dropInvalid: true };
    return { writer: new IptablesDataplane(edges, options), name: 'iptables', look: 'iptables-save' };
  };
  const role = await startServiceProxy(
    { nodeName: 'node-a', families: ['IPv4'], ...traffic },
    { source, ...(iptables && { dataplane }), unheard: (work) => work(), log: silentLogger },
    new AbortController().signal,
  );

  /** Until nothing is on its way: changes are in the kernel, and what the traffic left has ended. */
  const rest = async (): Promise<void> => {
    while (role.status(0).pending || !role.isHealthy()) await sleep(50);
    await sleep((flowSeconds + 2) * 1000);
  };
  let [round, changes] = [0, 0];
  const rounds = async (goesOn: (number: number) => boolean, pause: (change: number) => Promise<unknown>) => {
    isBusy = true;
    const asking = ask();
    for (let change = 0; goesOn(round); round++)
      for (const events of roundOf(round)) {
        source.tell(...events.map(asEvent));
        // Where the traffic goes, twice a second: to one of them or to both.
        const turn = [[...backends], backends.slice(0, 1), [...backends], backends.slice(1)][(change / 25) & 3] ?? [];
        if (change % 25 === 0) source.tell(trafficSlice(...turn));
        changes++;
        await pause(++change);
      }
    source.tell(trafficSlice(...backends));
    isBusy = false;
    await asking;
    await rest();
  };
  // Every name of the standing Services is touched once, at least.
  await rounds(
    (number) => number < Math.max(warmUpRounds, standing),
    () => sleep(1),
  );
  const states = [await stateNow()];
  const before = { changes, syncs: role.status(0).syncs, cpu: cpuMs() };
  for (let part = 0; part < parts; part++) {
    const began = performance.now();
    await rounds(
      () => performance.now() - began < (seconds * 1000) / parts,
      (change) => sleep(Math.max(0, began + (change * 1000) / perSecond - performance.now())),
    );
    states.push(await stateNow());
  }
  const { syncs, repairs } = role.status(0);
  changes -= before.changes;
  const report = { changes, syncs: syncs - before.syncs, repairs, cpuMs: (cpuMs() - before.cpu) / changes };
  await role.stop();
  return { states, ...report, ...counts };
}

console.log(JSON.stringify(await run()));
process.exit();
