/** The rules of the Service dataplane, one table each: objects in, the described dataplane or delta out. */
import test from 'ava';
import type { Endpoint } from '../../api/discovery.ts';
import { formatEndpoint } from './address.ts';
import { describeDataplane, describeDelta } from './describe.ts';
import { aService, aSlice, type ServiceFields, type SliceFields } from './fake-objects.ts';
import { reportLine } from './service-report.ts';
import { ServiceTracker } from './service-tracker.ts';

const ipv4 = { family: 'IPv4', nodeName: 'here', zone: 'z1' } as const;
const at = (address: string, fields: Omit<Endpoint, 'addresses'> = {}): Endpoint => ({
  addresses: [address],
  ...fields,
});

/** The described model of one Service with its slices, without the first line. */
function rendered(service: ServiceFields, ...slices: SliceFields[]): string[] {
  const tracker = new ServiceTracker(ipv4);
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1', ...service }));
  for (const [index, slice] of slices.entries()) tracker.sliceSet(aSlice(`web-${index}`, 'web', slice));
  tracker.flush();
  return describeDataplane(tracker.model).trimEnd().split('\n').slice(1);
}

const notReady = { conditions: { ready: false } };
const leaving = { conditions: { ready: false, serving: true, terminating: true } };
const gone = { conditions: { ready: false, serving: false, terminating: true } };
const here = { nodeName: 'here' };
const there = { nodeName: 'there' };
const forZone = (name: string): Pick<Endpoint, 'hints'> => ({ hints: { forZones: [{ name }] } });

const endpointRules: [string, SliceFields['endpoints'][], string[]][] = [
  ['absent conditions mean ready', [['10.0.0.1']], ['10.0.0.1']],
  ['unready ones are left out', [['10.0.0.1', at('10.0.0.2', notReady)]], ['10.0.0.1']],
  ['terminating ones are left out while one is ready', [['10.0.0.1', at('10.0.0.2', leaving)]], ['10.0.0.1']],
  ['with none ready, serving terminating ones', [[at('10.0.0.1', gone), at('10.0.0.2', leaving)]], ['10.0.0.2']],
  ['unready and not terminating: none', [[at('10.0.0.1', notReady)]], []],
  ['slices add up, each endpoint once', [['10.0.0.1'], ['10.0.0.1', '10.0.0.2']], ['10.0.0.1', '10.0.0.2']],
  ['a running pod beats a terminating one of the same IP', [['10.0.0.1'], [at('10.0.0.1', leaving)]], ['10.0.0.1']],
  ['and in the other order', [[at('10.0.0.1', leaving), '10.0.0.2'], ['10.0.0.1']], ['10.0.0.1', '10.0.0.2']],
  ['only the first address counts', [[{ addresses: ['10.0.0.1', '10.0.0.2'] }]], ['10.0.0.1']],
  ['no address', [[{ addresses: [] }, '10.0.0.2']], ['10.0.0.2']],
  ['invalid and wrong-family addresses', [['10.0.0.999', 'fd00::1', '169.254.0.1', '10.0.0.2']], ['10.0.0.2']],
  [
    'node hints, when all ready ones have one',
    [
      [
        at('10.0.0.1', { hints: { forNodes: [{ name: 'here' }] } }),
        at('10.0.0.2', { hints: { forNodes: [{ name: 'x' }] } }),
      ],
    ],
    ['10.0.0.1'],
  ],
  [
    'zone hints likewise',
    [
      [
        at('10.0.0.1', { hints: { forZones: [{ name: 'z2' }] } }),
        at('10.0.0.2', { hints: { forZones: [{ name: 'z1' }] } }),
      ],
    ],
    ['10.0.0.2'],
  ],
  [
    'hints do not count when one ready endpoint has none',
    [['10.0.0.1', at('10.0.0.2', { hints: { forZones: [{ name: 'z1' }] } })]],
    ['10.0.0.1', '10.0.0.2'],
  ],
  ['nor when none is for here', [[at('10.0.0.1', { hints: { forZones: [{ name: 'z2' }] } })]], ['10.0.0.1']],
  [
    'of an endpoint in two slices the one with hints counts',
    [['10.0.0.1'], [at('10.0.0.1', forZone('z2')), at('10.0.0.2', forZone('z1'))]],
    ['10.0.0.2'],
  ],
  [
    'with hints, in the other order',
    [[at('10.0.0.1', forZone('z2')), at('10.0.0.2', forZone('z1'))], ['10.0.0.1']],
    ['10.0.0.2'],
  ],
];

for (const [what, slices, addresses] of endpointRules)
  test(`endpoints: ${what}`, (t) => {
    const lines = rendered({}, ...slices.map((endpoints) => ({ endpoints })));
    const listed = lines.filter((line) => line.startsWith('  ')).map((line) => line.trim().split(' ')[1]);
    t.deepEqual(
      listed,
      addresses.map((address) => `${address}:8080`),
    );
    t.is(
      lines[0],
      `service 10.96.0.1:80/TCP ${addresses.length > 0 ? `-> group 1 of ${addresses.length}` : 'reject'} # clusterIP default/web`,
    );
  });

const frontendRules: [string, ServiceFields, SliceFields['endpoints'], string[]][] = [
  [
    'all destinations share a group',
    {
      type: 'LoadBalancer',
      externalIPs: ['192.0.2.1'],
      ports: [{ port: 80, nodePort: 30080 }],
      status: {
        loadBalancer: { ingress: [{ ip: '192.0.2.9' }, { ip: '192.0.2.8', ipMode: 'Proxy' }, { hostname: 'x' }] },
      },
    },
    ['10.0.0.1'],
    [
      'service 10.96.0.1:80/TCP -> group 1 of 1 # clusterIP default/web',
      'service 192.0.2.1:80/TCP -> group 1 of 1 masquerade # externalIP default/web',
      'service 192.0.2.9:80/TCP -> group 1 of 1 masquerade # loadBalancer default/web',
      'nodeport 30080/TCP -> group 1 of 1 masquerade # nodePort default/web',
      'group 1 of 1',
      '  0 10.0.0.1:8080',
    ],
  ],
  [
    'external Local: a second group, and the Cluster group for sources of the cluster',
    { type: 'NodePort', externalTrafficPolicy: 'Local', ports: [{ port: 80, nodePort: 30080 }] },
    [at('10.0.0.1', here), at('10.0.0.2', there)],
    [
      'service 10.96.0.1:80/TCP -> group 1 of 2 # clusterIP default/web',
      'nodeport 30080/TCP -> group 2 of 1 from-cluster group 1 of 2 # nodePort default/web',
      'group 1 of 2',
      '  0 10.0.0.1:8080',
      '  1 10.0.0.2:8080',
      'group 2 of 1',
      '  0 10.0.0.1:8080',
      'hairpin 10.0.0.1',
    ],
  ],
  [
    'external Local without a local endpoint drops',
    { type: 'NodePort', externalTrafficPolicy: 'Local', ports: [{ port: 80, nodePort: 30080 }] },
    [at('10.0.0.2', there)],
    [
      'service 10.96.0.1:80/TCP -> group 1 of 1 # clusterIP default/web',
      'nodeport 30080/TCP drop from-cluster group 1 of 1 # nodePort default/web',
      'group 1 of 1',
      '  0 10.0.0.2:8080',
    ],
  ],
  [
    'internal Local: local ones only',
    { internalTrafficPolicy: 'Local' },
    [at('10.0.0.1', here), at('10.0.0.2', there)],
    [
      'service 10.96.0.1:80/TCP -> group 1 of 1 # clusterIP default/web',
      'group 1 of 1',
      '  0 10.0.0.1:8080',
      'hairpin 10.0.0.1',
    ],
  ],
  [
    'internal Local with endpoints elsewhere only drops',
    { internalTrafficPolicy: 'Local' },
    [at('10.0.0.2', there)],
    ['service 10.96.0.1:80/TCP drop # clusterIP default/web'],
  ],
  [
    'internal Local without any endpoint rejects',
    { internalTrafficPolicy: 'Local' },
    [],
    ['service 10.96.0.1:80/TCP reject # clusterIP default/web'],
  ],
  [
    'affinity belongs to the group; without a timeout, three hours',
    { sessionAffinity: 'ClientIP' },
    ['10.0.0.1'],
    [
      'service 10.96.0.1:80/TCP -> group 1 of 1 # clusterIP default/web',
      'group 1 of 1 affinity 10800s',
      '  0 10.0.0.1:8080',
    ],
  ],
  [
    'source ranges narrow load-balancer IPs only; a zero prefix opens them',
    {
      type: 'LoadBalancer',
      externalIPs: ['192.0.2.1'],
      loadBalancerSourceRanges: [' 198.51.100.7/24 ', 'fd00::/8'],
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.9' }] } },
    },
    [],
    [
      'service 10.96.0.1:80/TCP reject # clusterIP default/web',
      'service 192.0.2.1:80/TCP reject masquerade # externalIP default/web',
      'service 192.0.2.9:80/TCP reject masquerade from 198.51.100.0/24 # loadBalancer default/web',
    ],
  ],
  ['headless', { clusterIP: 'None' }, ['10.0.0.1'], []],
  ['ExternalName', { type: 'ExternalName' }, ['10.0.0.1'], []],
  ['no cluster IP yet', { clusterIP: '' }, ['10.0.0.1'], []],
  ['another proxy', { meta: { labels: { 'service.kubernetes.io/service-proxy-name': '' } } }, ['10.0.0.1'], []],
  ['the other family only', { clusterIP: 'fd00::1', clusterIPs: ['fd00::1'], ipFamilies: ['IPv6'] }, ['10.0.0.1'], []],
  [
    'the second of two families',
    { clusterIP: 'fd00::1', clusterIPs: ['fd00::1', '10.96.0.7'], ipFamilies: ['IPv6', 'IPv4'] },
    [],
    ['service 10.96.0.7:80/TCP reject # clusterIP default/web'],
  ],
];

for (const [what, service, endpoints, lines] of frontendRules)
  test(`frontends: ${what}`, (t) => t.deepEqual(rendered(service, { endpoints }), lines));

test('target ports are found by name and protocol, and may differ by slice', (t) => {
  const lines = rendered(
    {
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'dns', protocol: 'TCP', port: 53 },
      ],
    },
    {
      endpoints: ['10.0.0.1'],
      ports: [
        { name: 'dns', protocol: 'UDP', port: 8053 },
        { name: 'http', port: 80 },
      ],
    },
    {
      endpoints: ['10.0.0.2'],
      ports: [
        { name: 'dns', protocol: 'UDP', port: 9053 },
        { name: 'dns', port: null },
      ],
    },
  );
  t.deepEqual(lines, [
    'service 10.96.0.1:53/TCP reject # clusterIP default/web:dns',
    'service 10.96.0.1:53/UDP -> group 1 of 2 # clusterIP default/web:dns',
    'group 1 of 2',
    '  0 10.0.0.1:8053',
    '  1 10.0.0.2:9053',
  ]);
});

test('slices of headless Services, of other proxies, of the other family and of host names are ignored', (t) => {
  const label = (name: string) => ({ labels: { 'kubernetes.io/service-name': 'web', [name]: '' } });
  const lines = rendered(
    {},
    { endpoints: ['10.0.0.1'], meta: label('service.kubernetes.io/headless') },
    { endpoints: ['10.0.0.2'], meta: label('service.kubernetes.io/service-proxy-name') },
    { endpoints: ['fd00::3'], addressType: 'IPv6' },
    { endpoints: ['example.org'], addressType: 'FQDN' },
  );
  t.deepEqual(lines, ['service 10.96.0.1:80/TCP reject # clusterIP default/web']);
});

test('v1beta1 names the node in topology', (t) => {
  const lines = rendered(
    { internalTrafficPolicy: 'Local' },
    { endpoints: [at('10.0.0.1', { topology: { 'kubernetes.io/hostname': 'here' } })] },
  );
  t.true(lines.includes('hairpin 10.0.0.1'));
});

test('IPv6: the same, in brackets', (t) => {
  const tracker = new ServiceTracker({ ...ipv4, family: 'IPv6' });
  tracker.serviceSet(aService('web', { clusterIP: 'FD00:96::1' }));
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: [at('fd00:0::1', here)], addressType: 'IPv6' }));
  tracker.flush();
  t.is(
    describeDataplane(tracker.model),
    `dataplane IPv6: 1 services, 0 node ports, 1 groups
service [fd00:96::1]:80/TCP -> group 1 of 1 # clusterIP default/web
group 1 of 1
  0 [fd00::1]:8080
hairpin fd00::1
`,
  );
});

function served(addresses: string[], service: ServiceFields = {}): ServiceTracker {
  const tracker = new ServiceTracker(ipv4);
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1', ...service }));
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: addresses }));
  tracker.flush();
  return tracker;
}

const changes: [string, string[], string][] = [
  ['the same again', ['10.0.0.1', '10.0.0.2', '10.0.0.3'], 'delta IPv4: nothing\n'],
  ['another order', ['10.0.0.3', '10.0.0.2', '10.0.0.1'], 'delta IPv4: nothing\n'],
  [
    'one replaced: one element',
    ['10.0.0.1', '10.0.0.9', '10.0.0.3'],
    'delta IPv4:\n~ group 1 of 3\n~   1 10.0.0.2:8080 => 10.0.0.9:8080\n',
  ],
  [
    'one removed: the last fills the hole',
    ['10.0.0.2', '10.0.0.3'],
    `delta IPv4:
~ group 1 of 2
~   0 10.0.0.1:8080 => 10.0.0.3:8080
-   2 10.0.0.3:8080
~ service 10.96.0.1:80/TCP -> group 1 of 2 # clusterIP default/web
`,
  ],
  [
    'one added',
    ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3'],
    `delta IPv4:
~ group 1 of 4
+   3 10.0.0.0:8080
~ service 10.96.0.1:80/TCP -> group 1 of 4 # clusterIP default/web
`,
  ],
  [
    'none left',
    [],
    `delta IPv4:
- group 1 of 3
-   0 10.0.0.1:8080
-   1 10.0.0.2:8080
-   2 10.0.0.3:8080
~ service 10.96.0.1:80/TCP reject # clusterIP default/web
`,
  ],
];

for (const [what, addresses, delta] of changes)
  test(`a change: ${what}`, (t) => {
    const tracker = served(['10.0.0.1', '10.0.0.2', '10.0.0.3']);
    tracker.sliceSet(aSlice('web-1', 'web', { endpoints: addresses }));
    t.is(describeDelta(tracker.flush().delta), delta);
  });

const reportRules: [string, ServiceFields, string[]][] = [
  [
    'no ports',
    { ports: [] },
    ['service default/web: has a cluster IP but no usable port (add a port or make it headless)'],
  ],
  [
    'wrong-family cluster IP',
    { clusterIP: '10.96.0.1', clusterIPs: ['fd00::1'], ipFamilies: ['IPv4'] },
    [
      'service default/web: cluster IP "fd00::1" is no IPv4 address: of the other family (set clusterIPs to one address for each of ipFamilies, in their order)',
    ],
  ],
  [
    'cluster IP',
    { clusterIP: '10.96.0.1.2' },
    [
      'service default/web: cluster IP "10.96.0.1.2" is malformed (set clusterIPs to one address for each of ipFamilies, in their order)',
    ],
  ],
  [
    'external IPs',
    { externalIPs: ['a', '127.0.0.1', 'fd00::1', ''] },
    ['service default/web: external IP "a" is malformed, and 1 more (correct or remove the external IP)'],
  ],
  [
    'source range',
    { loadBalancerSourceRanges: ['10.0.0.0/33'] },
    [
      'service default/web: loadBalancerSourceRanges entry "10.0.0.0/33" is no prefix, so no load-balancer IP is served (write it as address/length)',
    ],
  ],
  [
    'port',
    { ports: [{ port: 80 }, { name: 'x', port: 65536 }] },
    [
      'service default/web: port "x" is refused: port 65536 (give each port a name of its own, a protocol TCP, UDP or SCTP, and numbers in 1..65535)',
    ],
  ],
  [
    'node port',
    { ports: [{ port: 80 }, { name: 'x', port: 81, nodePort: -1 }] },
    [
      'service default/web: port "x" is refused: node port -1 (give each port a name of its own, a protocol TCP, UDP or SCTP, and numbers in 1..65535)',
    ],
  ],
  [
    'name twice',
    { ports: [{ port: 80 }, { port: 81 }] },
    [
      'service default/web: port "" is refused: the second use of this name for TCP (give each port a name of its own, a protocol TCP, UDP or SCTP, and numbers in 1..65535)',
    ],
  ],
];

for (const [what, service, lines] of reportRules)
  test(`refused with a report: ${what}`, (t) => {
    const tracker = new ServiceTracker(ipv4);
    tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1', ...service }));
    t.deepEqual(tracker.flush().reports.map(reportLine), lines);
    tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1', ...service }));
    t.deepEqual(tracker.flush().reports, [], 'told once');
    t.deepEqual(tracker.reports().map(reportLine), lines, 'but it stands');
    tracker.serviceDeleted({ namespace: 'default', name: 'web' });
    t.deepEqual(tracker.reports(), []);
  });

test('a slice reports its wrong addresses in one line, ports and a missing Service too', (t) => {
  const tracker = new ServiceTracker(ipv4);
  const endpoints = Array.from({ length: 1000 }, (_, index) => `10.0.0.${index + 300}`);
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints, ports: [{ port: null }] }));
  tracker.sliceSet(aSlice('lost', '', { endpoints: [] }));
  t.deepEqual(tracker.flush().reports.map(reportLine), [
    'endpointslice default/web-1: endpoint address is "10.0.0.300", malformed, and 999 more (give each endpoint an IPv4 address of a pod)',
    'endpointslice default/web-1: port "" is null/TCP (give it a number in 1..65535 and a protocol TCP, UDP or SCTP)',
    'endpointslice default/lost: names no Service (set the label kubernetes.io/service-name)',
  ]);
});

test('of two Services with one node port the older has it, then the first by name; the other is named', (t) => {
  const tracker = new ServiceTracker(ipv4);
  const set = (name: string, host: number, created?: string): void =>
    tracker.serviceSet(
      aService(name, {
        clusterIP: `10.96.0.${host}`,
        ports: [{ port: 80, nodePort: 30080 }],
        meta: created === undefined ? {} : { creationTimestamp: created },
      }),
    );
  const owner = (): string | undefined => tracker.model.nodePorts.get('30080/TCP')?.service;
  set('b', 2);
  set('c', 3);
  t.deepEqual(tracker.flush().reports.map(reportLine), [
    'service default/c: port "" is not served at node port 30080/TCP: service default/b has it (choose another nodePort)',
  ]);
  t.is(owner(), 'default/b');
  set('z', 4, '2026-01-02T00:00:00Z');
  tracker.flush();
  t.is(owner(), 'default/z', 'a known age beats an unknown one');
  set('y', 5, '2026-01-01T00:00:00Z');
  const { delta, reports } = tracker.flush();
  t.is(owner(), 'default/y');
  t.is(delta.nodePorts.length, 1);
  t.true(reports.some(({ object, code }) => object === 'service default/z' && code === 'SERVICE_NODE_PORT_CONFLICT'));
  tracker.serviceDeleted({ namespace: 'default', name: 'y' });
  tracker.serviceDeleted({ namespace: 'default', name: 'z' });
  tracker.flush();
  t.is(owner(), 'default/b');
  tracker.serviceDeleted({ namespace: 'default', name: 'b' });
  tracker.flush();
  t.deepEqual(tracker.reports(), [], 'nobody is in the way of c any more');
  t.is(owner(), 'default/c');
});

test('UDP flows are forgotten by the rule of kube-proxy', (t) => {
  const tracker = new ServiceTracker(ipv4);
  const ports = [{ name: '', protocol: 'UDP' as const, port: 8053 }];
  const forgotten = (...endpoints: SliceFields['endpoints']): string[] => {
    tracker.sliceSet(aSlice('web-1', 'web', { endpoints, ports }));
    return describeDelta(tracker.flush().delta)
      .split('\n')
      .filter((line) => line.startsWith('!'));
  };
  tracker.serviceSet(
    aService('web', { clusterIP: '10.96.0.1', ports: [{ protocol: 'UDP', port: 53, nodePort: 30053 }] }),
  );
  t.deepEqual(forgotten(), [], 'nobody serves');
  t.deepEqual(forgotten('10.0.0.1'), [
    '! forget UDP flows for 10.96.0.1 port 53 not to 10.0.0.1:8053',
    '! forget UDP flows for node port 30053 not to 10.0.0.1:8053',
  ]);
  t.deepEqual(forgotten('10.0.0.1', '10.0.0.2'), [], 'one more');
  t.deepEqual(forgotten('10.0.0.1', at('10.0.0.2', leaving)), [], 'it still serves');
  t.deepEqual(forgotten('10.0.0.1', at('10.0.0.2', gone)), [
    '! forget UDP flows for 10.96.0.1 port 53 to 10.0.0.2:8053',
    '! forget UDP flows for node port 30053 to 10.0.0.2:8053',
  ]);
  t.deepEqual(
    forgotten(),
    [
      '! forget UDP flows for 10.96.0.1 port 53 to 10.0.0.1:8053',
      '! forget UDP flows for node port 30053 to 10.0.0.1:8053',
    ],
    'the last one: nothing may go on to its address',
  );
  t.deepEqual(forgotten(), [], 'still nobody');
  t.deepEqual(forgotten('10.0.0.1').length, 2, 'flows of before the gap');
});

test('the node moves to another zone: hints for zones count anew, and only their Services change', (t) => {
  const tracker = new ServiceTracker(ipv4);
  const hinted = (address: string, zone: string) => at(address, { hints: { forZones: [{ name: zone }] } });
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1' }));
  tracker.serviceSet(aService('api', { clusterIP: '10.96.0.2' }));
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: [hinted('10.0.0.1', 'z1'), hinted('10.0.0.2', 'z2')] }));
  tracker.sliceSet(aSlice('api-1', 'api', { endpoints: ['10.0.0.3'] }));
  tracker.flush();
  const served = (): string[] =>
    [...tracker.model.groups.values()].flatMap(({ endpoints }) => endpoints.map(formatEndpoint)).sort();
  t.deepEqual(served(), ['10.0.0.1:8080', '10.0.0.3:8080']);
  tracker.setZone('z2');
  t.is(tracker.flush().delta.groups.length, 1);
  t.deepEqual(served(), ['10.0.0.2:8080', '10.0.0.3:8080']);
  tracker.setZone('z2');
  t.false(tracker.pending);
  tracker.setZone('');
  tracker.flush();
  t.deepEqual(served(), ['10.0.0.1:8080', '10.0.0.2:8080', '10.0.0.3:8080'], 'no hint is for here');
  // What is told after it is read for the zone of now.
  tracker.setZone('z1');
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: [hinted('10.0.0.4', 'z1'), hinted('10.0.0.2', 'z2')] }));
  tracker.flush();
  t.deepEqual(served(), ['10.0.0.3:8080', '10.0.0.4:8080']);
});

test('a type that nobody knows is served as ClusterIP, and told', (t) => {
  const tracker = new ServiceTracker(ipv4);
  const unknownType = 'x'.repeat(1000);
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1', unknownType, externalTrafficPolicy: 'Local' }));
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: ['10.0.0.1'] }));
  const [report] = tracker.flush().reports;
  t.is(report?.code, 'SERVICE_TYPE_UNKNOWN');
  t.true((report?.message.length ?? 0) < 150);
  t.is(tracker.model.services.get('10.96.0.1:80/TCP')?.action, 'balance');
});

test('late, repeated and foreign events change nothing', (t) => {
  const tracker = new ServiceTracker(ipv4);
  const set = (resourceVersion: string, address: string, uid = 'u1', source?: 'list'): string => {
    tracker.sliceSet(aSlice('web-1', 'web', { endpoints: [address], meta: { resourceVersion, uid } }), source);
    return describeDelta(tracker.flush().delta);
  };
  const nothing = 'delta IPv4: nothing\n';
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1', meta: { resourceVersion: '5' } }));
  set('10', '10.0.0.1');
  t.is(set('9', '10.0.0.2'), nothing, 'late');
  t.is(set('10', '10.0.0.1'), nothing, 'repeated');
  t.not(set('9', '10.0.0.2', 'u1', 'list'), nothing, 'a list is the truth, also after etcd was restored');
  t.not(set('8', '10.0.0.3', 'u2'), nothing, 'a new object of that name');
  tracker.sliceDeleted({ namespace: 'default', name: 'web-1', uid: 'u1' });
  tracker.sliceDeleted({ namespace: 'default', name: 'unknown' });
  tracker.serviceDeleted({ namespace: 'default', name: 'web', uid: 'another' });
  tracker.serviceDeleted({ namespace: 'default', name: 'unknown' });
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.9', meta: { resourceVersion: '4' } }));
  t.is(describeDelta(tracker.flush().delta), nothing);
  t.false(tracker.pending);
});

test('a slice may move to another Service, and slices may come before their Service', (t) => {
  const tracker = new ServiceTracker(ipv4);
  tracker.sliceSet(aSlice('web-1', 'web', { endpoints: ['10.0.0.1'] }));
  tracker.flush();
  tracker.serviceSet(aService('web', { clusterIP: '10.96.0.1' }));
  tracker.serviceSet(aService('api', { clusterIP: '10.96.0.2' }));
  tracker.flush();
  const sizes = (): (number | undefined)[] =>
    ['10.96.0.1', '10.96.0.2'].map((ip) => tracker.model.services.get(`${ip}:80/TCP`)?.size);
  t.deepEqual(sizes(), [1, 0]);
  tracker.sliceSet(aSlice('web-1', 'api', { endpoints: ['10.0.0.1'] }));
  tracker.flush();
  t.deepEqual(sizes(), [0, 1]);
});

test('10,000 endpoints in one Service, and names of maximal length', (t) => {
  const tracker = new ServiceTracker(ipv4);
  const [name, namespace] = ['s'.repeat(63), 'n'.repeat(63)];
  tracker.serviceSet(
    aService(name, { clusterIP: '10.96.0.1', meta: { namespace }, ports: [{ name: 'p'.repeat(63), port: 80 }] }),
  );
  const slice = (part: number, count: number) =>
    aSlice(`${'e'.repeat(240)}-${part}`, name, {
      endpoints: Array.from({ length: count }, (_, index) => `10.${part}.0.${index + 1}`),
      ports: [{ name: 'p'.repeat(63), port: 8080 }],
      meta: { namespace, labels: { 'kubernetes.io/service-name': name } },
    });
  for (let part = 0; part < 100; part++) tracker.sliceSet(slice(part, 100));
  tracker.flush();
  t.is(tracker.model.services.get('10.96.0.1:80/TCP')?.size, 10000);
  tracker.sliceSet(slice(40, 99));
  const [change] = tracker.flush().delta.groups;
  t.is(change?.after?.endpoints.length, 9999);
  t.deepEqual(change?.replaced, [4099]);
});

test('after a restart groups go on with their numbers and places', (t) => {
  const objects = (tracker: ServiceTracker, webs: string[]): void => {
    tracker.serviceSet(
      aService('web', {
        clusterIP: '10.96.0.1',
        type: 'NodePort',
        externalTrafficPolicy: 'Local',
        ports: [{ port: 80, nodePort: 30080 }],
      }),
    );
    tracker.serviceSet(aService('api', { clusterIP: '10.96.0.2' }));
    tracker.sliceSet(aSlice('web-1', 'web', { endpoints: [at('10.0.0.1', here), ...webs] }));
    tracker.sliceSet(aSlice('api-1', 'api', { endpoints: ['10.0.1.1'] }));
  };
  const first = new ServiceTracker(ipv4);
  for (const name of ['x', 'y', 'z']) {
    first.serviceSet(aService(name, { clusterIP: '10.96.0.9', ports: [{ port: name.charCodeAt(0) }] }));
    first.sliceSet(aSlice(name, name, { endpoints: ['10.0.9.9'] }));
  }
  first.flush();
  objects(first, ['10.0.0.2', '10.0.0.3']);
  first.flush();
  const before = describeDataplane(first.model);
  const adoptedFrom = ({ model }: ServiceTracker) => ({
    groups: new Map([...model.groups].map(([id, { endpoints }]) => [id, endpoints])),
    frontends: new Map([...model.services, ...model.nodePorts]),
  });

  const second = new ServiceTracker({ ...ipv4, adopted: adoptedFrom(first) });
  objects(second, ['10.0.0.3', '10.0.0.4']);
  second.flush();
  const after = describeDataplane(second.model);
  const groups = (text: string): string[] =>
    text.split('\n').filter((line) => / group /.test(line) && /web|api/.test(line));
  t.is(groups(before).length, 3);
  t.deepEqual(groups(after), groups(before));
  t.deepEqual(second.model.groups.get(4)?.endpoints.map(formatEndpoint), [
    '10.0.0.1:8080',
    '10.0.0.4:8080',
    '10.0.0.3:8080',
  ]);

  second.serviceSet(aService('new', { clusterIP: '10.96.0.3' }));
  second.sliceSet(aSlice('new-1', 'new', { endpoints: ['10.0.2.1'] }));
  const [change] = second.flush().delta.groups;
  t.is(change?.id, 7, 'the numbers of x, y and z rest');
});

test('a tracker that is emptied holds nothing', (t) => {
  const tracker = served(['10.0.0.1'], { type: 'NodePort', ports: [{ port: 80, nodePort: 30080 }] });
  tracker.serviceDeleted({ namespace: 'default', name: 'web' });
  tracker.sliceDeleted({ namespace: 'default', name: 'web-1' });
  tracker.flush();
  t.is(describeDataplane(tracker.model), 'dataplane IPv4: 0 services, 0 node ports, 0 groups\n');
});
