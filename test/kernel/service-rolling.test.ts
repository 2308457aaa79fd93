/**
 * Every endpoint of a Service is replaced, several times, under requests that follow each other without a pause: over
 * connections that stay and over new ones, from a pod and from the node, in the modes nftables and iptables. Endpoints go as
 * those of a Deployment do: first they are terminating, and only then does the server stop listening. No request may fail.
 * Root only; needs iptables, gcc, nft and ip. With wrk and through an API server: bench/rolling.ts.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import type { Endpoint } from '../../src/api/discovery.ts';
import { systemClock } from '../../src/base/clock.ts';
import { openIptables } from '../../src/kernel/iptables.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import { kernelSysctls } from '../../src/kernel/sysctls.ts';
import { IptablesDataplane } from '../../src/proxy/iptables/iptables-dataplane.ts';
import { aService, aSlice } from '../../src/proxy/services/fake-objects.ts';
import { trafficOfPods } from '../../src/proxy/services/traffic-options.ts';
import { spawnIn } from '../support/exec.ts';
import { createServiceLab, podPrefix, type ServiceLab } from '../support/service-lab.ts';
import { feed, newTracker, ServiceNode } from '../support/service-node.ts';
import type { WatchEvent } from '../support/service-world.ts';
import type { RollingReport } from './service-rolling-client.ts';
import { RollingServers } from './service-rolling-servers.ts';

interface Mode {
  /** Resolves when the kernel has it. */
  change(events: readonly WatchEvent[]): Promise<unknown>;
  close(): void;
}

const port = 8888;
const clusterIP = '10.96.0.1';
const replicas = 4;
/** Each replaces all of them. */
const rounds = 3;
/** What Kubernetes calls preStop: packets that are on their way may still get to where they were sent. */
const graceMs = 200;

async function openNftables({ node }: ServiceLab): Promise<Mode> {
  return ServiceNode.start(node);
}

async function openIptablesMode({ node }: ServiceLab, variant: 'nft' | 'legacy'): Promise<Mode> {
  const nftables = await kernelNftables.open(node);
  const sysctls = {
    read: async () => '0',
    write: (name: string, value: string) => kernelSysctls.writeInNetns(node, name, value),
  };
  const iptables = await openIptables('IPv4', variant, node);
  const dataplane = new IptablesDataplane(
    { iptables, nftables, sysctls, clock: systemClock },
    { family: 'IPv4', ...trafficOfPods([podPrefix]), masqueradeBit: 14, localhostNodePorts: false, dropInvalid: true },
  );
  const tracker = newTracker();
  tracker.flush();
  await dataplane.load(tracker.model);
  return {
    change(events) {
      for (const event of events) feed(tracker, event);
      return dataplane.change(tracker.flush().delta);
    },
    close() {
      dataplane.close();
      nftables.close();
    },
  };
}

/** On this node and on another, in turn, and no address twice. */
const replica = (number: number): Endpoint =>
  number % 2 === 0
    ? { addresses: [`10.244.1.${70 + number}`], nodeName: 'node-a' }
    : { addresses: [`10.244.3.${70 + number}`], nodeName: 'node-c' };
const ipOf = ({ addresses: [ip = ''] }: Endpoint): string => ip;
const terminating = (endpoint: Endpoint): Endpoint => ({
  ...endpoint,
  conditions: { ready: false, serving: true, terminating: true },
});

async function startClient(netns: string, how: 'keep' | 'new') {
  const script = fileURLToPath(new URL('service-rolling-client.ts', import.meta.url));
  const child = spawnIn(netns, process.execPath, [script, clusterIP, '80', '4', how], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  await lines.next();
  return {
    async stop(): Promise<RollingReport> {
      const ended = once(child, 'exit');
      child.stdin!.end();
      const report: RollingReport = JSON.parse((await lines.next()).value ?? '');
      await ended;
      return report;
    },
    kill: () => child.kill('SIGKILL'),
  };
}

async function replaceAll(t: ExecutionContext, lab: ServiceLab, mode: Mode): Promise<void> {
  const [here, there] = [new RollingServers(lab.netns('farm')), new RollingServers(lab.netns('farm-c'))];
  t.teardown(() => here.close());
  t.teardown(() => there.close());
  const serversOf = ({ nodeName }: Endpoint): RollingServers => (nodeName === 'node-a' ? here : there);
  let version = 0;
  const tell = (endpoints: readonly Endpoint[]): Promise<unknown> => {
    const meta = { resourceVersion: String(++version), labels: { 'kubernetes.io/service-name': 'web' } };
    const slice = aSlice('web-1', 'web', { endpoints: [...endpoints], ports: [{ name: '', port }], meta });
    return mode.change([{ type: 'sliceSet', object: slice }]);
  };

  let current = Array.from({ length: replicas }, (_, number) => replica(number));
  for (const endpoint of current) await serversOf(endpoint).start(ipOf(endpoint), port);
  const service = aService('web', { clusterIP, clusterIPs: [clusterIP], ipFamilies: ['IPv4'] });
  await mode.change([{ type: 'serviceSet', object: service }]);
  await tell(current);
  const clients = await Promise.all(
    (['pod-1', 'node'] as const).flatMap((place) =>
      (['keep', 'new'] as const).map((how) => startClient(lab.netns(place), how)),
    ),
  );
  for (const { kill } of clients) t.teardown(kill);

  let served = 0;
  for (let number = replicas; number < (rounds + 1) * replicas; number++) {
    const [old, ...others] = current;
    const fresh = replica(number);
    if (old === undefined) return t.fail();
    await serversOf(fresh).start(ipOf(fresh), port);
    await tell([...current, fresh]);
    await tell([terminating(old), ...others, fresh]);
    await sleep(graceMs);
    const { requests, left } = await serversOf(old).end(ipOf(old));
    served += requests;
    t.is(left, 0, `${ipOf(old)} is still connected`);
    t.true(requests > 0, `${ipOf(old)} was never asked`);
    current = [...others, fresh];
    await tell(current);
  }
  const reports = await Promise.all(clients.map(({ stop }) => stop()));
  t.log(`${reports.map(({ requests }) => requests).join(', ')} requests; ${served} answered by servers that went`);
  for (const { requests, failures } of reports) {
    t.deepEqual(failures, {});
    t.true(requests > 0);
  }
}

const modes: Record<string, (lab: ServiceLab) => Promise<Mode>> = {
  nftables: openNftables,
  'iptables-nft': (lab) => openIptablesMode(lab, 'nft'),
  'iptables-legacy': (lab) => openIptablesMode(lab, 'legacy'),
};

for (const [name, open] of Object.entries(modes)) {
  const serially = name === 'nftables' || existsSync(`/usr/sbin/${name}`) ? test.serial : test.serial.skip;
  serially(`no request fails while all endpoints are replaced: ${name}`, async (t) => {
    t.timeout(180_000);
    const lab = await createServiceLab('send');
    t.teardown(() => lab.remove());
    const mode = await open(lab);
    t.teardown(() => mode.close());
    await replaceAll(t, lab, mode);
  });
}
