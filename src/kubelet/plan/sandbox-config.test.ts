import test from 'ava';
import fc from 'fast-check';
import type { Pod, PodSpec } from '../../api/core.ts';
import { podHostname, sandboxConfig } from './sandbox-config.ts';

const dns = { servers: ['10.96.0.10'], searches: ['team.svc'], options: ['ndots:5'] };
const context = { nodeName: 'node1', podLogDir: '/var/log/pods', dns };
const pod = (spec: Partial<PodSpec> = {}, metadata: Partial<Pod['metadata']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'team', uid: 'u1', ...metadata },
  spec: { containers: [{ name: 'main', image: 'i' }], ...spec },
});

test('identity, log directory, resolver, and nothing privileged by default', (t) => {
  const config = sandboxConfig(pod(), 4, context);
  t.like(config, {
    metadata: { name: 'web', namespace: 'team', uid: 'u1', attempt: 4 },
    hostname: 'web',
    logDirectory: '/var/log/pods/team_web_u1',
    dnsConfig: dns,
    portMappings: [],
  });
  t.like(config.linux?.securityContext, {
    privileged: false,
    seccomp: { profileType: 'RuntimeDefault', localhostRef: '' },
    namespaceOptions: { network: 'POD', pid: 'CONTAINER', ipc: 'POD' },
  });
});

test('a pod cannot pose as another by its labels', (t) => {
  const labels = { app: 'shop', 'io.kubernetes.pod.uid': 'forged', 'io.kubernetes.pod.name': 'forged' };
  t.deepEqual(sandboxConfig(pod({}, { labels, annotations: { note: 'x' } }), 0, context).labels, {
    app: 'shop',
    'io.kubernetes.pod.name': 'web',
    'io.kubernetes.pod.namespace': 'team',
    'io.kubernetes.pod.uid': 'u1',
  });
});

for (const [spec, expected] of [
  [{ hostNetwork: true }, { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' }],
  [{ hostPID: true }, { network: 'POD', pid: 'NODE', ipc: 'POD' }],
  [{ shareProcessNamespace: true }, { network: 'POD', pid: 'POD', ipc: 'POD' }],
  [{ hostIPC: true }, { network: 'POD', pid: 'CONTAINER', ipc: 'NODE' }],
] as [Partial<PodSpec>, object][]) {
  test(`namespaces of ${JSON.stringify(spec)}`, (t) => {
    t.like(sandboxConfig(pod(spec), 0, context).linux?.securityContext?.namespaceOptions, expected);
  });
}

test('ports of all containers; on hostNetwork none is mapped', (t) => {
  const containers = [
    { name: 'a', image: 'i', ports: [{ containerPort: 80 }] },
    {
      name: 'b',
      image: 'i',
      ports: [{ containerPort: 53, protocol: 'UDP' as const, hostPort: 5353, hostIP: '127.0.0.1' }],
    },
  ];
  t.deepEqual(sandboxConfig(pod({ containers }), 0, context).portMappings, [
    { protocol: 'TCP', containerPort: 80, hostPort: 0, hostIp: '' },
    { protocol: 'UDP', containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' },
  ]);
  t.true(
    sandboxConfig(pod({ containers, hostNetwork: true }), 0, context).portMappings?.every(
      ({ hostPort }) => hostPort === 0,
    ),
  );
  t.is(sandboxConfig(pod({ hostNetwork: true }), 0, context).hostname, '');
});

test('one privileged container makes the sandbox privileged', (t) => {
  const containers = [
    { name: 'a', image: 'i' },
    { name: 'b', image: 'i', securityContext: { privileged: true } },
  ];
  t.true(sandboxConfig(pod({ containers }), 0, context).linux?.securityContext?.privileged);
});

test('users, groups and sysctls of the pod; a group alone is left out, as the runtime refuses it', (t) => {
  const sysctls = [{ name: 'net.core.somaxconn', value: '1024' }];
  const securityContext = { runAsUser: 7, runAsGroup: 8, fsGroup: 9, supplementalGroups: [1], sysctls };
  const { linux } = sandboxConfig(pod({ securityContext }), 0, context);
  t.deepEqual(linux?.sysctls, { 'net.core.somaxconn': '1024' });
  t.like(linux?.securityContext, { runAsUser: { value: 7 }, runAsGroup: { value: 8 }, supplementalGroups: [1, 9] });
  const groupOnly = sandboxConfig(pod({ securityContext: { runAsGroup: 8 } }), 0, context);
  t.is(groupOnly.linux?.securityContext?.runAsGroup, undefined);
});

for (const [spec, name, expected] of [
  [{}, 'web', 'web'],
  [{ hostname: 'chosen' }, 'web', 'chosen'],
  [{ hostname: '' }, 'web', 'web'],
  [{ hostNetwork: true, hostname: 'chosen' }, 'web', 'node1'],
  [{}, `${'a'.repeat(62)}-b`, 'a'.repeat(62)],
  [{}, `${'a'.repeat(61)}.-b`, 'a'.repeat(61)],
] as [Partial<PodSpec>, string, string][]) {
  test(`host name of ${name} with ${JSON.stringify(spec)} is ${expected}`, (t) => {
    t.is(podHostname(pod(spec, { name }), 'node1'), expected);
  });
}

test('a host name is never longer than 63 nor ends in a dash or dot', (t) => {
  const name = fc.stringMatching(/^[a-z0-9](?:[-a-z0-9]{0,80}[a-z0-9])?(?:\.[a-z0-9]{1,60})?$/);
  fc.assert(fc.property(name, (text) => /^.{0,62}[a-z0-9]$/.test(podHostname(pod({}, { name: text }), 'n'))));
  t.pass();
});

for (const list of ['initContainers', 'ephemeralContainers'] as const) {
  test(`a privileged one of ${list} makes the sandbox privileged`, (t) => {
    const spec = { [list]: [{ name: 'p', image: 'i', securityContext: { privileged: true } }] };
    t.true(sandboxConfig(pod(spec), 0, context).linux?.securityContext?.privileged);
  });
}

test('a pod with ids of its own', (t) => {
  const isolation = {
    runtimeHandler: '',
    recursiveReadOnlyMounts: false,
    userNamespace: { hostId: 131072, length: 65536 },
  };
  const mapping = [{ hostId: 131072, containerId: 0, length: 65536 }];
  const options = sandboxConfig(pod({ hostUsers: false }), 0, { ...context, isolation }).linux?.securityContext;
  t.deepEqual(options?.namespaceOptions?.usernsOptions, { mode: 'POD', uids: mapping, gids: mapping });
  t.is(sandboxConfig(pod(), 0, context).linux?.securityContext?.namespaceOptions?.usernsOptions, undefined);
});

test('SELinux options, the groups policy and resources of the pod', (t) => {
  const securityContext = { seLinuxOptions: { level: 's0:c1' }, supplementalGroupsPolicy: 'Strict' as const };
  const node = { memoryBytes: 2 ** 32, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 };
  const { linux } = sandboxConfig(pod({ securityContext, overhead: { cpu: '1' } }), 0, { ...context, node });
  t.like(linux?.securityContext, {
    selinuxOptions: { user: '', role: '', type: '', level: 's0:c1' },
    supplementalGroupsPolicy: 'Strict',
  });
  t.is(linux?.overhead?.cpuShares, 1024);
  t.is(linux?.resources?.cpuShares, 2);
});

for (const [spec, expected] of [
  [{ setHostnameAsFQDN: true }, 'web'],
  [{ setHostnameAsFQDN: true, subdomain: 'db' }, 'web.db.team.svc.cluster.local'],
  [{ subdomain: 'db' }, 'web'],
  [{ hostnameOverride: 'a.b.example', subdomain: 'db', hostname: 'h' }, 'a.b.example'],
  [{ hostnameOverride: `${'a'.repeat(60)}.b-c` }, `${'a'.repeat(60)}.b`],
] as [Partial<PodSpec>, string][]) {
  test(`the kernel's host name with ${JSON.stringify(spec)} is ${expected}`, (t) => {
    t.is(sandboxConfig(pod(spec), 0, { ...context, clusterDomain: 'cluster.local' }).hostname, expected);
  });
}

test('a full name that the kernel does not take is refused', (t) => {
  const spec = { setHostnameAsFQDN: true, subdomain: 'db', hostname: 'h'.repeat(50) };
  t.throws(() => sandboxConfig(pod(spec), 0, { ...context, clusterDomain: 'cluster.local' }), {
    message: /is too long \(64 characters is the max, 76 characters requested\)/,
  });
});

test('each sandbox is marked as ours, whatever the pod says of it', (t) => {
  const annotations = { note: 'x', 'keelson.dev/made-by': 'somebody' };
  t.deepEqual(sandboxConfig(pod({}, { annotations }), 0, context).annotations, {
    note: 'x',
    'keelson.dev/made-by': 'keelson',
  });
});
