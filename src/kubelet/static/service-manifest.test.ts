/** Reading Services and EndpointSlices: what is accepted, what it is defaulted to, one clear line for what is wrong. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service } from '../../api/service.ts';
import { fieldRows } from './field-spec.ts';
import { assembleSnapshot, newFileRecord, updateRecord } from './folder-state.ts';
import { parseManifest } from './manifest.ts';
import type { ManifestError } from './manifest-error.ts';
import { checkDns1035Label, endpointSliceFields, serviceFields } from './service-fields.ts';

const parse = (text: string) => parseManifest(Buffer.from(text), 'f.yaml');
const lines = (text: string): string[] => parse(text).errors.map((error) => error.toLine());
const record = (file: string, text: string) =>
  updateRecord(newFileRecord(file), parseManifest(Buffer.from(text), file), {
    nodeName: 'n',
    seenAt: 0,
    otherObjects: 0,
  });
const snapshot = (text: string) => assembleSnapshot([record('/d/f.yaml', text)]);

const serviceJson = (spec: object = {}, metadata: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', ...metadata },
    spec: { ports: [{ port: 80 }], ...spec },
  });
const sliceJson = (fields: object = {}, labels: object = { 'kubernetes.io/service-name': 'web' }): string =>
  JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'far', labels },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.0.2.9'] }],
    ports: [{ port: 80 }],
    ...fields,
  });

test('a whole Service as kubectl prints it is read and defaulted', (t) => {
  const { services, places, errors } = snapshot(`
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {tier: front}
  creationTimestamp: "2026-01-01T00:00:00Z"
  resourceVersion: "7"
  annotations: {a: b}
spec:
  type: NodePort
  allocateLoadBalancerNodePorts:
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20]
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080, appProtocol: http}
  - {name: dns, port: 53, protocol: UDP, targetPort: 0}
  externalIPs: [198.51.100.7]
  sessionAffinity: ClientIP
  externalTrafficPolicy: Local
status: {loadBalancer: {}}
`);
  t.deepEqual(errors, []);
  t.deepEqual(services.get('default/web'), {
    metadata: { name: 'web', namespace: 'default', labels: { tier: 'front' } },
    spec: {
      type: 'NodePort',
      clusterIP: '10.96.0.20',
      clusterIPs: ['10.96.0.20'],
      ipFamilies: ['IPv4'],
      ports: [
        { name: 'http', protocol: 'TCP', port: 80, targetPort: 'web', nodePort: 30080 },
        { name: 'dns', protocol: 'UDP', port: 53, targetPort: 53, nodePort: 0 },
      ],
      selector: { app: 'web' },
      externalIPs: ['198.51.100.7'],
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 10800 } },
      internalTrafficPolicy: 'Cluster',
      externalTrafficPolicy: 'Local',
      publishNotReadyAddresses: false,
    },
  });
  t.deepEqual(places.get('service default/web'), { file: '/d/f.yaml', line: 2 });
});

test('the shortest Service, a headless one without ports, and a LoadBalancer', (t) => {
  const spec = (text: string) => {
    const { services, errors } = snapshot(text);
    t.deepEqual(errors, []);
    return services.get('default/web')?.spec;
  };
  t.deepEqual(spec(serviceJson()), {
    type: 'ClusterIP',
    ipFamilies: ['IPv4'],
    ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 80, nodePort: 0 }],
    sessionAffinity: 'None',
    internalTrafficPolicy: 'Cluster',
    publishNotReadyAddresses: false,
  });
  t.like(spec(serviceJson({ clusterIP: 'None', ports: [] })), { clusterIP: 'None', clusterIPs: ['None'], ports: [] });
  t.like(spec(serviceJson({ clusterIPs: ['None'] })), { clusterIP: 'None' });
  t.like(
    spec(serviceJson({ type: 'LoadBalancer', loadBalancerIP: '1.2.3.4', loadBalancerSourceRanges: ['10.0.0.0/8'] })),
    {
      type: 'LoadBalancer',
      allocateLoadBalancerNodePorts: true,
      externalTrafficPolicy: 'Cluster',
    },
  );
  t.like(spec(serviceJson({ clusterIP: '', ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv4', 'IPv6'] })), {
    ipFamilies: ['IPv4'],
  });
});

test('EndpointSlices are read and defaulted, lists unfolded by their own apiVersion', (t) => {
  const list = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSliceList',
    items: [
      {
        metadata: { name: 'far', labels: { 'kubernetes.io/service-name': 'web' } },
        addressType: 'IPv4',
        endpoints: [
          {
            addresses: ['192.0.2.9'],
            conditions: { ready: true, serving: null },
            nodeName: 'other',
            zone: 'z',
            hints: { forNodes: [{ name: 'n' }], forZones: [{ name: 'z' }] },
            targetRef: { kind: 'Pod' },
            hostname: 'a',
          },
        ],
        ports: [{ port: 8080 }],
      },
    ],
  };
  const { endpointSlices, places, errors } = snapshot(JSON.stringify(list));
  t.deepEqual(errors, []);
  const expected: EndpointSlice = {
    metadata: { name: 'far', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [
      {
        addresses: ['192.0.2.9'],
        conditions: { ready: true },
        nodeName: 'other',
        zone: 'z',
        hints: { forNodes: [{ name: 'n' }], forZones: [{ name: 'z' }] },
      },
    ],
    ports: [{ name: '', protocol: 'TCP', port: 8080 }],
  };
  t.deepEqual(endpointSlices.get('default/far'), expected);
  t.true(places.has('endpointslice default/far'));
  const mixed = `{"apiVersion":"v1","kind":"List","items":[${serviceJson()},${sliceJson()}]}`;
  t.is(parse(mixed).documents.length, 2);
});

const badServices: [what: string, spec: object, expected: string][] = [
  [
    'no ports',
    { ports: [] },
    'spec.ports: a Service with an address needs at least one port (add one, or set spec.clusterIP to None)',
  ],
  [
    'ports left out',
    { ports: null },
    'spec.ports: a Service with an address needs at least one port (add one, or set spec.clusterIP to None)',
  ],
  ['port 0', { ports: [{ port: 0 }] }, 'spec.ports[0].port: must be 1 or more, not 0'],
  ['port too large', { ports: [{ port: 65536 }] }, 'spec.ports[0].port: must be 65535 or less, not 65536'],
  ['port missing', { ports: [{ name: 'x' }] }, 'spec.ports[0].port: is missing'],
  [
    'port as text',
    { ports: [{ port: '80' }] },
    'spec.ports[0].port: must be a whole number, not "80" (write it without quotes)',
  ],
  [
    'several ports, one without a name',
    { ports: [{ port: 80, name: 'a' }, { port: 81 }] },
    'spec.ports[1].name: is missing: a Service with several ports names each (give it a name)',
  ],
  [
    'a name twice',
    {
      ports: [
        { port: 80, name: 'a' },
        { port: 81, name: 'a' },
      ],
    },
    'spec.ports[1].name: "a" stands twice, first at index 0',
  ],
  [
    'a port twice',
    {
      ports: [
        { port: 80, name: 'a' },
        { port: 80, name: 'b', protocol: 'TCP' },
      ],
    },
    'spec.ports[1].port: TCP 80 stands twice, first at index 0',
  ],
  [
    'a bad port name',
    { ports: [{ port: 80, name: 'HTTP' }] },
    `spec.ports[0].name: "HTTP" must consist of lower case letters, digits or '-', and start and end with a letter or digit (such as my-name)`,
  ],
  [
    'protocol',
    { ports: [{ port: 80, protocol: 'tcp' }] },
    'spec.ports[0].protocol: must be TCP, UDP or SCTP, not "tcp" (did you mean TCP?)',
  ],
  [
    'target port as a quoted number',
    { ports: [{ port: 80, targetPort: '8080' }] },
    'spec.ports[0].targetPort: must be a whole number or a name, not "8080" (write it without quotes)',
  ],
  [
    'target port too large',
    { ports: [{ port: 80, targetPort: 65536 }] },
    'spec.ports[0].targetPort: must be 65535 or less, not 65536',
  ],
  [
    'target port with a fraction',
    { ports: [{ port: 80, targetPort: 1.5 }] },
    'spec.ports[0].targetPort: must be a whole number or a name, not 1.5',
  ],
  [
    'target port with a bad name',
    { ports: [{ port: 80, targetPort: 'a--b' }] },
    `spec.ports[0].targetPort: "a--b" must not contain '--'`,
  ],
  [
    'node port without its type',
    { ports: [{ port: 80, nodePort: 30080 }] },
    'spec.ports[0].nodePort: must not be given with the type ClusterIP (set spec.type to NodePort, or remove it)',
  ],
  [
    'node port out of range',
    { type: 'NodePort', ports: [{ port: 80, nodePort: 8080 }] },
    'spec.ports[0].nodePort: must be within 30000 to 32767, not 8080 (choose another, or remove it)',
  ],
  [
    'a node port twice',
    {
      type: 'NodePort',
      ports: [
        { port: 80, name: 'a', nodePort: 30000 },
        { port: 81, name: 'b', nodePort: 30000 },
      ],
    },
    'spec.ports[1].nodePort: TCP 30000 stands twice, first at index 0',
  ],
  [
    'type',
    { type: 'Nodeport' },
    'spec.type: must be ClusterIP, NodePort, LoadBalancer or ExternalName, not "Nodeport" (did you mean NodePort?)',
  ],
  [
    'ExternalName',
    { type: 'ExternalName', externalName: 'example.com', ports: [] },
    'spec.type: ExternalName is not supported: it is an alias in DNS, and no DNS server runs here (let its clients use the external name itself)',
  ],
  [
    'address',
    { clusterIP: '10.96.0' },
    'spec.clusterIP: "10.96.0" is not an IPv4 address (write an IPv4 address, None for a headless Service, or remove it)',
  ],
  [
    'address with leading zeros',
    { clusterIPs: ['10.96.0.010'] },
    'spec.clusterIPs[0]: "10.96.0.010" is not an IPv4 address (write an IPv4 address, None for a headless Service, or remove it)',
  ],
  [
    'address of the wrong family',
    { clusterIP: 'fd00::1' },
    'spec.clusterIP: "fd00::1" is an IPv6 address, and this version serves IPv4 (write an IPv4 address, None for a headless Service, or remove it)',
  ],
  [
    'addresses that differ',
    { clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.2'] },
    'spec.clusterIPs[0]: must be the same as clusterIP, "10.96.0.1" (remove one of the two)',
  ],
  [
    'two addresses',
    { clusterIPs: ['10.96.0.1', 'fd00::1'] },
    'spec.clusterIPs: must have one address, not 2: pods have IPv4 addresses in this version (keep the IPv4 one)',
  ],
  [
    'family',
    { ipFamilies: ['IPv6'] },
    'spec.ipFamilies[0]: IPv6 is not supported: pods have IPv4 addresses in this version (remove it)',
  ],
  [
    'family policy',
    { ipFamilyPolicy: 'RequireDualStack' },
    'spec.ipFamilyPolicy: RequireDualStack is not supported: pods have IPv4 addresses in this version (remove it or set it to PreferDualStack)',
  ],
  [
    'a headless NodePort',
    { type: 'NodePort', clusterIP: 'None' },
    'spec.clusterIP: must not be None for the type NodePort (remove it)',
  ],
  ['affinity', { sessionAffinity: 'Cookie' }, 'spec.sessionAffinity: must be None or ClientIP, not "Cookie"'],
  [
    'affinity timeout',
    { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 86401 } } },
    'spec.sessionAffinityConfig.clientIP.timeoutSeconds: must be 86400 or less, not 86401',
  ],
  [
    'affinity settings without it',
    { sessionAffinityConfig: { clientIP: { timeoutSeconds: 5 } } },
    'spec.sessionAffinityConfig: must be given only with sessionAffinity ClientIP',
  ],
  [
    'external traffic inside',
    { externalTrafficPolicy: 'Local' },
    'spec.externalTrafficPolicy: must be given only with the type NodePort or LoadBalancer, or with externalIPs (remove it)',
  ],
  [
    'node ports of no load balancer',
    { allocateLoadBalancerNodePorts: false },
    'spec.allocateLoadBalancerNodePorts: must be given only with the type LoadBalancer',
  ],
  [
    'external address',
    { externalIPs: ['198.51.100.7', 'nowhere'] },
    'spec.externalIPs[1]: "nowhere" is not an IPv4 address (write an IPv4 address)',
  ],
  [
    'external loopback',
    { externalIPs: ['127.0.0.1'] },
    'spec.externalIPs[0]: 127.0.0.1 is a loopback address, which nothing can be reached by',
  ],
  [
    'external multicast',
    { externalIPs: ['224.0.0.1'] },
    'spec.externalIPs[0]: 224.0.0.1 is a multicast address, which nothing can be reached by',
  ],
  [
    'selector value',
    { selector: { app: 'a b' } },
    `spec.selector.app: "a b" must be empty, or consist of letters, digits, '-', '_' or '.', and start and end with a letter or digit`,
  ],
  [
    'selector of a set',
    { selector: { matchLabels: { app: 'web' } } },
    'spec.selector.matchLabels: must be a string, not {"app":"web"}',
  ],
  ['misspelt', { selectr: {} }, 'spec.selectr: unknown field (did you mean selector?)'],
];
for (const [what, spec, expected] of badServices) {
  test(`bad Service: ${what}`, (t) => {
    t.deepEqual(lines(serviceJson(spec)), [`f.yaml:1: service default/web: ${expected}`]);
  });
}

const badSlices: [what: string, text: string, expected: string][] = [
  [
    'no Service',
    sliceJson({}, {}),
    'metadata.labels["kubernetes.io/service-name"]: is missing: it names the Service of the slice (write kubernetes.io/service-name: NAME below metadata.labels)',
  ],
  [
    'family',
    sliceJson({ addressType: 'IPv6', endpoints: [] }),
    'addressType: IPv6 is not supported: this version serves IPv4 (give IPv4 addresses)',
  ],
  [
    'names',
    sliceJson({ addressType: 'FQDN', endpoints: [{ addresses: ['example.com'] }] }),
    'addressType: FQDN is not supported: this version serves IPv4 (give IPv4 addresses)',
  ],
  ['type missing', sliceJson({ addressType: null }), 'addressType: is missing'],
  [
    'address of the wrong family',
    sliceJson({ endpoints: [{ addresses: ['fd00::1'] }] }),
    'endpoints[0].addresses[0]: "fd00::1" is an IPv6 address, and this version serves IPv4 (write an IPv4 address)',
  ],
  [
    'link-local address',
    sliceJson({ endpoints: [{ addresses: ['169.254.169.254'] }] }),
    'endpoints[0].addresses[0]: 169.254.169.254 is a link-local address, which nothing can be reached by',
  ],
  [
    'no address',
    sliceJson({ endpoints: [{ addresses: [] }] }),
    'endpoints[0].addresses: must have at least one address',
  ],
  ['addresses missing', sliceJson({ endpoints: [{}] }), 'endpoints[0].addresses: is missing'],
  [
    'too many endpoints',
    sliceJson({ endpoints: Array.from({ length: 1001 }, () => ({ addresses: ['192.0.2.1'] })) }),
    'endpoints: has 1001 entries, more than the limit of 1000 (make several slices)',
  ],
  [
    'a port name twice',
    sliceJson({ ports: [{ port: 1 }, { port: 2, name: '' }] }),
    'ports[1].name: "" stands twice, first at index 0',
  ],
  ['no port number', sliceJson({ ports: [{ name: 'x' }] }), 'ports[0].port: is missing'],
];
for (const [what, text, expected] of badSlices) {
  test(`bad EndpointSlice: ${what}`, (t) => {
    t.deepEqual(lines(text), [`f.yaml:1: endpointslice default/far: ${expected}`]);
  });
}

test('apiVersions and kinds that are near', (t) => {
  t.is(
    lines('apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice')[0],
    'f.yaml:1: apiVersion: of kind EndpointSlice must be discovery.k8s.io/v1, not "discovery.k8s.io/v1beta1" (write apiVersion: discovery.k8s.io/v1)',
  );
  t.regex(lines('apiVersion: serving.knative.dev/v1\nkind: Service')[0] ?? '', /of kind Service must be v1/);
  t.regex(lines('apiVersion: v1\nkind: Endpoints')[0] ?? '', /write an EndpointSlice of discovery\.k8s\.io\/v1/);
  t.regex(lines('apiVersion: v1\nkind: Servce')[0] ?? '', /did you mean Service\?/);
  t.regex(lines('apiVersion: v1\nkind: EndpointSliceList\nitems: []')[0] ?? '', /is not accepted/);
});

test('names are DNS-1035 labels', (t) => {
  for (const good of ['a', 'web', 'a-1', 'x'.repeat(63)]) t.deepEqual(checkDns1035Label(good), [], good);
  for (const bad of ['', '1a', 'A', 'a.b', '-a', 'a-', 'a_b', 'x'.repeat(64), `${'a'.repeat(1e6)}!`]) {
    t.is(checkDns1035Label(bad).length, 1, bad.slice(0, 10));
  }
  const [line = ''] = lines(serviceJson({}, { name: `${'x'.repeat(1e6)}` }));
  t.regex(line, /metadata\.name: "x+\.\.\. must be no more than 63 characters$/);
});

test('hostile sizes: a selector of 1 MB, a huge key, thousands of ports are read or refused in short lines', (t) => {
  const wide = Object.fromEntries(Array.from({ length: 40_000 }, (_, index) => [`k${index}`, `v${index}`]));
  t.deepEqual(lines(serviceJson({ selector: wide })), []);
  const long = lines(serviceJson({ selector: { [`${'a'.repeat(1_000_000)}!`]: 'x' } }));
  t.is(long.length, 1);
  t.true((long[0]?.length ?? 0) < 700, String(long[0]?.length));
  const value = lines(serviceJson({ selector: { a: 'b'.repeat(1_000_000) } }));
  t.true(value.length === 1 && (value[0]?.length ?? 0) < 300);
  const ports = Array.from({ length: 20_000 }, (_, index) => ({ name: `p${index}`, port: index + 1 }));
  t.deepEqual(lines(serviceJson({ ports })), []);
  t.is(lines(serviceJson({ ports: ports.map(() => ({ port: 1, name: 'x' })) })).length, 101);
  t.regex(
    lines(serviceJson({ externalIPs: ['1'.repeat(1_000_000)] }))[0] ?? '',
    /externalIPs\[0\]: "1{56}\.\.\. is not an IPv4/,
  );
  t.is(lines(serviceJson({ ports: [{ port: 80, __proto__x: 1 }] })).length, 1);
  t.deepEqual(
    lines(
      `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}],"selector":{"__proto__":"x"}}}`,
    ).length,
    1,
  );
});

test('the first file by name has the Service, the other is an error; a broken file leaves it in force', (t) => {
  const a = record('/d/a.yaml', serviceJson({ clusterIP: '10.96.0.1' }));
  const b = record('/d/b.yaml', serviceJson({ clusterIP: '10.96.0.2' }));
  const both = assembleSnapshot([b, a]);
  t.is(both.services.get('default/web')?.spec.clusterIP, '10.96.0.1');
  t.deepEqual(
    both.errors.map(({ error }) => (error as ManifestError).toLine()),
    [
      '/d/b.yaml:1: service default/web: is defined twice, the one of /d/a.yaml:1 is in force (remove one or give it another name)',
    ],
  );
  t.is(assembleSnapshot([b]).services.get('default/web')?.spec.clusterIP, '10.96.0.2');
  const broken = updateRecord(a, parse('{"apiVersion": "v1", "kind": "Serv'), {
    nodeName: 'n',
    seenAt: 1,
    otherObjects: 0,
  });
  const still = assembleSnapshot([broken]);
  t.is(still.services.get('default/web'), both.services.get('default/web') as Service);
  t.true(still.errors.length > 0);
});

test('every ignored field is accepted, dropped, and named in docs/standalone.md', (t) => {
  const page = readFileSync(new URL('../../../docs/standalone.md', import.meta.url), 'utf8');
  const ignoredOf = (table: typeof serviceFields) =>
    fieldRows(table).filter(({ path, treatment }) => treatment === 'ignored' && !path.startsWith('metadata.'));
  for (const { path } of ignoredOf(serviceFields)) {
    const name = path.split('.').at(-1) ?? '';
    t.true(page.includes(`${name}\``), path);
    if (!path.startsWith('spec.') || path.includes('[]')) continue;
    const { documents, errors } = parse(serviceJson({ [name]: { any: ['thing'] } }));
    t.deepEqual(errors, [], path);
    t.false(name in ((documents[0]?.object as Service | undefined)?.spec ?? {}));
  }
  for (const { path } of ignoredOf(endpointSliceFields)) t.true(page.includes(`${path.split('.').at(-1)}\``), path);
  t.is(fieldRows(serviceFields).filter(({ path }) => /^spec\.[^.[]+$/.test(path)).length, 20, 'ServiceSpec of 1.36');
});
