/** Pods as an API server sends them, and as a hostile one might. */
import test from 'ava';
import { projectConfigMap } from './project-config-map.ts';
import { projectPod } from './project-pod.ts';
import { projectSecret } from './project-secret.ts';
import { ObjectShapeError } from './raw-object.ts';
import { askedFor, unsupportedFields } from './unsupported-fields.ts';

const uid = '0f6ad3a0-3f1b-4a6e-9c5f-0d7b1c2e3f40';
const metadata = { name: 'web-1', namespace: 'shop', uid, resourceVersion: '7', labels: { app: 'web' } };
const pod = (spec: object = {}, rest: object = {}): Record<string, unknown> => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata,
  spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
  ...rest,
});

test('a pod as the service account admission leaves it', (t) => {
  const token = {
    name: 'kube-api-access-x',
    projected: {
      defaultMode: 420,
      sources: [
        { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        {
          downwardAPI: {
            items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
          },
        },
      ],
    },
  };
  const raw = pod({
    nodeName: 'n1',
    volumes: [token],
    tolerations: [
      { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
    ],
    schedulerName: 'default-scheduler',
    somethingNew: { a: 1 },
  });
  const read = projectPod(raw);
  t.is(read.metadata.uid, uid);
  t.is(read.spec.volumes?.[0]?.projected?.sources?.[0]?.serviceAccountToken?.expirationSeconds, 3607);
  t.is(read.spec.volumes?.[0]?.projected?.sources?.[1]?.configMap?.items?.[0]?.path, 'ca.crt');
  t.is(read.spec.tolerations?.[0]?.tolerationSeconds, 300);
  t.false('somethingNew' in read.spec);
  t.deepEqual(unsupportedFields(raw), []);
});

test('the status of a pod that the node wrote is read back, with the conditions of others', (t) => {
  const status = {
    phase: 'Running',
    conditions: [{ type: 'example.com/gate', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }],
    startTime: '2026-01-01T00:00:00Z',
    podIPs: [{ ip: '10.0.0.1' }],
    containerStatuses: [
      { name: 'c', state: { running: { startedAt: 'x' } }, lastState: {}, ready: true, restartCount: 4, extra: 1 },
    ],
  };
  const read = projectPod(pod({}, { status })).status;
  t.is(read?.conditions[0]?.type, 'example.com/gate');
  t.is(read?.containerStatuses?.[0]?.restartCount, 4);
  t.deepEqual(read?.podIPs, [{ ip: '10.0.0.1' }]);
});

test('a status that cannot be read costs the pod nothing', (t) => {
  t.is(projectPod(pod({}, { status: { phase: 'Sideways' } })).status, undefined);
  t.is(projectPod(pod({}, { status: 3 })).status, undefined);
});

for (const [what, change, field] of [
  ['a name that leaves its directory', { metadata: { ...metadata, name: '../../etc' } }, 'metadata.name'],
  ['a namespace that leaves its directory', { metadata: { ...metadata, namespace: '..' } }, 'metadata.namespace'],
  ['a uid that leaves its directory', { metadata: { ...metadata, uid: '../x' } }, 'metadata.uid'],
  ['no uid', { metadata: { ...metadata, uid: undefined } }, 'metadata.uid'],
  ['annotations of 1 MB', { metadata: { ...metadata, annotations: { a: 'x'.repeat(1e6) } } }, 'metadata.annotations'],
  ['labels that are no texts', { metadata: { ...metadata, labels: { a: { b: {} } } } }, 'metadata.labels.a'],
  ['a container name with a slash', { spec: { containers: [{ name: 'a/b', image: 'x' }] } }, 'spec.containers[0].name'],
  ['no container', { spec: { containers: [] } }, 'spec.containers'],
  ['no spec', { spec: undefined }, 'spec'],
  ['an unknown restartPolicy', pod({ restartPolicy: 'Perhaps' }), 'spec.restartPolicy'],
  ['an unknown dnsPolicy', pod({ dnsPolicy: 'Mesh' }), 'spec.dnsPolicy'],
  ['a volume name with dots', pod({ volumes: [{ name: '..', emptyDir: {} }] }), 'spec.volumes[0].name'],
  ['an endless grace', pod({ terminationGracePeriodSeconds: 1e12 }), 'spec.terminationGracePeriodSeconds'],
  [
    'a request that is no quantity',
    { spec: { containers: [{ name: 'c', image: 'x', resources: { requests: { cpu: 'lots' } } }] } },
    'spec.containers[0].resources.requests.cpu',
  ],
] as const) {
  test(`refused by its field: ${what}`, (t) => {
    const error = t.throws(() => projectPod({ ...pod(), ...change }), { instanceOf: ObjectShapeError });
    t.is(error?.object, field);
    t.true((error?.message.length ?? 0) < 300);
  });
}

test('an object nested a thousand deep is refused, not a stack overflow', (t) => {
  let deep: unknown = 'x';
  for (let depth = 0; depth < 100_000; depth++) deep = { a: deep };
  t.notThrows(() => projectPod(pod({ affinity: { podAffinity: deep } })));
  t.throws(() => projectPod({ ...pod(), metadata: deep }), { instanceOf: ObjectShapeError });
});

test('a hostile __proto__ is a plain key', (t) => {
  const raw = JSON.parse('{"metadata":{"name":"a","namespace":"b","uid":"c","labels":{"__proto__":"x"}},"spec":{}}');
  t.throws(() => projectPod(raw), { instanceOf: ObjectShapeError });
  t.is(({} as Record<string, unknown>).x, undefined);
});

for (const [field, spec] of [
  ['spec.initContainers', { initContainers: [{ name: 'i', image: 'x' }] }],
  ['spec.runtimeClassName', { runtimeClassName: 'kata' }],
  ['spec.hostUsers', { hostUsers: false }],
  ['spec.volumes[0].persistentVolumeClaim', { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'x' } }] }],
  ['spec.volumes[0]', { volumes: [{ name: 'v', holographic: {} }] }],
  ['spec.volumes[0].emptyDir.medium', { volumes: [{ name: 'v', emptyDir: { medium: 'HugePages' } }] }],
  [
    'spec.volumes[0].projected.sources[0]',
    { volumes: [{ name: 'v', projected: { sources: [{ clusterTrustBundle: { path: 'x' } }] } }] },
  ],
  ['spec.containers[0].lifecycle', { containers: [{ name: 'c', lifecycle: { preStop: { sleep: { seconds: 1 } } } }] }],
  ['spec.containers[0].volumeMounts[0].subPath', { containers: [{ name: 'c', volumeMounts: [{ subPath: 'x' }] }] }],
  ['spec.containers[0].restartPolicy', { containers: [{ name: 'c', restartPolicy: 'Never' }] }],
] as const) {
  test(`not run without: ${field}`, (t) => t.deepEqual(unsupportedFields(pod(spec)), [field]));
}

test('what is asked for emptily asks for nothing', (t) => {
  const spec = {
    initContainers: [],
    ephemeralContainers: null,
    runtimeClassName: '',
    hostUsers: true,
    setHostnameAsFQDN: false,
    securityContext: { supplementalGroupsPolicy: 'Merge', appArmorProfile: { type: 'Unconfined' } },
  };
  t.deepEqual(askedFor(pod(spec)), { unsupported: [], probes: [], ignored: [] });
});

test('probes and a debug container are noticed and do not stop the pod; a list of thousands stays short', (t) => {
  const asked = askedFor(
    pod({ containers: [{ name: 'c', livenessProbe: {}, startupProbe: {} }], ephemeralContainers: [{ name: 'd' }] }),
  );
  t.deepEqual(asked.probes, ['spec.containers[0].livenessProbe', 'spec.containers[0].startupProbe']);
  t.deepEqual(asked.ignored, ['spec.ephemeralContainers']);
  t.deepEqual(asked.unsupported, []);
  const volumes = Array.from({ length: 5000 }, (_, index) => ({ name: `v${index}`, nfs: {} }));
  t.is(unsupportedFields(pod({ volumes })).length, 20);
});

test('a Secret that is wrong shows none of its values', (t) => {
  const raw = { metadata: { name: 's', namespace: 'd', uid: 'u' }, data: { password: ['hunter2'] } };
  const error = t.throws(() => projectSecret(raw), { instanceOf: ObjectShapeError });
  t.notRegex(error?.message ?? '', /hunter2/);
  const good = projectSecret({ ...raw, type: 'Opaque', data: { password: 'aHVudGVyMg==' }, immutable: true });
  t.deepEqual([good.data, good.immutable], [{ password: 'aHVudGVyMg==' }, true]);
});

test('a ConfigMap drops the copy that kubectl keeps in its annotations', (t) => {
  const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{}' };
  const read = projectConfigMap({ metadata: { name: 's.x', namespace: 'd', uid: 'u', annotations }, data: { a: '1' } });
  t.is(read.metadata.annotations, undefined);
  t.deepEqual(read.data, { a: '1' });
});
