import test from 'ava';
import type { NodeStatus } from '../../api/node.ts';
import { healthyFacts, readyConditions } from './node-facts.fake.ts';
import { type NodeStatusFacts, nodeImages, nodeStatus } from './node-status.ts';

const now = Date.UTC(2026, 10, 21, 12, 0, 0);
const text = '2026-11-21T12:00:00Z';
const early = '2026-11-01T00:00:00Z';

test('the status of a new Node, field by field', (t) => {
  const { status, events } = nodeStatus(healthyFacts(now), {}, now);
  const times = { lastHeartbeatTime: text, lastTransitionTime: text };
  t.deepEqual(status, {
    capacity: {
      cpu: '2',
      memory: '2000000Ki',
      'ephemeral-storage': '61255492Ki',
      'hugepages-2Mi': '0',
      pods: '110',
    },
    allocatable: {
      cpu: '1900m',
      memory: `${2_000_000 - 100 * 1024}Ki`,
      'ephemeral-storage': '56453061334',
      'hugepages-2Mi': '0',
      pods: '110',
    },
    conditions: [
      {
        type: 'MemoryPressure',
        status: 'False',
        ...times,
        reason: 'KubeletHasSufficientMemory',
        message: 'kubelet has sufficient memory available',
      },
      {
        type: 'DiskPressure',
        status: 'False',
        ...times,
        reason: 'KubeletHasNoDiskPressure',
        message: 'kubelet has no disk pressure',
      },
      {
        type: 'PIDPressure',
        status: 'False',
        ...times,
        reason: 'KubeletHasSufficientPID',
        message: 'kubelet has sufficient PID available',
      },
      {
        type: 'Ready',
        status: 'True',
        ...times,
        reason: 'KubeletReady',
        message: 'kubelet is posting ready status',
      },
    ],
    addresses: [
      { type: 'InternalIP', address: '192.0.2.2' },
      { type: 'Hostname', address: 'node-a' },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: 10_250 } },
    nodeInfo: {
      machineID: '3d1219c7c4c5404aaa1f6d2a48adfda4',
      systemUUID: '3d1219c7-c4c5-404a-aa1f-6d2a48adfda4',
      bootID: '59d11189-71b7-4c22-90bd-e5b712afa7c1',
      kernelVersion: '6.12.0',
      osImage: 'Debian GNU/Linux 13 (trixie)',
      containerRuntimeVersion: 'containerd://2.1.9',
      kubeletVersion: 'v1.36.0',
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: 'amd64',
    },
    images: [{ names: ['r/a@sha256:1', 'r/a:1'], sizeBytes: 100 }],
    runtimeHandlers: [{ name: '', features: { recursiveReadOnlyMounts: true, userNamespaces: true } }],
    features: { supplementalGroupsPolicy: true },
  });
  t.deepEqual(
    events.map(({ reason }) => reason),
    ['NodeHasSufficientMemory', 'NodeHasNoDiskPressure', 'NodeHasSufficientPID'],
  );
});

test('only what changed moves its transition time; foreign conditions stay in their places', (t) => {
  const first = nodeStatus(healthyFacts(now), {}, now).status;
  const previous: NodeStatus = {
    ...first,
    conditions: [
      { type: 'NetworkUnavailable', status: 'False', lastTransitionTime: early, reason: 'RouteCreated' },
      ...first.conditions!.map((condition) => ({ ...condition, lastTransitionTime: early })),
    ],
  };
  const later = now + 10_000;
  const broken = { runtimeConditions: readyConditions.slice(0, 1), runtimeReadyMs: later, plegActiveMs: later };
  const facts = healthyFacts(later, {
    pressure: { MemoryPressure: false, DiskPressure: true, PIDPressure: false },
    readiness: broken,
  });
  const { status, events } = nodeStatus(facts, previous, later);
  const laterText = '2026-11-21T12:00:10Z';
  t.deepEqual(
    status.conditions?.map(({ type, status: value, lastTransitionTime, lastHeartbeatTime }) => [
      type,
      value,
      lastTransitionTime,
      lastHeartbeatTime,
    ]),
    [
      ['NetworkUnavailable', 'False', early, undefined],
      ['MemoryPressure', 'False', early, laterText],
      ['DiskPressure', 'True', laterText, laterText],
      ['PIDPressure', 'False', early, laterText],
      ['Ready', 'False', laterText, laterText],
    ],
  );
  t.is(status.conditions?.[4]?.message, 'container runtime network not ready: <nil>');
  t.deepEqual(
    events.map(({ reason, message }) => [reason, message]),
    [
      ['NodeHasDiskPressure', 'Node node-a status is now: NodeHasDiskPressure'],
      ['NodeNotReady', 'Node node-a status is now: NodeNotReady'],
    ],
  );
});

test('a node that stays as it is moves its heartbeats only, and has no events', (t) => {
  const first = nodeStatus(healthyFacts(now), {}, now).status;
  const { status, events } = nodeStatus(healthyFacts(now + 10_000), first, now + 10_000);
  const beats = first.conditions?.map((condition) => ({ ...condition, lastHeartbeatTime: '2026-11-21T12:00:10Z' }));
  t.deepEqual(status, { ...first, conditions: beats! });
  t.deepEqual(events, []);
});

test('Unknown of the node controller is put right', (t) => {
  const first = nodeStatus(healthyFacts(now), {}, now).status;
  const unknown = first.conditions!.map((condition) => ({
    ...condition,
    status: 'Unknown' as const,
    reason: 'NodeStatusUnknown',
    message: 'Kubelet stopped posting node status.',
  }));
  const { status, events } = nodeStatus(healthyFacts(now + 60_000), { ...first, conditions: unknown }, now + 60_000);
  t.deepEqual(
    status.conditions?.map(({ status: value, reason }) => `${value} ${reason}`),
    [
      'False KubeletHasSufficientMemory',
      'False KubeletHasNoDiskPressure',
      'False KubeletHasSufficientPID',
      'True KubeletReady',
    ],
  );
  t.true(events.some(({ reason }) => reason === 'NodeReady'));
});

test('another boot is an event, the first one is not', (t) => {
  const { status, events } = nodeStatus(healthyFacts(now), {}, now);
  t.false(events.some(({ reason }) => reason === 'Rebooted'));
  const { identity } = healthyFacts(now);
  const again = nodeStatus(healthyFacts(now, { identity: { ...identity, bootID: 'other' } }), status, now);
  t.deepEqual(again.events, [
    { type: 'Warning', reason: 'Rebooted', message: 'Node node-a has been rebooted, boot id: other' },
  ]);
});

test('addresses: both families, what others wrote, a cloud that owns the list, none known', (t) => {
  const of = (bend: Parameters<typeof healthyFacts>[1], previous: NodeStatus = {}): string[] =>
    (nodeStatus(healthyFacts(now, bend), previous, now).status.addresses ?? []).map(
      ({ type, address }) => `${type} ${address}`,
    );
  t.deepEqual(of({ nodeIPs: ['192.0.2.2', '2001:db8::2'] }), [
    'InternalIP 192.0.2.2',
    'InternalIP 2001:db8::2',
    'Hostname node-a',
  ]);
  const previous = {
    addresses: [
      { type: 'ExternalIP', address: '198.51.100.1' },
      { type: 'InternalIP', address: '192.0.2.9' },
    ],
  };
  t.deepEqual(of({}, previous), ['InternalIP 192.0.2.2', 'Hostname node-a', 'ExternalIP 198.51.100.1']);
  t.deepEqual(of({ nodeIPs: [] }, previous), ['ExternalIP 198.51.100.1', 'InternalIP 192.0.2.9']);
  t.deepEqual(of({ externalCloudProvider: true }, previous), ['ExternalIP 198.51.100.1', 'InternalIP 192.0.2.9']);
  t.deepEqual(of({ externalCloudProvider: true }), ['Hostname node-a']);
  t.deepEqual(of({ externalCloudProvider: true, nodeIPsGiven: true }), ['InternalIP 192.0.2.2', 'Hostname node-a']);
});

test('images: the largest first, equal sizes by id, five names, as many as wanted', (t) => {
  const image = (id: string, size: number, tags = 1) => ({
    id,
    size,
    repoDigests: [`${id}@d`],
    repoTags: Array.from({ length: tags }, (_, index) => `${id}:${index}`),
  });
  const images = [image('a', 1), image('b', 3, 9), image('c', 2), image('d', 2)];
  t.deepEqual(
    nodeImages(images, 3).map(({ names }) => names),
    [
      ['b@d', 'b:0', 'b:1', 'b:2', 'b:3'],
      ['d@d', 'd:0'],
      ['c@d', 'c:0'],
    ],
  );
  t.is(nodeImages(images, -1).length, 4);
  t.is(nodeImages(images, 0).length, 0);
});

test('NetworkUnavailable: written once the pod network is known, kept while it is not', (t) => {
  const of = (network: NodeStatusFacts['network'], previous: NodeStatus, at = now) => {
    const { status } = nodeStatus(healthyFacts(at, { network }), previous, at);
    return { status, condition: status.conditions?.find(({ type }) => type === 'NetworkUnavailable') };
  };
  t.is(of(undefined, {}).condition, undefined);
  const taken = { isUp: false, reason: 'OverlayIsDown', message: 'VNI 1 is taken by flannel.1' };
  const first = of(taken, {});
  const times = { lastHeartbeatTime: text, lastTransitionTime: text };
  t.deepEqual(first.condition, {
    type: 'NetworkUnavailable',
    status: 'True',
    ...times,
    reason: taken.reason,
    message: taken.message,
  });
  t.is(first.status.conditions?.at(-1)?.type, 'Ready');
  // A daemon that starts anew says nothing before it knows.
  t.deepEqual(of(undefined, first.status, now + 5_000).condition, first.condition);
  const other = of({ ...taken, message: 'no VXLAN' }, first.status, now + 10_000);
  t.like(other.condition, {
    message: 'no VXLAN',
    lastHeartbeatTime: '2026-11-21T12:00:10Z',
    lastTransitionTime: text,
  });
  const up = of({ isUp: true, reason: 'OverlayIsUp', message: 'up' }, other.status, now + 20_000);
  t.like(up.condition, { status: 'False', reason: 'OverlayIsUp', lastTransitionTime: '2026-11-21T12:00:20Z' });
});

test('what is not known yet keeps its last value; swap is told when there is some', (t) => {
  const first = nodeStatus(healthyFacts(now, { volumesInUse: ['kubernetes.io/csi/d^h'] }), {}, now).status;
  const unknown = {
    runtime: undefined,
    images: undefined,
    runtimeHandlers: undefined,
    supplementalGroupsPolicy: undefined,
    volumesInUse: undefined,
  };
  const { status } = nodeStatus(healthyFacts(now, unknown), first, now);
  t.deepEqual(status, first);
  t.deepEqual(nodeStatus(healthyFacts(now, { volumesInUse: [] }), first, now).status.volumesInUse, undefined);
  t.is(
    nodeStatus(healthyFacts(now, { runtime: undefined }), {}, now).status.nodeInfo?.containerRuntimeVersion,
    'Unknown',
  );
  const swap = nodeStatus(healthyFacts(now, { swapBytes: 4096 }), {}, now).status.nodeInfo?.swap;
  t.deepEqual(swap, { capacity: 4096 });
});
