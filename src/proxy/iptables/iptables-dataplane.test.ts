/** The rules against a stateful iptables: golden text, changes against whole loads, damage, and what must not be touched. */
import test from 'ava';
import fc from 'fast-check';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakeSysctls } from '../../linux/fake-host.ts';
import { FakeIptables } from '../../linux/fake-iptables.ts';
import { IptablesError, parseSave, restoreText } from '../../linux/iptables.ts';
import type { NftablesNotification } from '../../linux/nftables/edge.ts';
import { aService, aSlice, type ServiceFields } from '../services/fake-objects.ts';
import { ServiceTracker } from '../services/service-tracker.ts';
import { IptablesDataplane, type RuleCounts } from './iptables-dataplane.ts';
import type { IptablesOptions } from './options.ts';

const options: IptablesOptions = {
  family: 'IPv4',
  localTraffic: { by: 'prefixes', prefixes: ['10.244.0.0/16'] },
  masqueradeAll: false,
  nodePortAddresses: 'all',
  masqueradeBit: 14,
  localhostNodePorts: true,
  dropInvalid: true,
};
const routeLocalnet = 'net/ipv4/conf/all/route_localnet';

function setup(changed: Partial<IptablesOptions> = {}, iptables = new FakeIptables()) {
  const clock = new FakeClock();
  const sysctls = new FakeSysctls({ [routeLocalnet]: '0' });
  let notify: (notification: NftablesNotification) => void = () => undefined;
  let subscriptions = 0;
  const nftables = {
    async subscribe(listener: (notification: NftablesNotification) => void) {
      notify = listener;
      subscriptions++;
      return () => void subscriptions--;
    },
  };
  const merged = { ...options, ...changed };
  let counts: RuleCounts | undefined;
  const onRules = (now: RuleCounts): void => {
    counts = now;
  };
  const dataplane = new IptablesDataplane({ iptables, nftables, sysctls, onRules, clock }, merged);
  const tracker = new ServiceTracker({ family: merged.family, nodeName: 'node-a' });
  return {
    iptables,
    clock,
    sysctls,
    dataplane,
    tracker,
    notify: (notification: NftablesNotification) => notify(notification),
    subscriptions: () => subscriptions,
    counts: () => counts,
    async load() {
      tracker.flush();
      return dataplane.load(tracker.model);
    },
    change: () => dataplane.change(tracker.flush().delta),
  };
}

const ipv4 = (clusterIP: string): Pick<ServiceFields, 'clusterIP' | 'clusterIPs' | 'ipFamilies'> => ({
  clusterIP,
  clusterIPs: [clusterIP],
  ipFamilies: ['IPv4'],
});
const local = (address: string) => ({ addresses: [address], nodeName: 'node-a' });

test('a cluster IP has the chains that tools look for', async (t) => {
  const { tracker, iptables, load } = setup();
  tracker.serviceSet(aService('kubernetes', { ...ipv4('10.96.0.1'), ports: [{ name: 'https', port: 443 }] }));
  tracker.sliceSet(
    aSlice('kubernetes', 'kubernetes', { endpoints: ['10.0.0.2', '10.0.0.1'], ports: [{ name: 'https', port: 6443 }] }),
  );
  await load();
  const service = 'KUBE-SVC-NPX46M4PTMTKRN6Y';
  t.deepEqual(iptables.rules('nat', service), [
    '! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-MARK-MASQ',
    '-m comment --comment "default/kubernetes:https -> 10.0.0.1:6443" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-NMFUQD3Y5ZBKJ7GW',
    '-m comment --comment "default/kubernetes:https -> 10.0.0.2:6443" -j KUBE-SEP-HSRFD4S3AHFNRYNO',
  ]);
  t.is(
    iptables.rules('nat', 'KUBE-SERVICES')?.[0],
    `-d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j ${service}`,
  );
  t.regex(iptables.rules('nat', 'KUBE-SERVICES')?.at(-1) ?? '', /--dst-type LOCAL -j KUBE-NODEPORTS$/);
  t.deepEqual(iptables.rules('nat', 'PREROUTING'), [
    '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
  ]);
  for (const chain of ['KUBE-POSTROUTING', 'KUBE-MARK-MASQ', 'KUBE-PROXY-CANARY'])
    t.true(iptables.chains('nat').includes(chain));
});

test('a change names the chains of its port and nothing else', async (t) => {
  const { tracker, iptables, load, change } = setup();
  for (let index = 0; index < 50; index++) {
    tracker.serviceSet(aService(`s${index}`, ipv4(`10.96.1.${index}`)));
    tracker.sliceSet(aSlice(`s${index}`, `s${index}`, { endpoints: ['10.244.1.2', '10.244.1.3'] }));
  }
  await load();
  tracker.sliceSet(aSlice('s7', 's7', { endpoints: ['10.244.1.2', '10.244.1.4'] }));
  t.true(await change());
  const text = iptables.restores.at(-1) ?? '';
  t.is(text.match(/^:/gm)?.length, 3, text);
  t.is(text.match(/^-X KUBE-SEP-/gm)?.length, 1);
  t.false(text.includes('KUBE-SERVICES'));
  t.notRegex(text, /default\/s(?!7\b)/);
  tracker.sliceDeleted({ namespace: 'default', name: 's7' });
  await change();
  t.regex(iptables.restores.at(-1) ?? '', /^-D KUBE-SERVICES -d 10.96.1.7\/32 .*-j KUBE-SVC-/m);
  t.regex(iptables.rules('filter', 'KUBE-SERVICES')?.[0] ?? '', /-d 10.96.1.7.*REJECT/);
});

test('external destinations: policies, source ranges, affinity, short-circuit', async (t) => {
  const { tracker, iptables, load } = setup();
  tracker.serviceSet(
    aService('lb', {
      ...ipv4('10.96.0.9'),
      type: 'LoadBalancer',
      externalTrafficPolicy: 'Local',
      sessionAffinity: 'ClientIP',
      loadBalancerSourceRanges: ['192.0.2.0/24'],
      externalIPs: ['203.0.113.7'],
      ports: [{ port: 80, nodePort: 30080 }],
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.9' }] } },
    }),
  );
  tracker.sliceSet(aSlice('lb', 'lb', { endpoints: ['10.244.2.2', local('10.244.1.2')] }));
  await load();
  const chainOf = (prefix: string) => iptables.chains('nat').find((name) => name.startsWith(prefix)) ?? '';
  const [svc, svl, ext, fw] = ['KUBE-SVC-', 'KUBE-SVL-', 'KUBE-EXT-', 'KUBE-FW-'].map(chainOf);
  t.is(iptables.rules('nat', svc ?? '')?.length, 5);
  t.is(iptables.rules('nat', svl ?? '')?.length, 2);
  const targets = (chain = '') => iptables.rules('nat', chain)?.map((rule) => /-j (\S+)$/.exec(rule)?.[1]);
  t.deepEqual(targets(ext), [svc, 'KUBE-MARK-MASQ', svc, svl]);
  t.is(iptables.rules('nat', ext ?? '')?.[0]?.slice(0, 18), '-s 10.244.0.0/16 -');
  t.is(
    iptables.rules('nat', fw ?? '')?.[0],
    `-s 192.0.2.0/24 -m comment --comment "default/lb loadbalancer IP" -j ${ext}`,
  );
  const services = iptables.rules('nat', 'KUBE-SERVICES') ?? [];
  t.true(services.some((rule) => rule.startsWith('-d 203.0.113.9/32') && rule.endsWith(`-j ${fw}`)));
  t.true(services.some((rule) => rule.startsWith('-d 203.0.113.7/32') && rule.endsWith(`-j ${ext}`)));
  t.true(iptables.rules('nat', 'KUBE-NODEPORTS')?.some((rule) => rule.endsWith(`--dport 30080 -j ${ext}`)));
  t.regex(iptables.rules('filter', 'KUBE-PROXY-FIREWALL')?.[0] ?? '', /-d 203.0.113.9\/32 .*-j DROP$/);
  t.true(iptables.rules('nat', svl ?? '')?.[0]?.includes('--rcheck --seconds 10800 --reap'));
});

test('names and texts of objects cannot leave their comment', async (t) => {
  const { tracker, iptables, load, change } = setup();
  const evil = 'a" -j ACCEPT\n-A INPUT -j ACCEPT\n#';
  const service = aService('x', { ...ipv4('10.96.0.1'), ports: [{ name: evil, port: 80 }] });
  service.metadata.name = `${evil}${'y'.repeat(400)}`;
  tracker.serviceSet(service);
  const slice = aSlice('x', service.metadata.name, { endpoints: ['10.244.1.2'], ports: [{ name: evil, port: 80 }] });
  await load();
  tracker.sliceSet(slice);
  await change();
  t.deepEqual(
    iptables.rules('filter', 'INPUT')?.filter((rule) => !rule.includes('KUBE-')),
    [],
  );
  for (const text of iptables.restores)
    for (const line of text.split('\n')) t.regex(line, /^($|\*|:[A-Z]|COMMIT$|-[AIDX] (KUBE-|[A-Z]+ ))/);
  t.true(iptables.restores.join('').includes('_ -j ACCEPT_-A INPUT'));
});

test('foreign rules and chains stay, stale ones of a predecessor go', async (t) => {
  const iptables = new FakeIptables();
  const stale = 'KUBE-SEP-AAAAAAAAAAAAAAAA';
  await iptables.restore([
    { op: 'chain', table: 'nat', chain: 'DOCKER' },
    { op: 'append', table: 'nat', chain: 'DOCKER', rule: '-j RETURN' },
    { op: 'append', table: 'nat', chain: 'PREROUTING', rule: '-j DOCKER' },
    { op: 'chain', table: 'nat', chain: 'KUBE-SERVICES' },
    { op: 'chain', table: 'nat', chain: stale },
    { op: 'append', table: 'nat', chain: 'KUBE-SERVICES', rule: `-d 10.9.9.9/32 -j ${stale}` },
    { op: 'append', table: 'nat', chain: 'PREROUTING', rule: '-m comment --comment "older words" -j KUBE-SERVICES' },
    { op: 'chain', table: 'filter', chain: 'KUBE-FIREWALL' },
    { op: 'append', table: 'filter', chain: 'KUBE-FIREWALL', rule: '-j KEPT' },
  ]);
  const { load } = setup({}, iptables);
  t.is((await load()).outcome, 'changed');
  t.deepEqual(iptables.rules('nat', 'DOCKER'), ['-j RETURN']);
  t.deepEqual(iptables.rules('nat', 'PREROUTING'), [
    '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-j DOCKER',
  ]);
  t.is(iptables.rules('nat', stale), undefined);
  t.is(iptables.rules('filter', 'KUBE-FIREWALL')?.[0], '-j KEPT');
  t.is(iptables.rules('filter', 'KUBE-FIREWALL')?.length, 2);
});

test('a second load of the same changes nothing, whatever order endpoints came in', async (t) => {
  const first = setup();
  const objects = (tracker: ServiceTracker, endpoints: string[]) => {
    tracker.serviceSet(
      aService('web', { ...ipv4('10.96.0.1'), type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] }),
    );
    tracker.sliceSet(aSlice('web', 'web', { endpoints }));
  };
  objects(first.tracker, ['10.244.1.2', '10.244.1.3', '10.244.1.4']);
  await first.load();
  const again = setup({}, first.iptables);
  objects(again.tracker, ['10.244.1.4', '10.244.1.3', '10.244.1.2']);
  t.is((await again.load()).outcome, 'unchanged');
});

test('a version that prints other words is learnt, and damage is still seen', async (t) => {
  const iptables = new FakeIptables();
  iptables.prints = (rule) => rule.replace('--set-xmark 0x4000/0x4000', '--or-mark 0x4000');
  const { load } = setup({}, iptables);
  t.is((await load()).outcome, 'changed');
  t.is((await load()).outcome, 'unchanged');
  iptables.flush('nat');
  t.is((await load()).outcome, 'changed');
  t.is((await load()).outcome, 'unchanged');
});

const health = (name: string, healthCheckNodePort: number) =>
  aService(name, {
    ...ipv4('10.96.0.1'),
    type: 'LoadBalancer',
    externalTrafficPolicy: 'Local',
    ports: [
      { name: 'a', port: 80, nodePort: 30080 },
      { name: 'b', port: 81, nodePort: 30081 },
    ],
    healthCheckNodePort,
  });

test('load balancers may ask at health check node ports, with endpoints and without', async (t) => {
  const { tracker, iptables, load, change } = setup();
  tracker.serviceSet(health('web', 32000));
  await load();
  const rules = () => iptables.rules('filter', 'KUBE-NODEPORTS');
  const accept = (port: number): string =>
    `-p tcp -m comment --comment "default/web health check node port" -m tcp --dport ${port} -j ACCEPT`;
  t.deepEqual(rules(), [accept(32000)]);
  t.true(
    iptables
      .rules('filter', 'INPUT')
      ?.includes('-m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS'),
  );
  const ports = [{ name: 'a', port: 8080 }];
  tracker.sliceSet(aSlice('web', 'web', { endpoints: [local('10.244.1.2')], ports }));
  await change();
  t.deepEqual(rules(), [accept(32000)]);
  t.false(iptables.restores.at(-1)?.includes('health check'), 'a number of endpoints is no matter of rules');
  tracker.serviceSet(health('web', 32001), 'list');
  await change();
  t.deepEqual(rules(), [accept(32001)]);
  tracker.serviceDeleted({ namespace: 'default', name: 'web' });
  await change();
  t.deepEqual(rules(), []);
});

test('packets are counted where kube-proxy counts them, whatever the order of rules', async (t) => {
  const { tracker, iptables, load } = setup({ countPackets: true });
  tracker.serviceSet(
    aService('web', { ...ipv4('10.96.0.1'), type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] }),
  );
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.2'] }));
  await load();
  const [counting, plain, ...others] = iptables.rules('nat', 'KUBE-NODEPORTS') ?? [];
  const port = '-p tcp -m comment --comment "default/web" -m tcp --dport 30080';
  const [, external = ''] = / -j (\S+)$/.exec(plain ?? '') ?? [];
  t.regex(external, /^KUBE-EXT-/);
  t.is(counting, `-d 127.0.0.0/8 ${port} -m nfacct --nfacct-name  localhost_nps_accepted_pkts -j ${external}`);
  t.is(plain, `! -d 127.0.0.0/8 ${port} -j ${external}`);
  t.deepEqual(others, []);
  t.is(
    iptables.rules('filter', 'KUBE-FORWARD')?.[0],
    '-m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts -j DROP',
  );
  const without = setup({ countPackets: true, localhostNodePorts: false });
  without.tracker.serviceSet(
    aService('web', { ...ipv4('10.96.0.1'), type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] }),
  );
  without.tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.2'] }));
  await without.load();
  t.deepEqual(without.iptables.rules('nat', 'KUBE-NODEPORTS'), [`${port} -j ${external}`]);
});

test('programs that cannot count serve Services all the same; another refusal is no reason not to count', async (t) => {
  const { tracker, iptables, load, dataplane } = setup({ countPackets: true });
  const refusal = new IptablesError('IPTABLES_REFUSED', 'locked', 'iptables-restore', 'wait');
  iptables.intercept = (call) => (call === 'restore' ? refusal : undefined);
  await t.throwsAsync(load(), { is: refusal });
  iptables.intercept = undefined;
  await load();
  t.true(iptables.rules('filter', 'KUBE-FORWARD')?.[0]?.includes('nfacct'));
  iptables.flush('filter');
  let refusals = 1;
  iptables.intercept = (call) => (call === 'restore' && refusals-- > 0 ? refusal : undefined);
  await t.throwsAsync(dataplane.load(tracker.model), { is: refusal }, 'the match is there');
  t.is((await dataplane.load(tracker.model)).outcome, 'changed');
  t.true(iptables.rules('filter', 'KUBE-FORWARD')?.[0]?.includes('nfacct'));

  const without = setup({ countPackets: true });
  without.iptables.intercept = (call) =>
    call === 'restore' && without.iptables.restores.at(-1)?.includes('nfacct') ? refusal : undefined;
  await without.load();
  t.is(without.iptables.rules('filter', 'KUBE-FORWARD')?.[0], '-m conntrack --ctstate INVALID -j DROP');
  t.is((await without.dataplane.load(without.tracker.model)).outcome, 'unchanged');
  t.is(without.counts()?.filter.last, 0);
});

test('after a refusal nothing is changed until the whole is compared', async (t) => {
  const { tracker, iptables, load, change, dataplane } = setup();
  tracker.serviceSet(aService('web', ipv4('10.96.0.1')));
  t.false(await change());
  await load();
  const refusal = new IptablesError('IPTABLES_REFUSED', 'locked', 'iptables-restore', 'wait');
  iptables.intercept = (call) => (call === 'restore' ? refusal : undefined);
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.2'] }));
  await t.throwsAsync(change(), { is: refusal });
  iptables.intercept = undefined;
  tracker.sliceSet(aSlice('web', 'web', { endpoints: ['10.244.1.3'] }));
  t.false(await change());
  t.is((await dataplane.load(tracker.model)).outcome, 'changed');
  t.true(iptables.chains('nat').some((name) => name.startsWith('KUBE-SVC-')));
});

test('others: a deleted table, a lost jump and lost notifications are told; rules of others are not', async (t) => {
  const { load, dataplane, notify, iptables, subscriptions } = setup();
  await load();
  const heard: string[] = [];
  await dataplane.listen((change) => heard.push(change));
  t.deepEqual(heard.splice(0), ['overrun']);
  const transaction = (changes: Extract<NftablesNotification, { changes: unknown }>['changes'], processId = 7) =>
    notify({ event: 'transaction', generation: 1, own: false, portId: 1, processId, processName: 'x', changes });
  const nat = { family: 'ip', table: 'nat' } as const;
  transaction([{ change: 'ruleNew', ...nat, chain: 'PREROUTING', handle: 1 }]);
  transaction([{ change: 'ruleDelete', ...nat, chain: 'DOCKER', handle: 1 }]);
  transaction([{ change: 'ruleDelete', family: 'ip6', table: 'nat', chain: 'PREROUTING', handle: 1 }]);
  t.deepEqual(heard, []);
  transaction([{ change: 'ruleDelete', ...nat, chain: 'PREROUTING', handle: 1 }]);
  transaction([{ change: 'ruleNew', ...nat, chain: 'KUBE-SVC-X', handle: 1 }]);
  transaction([{ change: 'tableDelete', ...nat }]);
  notify({ event: 'overrun' });
  t.deepEqual(heard.splice(0), ['overrun', 'overrun', 'gone', 'overrun']);
  iptables.ownProcesses.add(8);
  transaction([{ change: 'tableDelete', ...nat }], 8);
  t.deepEqual(heard, []);
  dataplane.close();
  t.is(subscriptions(), 0);
});

test('legacy: the canaries are looked for', async (t) => {
  const iptables = new FakeIptables();
  iptables.backend = 'legacy';
  const { load, dataplane, clock } = setup({}, iptables);
  await load();
  const heard: string[] = [];
  await dataplane.listen((change) => heard.push(change));
  await clock.advance(60_000);
  t.deepEqual(heard, []);
  iptables.flush('filter');
  await clock.advance(30_000);
  t.deepEqual(heard, ['gone']);
  dataplane.close();
  await clock.advance(60_000);
  t.deepEqual(heard, ['gone']);
});

test('loopback: route_localnet only where node ports answer there', async (t) => {
  const all = setup();
  await all.load();
  t.is(await all.sysctls.read(routeLocalnet), '1');
  t.regex(all.iptables.rules('filter', 'KUBE-FIREWALL')?.[0] ?? '', /^! -s 127.0.0.0\/8 -d 127.0.0.0\/8 .*-j DROP$/);
  const none = setup({ localhostNodePorts: false });
  await none.load();
  t.is(await none.sysctls.read(routeLocalnet), '0');
  t.regex(none.iptables.rules('nat', 'KUBE-SERVICES')?.at(-1) ?? '', /^! -d 127.0.0.0\/8 /);
  t.is(none.iptables.rules('filter', 'KUBE-FIREWALL'), undefined);
  const some = setup({ nodePortAddresses: ['192.0.2.0/24', 'fd00::/64'] });
  await some.load();
  t.is(await some.sysctls.read(routeLocalnet), '0');
  t.deepEqual(
    some.iptables.rules('nat', 'KUBE-SERVICES')?.map((rule) => rule.slice(0, 16)),
    ['-d 192.0.2.0/24 '],
  );
});

test('several pod prefixes need a chain, interfaces do not', async (t) => {
  const one = async (changed: Partial<IptablesOptions>): Promise<string> => {
    const { tracker, iptables, load } = setup(changed);
    tracker.serviceSet(aService('kubernetes', { ...ipv4('10.96.0.1'), ports: [{ name: 'https', port: 443 }] }));
    tracker.sliceSet(aSlice('k', 'kubernetes', { endpoints: ['10.0.0.2'], ports: [{ name: 'https', port: 6443 }] }));
    await load();
    return (iptables.rules('nat', 'KUBE-SVC-NPX46M4PTMTKRN6Y')?.[0] ?? '').replace(/-p tcp .* -j/, '..');
  };
  t.is(await one({ masqueradeAll: true }), '-d 10.96.0.1/32 .. KUBE-MARK-MASQ');
  t.is(await one({ localTraffic: { by: 'interface', name: 'cbr0' } }), '-d 10.96.0.1/32 ! -i cbr0 .. KUBE-MARK-MASQ');
  t.is(
    await one({ localTraffic: { by: 'interfacePrefix', prefix: 'cali' } }),
    '-d 10.96.0.1/32 ! -i cali+ .. KUBE-MARK-MASQ',
  );
  t.is(
    await one({ localTraffic: { by: 'prefixes', prefixes: ['10.1.0.0/16', '10.2.0.0/16'] } }),
    '-d 10.96.0.1/32 .. KUBE-MARK-MASQ-OUT',
  );
  t.regex(await one({ localTraffic: { by: 'none' } }), /-> 10\.0\.0\.2:6443/);
});

test('any sequence of changes ends where a whole load ends', async (t) => {
  const event = fc.record({
    service: fc.nat(3),
    what: fc.constantFrom('service', 'slice', 'delete', 'sliceDelete', 'flush', 'flush'),
    type: fc.constantFrom('ClusterIP' as const, 'NodePort' as const, 'LoadBalancer' as const),
    ip: fc.nat(3),
    isLocal: fc.boolean(),
    isInternalLocal: fc.boolean(),
    hasRanges: fc.boolean(),
    affinity: fc.boolean(),
    endpoints: fc.subarray([1, 2, 3, 4, 5]),
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const),
    healthPort: fc.nat(2),
  });
  type Event = typeof event extends fc.Arbitrary<infer Value> ? Value : never;
  const run = async (events: Event[]) => {
    const one = setup({ countPackets: true });
    await one.load();
    for (const {
      service,
      what,
      type,
      ip,
      isLocal,
      isInternalLocal,
      hasRanges,
      affinity,
      endpoints,
      protocol,
      healthPort,
    } of events) {
      const name = `s${service}`;
      if (what === 'service')
        one.tracker.serviceSet(
          aService(name, {
            ...ipv4(`10.96.0.${ip + 1}`),
            type,
            ports: [
              { name: 'a', port: 80, protocol, ...(type === 'ClusterIP' ? {} : { nodePort: 30000 + ip }) },
              { name: 'b', port: 81 },
            ],
            ...(isInternalLocal ? { internalTrafficPolicy: 'Local' as const } : {}),
            ...(isLocal ? { externalTrafficPolicy: 'Local' as const } : {}),
            ...(affinity ? { sessionAffinity: 'ClientIP' as const } : {}),
            ...(healthPort > 0 ? { healthCheckNodePort: 32000 + healthPort } : {}),
            ...(hasRanges ? { loadBalancerSourceRanges: ['192.0.2.0/24', '198.51.100.0/24'] } : {}),
            externalIPs: ['203.0.113.1'],
            status: { loadBalancer: { ingress: type === 'LoadBalancer' ? [{ ip: `203.0.113.${10 + ip}` }] : [] } },
          }),
          'list',
        );
      else if (what === 'slice')
        one.tracker.sliceSet(
          aSlice(name, name, {
            endpoints: endpoints.map((n) => (n % 2 === 0 ? local(`10.244.1.${n}`) : `10.244.2.${n}`)),
            ports: [
              { name: 'a', port: 8080, protocol },
              { name: 'b', port: 8081 },
            ],
          }),
          'list',
        );
      else if (what === 'delete') one.tracker.serviceDeleted({ namespace: 'default', name });
      else if (what === 'sliceDelete') one.tracker.sliceDeleted({ namespace: 'default', name });
      else await one.change();
    }
    t.true(await one.change());
    const counted = one.counts();
    const incremental = one.iptables.restores.length;
    const outcome = (await one.dataplane.load(one.tracker.model)).outcome;
    t.is(outcome, 'unchanged', one.iptables.restores.slice(incremental - 1).join('\n---\n'));
    const fresh = setup({ countPackets: true });
    await fresh.dataplane.load(one.tracker.model);
    for (const table of ['nat', 'filter'] as const)
      t.is(counted?.[table].total, fresh.counts()?.[table].total, `rules in ${table}`);
    for (const table of ['nat', 'filter', 'mangle'] as const) {
      t.deepEqual([...one.iptables.chains(table)].sort(), [...fresh.iptables.chains(table)].sort());
      for (const chain of fresh.iptables.chains(table))
        t.deepEqual(
          [...(one.iptables.rules(table, chain) ?? [])].sort(),
          [...(fresh.iptables.rules(table, chain) ?? [])].sort(),
        );
    }
  };
  await fc.assert(fc.asyncProperty(fc.array(event, { maxLength: 25 }), run), { numRuns: 60 });
  t.pass();
});

test('iptables-save is read with counters and without, and refused where it cannot tell', (t) => {
  const text =
    '# Generated\n*nat\n:PREROUTING ACCEPT [1:2]\n:KUBE-X - [0:0]\n[3:4] -A KUBE-X -m comment --comment "a -j B" -j C\n-A KUBE-X\nCOMMIT\n*filter\n:INPUT DROP [0:0]\nCOMMIT\n';
  const nat = parseSave(text, 'nat');
  t.deepEqual([...nat.keys()], ['PREROUTING', 'KUBE-X']);
  t.deepEqual(nat.get('KUBE-X'), { policy: undefined, rules: ['-m comment --comment "a -j B" -j C', ''] });
  t.is(parseSave(text, 'filter').get('INPUT')?.policy, 'DROP');
  t.is(parseSave('', 'nat').size, 0);
  t.throws(() => parseSave("# Table `nat' is incompatible, use 'nft' tool.\n", 'nat'), { instanceOf: IptablesError });
});

test('any bytes are read as iptables-save without an exception of another kind', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      parseSave(`*nat\n${text}`, 'nat');
    }),
  );
  t.is(restoreText([]), '');
});
