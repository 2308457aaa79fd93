/** Admission by the kubelet's reasons: what each one refuses, and that what runs already is never refused for room. */
import test from 'ava';
import type { Pod, PodSpec, ResourceList } from '../../api/core.ts';
import { type AdmissionContext, admitPods } from './admission.ts';
import type { AdmittingNode } from './admission-checks.ts';

const node: AdmittingNode = {
  labels: { 'kubernetes.io/os': 'linux', zone: 'a', size: '12' },
  taints: [],
  allocatable: { cpu: '2', memory: '1Gi', 'ephemeral-storage': '10Gi', pods: '110', 'example.com/gpu': '1' },
};
const context = (overrides: Partial<AdmissionContext> = {}): AdmissionContext => ({
  nodeName: 'n1',
  node,
  maxPods: 110,
  unsupported: () => [],
  allowedUnsafeSysctls: [],
  isPresent: () => false,
  ...overrides,
});
const apiPod = (name: string, spec: Partial<PodSpec> = {}, requests: ResourceList = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid: name, annotations: { 'kubernetes.io/config.source': 'api' } },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'busybox', resources: { requests } }], ...spec },
});
const filePod = (name: string, spec: Partial<PodSpec> = {}): Pod => {
  const pod = apiPod(name, spec);
  return { ...pod, metadata: { ...pod.metadata, annotations: { 'kubernetes.io/config.source': 'file' } } };
};
const verdicts = (pods: Pod[], overrides: Partial<AdmissionContext> = {}): Record<string, string> => {
  const { admitted, rejected } = admitPods(pods, context(overrides));
  return Object.fromEntries([
    ...admitted.map(({ metadata }) => [metadata.name, 'admitted'] as const),
    ...rejected.map(({ pod, reason }) => [pod.metadata.name, reason] as const),
  ]);
};
const message = (pod: Pod, overrides: Partial<AdmissionContext> = {}): string | undefined =>
  admitPods([pod], context(overrides)).rejected[0]?.message;

test('pods beyond maxPods are rejected, and never those that run already', (t) => {
  const pods = ['a', 'b', 'c'].map((name) => filePod(name));
  const { admitted, rejected } = admitPods(
    pods,
    context({ node: undefined, isPresent: (uid) => uid === 'c', maxPods: 2 }),
  );
  t.deepEqual(
    admitted.map(({ metadata }) => metadata.name),
    ['c', 'a'],
  );
  t.deepEqual(
    rejected.map(({ pod, reason }) => [pod.metadata.name, reason]),
    [['b', 'OutOfpods']],
  );
});

test('a node with room takes all', (t) =>
  t.deepEqual(verdicts([apiPod('a'), filePod('b')]), { a: 'admitted', b: 'admitted' }));

test('requests add up until the node is full; what is there already counts first', (t) => {
  const pods = ['a', 'b', 'c'].map((name) => apiPod(name, {}, { cpu: '900m', memory: '100Mi' }));
  t.deepEqual(verdicts(pods, { isPresent: (uid) => uid === 'c' }), { c: 'admitted', a: 'admitted', b: 'OutOfcpu' });
});

test('exactly full is not too full, and the message has the numbers', (t) => {
  t.deepEqual(verdicts([apiPod('a', {}, { cpu: '2', memory: '1Gi' })]), { a: 'admitted' });
  t.is(
    message(apiPod('a', {}, { memory: '1025Mi' })),
    "Pod was rejected: Node didn't have enough resource: memory, requested: 1074790400, used: 0, capacity: 1073741824",
  );
  t.regex(message(apiPod('a', {}, { cpu: '2001m' })) ?? '', /cpu, requested: 2001, used: 0, capacity: 2000$/);
});

for (const [requests, reason] of [
  [{ 'ephemeral-storage': '11Gi' }, 'OutOfephemeral-storage'],
  [{ 'example.com/gpu': '2' }, 'OutOfexample.com/gpu'],
  [{ 'elsewhere.com/fpga': '2' }, 'admitted'],
] as const) {
  test(`requests of ${Object.keys(requests)}: ${reason}`, (t) =>
    t.deepEqual(verdicts([apiPod('a', {}, requests)]), { a: reason }));
}

const term = (key: string, operator: string, ...values: string[]) => ({
  matchExpressions: [{ key, operator, values }],
});
const required = (...nodeSelectorTerms: object[]): Partial<PodSpec> => ({
  affinity: {
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } },
  } as PodSpec['affinity'],
});
for (const [what, spec, fits] of [
  ['nodeSelector holds', { nodeSelector: { zone: 'a' } }, true],
  ['nodeSelector does not', { nodeSelector: { zone: 'b' } }, false],
  ['a label that every object has', { nodeSelector: { constructor: 'x' } }, false],
  ['In', required(term('zone', 'In', 'b', 'a')), true],
  ['NotIn', required(term('zone', 'NotIn', 'a')), false],
  ['NotIn, no such label', required(term('rack', 'NotIn', 'a')), true],
  ['Exists', required(term('zone', 'Exists')), true],
  ['DoesNotExist', required(term('zone', 'DoesNotExist')), false],
  ['Gt', required(term('size', 'Gt', '9')), true],
  ['Lt', required(term('size', 'Lt', '9')), false],
  ['Gt of a word', required(term('zone', 'Gt', '9')), false],
  ['an operator of the future', required(term('zone', 'Resembles', 'a')), false],
  ['the second term', required(term('zone', 'In', 'b'), term('size', 'Exists')), true],
  ['no term', required(), false],
  ['an empty term', required({}), false],
  ['field name', required({ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n1'] }] }), true],
  ['other field', required({ matchFields: [{ key: 'spec.x', operator: 'NotIn', values: ['n1'] }] }), false],
] as const) {
  test(`node affinity: ${what}`, (t) =>
    t.deepEqual(verdicts([apiPod('a', spec as Partial<PodSpec>)]), { a: fits ? 'admitted' : 'NodeAffinity' }));
}

test('without a Node nothing is asked of its labels, room and taints', (t) =>
  t.deepEqual(verdicts([apiPod('a', { nodeSelector: { zone: 'b' } }, { cpu: '99' })], { node: undefined }), {
    a: 'admitted',
  }));

test('a pod of another node', (t) => t.deepEqual(verdicts([apiPod('a', { nodeName: 'n2' })]), { a: 'NodeName' }));

const portPod = (name: string, hostPort: number, hostIP = '', protocol: 'TCP' | 'UDP' = 'TCP'): Pod =>
  apiPod(name, { containers: [{ name: 'c', image: 'x', ports: [{ containerPort: 80, hostPort, hostIP, protocol }] }] });
for (const [what, other, verdict] of [
  ['the same', portPod('b', 80), 'NodePorts'],
  ['another protocol', portPod('b', 80, '', 'UDP'), 'admitted'],
  ['another port', portPod('b', 81), 'admitted'],
  ['one address of all', portPod('b', 80, '192.0.2.1'), 'NodePorts'],
  ['no host port', portPod('b', 0), 'admitted'],
] as const) {
  test(`host ports: ${what}`, (t) => t.is(verdicts([portPod('a', 80), other]).b, verdict));
}
test('host ports: two addresses', (t) =>
  t.deepEqual(verdicts([portPod('a', 80, '192.0.2.1'), portPod('b', 80, '192.0.2.2')]), {
    a: 'admitted',
    b: 'admitted',
  }));

const tainted = { node: { ...node, taints: [{ key: 'k', value: 'v', effect: 'NoExecute' as const }] } };
for (const [what, tolerations, verdict] of [
  ['none', [], 'TaintToleration'],
  ['the taint', [{ key: 'k', value: 'v', effect: 'NoExecute' }], 'admitted'],
  ['another value', [{ key: 'k', value: 'w' }], 'TaintToleration'],
  ['the key', [{ key: 'k', operator: 'Exists' }], 'admitted'],
  ['everything', [{ operator: 'Exists' }], 'admitted'],
  ['another effect', [{ key: 'k', operator: 'Exists', effect: 'NoSchedule' }], 'TaintToleration'],
] as const) {
  test(`a NoExecute taint, tolerating ${what}`, (t) =>
    t.deepEqual(verdicts([apiPod('a', { tolerations: [...tolerations] })], tainted), { a: verdict }));
}
test('taints that only schedulers read, and manifests of the node', (t) => {
  const taints = [{ key: 'k', effect: 'NoSchedule' as const }];
  t.deepEqual(verdicts([apiPod('a')], { node: { ...node, taints } }), { a: 'admitted' });
  t.deepEqual(verdicts([filePod('a')], tainted), { a: 'admitted' });
});

test('what this version cannot run is refused by name, even when another kubelet started it', (t) => {
  const overrides = { unsupported: () => ['spec.initContainers'], isPresent: () => true };
  t.deepEqual(verdicts([apiPod('a')], overrides), { a: 'PodFeatureUnsupported' });
  t.regex(message(apiPod('a'), overrides) ?? '', /spec\.initContainers$/);
});

test('operating systems', (t) => {
  t.deepEqual(verdicts([apiPod('a', { os: { name: 'windows' } })]), { a: 'PodOSNotSupported' });
  const labelled = apiPod('a');
  labelled.metadata.labels = { 'kubernetes.io/os': 'windows' };
  t.deepEqual(verdicts([labelled]), { a: 'PodOSSelectorNodeLabelDoesNotMatch' });
});

test('sysctls that could harm neighbours need a word of the administrator', (t) => {
  const withSysctl = (name: string): Pod => apiPod('a', { securityContext: { sysctls: [{ name, value: '1' }] } });
  t.deepEqual(verdicts([withSysctl('net.ipv4.tcp_syncookies')]), { a: 'admitted' });
  t.deepEqual(verdicts([withSysctl('kernel.msgmax')]), { a: 'SysctlForbidden' });
  t.deepEqual(verdicts([withSysctl('kernel/msgmax')], { allowedUnsafeSysctls: ['kernel.msg*'] }), { a: 'admitted' });
});

test('the oldest goes first, and a manifest of the node before all', (t) => {
  const aged = (pod: Pod, creationTimestamp: string): Pod => ({
    ...pod,
    metadata: { ...pod.metadata, creationTimestamp },
  });
  const pods = [
    aged(apiPod('young'), '2026-01-02T00:00:00Z'),
    aged(apiPod('old'), '2026-01-01T00:00:00Z'),
    aged(filePod('own'), '2026-01-03T00:00:00Z'),
  ];
  t.deepEqual(verdicts(pods, { maxPods: 2 }), { own: 'admitted', old: 'admitted', young: 'OutOfpods' });
});

const sidecar = (fields: object) => ({ name: 's', image: 'x', restartPolicy: 'Always' as const, ...fields });

test('init containers, sidecars and overhead count towards what a node has', (t) => {
  const initContainers = [{ name: 'i', image: 'x', resources: { requests: { cpu: '3' } } }];
  t.deepEqual(verdicts([apiPod('a', { initContainers })]), { a: 'OutOfcpu' });
  const beside = [sidecar({ resources: { requests: { cpu: '1500m' } } })];
  t.deepEqual(verdicts([apiPod('a', { initContainers: beside }, { cpu: '600m' })]), { a: 'OutOfcpu' });
  t.deepEqual(verdicts([apiPod('a', { overhead: { cpu: '1500m' } }, { cpu: '600m' })]), { a: 'OutOfcpu' });
  t.deepEqual(verdicts([apiPod('a', { resources: { requests: { memory: '2Gi' } } })]), { a: 'OutOfmemory' });
});

test('host ports of sidecars are taken, those of init containers are free again', (t) => {
  const ports = [{ containerPort: 80, hostPort: 8080 }];
  const wants = apiPod('b', { containers: [{ name: 'c', image: 'x', ports }] });
  const held = apiPod('a', { initContainers: [sidecar({ ports })] });
  const passing = apiPod('a', { initContainers: [{ name: 'i', image: 'x', ports }] });
  t.deepEqual(verdicts([held, wants]), { a: 'admitted', b: 'NodePorts' });
  t.deepEqual(verdicts([passing, wants]), { a: 'admitted', b: 'admitted' });
});

const toleration = { key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' };
for (const [what, pod, pressures, expected] of [
  ['no pressure', apiPod('a'), [], 'admitted'],
  ['memory: BestEffort', apiPod('a'), ['MemoryPressure'], 'Evicted'],
  ['memory: BestEffort with toleration', apiPod('a', { tolerations: [toleration] }), ['MemoryPressure'], 'admitted'],
  ['memory: Burstable', apiPod('a', {}, { cpu: '1m' }), ['MemoryPressure'], 'admitted'],
  ['memory and disk: Burstable', apiPod('a', {}, { cpu: '1m' }), ['MemoryPressure', 'DiskPressure'], 'Evicted'],
  ['PIDs: Burstable', apiPod('a', {}, { cpu: '1m' }), ['PIDPressure'], 'Evicted'],
  ['disk: critical by priority', apiPod('a', { priority: 2_000_000_000 }), ['DiskPressure'], 'admitted'],
  ['disk: a manifest', filePod('a'), ['DiskPressure'], 'admitted'],
] as const) {
  test(`under pressure, ${what}: ${expected}`, (t) => t.deepEqual(verdicts([pod], { pressures }), { a: expected }));
}

test('under pressure, the message names the conditions', (t) => {
  const pressures = ['DiskPressure', 'PIDPressure'] as const;
  t.is(message(apiPod('a'), { pressures }), 'Pod was rejected: The node had condition: [DiskPressure PIDPressure]. ');
});

const strict = { securityContext: { supplementalGroupsPolicy: 'Strict' as const } };
for (const [what, overrides, expected] of [
  ['the Node says nothing', {}, 'SupplementalGroupsPolicyNotSupported'],
  ['the Node has it', { node: { ...node, supplementalGroupsPolicy: true } }, 'admitted'],
  [
    'the Node has it not, whatever else is said',
    { node: { ...node, supplementalGroupsPolicy: false }, supplementalGroupsPolicy: true },
    'SupplementalGroupsPolicyNotSupported',
  ],
  ['without a Node the runtime says so', { node: undefined, supplementalGroupsPolicy: true }, 'admitted'],
] as const) {
  test(`supplementalGroupsPolicy Strict, ${what}: ${expected}`, (t) => {
    t.deepEqual(verdicts([apiPod('a', strict)], overrides), { a: expected });
  });
}

const confined = { type: 'RuntimeDefault' as const };
for (const [what, spec, appArmor, expected] of [
  ['of the pod, on a node without', { securityContext: { appArmorProfile: confined } }, false, 'AppArmor'],
  ['of the pod, on a node with it', { securityContext: { appArmorProfile: confined } }, true, 'admitted'],
  [
    'of an init container, on a node without',
    { initContainers: [{ name: 'i', image: 'x', securityContext: { appArmorProfile: confined } }] },
    false,
    'AppArmor',
  ],
  [
    'Unconfined, on a node without',
    { securityContext: { appArmorProfile: { type: 'Unconfined' } } },
    false,
    'admitted',
  ],
  ['Localhost without name', { securityContext: { appArmorProfile: { type: 'Localhost' } } }, true, 'AppArmor'],
] as [string, Partial<PodSpec>, boolean, string][]) {
  test(`AppArmor profile ${what}: ${expected}`, (t) =>
    t.deepEqual(verdicts([apiPod('a', spec)], { appArmor }), { a: expected }));
}

test('a node that shuts down takes no pods, and keeps those that run', (t) => {
  const shuttingDown = { shuttingDown: true, isPresent: (uid: string) => uid === 'b' };
  t.deepEqual(verdicts([apiPod('a'), apiPod('b')], shuttingDown), { a: 'NodeShutdown', b: 'admitted' });
});

test('net sysctls with the network of the node are forbidden', (t) => {
  const securityContext = { sysctls: [{ name: 'net.ipv4.tcp_syncookies', value: '1' }] };
  t.deepEqual(verdicts([apiPod('a', { hostNetwork: true, securityContext })]), { a: 'SysctlForbidden' });
});

const critical = (name: string, requests: ResourceList): Pod => apiPod(name, { priority: 2_000_000_000 }, requests);
const names = (pods: readonly Pod[]): string[] => pods.map(({ metadata }) => metadata.name);

test('a critical pod without room has others end, and waits for them', (t) => {
  const pods = [apiPod('old', {}, { cpu: '1500m' }), apiPod('idle'), critical('vital', { cpu: '1' })];
  const isPresent = (uid: string): boolean => uid !== 'vital';
  const first = admitPods(pods, context({ isPresent }));
  t.deepEqual(
    first.preemptions.map(({ pod, victims }) => [pod.metadata.name, names(victims)]),
    [['vital', ['old']]],
  );
  t.deepEqual([names(first.admitted), names(first.waiting)], [['old', 'idle'], ['vital']]);
  const meanwhile = admitPods(pods, context({ isPresent, awaitsRoom: (uid) => uid === 'vital' }));
  t.deepEqual([meanwhile.preemptions, names(meanwhile.waiting)], [[], ['vital']]);
  const after = admitPods(pods.slice(1), context({ isPresent }));
  t.deepEqual([names(after.admitted), after.waiting], [['idle', 'vital'], []]);
});

test('its room is not given to what comes after it', (t) => {
  const pods = [
    apiPod('old', {}, { cpu: '2' }),
    critical('vital', { cpu: '1500m' }),
    { ...apiPod('late', {}, { cpu: '1' }), metadata: { ...apiPod('late').metadata, creationTimestamp: '2030' } },
  ];
  const { rejected } = admitPods(pods, context({ isPresent: (uid) => uid === 'old' }));
  t.deepEqual(
    rejected.map(({ pod, reason }) => [pod.metadata.name, reason]),
    [['late', 'OutOfcpu']],
  );
});

test('nobody ends in vain: not for a pod that something else speaks against, nor when all would not be enough', (t) => {
  const old = apiPod('old', {}, { cpu: '2' });
  const isPresent = (uid: string): boolean => uid === 'old';
  const elsewhere = apiPod('vital', { priority: 2_000_000_000, nodeSelector: { zone: 'b' } }, { cpu: '1' });
  for (const [pod, reason] of [
    [elsewhere, 'NodeAffinity'],
    [critical('huge', { cpu: '3' }), 'UnexpectedAdmissionError'],
    [apiPod('plain', { priority: 5 }, { cpu: '1' }), 'OutOfcpu'],
  ] as const) {
    const { preemptions, rejected } = admitPods([old, pod], context({ isPresent }));
    t.deepEqual([preemptions, rejected.map((each) => each.reason)], [[], [reason]]);
  }
});

test('two critical pods do not count on the same victim', (t) => {
  const pods = [apiPod('old', {}, { cpu: '2' }), critical('a', { cpu: '1500m' }), critical('b', { cpu: '1500m' })];
  const { preemptions, rejected } = admitPods(pods, context({ isPresent: (uid) => uid === 'old' }));
  t.deepEqual(
    preemptions.map(({ pod, victims }) => [pod.metadata.name, names(victims)]),
    [['a', ['old']]],
  );
  t.deepEqual(
    rejected.map(({ pod, reason }) => [pod.metadata.name, reason]),
    [['b', 'UnexpectedAdmissionError']],
  );
});
