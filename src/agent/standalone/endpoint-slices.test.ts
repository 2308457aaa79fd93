/** EndpointSlices from pods: the controller's rules case by case, then random worlds against a model of our own words. */
import test from 'ava';
import fc from 'fast-check';
import type { EndpointSlice } from '../../api/discovery.ts';
import type { IpFamily, Service, ServiceSpec } from '../../api/service.ts';
import type { PodWithStatus } from '../../kubelet/status/status-board.ts';
import { endpointFingerprint, endpointSlicesOf, maxEndpointsPerSlice } from './endpoint-slices.ts';
import { aPod } from './fake-pods.ts';

const service = (spec: Partial<ServiceSpec> = {}): Service => ({
  metadata: { name: 'web', namespace: 'default', labels: { tier: 'front', 'kubernetes.io/service-name': 'forged' } },
  spec: {
    clusterIP: '10.96.1.1',
    ipFamilies: ['IPv4'],
    selector: { app: 'web' },
    ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 8080 }],
    ...spec,
  },
});
const slices = (spec: Partial<ServiceSpec>, ...pods: PodWithStatus[]): EndpointSlice[] =>
  endpointSlicesOf(service(spec), pods, 'node1');
const conditions = (spec: Partial<ServiceSpec>, pod: PodWithStatus) => slices(spec, pod)[0]?.endpoints?.[0]?.conditions;

test('a ready pod is one endpoint of one slice', (t) => {
  const [slice, ...more] = slices({}, aPod('a'));
  t.deepEqual(more, []);
  t.deepEqual(slice?.metadata.labels, { tier: 'front', 'kubernetes.io/service-name': 'web' });
  t.is(slice?.metadata.namespace, 'default');
  t.regex(slice?.metadata.name ?? '', /^web_ipv4_[0-9a-f]{16}_0$/);
  t.is(slice?.addressType, 'IPv4');
  t.deepEqual(slice?.ports, [{ name: '', protocol: 'TCP', port: 8080 }]);
  t.deepEqual(slice?.endpoints, [
    { addresses: ['10.244.0.2'], conditions: { ready: true, serving: true, terminating: false }, nodeName: 'node1' },
  ]);
});

test('conditions: unready, ending, and publishNotReadyAddresses', (t) => {
  t.deepEqual(conditions({}, aPod('a', { ready: false })), { ready: false, serving: false, terminating: false });
  t.deepEqual(conditions({}, aPod('a', { ending: true })), { ready: false, serving: true, terminating: true });
  t.deepEqual(conditions({}, aPod('a', { ending: true, ready: false })), {
    ready: false,
    serving: false,
    terminating: true,
  });
  const publish = { publishNotReadyAddresses: true };
  t.deepEqual(conditions(publish, aPod('a', { ready: false })), { ready: true, serving: false, terminating: false });
  t.deepEqual(conditions(publish, aPod('a', { ending: true })), { ready: true, serving: true, terminating: true });
});

test('pods that ended or have no address are no endpoints', (t) => {
  const pods = [
    aPod('a', { phase: 'Succeeded' }),
    aPod('b', { phase: 'Failed' }),
    aPod('c', { ips: [], phase: 'Pending' }),
  ];
  t.deepEqual(slices({}, ...pods), []);
  t.is(slices({}, aPod('d', { phase: 'Pending', ready: false })).length, 1);
});

test('named target ports are those of each pod: several slices, and a pod without one still has its others', (t) => {
  const ports = [
    { name: 'http', protocol: 'TCP' as const, port: 80, targetPort: 'web' },
    { name: 'metrics', protocol: 'TCP' as const, port: 90, targetPort: 9090 },
  ];
  const found = slices(
    { ports },
    aPod('a', { ips: ['10.0.0.1'], ports: [{ name: 'web', containerPort: 8080 }] }),
    aPod('b', { ips: ['10.0.0.2'], ports: [{ name: 'web', containerPort: 8081, protocol: 'TCP' }] }),
    aPod('c', { ips: ['10.0.0.3'], ports: [{ name: 'web', containerPort: 8082, protocol: 'UDP' }] }),
    aPod('d', { ips: ['10.0.0.4'], ports: [{ name: 'web', containerPort: 8080 }] }),
  );
  t.deepEqual(
    found.map((slice) => [slice.ports?.map(({ port }) => port), slice.endpoints?.map(({ addresses }) => addresses[0])]),
    [
      [
        [8080, 9090],
        ['10.0.0.1', '10.0.0.4'],
      ],
      [[8081, 9090], ['10.0.0.2']],
      [[9090], ['10.0.0.3']],
    ],
  );
  t.is(new Set(found.map(({ metadata }) => metadata.name)).size, 3);
});

test('families: of the Service, each pod by its own addresses', (t) => {
  const pod = aPod('a', { ips: ['10.0.0.1', 'fd00::1'] });
  const families = (spec: Partial<ServiceSpec>) =>
    slices(spec, pod).map(({ addressType, endpoints }) => [addressType, endpoints?.[0]?.addresses]);
  t.deepEqual(families({ ipFamilies: ['IPv6', 'IPv4'] }), [
    ['IPv6', ['fd00::1']],
    ['IPv4', ['10.0.0.1']],
  ]);
  t.deepEqual(families({}), [['IPv4', ['10.0.0.1']]]);
  t.deepEqual(families({ ipFamilies: null, clusterIP: 'fd00:1::1' }), [['IPv6', ['fd00::1']]]);
  t.is(families({ ipFamilies: [], clusterIP: 'None' }).length, 2);
});

test('a headless Service is marked, and may be without ports', (t) => {
  const [slice] = slices({ clusterIP: 'None', ports: [] }, aPod('a'));
  t.is(slice?.metadata.labels?.['service.kubernetes.io/headless'], '');
  t.deepEqual(slice?.ports, []);
});

test('the fingerprint changes with what makes endpoints, and with nothing else', (t) => {
  const base = aPod('a');
  const waiting = { ...base, status: { ...base.status, startTime: 'later', message: 'other' } };
  t.is(endpointFingerprint(waiting), endpointFingerprint(base));
  const others = [
    aPod('a', { ready: false }),
    aPod('a', { ending: true }),
    aPod('a', { ips: ['10.0.0.9'] }),
    aPod('a', { phase: 'Failed' }),
  ];
  t.is(new Set([base, ...others].map(endpointFingerprint)).size, 5);
});

test('more than 100 endpoints: full slices and a rest', (t) => {
  const pods = Array.from({ length: 250 }, (_, index) => aPod(`p${index}`, { ips: [`10.1.0.${index}`] }));
  t.deepEqual(
    slices({}, ...pods).map(({ endpoints }) => endpoints?.length),
    [100, 100, 50],
  );
});

const arbitraryPod = fc
  .record({
    id: fc.integer({ min: 0, max: 400 }),
    phase: fc.constantFrom(
      'Running' as const,
      'Running' as const,
      'Pending' as const,
      'Failed' as const,
      'Succeeded' as const,
    ),
    ready: fc.boolean(),
    ending: fc.boolean(),
    address: fc.constantFrom('v4', 'v4', 'v6', 'both', 'none'),
    http: fc.constantFrom(8080, 8081, 0),
  })
  .map(({ id, address, http, ...rest }) => {
    const v4 = `10.0.${id >> 8}.${id & 255}`;
    const ips =
      { v4: [v4], v6: [`fd00::${id.toString(16)}`], both: [v4, `fd00::${id.toString(16)}`], none: [] }[address] ?? [];
    return aPod(`p${id}`, { ...rest, ips, ports: http === 0 ? [] : [{ name: 'http', containerPort: http }] });
  });
const arbitrarySpec = fc.record({
  ipFamilies: fc.constantFrom<IpFamily[]>(['IPv4'], ['IPv6'], ['IPv4', 'IPv6']),
  publishNotReadyAddresses: fc.boolean(),
  targetPort: fc.constantFrom('http', 'nothing', 7000),
});

/** `ip:port/name ready serving terminating`, one a line: what a proxy may learn from slices. */
function meaningOf(found: EndpointSlice[]): string[] {
  return found
    .flatMap(({ endpoints, ports }) =>
      (endpoints ?? []).flatMap(({ addresses, conditions: is }) =>
        (ports ?? []).map(
          ({ name, port }) => `${addresses[0]}:${port}/${name} ${is?.ready} ${is?.serving} ${is?.terminating}`,
        ),
      ),
    )
    .sort();
}

test('random pods: every one is where the model says, slices are bounded, equal ports apart, order plays no part', (t) => {
  const pods = fc.uniqueArray(arbitraryPod, { selector: ({ pod }) => pod.metadata.uid, maxLength: 260, size: 'max' });
  fc.assert(
    fc.property(pods, arbitrarySpec, (entries, { targetPort, ...spec }) => {
      const ports = [
        { name: 'x', protocol: 'TCP' as const, port: 80, targetPort },
        { name: 'y', protocol: 'TCP' as const, port: 81, targetPort: 81 },
      ];
      const found = slices({ ...spec, ports }, ...entries);
      const expected: string[] = [];
      for (const { pod, status, ending = false } of entries) {
        if (status.phase === 'Failed' || status.phase === 'Succeeded') continue;
        const up = status.conditions[0]?.status === 'True';
        for (const ip of (status.podIPs ?? []).map((entry) => entry.ip)) {
          if (!spec.ipFamilies.some((family) => (family === 'IPv6') === ip.includes(':'))) continue;
          const flags = `${spec.publishNotReadyAddresses || (up && !ending)} ${up} ${ending}`;
          const named = pod.spec.containers[0]?.ports?.[0]?.containerPort;
          const target = targetPort === 'http' ? named : targetPort === 'nothing' ? undefined : 7000;
          if (target !== undefined) expected.push(`${ip}:${target}/x ${flags}`);
          expected.push(`${ip}:81/y ${flags}`);
        }
      }
      t.deepEqual(meaningOf(found), expected.sort());
      t.is(new Set(found.map(({ metadata }) => metadata.name)).size, found.length);
      const fillings = new Map<string, number[]>();
      for (const slice of found) {
        t.true((slice.endpoints?.length ?? 0) > 0 && (slice.endpoints?.length ?? 0) <= maxEndpointsPerSlice);
        const key = `${slice.addressType} ${JSON.stringify(slice.ports)}`;
        fillings.set(key, [...(fillings.get(key) ?? []), slice.endpoints?.length ?? 0]);
      }
      for (const sizes of fillings.values()) t.true(sizes.slice(0, -1).every((size) => size === maxEndpointsPerSlice));
      const byName = (list_: EndpointSlice[]) =>
        [...list_].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
      t.deepEqual(byName(slices({ ...spec, ports }, ...entries.toReversed())), byName(found));
    }),
    { numRuns: 60 },
  );
});
