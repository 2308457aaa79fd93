import test from 'ava';
import type { ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret } from '../../api/core.ts';
import { ContainerConfigError, containerEnvironment, type EnvironmentContext } from './environment.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const configMap: ConfigMap = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'conf', namespace: 'team', uid: 'c' },
  data: { key: 'from-map', SHARED: 'map', 'dotted.key': 'd' },
};
const secret: Secret = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'pass', namespace: 'team', uid: 's' },
  data: { key: base64('s3cret'), SHARED: base64('secret'), umlaut: base64('grün') },
};

const context: EnvironmentContext = {
  sources: {
    configMap: (namespace, name) => (namespace === 'team' && name === 'conf' ? configMap : undefined),
    secret: (namespace, name) => (namespace === 'team' && name === 'pass' ? secret : undefined),
  },
  nodeName: 'node1',
  hostIP: '192.0.2.2',
  hostIPs: ['192.0.2.2', '2001:db8::2'],
  podIPs: ['10.1.0.5', 'fd00::5'],
  allocatable: { milliCores: 1900, memoryBytes: 2 ** 30, ephemeralStorageBytes: 40 * 2 ** 30 },
};

function environmentOf(container: Partial<Container>, podChange: Partial<Pod['metadata']> = {}): Map<string, string> {
  const full: Container = { name: 'main', image: 'i', ...container };
  const other: Container = { name: 'other', image: 'i', resources: { limits: { cpu: '3' } } };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1', ...podChange },
    spec: { containers: [full, other], serviceAccountName: 'robot' },
  };
  return containerEnvironment(pod, full, context);
}

const entries = (container: Partial<Container>): string[] =>
  [...environmentOf(container)].map(([name, value]) => `${name}=${value}`);
const valueFrom = (source: EnvVarSource, container: Partial<Container> = {}): string | undefined =>
  environmentOf({ ...container, env: [{ name: 'X', valueFrom: source }] }).get('X');

test('env comes over envFrom, later definitions over earlier ones, in order of first appearance', (t) => {
  const env: EnvVar[] = [
    { name: 'SHARED', value: 'env' },
    { name: 'LAST', value: '1' },
    { name: 'LAST', value: '2' },
  ];
  const envFrom = [{ configMapRef: { name: 'conf' } }, { prefix: 'S_', secretRef: { name: 'pass' } }];
  t.deepEqual(entries({ env, envFrom }), [
    'key=from-map',
    'SHARED=env',
    'dotted.key=d',
    'S_key=s3cret',
    'S_SHARED=secret',
    'S_umlaut=grün',
    'LAST=2',
  ]);
});

test('a later envFrom replaces an earlier one', (t) => {
  const envFrom = [{ configMapRef: { name: 'conf' } }, { secretRef: { name: 'pass' } }];
  t.is(environmentOf({ envFrom }).get('SHARED'), 'secret');
});

test('references see envFrom and what stands before, never what comes after', (t) => {
  const env: EnvVar[] = [
    { name: 'A', value: '$(key)-$(B)' },
    { name: 'B', value: '$(A)!' },
    { name: 'KEPT', value: '$$(A)' },
    { name: 'NONE' },
  ];
  const environment = environmentOf({ env, envFrom: [{ configMapRef: { name: 'conf' } }] });
  t.is(environment.get('A'), 'from-map-$(B)');
  t.is(environment.get('B'), 'from-map-$(B)!');
  t.is(environment.get('KEPT'), '$(A)');
  t.is(environment.get('NONE'), '');
});

test('a value that comes from a source is not expanded', (t) => {
  const env: EnvVar[] = [
    { name: 'A', value: 'a' },
    { name: 'B', valueFrom: { fieldRef: { fieldPath: "metadata.annotations['x']" } } },
  ];
  t.is(environmentOf({ env }, { annotations: { x: '$(A)' } }).get('B'), '$(A)');
});

for (const [fieldPath, expected] of [
  ['metadata.name', 'web'],
  ['metadata.namespace', 'team'],
  ['metadata.uid', 'u1'],
  ["metadata.labels['app.example/name']", 'shop'],
  ["metadata.labels['missing']", ''],
  ["metadata.annotations['constructor']", ''],
  ["metadata.annotations['note']", "it's"],
  ['spec.nodeName', 'node1'],
  ['spec.serviceAccountName', 'robot'],
  ['status.hostIP', '192.0.2.2'],
  ['status.hostIPs', '192.0.2.2,2001:db8::2'],
  ['status.podIP', '10.1.0.5'],
  ['status.podIPs', '10.1.0.5,fd00::5'],
] as const) {
  test(`fieldRef ${fieldPath}`, (t) => {
    const env = [{ name: 'X', valueFrom: { fieldRef: { fieldPath } } }];
    const metadata = { labels: { 'app.example/name': 'shop' }, annotations: { note: "it's" } };
    t.is(environmentOf({ env }, metadata).get('X'), expected);
  });
}

const sized = { limits: { cpu: '1500m', memory: '64Mi', 'ephemeral-storage': '1Gi' }, requests: { cpu: '100m' } };
for (const [resource, divisor, resources, expected] of [
  ['limits.cpu', undefined, sized, '2'],
  ['limits.cpu', '0', sized, '2'],
  ['limits.cpu', '1m', sized, '1500'],
  ['requests.cpu', '1m', sized, '100'],
  ['requests.cpu', undefined, {}, '0'],
  ['limits.cpu', '1m', {}, '1900'],
  ['limits.cpu', '1m', { limits: { cpu: '0' } }, '1900'],
  ['limits.memory', undefined, sized, String(64 * 2 ** 20)],
  ['limits.memory', '1Mi', sized, '64'],
  ['limits.memory', '1M', sized, '68'],
  ['limits.memory', '1Gi', {}, '1'],
  ['limits.memory', '0.0', {}, String(2 ** 30)],
  ['requests.memory', undefined, {}, '0'],
  ['limits.ephemeral-storage', '1Mi', sized, '1024'],
  ['requests.ephemeral-storage', undefined, {}, '0'],
  ['limits.ephemeral-storage', '1Gi', {}, '40'],
  ['limits.hugepages-2Mi', '1Mi', { limits: { 'hugepages-2Mi': '4Mi' } }, '4'],
  ['requests.hugepages-2Mi', undefined, {}, '0'],
  ['limits.hugepages-2Mi', undefined, {}, '0'],
] as const) {
  test(`resourceFieldRef ${resource} of ${JSON.stringify(resources)} by ${divisor ?? 'nothing'}`, (t) => {
    const ref = { resource, ...(divisor === undefined ? {} : { divisor }) };
    t.is(valueFrom({ resourceFieldRef: ref }, { resources }), expected);
  });
}

test('resourceFieldRef may name another container of the pod', (t) => {
  t.is(valueFrom({ resourceFieldRef: { containerName: 'other', resource: 'limits.cpu' } }), '3');
});

for (const [what, source, message] of [
  ['no such configmap', { configMapKeyRef: { name: 'nope', key: 'key' } }, 'configmap "nope" not found'],
  ['no such key', { configMapKeyRef: { name: 'conf', key: 'nope' } }, "couldn't find key nope in ConfigMap team/conf"],
  ['no such secret', { secretKeyRef: { name: 'nope', key: 'key' } }, 'secret "nope" not found'],
  ['no key in secret', { secretKeyRef: { name: 'pass', key: 'nope' } }, "couldn't find key nope in Secret team/pass"],
  [
    'a key that every object inherits',
    { configMapKeyRef: { name: 'conf', key: 'constructor' } },
    "couldn't find key constructor in ConfigMap team/conf",
  ],
  ['an inherited key of a secret', { secretKeyRef: { name: 'pass', key: 'toString' } }, 'key toString'],
  ['unknown field', { fieldRef: { fieldPath: 'spec.volumes' } }, 'unsupported fieldPath: spec.volumes'],
  ['unknown resource', { resourceFieldRef: { resource: 'limits.example.com/gpu' } }, 'unsupported container resource'],
  ['no such container', { resourceFieldRef: { containerName: 'x', resource: 'limits.cpu' } }, 'container x not found'],
] as const) {
  test(`${what}: CreateContainerConfigError`, (t) => {
    const error = t.throws(() => valueFrom(source as EnvVarSource), { instanceOf: ContainerConfigError });
    t.true(error?.message.includes(message), error?.message);
    t.is(error?.object, 'container main');
    t.false(error?.message.includes('s3cret'));
  });
}

for (const source of [
  { configMapKeyRef: { name: 'nope', key: 'k', optional: true } },
  { configMapKeyRef: { name: 'conf', key: 'nope', optional: true } },
  { secretKeyRef: { name: 'nope', key: 'k', optional: true } },
  { secretKeyRef: { name: 'pass', key: 'valueOf', optional: true } },
]) {
  test(`optional and missing leaves the variable out: ${JSON.stringify(source)}`, (t) => {
    t.false(environmentOf({ env: [{ name: 'X', valueFrom: source }] }).has('X'));
  });
}

test('an optional envFrom that is missing adds nothing, a needed one is named', (t) => {
  t.deepEqual(entries({ envFrom: [{ configMapRef: { name: 'nope', optional: true } }] }), []);
  t.throws(() => entries({ envFrom: [{ secretRef: { name: 'nope' } }] }), { message: /secret "nope" not found/ });
});

test('objects of another namespace are not seen', (t) => {
  const env = [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'conf', key: 'key' } } }];
  t.throws(() => environmentOf({ env }, { namespace: 'elsewhere' }), { message: /configmap "conf" not found/ });
});

test('many values that are each just short enough are refused together', (t) => {
  const env: EnvVar[] = [{ name: 'BIG', value: 'x'.repeat(2 ** 20) }];
  for (let i = 0; i < 20; i++) env.push({ name: `V${i}`, value: '$(BIG)' });
  t.throws(() => environmentOf({ env }), { instanceOf: ContainerConfigError, message: /env is longer/ });
});

test('references that double with every line are refused instead of filling the memory', (t) => {
  const env: EnvVar[] = [{ name: 'V0', value: 'lol' }];
  for (let i = 1; i < 60; i++) env.push({ name: `V${i}`, value: `$(V${i - 1})$(V${i - 1})` });
  t.throws(() => environmentOf({ env }), { instanceOf: ContainerConfigError, message: /longer than/ });
});

test('resourceFieldRef of an init container, and of a pod that limits itself', (t) => {
  const container: Container = { name: 'main', image: 'i' };
  const init: Container = { name: 'first', image: 'i', resources: { limits: { cpu: '250m' } } };
  const refer = (containerName: string) => ({
    resourceFieldRef: { containerName, resource: 'limits.cpu', divisor: '1m' },
  });
  const env = ['first', 'main'].map((name) => ({ name, valueFrom: refer(name) }));
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [container], initContainers: [init], resources: { limits: { cpu: '700m' } } },
  };
  t.deepEqual(
    [...containerEnvironment(pod, { ...container, env }, context)],
    [
      ['first', '250'],
      ['main', '700'],
    ],
  );
});

test('envFrom takes keys of any printable name', (t) => {
  const odd: ConfigMap = { ...configMap, data: { '9 lives!': 'a', 'x.y-z': 'b', __proto__: 'c' } };
  const own = { ...context, sources: { ...context.sources, configMap: () => odd } };
  const container: Container = { name: 'c', image: 'i', envFrom: [{ prefix: '1-', configMapRef: { name: 'conf' } }] };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [container] },
  };
  const names = [...containerEnvironment(pod, container, own).keys()];
  t.deepEqual(names, ['1-9 lives!', '1-x.y-z']);
});

test('a variable from a file of a volume: there, missing, optional', (t) => {
  const reference = { volumeName: 'v', path: 'env', key: 'A' };
  const value = (text: string | undefined, change: object = {}): string | undefined => {
    const fileKeyRef = { ...reference, ...change };
    const container: Container = { name: 'main', image: 'i', env: [{ name: 'X', valueFrom: { fileKeyRef } }] };
    const pod: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', namespace: 'team', uid: 'u1' },
      spec: { containers: [container] },
    };
    const envFile = (volume: string, path: string) => (volume === 'v' && path === 'env' ? text : undefined);
    return containerEnvironment(pod, container, { ...context, envFile }).get('X');
  };
  t.is(value("A='$(B) x'"), '$(B) x');
  t.throws(() => value("B='x'"), { instanceOf: ContainerConfigError, message: /key "A" not found in file "env"/ });
  t.is(value("B='x'", { optional: true }), undefined);
  t.throws(() => value(undefined), { instanceOf: ContainerConfigError, message: /there is no env file env/ });
  t.is(value(undefined, { optional: true }), undefined);
  t.throws(() => value('nonsense', { optional: true }), { instanceOf: ContainerConfigError });
});
