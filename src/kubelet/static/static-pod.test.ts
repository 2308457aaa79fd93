/** Tests of the API defaults and of a static pod's identity. */
import test from 'ava';
import fc from 'fast-check';
import type { Pod } from '../../api/core.ts';
import { applyPodDefaults } from './defaults.ts';
import { fnv128a } from './fnv.ts';
import { parseManifest } from './manifest.ts';
import { canonicalJson, checkStaticPodName, staticPodUid, toStaticPod } from './static-pod.ts';

function read(spec: object, metadata: object = {}): { pod: Pod; written: Readonly<Record<string, unknown>> } {
  const document = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', ...metadata }, spec };
  const { documents, errors } = parseManifest(Buffer.from(JSON.stringify(document)), 'f');
  const [first] = documents;
  if (first?.kind !== 'Pod') throw errors[0] ?? new Error('no pod');
  return { pod: first.object, written: first.written };
}

const origin = { file: '/etc/manifests/a.yaml', nodeName: 'Node-1', seenAt: Date.UTC(2026, 0, 2) };

test('FNV-128a of the published vectors', (t) => {
  t.is(fnv128a(''), '6c62272e07bb014262b821756295c58d');
  t.is(fnv128a('a'), 'd228cb696f1a8caf78912b704e4a8964');
  t.is(fnv128a('foobar'), '343e1662793c64bf6f0d3597ba446f18');
});

test('FNV-128a is the textbook loop', (t) => {
  const textbook = (text: string): string => {
    let hash = 0x6c62272e07bb014262b821756295c58dn;
    for (const byte of Buffer.from(text)) {
      hash = ((hash ^ BigInt(byte)) * 0x1000000000000000000013bn) & ((1n << 128n) - 1n);
    }
    return hash.toString(16).padStart(32, '0');
  };
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => fnv128a(text) === textbook(text)));
  t.pass();
});

test('defaults as the API server sets them', (t) => {
  const { pod } = read({
    containers: [
      { name: 'latest', image: 'busybox' },
      {
        name: 'tagged',
        image: 'busybox:1',
        ports: [{ containerPort: 80 }],
        env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
        resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '100m' } },
      },
      { name: 'digest', image: `busybox@sha256:${'0'.repeat(64)}` },
      { name: 'both', image: `busybox:latest@sha256:${'0'.repeat(64)}` },
    ],
    volumes: [
      { name: 'none' },
      { name: 'c', configMap: { name: 'x' } },
      { name: 's', secret: { secretName: 'x', defaultMode: 0 } },
      { name: 'h', hostPath: { path: '/x' } },
    ],
  });
  const before = JSON.stringify(pod);
  const { spec } = applyPodDefaults(pod);
  t.is(JSON.stringify(pod), before);
  t.is(spec.restartPolicy, 'Always');
  t.is(spec.dnsPolicy, 'ClusterFirst');
  t.is(spec.terminationGracePeriodSeconds, 30);
  t.is(spec.enableServiceLinks, true);
  t.deepEqual(spec.securityContext, {});
  t.deepEqual(
    spec.containers.map(({ imagePullPolicy }) => imagePullPolicy),
    ['Always', 'IfNotPresent', 'IfNotPresent', 'Always'],
  );
  const [first, second] = spec.containers;
  t.is(first?.terminationMessagePath, '/dev/termination-log');
  t.is(first?.terminationMessagePolicy, 'File');
  t.deepEqual(first?.resources, {});
  t.deepEqual(second?.resources?.requests, { cpu: '100m', memory: '1Gi' });
  t.deepEqual(second?.ports, [{ containerPort: 80, protocol: 'TCP' }]);
  t.is(second?.env?.[0]?.valueFrom?.fieldRef?.apiVersion, 'v1');
  t.deepEqual(spec.volumes, [
    { name: 'none', emptyDir: {} },
    { name: 'c', configMap: { name: 'x', defaultMode: 0o644 } },
    { name: 's', secret: { secretName: 'x', defaultMode: 0 } },
    { name: 'h', hostPath: { path: '/x', type: '' } },
  ]);
});

test('what is given stays; zero and hostNetwork count', (t) => {
  const { pod } = read({
    hostNetwork: true,
    terminationGracePeriodSeconds: 0,
    restartPolicy: 'Never',
    enableServiceLinks: false,
    containers: [{ name: 'c', image: 'a', imagePullPolicy: 'Never', ports: [{ containerPort: 53, protocol: 'UDP' }] }],
  });
  const { spec } = applyPodDefaults(pod);
  t.is(spec.terminationGracePeriodSeconds, 0);
  t.is(spec.restartPolicy, 'Never');
  t.is(spec.enableServiceLinks, false);
  t.is(spec.containers[0]?.imagePullPolicy, 'Never');
  t.deepEqual(spec.containers[0]?.ports, [{ containerPort: 53, hostPort: 53, protocol: 'UDP' }]);
});

test('name, UID, annotations, toleration and node of a static pod', (t) => {
  const { pod, written } = read({ containers: [{ name: 'c', image: 'a' }] }, { annotations: { mine: 'x' } });
  const made = toStaticPod(pod, { ...origin, written });
  t.is(made.metadata.name, 'web-node-1');
  t.is(made.metadata.namespace, 'default');
  t.regex(made.metadata.uid, /^[0-9a-f]{32}$/);
  t.deepEqual(made.metadata.annotations, {
    mine: 'x',
    'kubernetes.io/config.source': 'file',
    'kubernetes.io/config.hash': made.metadata.uid,
    'kubernetes.io/config.seen': '2026-01-02T00:00:00.000Z',
    'keelson.dev/config.file': '/etc/manifests/a.yaml',
  });
  t.is(made.spec.nodeName, 'Node-1');
  t.deepEqual(made.spec.tolerations, [{ operator: 'Exists', effect: 'NoExecute' }]);
  const given = read({ containers: [{ name: 'c', image: 'a' }] }, { uid: 'my-uid' });
  t.is(toStaticPod(given.pod, { ...origin, written: given.written }).metadata.uid, 'my-uid');
});

test('the UID follows the document, the file and the node, not how it is written', (t) => {
  const written = { kind: 'Pod', metadata: { name: 'a', labels: { x: '1', w: '2' } }, spec: { a: [1, { b: true }] } };
  const uid = staticPodUid({ ...origin, written });
  const reordered = { spec: { a: [1, { b: true }] }, metadata: { labels: { w: '2', x: '1' }, name: 'a' }, kind: 'Pod' };
  t.is(staticPodUid({ ...origin, written: reordered }), uid);
  t.is(staticPodUid({ ...origin, written: { ...written, status: { phase: 'x' }, nothing: null } }), uid);
  t.is(staticPodUid({ ...origin, nodeName: 'node-1', written }), uid);
  const others = [
    staticPodUid({ ...origin, written: { ...written, spec: { a: [1, { b: false }] } } }),
    staticPodUid({ ...origin, written: { ...written, spec: { a: [{ b: true }, 1] } } }),
    staticPodUid({ ...origin, file: '/etc/manifests/b.yaml', written }),
    staticPodUid({ ...origin, nodeName: 'node-2', written }),
  ];
  t.is(new Set([uid, ...others]).size, 5);
});

test('canonical JSON does not depend on the order of keys and keeps the value', (t) => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), (value) => {
      const reversed = Object.fromEntries(Object.entries(value).reverse());
      return canonicalJson(value) === canonicalJson(reversed);
    }),
  );
  t.is(canonicalJson({ b: [null, 'x'], a: null, c: { e: 1, d: '"' } }), '{"b":[null,"x"],"c":{"d":"\\"","e":1}}');
});

test('a name that is too long only with the node is found', (t) => {
  t.deepEqual(checkStaticPodName('a'.repeat(200), 'n'.repeat(52)), []);
  t.is(checkStaticPodName('a'.repeat(201), 'n'.repeat(52)).length, 1);
});
