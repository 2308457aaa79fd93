/** Virtual servers, addresses and rules against stateful fakes: what a load makes, what changes touch, and farewells. */
import test from 'ava';
import fc from 'fast-check';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakeSysctls } from '../../linux/fake-host.ts';
import { FakeNftables } from '../../linux/fake-nftables.ts';
import { FakeRtnetlink } from '../../linux/fake-rtnetlink.ts';
import { FakeIpvs } from '../../linux/ipvs/fake-ipvs.ts';
import { KernelError } from '../../linux/kernel-error.ts';
import { elementCount } from '../../linux/nftables/types.ts';
import { silentLogger } from '../../observe/logger.ts';
import { aService, aSlice, type ServiceFields } from '../services/fake-objects.ts';
import { ServiceTracker } from '../services/service-tracker.ts';
import { IpvsDataplane } from './ipvs-dataplane.ts';
import type { IpvsOptions } from './options.ts';
import { ipvsTableRef } from './rules.ts';

const options: IpvsOptions = {
  family: 'IPv4',
  localTraffic: { by: 'prefixes', prefixes: ['10.244.0.0/16'] },
  masqueradeAll: false,
  nodePortAddresses: 'all',
  scheduler: '',
  excludeCIDRs: ['192.0.2.128/25'],
  strictARP: false,
  timeouts: { tcp: 0, tcpFin: 0, udp: 0 },
  masqueradeBit: 14,
};
const nodeIp = '198.51.100.2';
const log = silentLogger;

class Host {
  readonly ipvs = new FakeIpvs();
  readonly rtnetlink = new FakeRtnetlink();
  readonly nftables = new FakeNftables();
  readonly sysctls = new FakeSysctls(
    Object.fromEntries(
      [
        ...['conntrack', 'expire_nodest_conn', 'expire_quiescent_template', 'conn_reuse_mode'].map(
          (name) => `net/ipv4/vs/${name}`,
        ),
        'net/ipv4/ip_forward',
        'net/ipv4/conf/all/arp_ignore',
        'net/ipv4/conf/all/arp_announce',
      ].map((name) => [name, '0']),
    ),
  );
  readonly clock = new FakeClock();

  async start(): Promise<void> {
    const socket = await this.rtnetlink.open();
    await socket.apply([{ op: 'linkAddBridge', name: 'up0' }]);
    const link = await socket.link({ name: 'up0' });
    await socket.apply([{ op: 'addressAdd', ifindex: link?.ifindex ?? 0, prefix: `${nodeIp}/24` }]);
    socket.close();
  }

  async proxy(changed: Partial<IpvsOptions> = {}, kernelRelease = '6.12.1') {
    const rtnetlink = await this.rtnetlink.open();
    const edges = {
      ipvs: this.ipvs,
      rtnetlink,
      nftables: await this.nftables.open(),
      sysctls: this.sysctls,
      subscribe: (listener: Parameters<FakeRtnetlink['subscribe']>[1]) =>
        this.rtnetlink.subscribe(['link', 'address4', 'address6'], listener),
      ensureDummyLink: async (name: string) => void (await rtnetlink.apply([{ op: 'linkAddBridge', name }])),
      clock: this.clock,
      log,
      kernelRelease,
    };
    const dataplane = new IpvsDataplane(edges, { ...options, ...changed });
    const tracker = new ServiceTracker({ family: 'IPv4', nodeName: 'node-a' });
    return {
      dataplane,
      tracker,
      load: () => {
        tracker.flush();
        return dataplane.load(tracker.model);
      },
      change: () => dataplane.change(tracker.flush().delta),
    };
  }

  async bound(): Promise<string[]> {
    const socket = await this.rtnetlink.open();
    const link = await socket.link({ name: 'kube-ipvs0' });
    const addresses = await socket.addresses();
    socket.close();
    return addresses
      .filter(({ ifindex }) => ifindex === link?.ifindex)
      .map(({ prefix }) => prefix)
      .sort();
  }

  /** How many elements each set of our table has, without the empty ones. */
  async elements(): Promise<Record<string, number>> {
    const socket = await this.nftables.open();
    const dump = await socket.dump(ipvsTableRef('IPv4'));
    socket.close();
    const counts = (dump?.sets ?? []).map(({ set, elements }): [string, number] => [
      set.name,
      elements === undefined ? 0 : elementCount(elements),
    ]);
    return Object.fromEntries(counts.filter(([, count]) => count > 0).sort());
  }
}

async function setup(changed: Partial<IpvsOptions> = {}, kernelRelease?: string) {
  const host = new Host();
  await host.start();
  return { host, ...(await host.proxy(changed, kernelRelease)) };
}

const ipv4 = (clusterIP: string): Pick<ServiceFields, 'clusterIP' | 'clusterIPs' | 'ipFamilies'> => ({
  clusterIP,
  clusterIPs: [clusterIP],
  ipFamilies: ['IPv4'],
});
const local = (address: string) => ({ addresses: [address], nodeName: 'node-a' });

test('destinations of every kind', async (t) => {
  const { host, tracker, load } = await setup();
  tracker.serviceSet(
    aService('web', {
      ...ipv4('10.96.0.1'),
      type: 'LoadBalancer',
      ports: [{ port: 80, nodePort: 30080 }],
      externalIPs: ['203.0.113.1', nodeIp],
      sessionAffinity: 'ClientIP',
      loadBalancerSourceRanges: ['192.0.2.0/24'],
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.9' }] } },
    }),
  );
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.2.2', local('10.244.1.2')] }));
  t.is((await load()).outcome, 'changed');
  const weights = { '10.244.1.2:8080': 1, '10.244.2.2:8080': 1 };
  const keys = ['10.96.0.1:80', '198.51.100.2:30080', '198.51.100.2:80', '203.0.113.1:80', '203.0.113.9:80'];
  t.deepEqual(
    [...host.ipvs.servers.keys()].sort(),
    keys.map((key) => `TCP ${key}`),
  );
  for (const key of host.ipvs.servers.keys()) t.deepEqual(host.ipvs.weights(key), weights);
  t.like(host.ipvs.servers.get('TCP 10.96.0.1:80')?.service, { scheduler: 'rr', persistentSeconds: 10800 });
  t.deepEqual(await host.bound(), ['10.96.0.1/32', '203.0.113.1/32', '203.0.113.9/32']);
  t.deepEqual(await host.elements(), {
    addresses: 3,
    'cluster-ips': 1,
    hairpin: 1,
    masqueraded: 4,
    restricted: 1,
    served: 5,
    'source-ranges': 1,
  });
  for (const name of ['conntrack', 'expire_nodest_conn', 'expire_quiescent_template'])
    t.is(await host.sysctls.read(`net/ipv4/vs/${name}`), '1');
  t.is(await host.sysctls.read('net/ipv4/conf/all/arp_ignore'), '0');
  t.is((await load()).outcome, 'unchanged');
});

test('policies: local endpoints only; none of them: the cluster for its own traffic, or nothing', async (t) => {
  const { host, tracker, load } = await setup();
  const nodePort = (port: number) => ({ type: 'NodePort' as const, ports: [{ port: 80, nodePort: port }] });
  tracker.serviceSet(aService('here', { ...ipv4('10.96.0.1'), ...nodePort(30081), externalTrafficPolicy: 'Local' }));
  tracker.sliceSet(aSlice('here', 'here', { endpoints: ['10.244.2.2', local('10.244.1.2')] }));
  tracker.serviceSet(aService('far', { ...ipv4('10.96.0.2'), ...nodePort(30082), externalTrafficPolicy: 'Local' }));
  tracker.sliceSet(aSlice('far', 'far', { endpoints: ['10.244.2.2'] }));
  tracker.serviceSet(aService('inside', { ...ipv4('10.96.0.3'), internalTrafficPolicy: 'Local' }));
  tracker.sliceSet(aSlice('inside', 'inside', { endpoints: ['10.244.2.2'] }));
  tracker.serviceSet(aService('none', { ...ipv4('10.96.0.4') }));
  await load();
  t.deepEqual(host.ipvs.weights(`TCP ${nodeIp}:30081`), { '10.244.1.2:8080': 1 });
  t.deepEqual(host.ipvs.weights(`TCP ${nodeIp}:30082`), { '10.244.2.2:8080': 1 });
  t.deepEqual(host.ipvs.weights('TCP 10.96.0.3:80'), {});
  t.deepEqual(host.ipvs.weights('TCP 10.96.0.4:80'), {});
  const { 'local-only': localOnly, dropped, masqueraded } = await host.elements();
  t.deepEqual([localOnly, dropped, masqueraded], [1, 1, undefined]);
});

test('a real server with connections leaves when they have ended', async (t) => {
  const { host, tracker, load, change } = await setup();
  tracker.serviceSet(
    aService('web', {
      ...ipv4('10.96.0.1'),
      ports: [
        { name: 'tcp', port: 80 },
        { name: 'udp', port: 80, protocol: 'UDP' },
      ],
    }),
  );
  const set = (...endpoints: string[]) =>
    tracker.sliceSet(
      aSlice('web', 'web', {
        endpoints,
        ports: [
          { name: 'tcp', port: 8080 },
          { name: 'udp', port: 8080, protocol: 'UDP' },
        ],
      }),
    );
  set('10.244.1.2', '10.244.1.3');
  await load();
  const service = host.ipvs.servers.get('TCP 10.96.0.1:80')!.service;
  const real = { address: '10.244.1.2', port: 8080 };
  host.ipvs.connections(service, real, 3);
  set('10.244.1.3');
  t.true(await change());
  t.deepEqual(host.ipvs.weights('TCP 10.96.0.1:80'), { '10.244.1.2:8080': 0, '10.244.1.3:8080': 1 });
  t.deepEqual(host.ipvs.weights('UDP 10.96.0.1:80'), { '10.244.1.3:8080': 1 });
  await host.clock.advance(120_000);
  t.is(host.ipvs.weights('TCP 10.96.0.1:80')?.['10.244.1.2:8080'], 0);
  set('10.244.1.2', '10.244.1.3');
  await change();
  t.is(host.ipvs.weights('TCP 10.96.0.1:80')?.['10.244.1.2:8080'], 1, 'it comes back, with its connections');
  host.ipvs.connections(service, real, 0);
  await host.clock.advance(120_000);
  t.is(host.ipvs.weights('TCP 10.96.0.1:80')?.['10.244.1.2:8080'], 1, 'and stays when they have ended');
  host.ipvs.connections(service, real, 3);
  set('10.244.1.3');
  await change();
  host.ipvs.connections(service, real, 0);
  await host.clock.advance(60_000);
  t.deepEqual(host.ipvs.weights('TCP 10.96.0.1:80'), { '10.244.1.3:8080': 1 });
});

test('a restart goes on with farewells, and takes away what nobody wants but what is excluded', async (t) => {
  const { host, tracker, load, change } = await setup();
  tracker.serviceSet(
    aService('web', { ...ipv4('10.96.0.1'), type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] }),
  );
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.2', '10.244.1.3'] }));
  await load();
  const service = host.ipvs.servers.get('TCP 10.96.0.1:80')!.service;
  host.ipvs.connections(service, { address: '10.244.1.2', port: 8080 }, 1);
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.3'] }));
  await change();
  const left = { address: '10.244.1.9', port: 8080 };
  await host.ipvs.apply([{ op: 'realAdd', service, real: left, weight: 1 }]);
  const foreign = { ...service, address: '192.0.2.200', port: 443 };
  const stale = { ...service, address: '10.96.0.77' };
  await host.ipvs.apply([
    { op: 'serviceAdd', service: foreign },
    { op: 'serviceAdd', service: stale },
  ]);
  const again = await host.proxy();
  again.tracker.serviceSet(aService('web', ipv4('10.96.0.1')));
  again.tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.3'] }));
  await again.load();
  t.deepEqual([...host.ipvs.servers.keys()].sort(), ['TCP 10.96.0.1:80', 'TCP 192.0.2.200:443']);
  t.deepEqual(
    host.ipvs.weights('TCP 10.96.0.1:80'),
    { '10.244.1.2:8080': 0, '10.244.1.3:8080': 1 },
    'one without connections is gone at once',
  );
  host.ipvs.connections(service, { address: '10.244.1.2', port: 8080 }, 0);
  await host.clock.advance(60_000);
  t.deepEqual(host.ipvs.weights('TCP 10.96.0.1:80'), { '10.244.1.3:8080': 1 });
});

test('after a refusal nothing is changed until the whole is compared', async (t) => {
  const { host, tracker, load, change } = await setup();
  tracker.serviceSet(aService('web', ipv4('10.96.0.1')));
  t.false(await change());
  await load();
  const refusal = new KernelError(12, 'IPVS', 'ipvsadm -a');
  host.ipvs.intercept = () => refusal;
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.2'] }));
  await t.throwsAsync(change(), { is: refusal });
  host.ipvs.intercept = undefined;
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.3'] }));
  t.false(await change());
  t.is((await load()).outcome, 'changed');
  t.deepEqual(host.ipvs.weights('TCP 10.96.0.1:80'), { '10.244.1.3:8080': 1 });
});

test('an address of the node that comes, and one of ours that goes, are told; our own changes are not', async (t) => {
  const { host, tracker, load, change, dataplane } = await setup({ nodePortAddresses: ['198.51.100.0/24'] });
  tracker.serviceSet(
    aService('web', { ...ipv4('10.96.0.1'), type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] }),
  );
  await load();
  const heard: string[] = [];
  await dataplane.listen((what) => heard.push(what));
  t.deepEqual(heard.splice(0), ['overrun']);
  tracker.serviceSet(aService('other', ipv4('10.96.0.2')));
  await change();
  t.deepEqual(heard, []);
  const socket = await host.rtnetlink.open();
  const up = (await socket.link({ name: 'up0' }))?.ifindex ?? 0;
  const dummy = (await socket.link({ name: 'kube-ipvs0' }))?.ifindex ?? 0;
  await socket.apply([{ op: 'addressAdd', ifindex: up, prefix: '198.51.100.3/24' }]);
  t.deepEqual(heard.splice(0), ['changed']);
  await load();
  t.true(host.ipvs.servers.has('TCP 198.51.100.3:30080'));
  await socket.apply([{ op: 'addressDelete', ifindex: dummy, prefix: '10.96.0.2/32' }]);
  t.deepEqual(heard.splice(0), ['changed']);
  t.is((await load()).outcome, 'changed');
  t.deepEqual(await host.bound(), ['10.96.0.1/32', '10.96.0.2/32']);
  heard.length = 0;
  await socket.apply([{ op: 'linkDelete', link: { ifindex: dummy } }]);
  t.true(heard.includes('gone'));
  dataplane.close();
  socket.close();
});

test('settings: scheduler, timeouts, strictARP, old kernels', async (t) => {
  const { host, tracker, load } = await setup(
    { scheduler: 'mh', strictARP: true, timeouts: { tcp: 60, tcpFin: 0, udp: 10 } },
    '5.4.0-100-generic',
  );
  await host.sysctls.write('net/ipv4/vs/conn_reuse_mode', '1');
  tracker.serviceSet(aService('web', ipv4('10.96.0.1')));
  await load();
  t.like(host.ipvs.servers.get('TCP 10.96.0.1:80')?.service, { scheduler: 'mh', schedulerFlags: 0x10 });
  t.deepEqual(host.ipvs.timeouts, { tcp: 60, tcpFin: 120, udp: 10 });
  t.is(await host.sysctls.read('net/ipv4/vs/conn_reuse_mode'), '0');
  t.is(await host.sysctls.read('net/ipv4/conf/all/arp_announce'), '2');
});

test('any sequence of changes ends where a whole load ends', async (t) => {
  const event = fc.record({
    service: fc.nat(3),
    what: fc.constantFrom('service', 'slice', 'delete', 'sliceDelete', 'flush', 'flush', 'connections'),
    type: fc.constantFrom('ClusterIP' as const, 'NodePort' as const, 'LoadBalancer' as const),
    ip: fc.nat(3),
    isLocal: fc.boolean(),
    isInternalLocal: fc.boolean(),
    hasRanges: fc.boolean(),
    affinity: fc.boolean(),
    endpoints: fc.subarray([1, 2, 3, 4, 5]),
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const),
  });
  type Event = typeof event extends fc.Arbitrary<infer Value> ? Value : never;
  const run = async (events: Event[]) => {
    const { host, tracker, load, change } = await setup();
    await load();
    for (const each of events) {
      const name = `s${each.service}`;
      const { what, type, ip, protocol } = each;
      if (what === 'service')
        tracker.serviceSet(
          aService(name, {
            ...ipv4(`10.96.0.${ip + 1}`),
            type,
            ports: [
              { name: 'a', port: 80, protocol, ...(type === 'ClusterIP' ? {} : { nodePort: 30000 + ip }) },
              { name: 'b', port: 81 },
            ],
            ...(each.isInternalLocal ? { internalTrafficPolicy: 'Local' as const } : {}),
            ...(each.isLocal ? { externalTrafficPolicy: 'Local' as const } : {}),
            ...(each.affinity ? { sessionAffinity: 'ClientIP' as const } : {}),
            ...(each.hasRanges ? { loadBalancerSourceRanges: ['192.0.2.0/24', '198.51.100.128/25'] } : {}),
            externalIPs: ['203.0.113.1'],
            status: { loadBalancer: { ingress: type === 'LoadBalancer' ? [{ ip: `203.0.113.${10 + ip}` }] : [] } },
          }),
          'list',
        );
      else if (what === 'slice')
        tracker.sliceSet(
          aSlice(name, name, {
            endpoints: each.endpoints.map((n) => (n % 2 === 0 ? local(`10.244.1.${n}`) : `10.244.2.${n}`)),
            ports: [
              { name: 'a', port: 8080, protocol },
              { name: 'b', port: 8081 },
            ],
          }),
          'list',
        );
      else if (what === 'delete') tracker.serviceDeleted({ namespace: 'default', name });
      else if (what === 'sliceDelete') tracker.sliceDeleted({ namespace: 'default', name });
      else if (what === 'flush') t.true(await change());
      else
        for (const { reals } of host.ipvs.servers.values())
          for (const real of reals.values()) real.activeConnections = ip % 2;
    }
    t.true(await change());
    for (const { reals } of host.ipvs.servers.values()) for (const real of reals.values()) real.activeConnections = 0;
    await host.clock.advance(60_000);
    const one = { bound: await host.bound(), elements: await host.elements() };
    t.is((await load()).outcome, 'unchanged');
    const fresh = new Host();
    await fresh.start();
    await (await fresh.proxy()).dataplane.load(tracker.model);
    t.deepEqual(one, { bound: await fresh.bound(), elements: await fresh.elements() });
    t.deepEqual([...host.ipvs.servers.keys()].sort(), [...fresh.ipvs.servers.keys()].sort());
    for (const key of fresh.ipvs.servers.keys()) t.deepEqual(host.ipvs.weights(key), fresh.ipvs.weights(key), key);
  };
  await fc.assert(fc.asyncProperty(fc.array(event, { maxLength: 25 }), run), { numRuns: 60 });
});
