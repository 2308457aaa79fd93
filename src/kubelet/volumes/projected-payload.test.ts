/** Files of downwardAPI and projected volumes: what is in them, who may read them, and what is refused. */
import test from 'ava';
import type { Pod, PodSpec, ProjectedSource } from '../../api/core.ts';
import { downwardPayload, type ProjectionContext, projectedPayload } from './projected-payload.ts';
import type { VolumeSources } from './volume-plan.ts';

const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'web',
    namespace: 'shop',
    uid: 'u1',
    labels: { tier: 'front', app: 'web "2"' },
    annotations: { note: 'two\nlines' },
  },
  spec: { containers: [{ name: 'c', image: 'i', resources: { limits: { cpu: '1500m' } } }], ...spec },
});

const metadata = { name: 'x', namespace: 'shop', uid: '' };
const sources: VolumeSources = {
  configMap: (_, name) =>
    name === 'kube-root-ca.crt'
      ? { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'ca.crt': 'PEM' } }
      : undefined,
  secret: (_, name) =>
    name === 'login' ? { apiVersion: 'v1', kind: 'Secret', metadata, data: { user: 'a2VlbA==' } } : undefined,
  serviceAccountToken: (_, { audience = 'api' }) => `token for ${audience}`,
};

const context = (spec: Partial<PodSpec> = {}, more: Partial<ProjectionContext> = {}): ProjectionContext => ({
  pod: pod(spec),
  volume: 'v',
  subject: 'pod shop/web: volume v',
  sources,
  allocatable: { milliCores: 4000, memoryBytes: 8 * 2 ** 30 },
  mode: undefined,
  groupReadable: false,
  ...more,
});

const text = (payload: ReturnType<typeof projectedPayload>): Record<string, string> =>
  Object.fromEntries([...payload].map(([path, { data }]) => [path, Buffer.from(data).toString()]));

/** What the ServiceAccount admission plugin adds to every pod. */
const access: ProjectedSource[] = [
  { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
  { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
  { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
];

test('the volume of a service account', (t) => {
  const payload = projectedPayload(access, context());
  t.deepEqual(text(payload), { token: 'token for api', 'ca.crt': 'PEM', namespace: 'shop' });
  t.is(payload.get('token')?.mode, 0o644);
});

test('a token is private to the common user, or to the fsGroup', (t) => {
  const asUser = projectedPayload(access, context({ securityContext: { runAsUser: 1000 } }));
  t.like(asUser.get('token'), { mode: 0o600, owner: 1000 });
  t.is(asUser.get('ca.crt')?.owner, undefined);
  const asGroup = projectedPayload(access, context({}, { groupReadable: true }));
  t.like(asGroup.get('token'), { mode: 0o640, owner: undefined });
  const differing = [1, 2].map((runAsUser) => ({ name: `c${runAsUser}`, image: 'i', securityContext: { runAsUser } }));
  t.like(projectedPayload(access, context({ containers: differing })).get('token'), { mode: 0o644, owner: undefined });
});

test('the downward API in files: whole maps are quoted and sorted, resources take the divisor', (t) => {
  const field = (path: string, fieldPath: string) => ({ path, fieldRef: { fieldPath } });
  const payload = downwardPayload(
    [
      field('labels', 'metadata.labels'),
      field('annotations', 'metadata.annotations'),
      field('one', "metadata.labels['tier']"),
      { path: 'cpu', resourceFieldRef: { containerName: 'c', resource: 'limits.cpu' } },
      {
        path: 'memory',
        resourceFieldRef: { containerName: 'c', resource: 'limits.memory', divisor: '1Mi' },
        mode: 0o400,
      },
    ],
    context({}, { mode: 0o440 }),
  );
  t.deepEqual(text(payload), {
    labels: 'app="web \\"2\\""\ntier="front"',
    annotations: 'note="two\\nlines"',
    one: 'front',
    cpu: '2',
    memory: '8192',
  });
  t.deepEqual([payload.get('cpu')?.mode, payload.get('memory')?.mode], [0o440, 0o400]);
});

test('of two sources with one path the later wins', (t) => {
  const login = { secret: { name: 'login', items: [{ key: 'user', path: 'x' }] } };
  const name = { downwardAPI: { items: [{ path: 'x', fieldRef: { fieldPath: 'metadata.name' } }] } };
  t.deepEqual(text(projectedPayload([login, name], context())), { x: 'web' });
  t.deepEqual(text(projectedPayload([name, login], context())), { x: 'keel' });
});

for (const [fault, source, code] of [
  ['a ConfigMap that is not there', { configMap: { name: 'none' } }, 'VOLUME_OBJECT_MISSING'],
  ['a key that is not there', { secret: { name: 'login', items: [{ key: 'no', path: 'x' }] } }, 'VOLUME_KEY_MISSING'],
  ['a path out of the volume', { serviceAccountToken: { path: '../token' } }, 'VOLUME_PAYLOAD_PATH'],
  ['an absolute path', { serviceAccountToken: { path: '/token' } }, 'VOLUME_PAYLOAD_PATH'],
  [
    'a field that pods are not told',
    { downwardAPI: { items: [{ path: 'x', fieldRef: { fieldPath: 'status.podIP' } }] } },
    'VOLUME_UNSUPPORTED',
  ],
  [
    'a resource of no container',
    { downwardAPI: { items: [{ path: 'x', resourceFieldRef: { containerName: 'z', resource: 'limits.cpu' } }] } },
    'VOLUME_UNSUPPORTED',
  ],
  ['no source at all', {}, 'VOLUME_UNSUPPORTED'],
] satisfies [string, ProjectedSource, string][])
  test(`refused: ${fault}`, (t) => {
    t.throws(() => projectedPayload([source], context()), { code });
  });

test('a file where another source needs a directory is refused', (t) => {
  const at = (path: string): ProjectedSource => ({ serviceAccountToken: { path } });
  t.throws(() => projectedPayload([at('a'), at('a/b')], context()), { code: 'VOLUME_PAYLOAD_PATH' });
});

test('without an API server there is no token', (t) => {
  const { configMap, secret } = sources;
  const alone = context({}, { sources: { configMap, secret } });
  t.throws(() => projectedPayload(access, alone), { code: 'VOLUME_OBJECT_MISSING' });
});
