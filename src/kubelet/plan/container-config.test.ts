import test from 'ava';
import type { Container, Pod, PodSpec } from '../../api/core.ts';
import { type ContainerContext, containerConfig } from './container-config.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { containerHash } from './container-hash.ts';

const context: ContainerContext = {
  attempt: 2,
  backoffMs: 20_000,
  image: { ref: 'sha256:abc', user: { uid: 0, username: '' } },
  volumes: new Map([
    ['data', { kind: 'path', hostPath: '/var/lib/keelson/pods/u1/volumes/data', readOnly: false, relabel: true }],
  ]),
  hostsFilePath: '/var/lib/keelson/pods/u1/etc-hosts',
  terminationMessageFile: '/var/lib/keelson/pods/u1/containers/main/0badcafe',
  environment: {
    sources: { configMap: () => undefined, secret: () => undefined },
    nodeName: 'node1',
    hostIP: '192.0.2.2',
    podIPs: ['10.1.0.5'],
    allocatable: { milliCores: 1000, memoryBytes: 2 ** 30 },
  },
  node: { memoryBytes: 2 ** 32, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 },
  security: { seccompDefault: false, seccompProfileRoot: '/seccomp' },
};

function configOf(change: Partial<Container> = {}, spec: Partial<PodSpec> = {}) {
  const container: Container = { name: 'main', image: 'busybox:1', ...change };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [container], ...spec },
  };
  return containerConfig(pod, container, context);
}

test('what a successor needs is written on the container', (t) => {
  const config = configOf({ ports: [{ containerPort: 80 }] }, { terminationGracePeriodSeconds: 7 });
  t.deepEqual(config.metadata, { name: 'main', attempt: 2 });
  t.deepEqual(config.image, { image: 'sha256:abc', userSpecifiedImage: 'busybox:1' });
  t.is(config.logPath, 'main/2.log');
  t.deepEqual(config.labels, {
    'io.kubernetes.container.name': 'main',
    'io.kubernetes.pod.name': 'web',
    'io.kubernetes.pod.namespace': 'team',
    'io.kubernetes.pod.uid': 'u1',
  });
  t.deepEqual(config.annotations, {
    'io.kubernetes.container.hash': containerHash({ name: 'main', image: 'busybox:1' }),
    'io.kubernetes.container.restartCount': '2',
    'io.kubernetes.container.terminationMessagePath': '/dev/termination-log',
    'io.kubernetes.container.terminationMessagePolicy': 'File',
    'io.kubernetes.container.ports': '[{"containerPort":80}]',
    'io.kubernetes.pod.terminationGracePeriod': '7',
    'keelson.dev/restart-backoff-ms': '20000',
  });
});

test('a container is in the groups of its pod’s volumes, each once, and unasked in none', (t) => {
  const volume = { hostPath: '/v', readOnly: false, gid: 7 } as const;
  const volumes = new Map([
    ['a', { kind: 'path', relabel: true, ...volume }],
    ['b', { kind: 'device', ...volume, gid: 8 }],
    ['c', { kind: 'path', relabel: true, ...volume, gid: 8 }],
    ['d', { kind: 'image', reference: 'r', pullPolicy: undefined }],
  ] as const);
  const container: Container = { name: 'main', image: 'i' };
  const securityContext = { supplementalGroups: [7, 9], fsGroup: 10 };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [container], securityContext },
  };
  const groups = containerConfig(pod, container, { ...context, volumes }).linux?.securityContext?.supplementalGroups;
  t.deepEqual(groups, [7, 9, 10, 8]);
  t.deepEqual(configOf().linux?.securityContext?.supplementalGroups, []);
});

test('the hash covers name and image, nothing else', (t) => {
  t.is(containerHash({ name: 'a', image: 'b' }), containerHash({ name: 'a', image: 'b', env: [] } as Container));
  t.not(containerHash({ name: 'a', image: 'b' }), containerHash({ name: 'a', image: 'c' }));
  t.not(containerHash({ name: 'ab', image: 'c' }), containerHash({ name: 'a', image: 'bc' }));
});

test('command and args see the environment', (t) => {
  const env = [{ name: 'WHO', value: 'world' }];
  const config = configOf({
    env,
    command: ['/bin/$(WHO)', '$$(WHO)'],
    args: ['$(WHO)', '$(NOBODY)'],
    workingDir: '/w',
  });
  t.deepEqual(config.command, ['/bin/world', '$(WHO)']);
  t.deepEqual(config.args, ['world', '$(NOBODY)']);
  t.is(config.workingDir, '/w');
  t.deepEqual(config.envs, [{ key: 'WHO', value: Buffer.from('world') }]);
});

test('arguments that together outgrow what a program can be given are refused', (t) => {
  const env = [{ name: 'X', value: 'x'.repeat(2 ** 20) }];
  t.throws(() => configOf({ env, args: Array.from({ length: 20 }, () => '$(X)') }), {
    instanceOf: ContainerConfigError,
    message: /command and args/,
  });
});

test('volumes first, then our hosts file and termination log', (t) => {
  const volumeMounts = [
    { name: 'data', mountPath: '/data' },
    { name: 'data', mountPath: 'relative', readOnly: true, mountPropagation: 'HostToContainer' as const },
    { name: 'data', mountPath: '/both', mountPropagation: 'Bidirectional' as const },
  ];
  const hostPath = '/var/lib/keelson/pods/u1/volumes/data';
  const mounted = { hostPath, selinuxRelabel: true };
  t.deepEqual(configOf({ volumeMounts, securityContext: { privileged: true } }).mounts, [
    { ...mounted, containerPath: '/data', readonly: false, propagation: 'PROPAGATION_PRIVATE' },
    { ...mounted, containerPath: '/relative', readonly: true, propagation: 'PROPAGATION_HOST_TO_CONTAINER' },
    { ...mounted, containerPath: '/both', readonly: false, propagation: 'PROPAGATION_BIDIRECTIONAL' },
    { containerPath: '/etc/hosts', hostPath: context.hostsFilePath, readonly: false, selinuxRelabel: true },
    {
      containerPath: '/dev/termination-log',
      hostPath: context.terminationMessageFile,
      readonly: false,
      selinuxRelabel: true,
    },
  ]);
});

test('what the pod mounts there itself is left to it', (t) => {
  const volumeMounts = [
    { name: 'data', mountPath: '/etc/hosts' },
    { name: 'data', mountPath: '/dev/last' },
  ];
  const paths = configOf({ volumeMounts, terminationMessagePath: '/dev/last' }).mounts?.map((m) => m.containerPath);
  t.deepEqual(paths, ['/etc/hosts', '/dev/last']);
});

test('a volume that nobody mounted is named', (t) => {
  const volumeMounts = [{ name: 'gone', mountPath: '/x' }];
  const error = t.throws(() => configOf({ volumeMounts }), { instanceOf: ContainerConfigError });
  t.is(error?.toLine(), 'container main: cannot find volume "gone" to mount into container "main"');
});

test('cgroup values; without a quota no period is set either', (t) => {
  const resources = { limits: { cpu: '500m', memory: '64Mi' } };
  t.like(configOf({ resources }).linux?.resources, {
    cpuPeriod: 100_000,
    cpuQuota: 50_000,
    cpuShares: 512,
    memoryLimitInBytes: 64 * 2 ** 20,
    oomScoreAdj: -997,
  });
  t.like(configOf().linux?.resources, { cpuPeriod: 0, cpuQuota: 0, cpuShares: 2, memoryLimitInBytes: 0 });
});

test('terminals and streams', (t) => {
  t.like(configOf(), { stdin: false, stdinOnce: false, tty: false });
  t.like(configOf({ stdin: true, stdinOnce: true, tty: true }), { stdin: true, stdinOnce: true, tty: true });
});

test('the preStop hook and a grace that is running out are written on the container, for a successor', (t) => {
  const lifecycle = { preStop: { sleep: { seconds: 3 } } };
  t.is(configOf({ lifecycle }).annotations?.['io.kubernetes.container.preStopHandler'], '{"sleep":{"seconds":3}}');
  const container: Container = { name: 'main', image: 'i' };
  const metadata = { name: 'web', namespace: 'team', uid: 'u1', deletionGracePeriodSeconds: 4 };
  const pod: Pod = { apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers: [container] } };
  t.is(containerConfig(pod, container, context).annotations?.['io.kubernetes.pod.deletionGracePeriod'], '4');
});

const isolation = { runtimeHandler: '', recursiveReadOnlyMounts: true };
const mountOf = (mount: object, own = {}, spec: Partial<PodSpec> = {}) => {
  const volumeMounts = [{ name: 'data', mountPath: '/data', ...mount }];
  const container: Container = { name: 'main', image: 'i', volumeMounts };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [container], ...spec },
  };
  return containerConfig(pod, container, { ...context, ...own }).mounts?.[0];
};

for (const [mode, readOnly, own, expected] of [
  ['Disabled', true, { isolation }, undefined],
  ['IfPossible', true, { isolation }, true],
  ['IfPossible', true, {}, undefined],
  ['Enabled', true, { isolation }, true],
] as const) {
  test(`recursiveReadOnly ${mode}, ${'isolation' in own ? 'possible' : 'impossible'}: ${expected}`, (t) => {
    t.is(mountOf({ recursiveReadOnly: mode, readOnly }, own)?.recursiveReadOnly, expected);
  });
}

for (const [mount, message] of [
  [{ recursiveReadOnly: 'Enabled', readOnly: true }, /not supported by the runtime/],
  [{ recursiveReadOnly: 'IfPossible' }, /it is not read-only/],
  [
    { recursiveReadOnly: 'IfPossible', readOnly: true, mountPropagation: 'Bidirectional' },
    /not compatible with propagation Bidirectional/,
  ],
] as const) {
  test(`recursiveReadOnly refuses ${JSON.stringify(mount)}`, (t) => {
    t.throws(() => mountOf(mount), { instanceOf: ContainerConfigError, message });
  });
}

test('mounts of a pod with ids of its own are mapped', (t) => {
  const own = { isolation: { ...isolation, userNamespace: { hostId: 65536, length: 65536 } } };
  const mapping = [{ hostId: 65536, containerId: 0, length: 65536 }];
  t.like(mountOf({}, own), { uidMappings: mapping, gidMappings: mapping });
  t.is(mountOf({})?.uidMappings, undefined);
});

test('what IfPossible came to, and the images that are volumes, are written on the container', (t) => {
  const volumeMounts = [{ name: 'data', mountPath: '/d', readOnly: true, recursiveReadOnly: 'IfPossible' as const }];
  const container: Container = { name: 'main', image: 'i', volumeMounts };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'team', uid: 'u1' },
    spec: { containers: [container] },
  };
  const written = (change: Partial<ContainerContext>) =>
    containerConfig(pod, container, { ...context, ...change }).annotations ?? {};
  t.is(written({})['keelson.dev/recursive-read-only'], undefined);
  t.is(written({ isolation })['keelson.dev/recursive-read-only'], 'true');
  t.is(written({})['keelson.dev/image-volumes'], undefined);
  t.is(written({ images: new Map([['x', { image: 'sha256:1' }]]) })['keelson.dev/image-volumes'], '["sha256:1"]');
});
