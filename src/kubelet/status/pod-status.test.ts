import test from 'ava';
import type { ContainerState, ContainerStatus, Pod, PodStatus } from '../../api/core.ts';
import type { ContainerRecord, PodRuntimeState } from '../plan/runtime-state.ts';
import { alive } from '../pods/no-probes.fake.ts';
import { podPhase } from './pod-phase.ts';
import { podStatus } from './pod-status.ts';

const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', uid: 'u1', generation: 2 },
  spec: {
    containers: [
      { name: 'b', image: 'busybox' },
      { name: 'a', image: 'busybox' },
    ],
  },
};
const container = (name: string, overrides: Partial<ContainerRecord> = {}): ContainerRecord => ({
  id: `${name}1`,
  sandboxId: 's',
  name,
  attempt: 0,
  phase: 'running',
  image: 'busybox',
  imageRef: 'sha256:1',
  createdAtMs: nowMs - 3000,
  startedAtMs: nowMs - 2000,
  finishedAtMs: undefined,
  exitCode: 0,
  reason: '',
  message: '',
  logPath: '',
  annotations: {},
  ...overrides,
});
const ready: PodRuntimeState['sandboxes'] = [
  { id: 's', attempt: 0, ready: true, createdAtMs: 0, ips: ['10.244.0.9', 'fd00::9'], hostNetwork: false },
];
const statusOf = (state: PodRuntimeState, overrides: object = {}): PodStatus =>
  podStatus(pod, state, {
    nowMs,
    runtimeName: 'containerd',
    hostIPs: ['192.0.2.2'],
    waiting: new Map(),
    probes: () => alive,
    terminating: false,
    previous: undefined,
    startTimeMs: nowMs - 5000,
    ...overrides,
  });
const condition = (status: PodStatus, type: string) => status.conditions.find((entry) => entry.type === type);

test('a pod that nothing is known of is pending and waits for its containers', (t) => {
  const status = statusOf({ sandboxes: [], containers: [] });
  t.is(status.phase, 'Pending');
  t.deepEqual(
    status.containerStatuses?.map(({ name, state }) => [name, state.waiting?.reason]),
    [
      ['a', 'ContainerCreating'],
      ['b', 'ContainerCreating'],
    ],
  );
  t.is(condition(status, 'PodReadyToStartContainers')?.status, 'False');
  t.is(condition(status, 'Ready')?.message, 'containers with unready status: [b a]');
  t.is(condition(status, 'PodScheduled')?.status, 'True');
  t.is(status.podIP, undefined);
});

test('a running pod is ready and has its addresses', (t) => {
  const status = statusOf({ sandboxes: ready, containers: [container('a'), container('b')] });
  t.is(status.phase, 'Running');
  t.is(condition(status, 'Ready')?.status, 'True');
  t.deepEqual(status.podIPs, [{ ip: '10.244.0.9' }, { ip: 'fd00::9' }]);
  t.is(status.hostIP, '192.0.2.2');
  t.is(status.startTime, '2026-01-02T03:04:00Z');
  t.is(status.containerStatuses?.[0]?.containerID, 'containerd://a1');
  t.deepEqual(status.containerStatuses?.[0]?.state, { running: { startedAt: '2026-01-02T03:04:03Z' } });
  t.is(condition(status, 'Ready')?.observedGeneration, 2);
});

test('a crash loop waits, and says what happened last', (t) => {
  const crashed = container('a', { phase: 'exited', attempt: 3, exitCode: 2, finishedAtMs: nowMs, message: 'boom' });
  const waiting = new Map([['a', { reason: 'CrashLoopBackOff', message: 'back-off 40s' }]]);
  const status = statusOf({ sandboxes: ready, containers: [crashed, container('b')] }, { waiting });
  const [a] = status.containerStatuses ?? [];
  t.deepEqual(a?.state, { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } });
  t.is(a?.lastState.terminated?.exitCode, 2);
  t.is(a?.lastState.terminated?.reason, 'Error');
  t.is(a?.lastState.terminated?.message, 'boom');
  t.is(a?.restartCount, 3);
  t.is(status.phase, 'Running');
  t.is(condition(status, 'ContainersReady')?.message, 'containers with unready status: [a]');
});

test('a restarted container shows its previous end', (t) => {
  const state = {
    sandboxes: ready,
    containers: [
      container('a', { attempt: 1, id: 'a2' }),
      container('a', { phase: 'exited', exitCode: 9 }),
      container('b'),
    ],
  };
  const [a] = statusOf(state).containerStatuses ?? [];
  t.truthy(a?.state.running);
  t.is(a?.lastState.terminated?.exitCode, 9);
  t.is(a?.restartCount, 1);
});

test('transition times stay while a condition keeps its status', (t) => {
  const first = statusOf({ sandboxes: ready, containers: [container('a'), container('b')] });
  const later = statusOf(
    {
      sandboxes: ready,
      containers: [container('a', { phase: 'exited', exitCode: 1, finishedAtMs: nowMs }), container('b')],
    },
    { previous: first, nowMs: nowMs + 60_000 },
  );
  t.is(condition(later, 'PodScheduled')?.lastTransitionTime, condition(first, 'PodScheduled')?.lastTransitionTime);
  t.not(condition(later, 'Ready')?.lastTransitionTime, condition(first, 'Ready')?.lastTransitionTime);
});

test('hostNetwork pods have the addresses of the node', (t) => {
  const hostPod = { ...pod, spec: { ...pod.spec, hostNetwork: true } };
  const sandboxes = [{ ...ready[0]!, ips: [], hostNetwork: true }];
  const status = podStatus(
    hostPod,
    { sandboxes, containers: [] },
    {
      nowMs,
      runtimeName: 'containerd',
      hostIPs: ['192.0.2.2'],
      waiting: new Map(),
      probes: () => alive,
      terminating: false,
      previous: undefined,
      startTimeMs: 0,
    },
  );
  t.is(status.podIP, '192.0.2.2');
});

const never: Pod = { ...pod, spec: { ...pod.spec, restartPolicy: 'Never' } };
const nothing: PodRuntimeState = { sandboxes: [], containers: [] };
const told = (state: PodRuntimeState, of: Pod = never, overrides: object = {}): PodStatus =>
  podStatus(of, state, {
    nowMs,
    runtimeName: 'containerd',
    hostIPs: [],
    waiting: new Map(),
    probes: () => alive,
    terminating: false,
    previous: undefined,
    startTimeMs: 0,
    ...overrides,
  });
const ended = (name: string, message = 'bye') => container(name, { phase: 'exited', exitCode: 3, message });

test('what the runtime lost: an end that was told stays, what ran is told as lost, counts never fall', (t) => {
  const previous = told({ sandboxes: ready, containers: [ended('a'), container('b', { attempt: 4 })] });
  const [a, b] = told(nothing, never, { previous }).containerStatuses ?? [];
  t.is(a?.state.terminated?.exitCode, 3);
  t.is(b?.lastState.terminated?.reason, 'ContainerStatusUnknown');
  t.is(b?.restartCount, 5);
  const again = told({ sandboxes: ready, containers: [container('b')] }, never, {
    previous: told(nothing, never, { previous }),
  });
  t.is(again.containerStatuses?.[1]?.restartCount, 5);
});

test('a pod that ended keeps what its containers said last, though the runtime has forgotten the words', (t) => {
  const previous = told({ sandboxes: ready, containers: [ended('a'), ended('b')] });
  t.is(previous.phase, 'Failed');
  const later = told({ sandboxes: [], containers: [ended('a', ''), ended('b', '')] }, never, { previous });
  t.deepEqual(later.containerStatuses, previous.containerStatuses);
});

test('the verdict of the node is Failed with its reason, and is not overwritten', (t) => {
  const verdict = { reason: 'DeadlineExceeded', message: 'too long' };
  const first = told({ sandboxes: ready, containers: [ended('a'), ended('b')] }, never, { verdict });
  t.like(first, { phase: 'Failed', ...verdict });
  t.like(told(nothing, never, { previous: first }), { phase: 'Failed', ...verdict });
});

const status = (state: ContainerState, lastState: ContainerState = {}): ContainerStatus => ({
  name: 'c',
  state,
  lastState,
  ready: false,
  started: false,
  restartCount: 0,
  image: '',
  imageID: '',
});
const exit = (exitCode: number): ContainerStatus => status({ terminated: { exitCode } });
const running = status({ running: { startedAt: '' } });
const waiting = status({ waiting: {} });
const waitingAgain = status({ waiting: {} }, { terminated: { exitCode: 1 } });

for (const [name, statuses, policy, terminating, phase] of [
  ['one waits for its first start', [running, waiting], 'Always', false, 'Pending'],
  ['one runs', [running, exit(1)], 'Never', false, 'Running'],
  ['all ended, policy Always', [exit(0)], 'Always', false, 'Running'],
  ['all ended well, OnFailure', [exit(0), exit(0)], 'OnFailure', false, 'Succeeded'],
  ['one failed, OnFailure', [exit(0), exit(1)], 'OnFailure', false, 'Running'],
  ['one failed, Never', [exit(0), exit(1)], 'Never', false, 'Failed'],
  ['all ended well, Never', [exit(0)], 'Never', false, 'Succeeded'],
  ['in a crash loop', [waitingAgain], 'Always', false, 'Running'],
  ['ended by us, all 0', [exit(0)], 'Always', true, 'Succeeded'],
  ['ended by us, one 137', [exit(0), exit(137)], 'Always', true, 'Failed'],
] as const) {
  test(`phase: ${name}`, (t) => {
    const named = statuses.map((each, index) => ({ ...each, name: `c${index}` }));
    const containers = named.map((each) => ({ name: each.name, image: 'busybox' }));
    const of: Pod = { ...pod, spec: { restartPolicy: policy, containers } };
    t.is(podPhase(of, named, { terminal: terminating, initialized: true }), phase);
  });
}

test('a phase that ended never comes back', (t) => {
  const previous = { ...statusOf({ sandboxes: [], containers: [] }), phase: 'Failed' as const };
  t.is(statusOf({ sandboxes: ready, containers: [container('a'), container('b')] }, { previous }).phase, 'Failed');
});
