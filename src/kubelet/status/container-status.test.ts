import test from 'ava';
import type { Container, ContainerStatus, Pod } from '../../api/core.ts';
import type { ContainerKind } from '../plan/container-kind.ts';
import { exited, makePod, named, record, sidecar, within } from '../plan/planned-pod.fake.ts';
import type { ContainerRecord, PodRuntimeState } from '../plan/runtime-state.ts';
import { alive } from '../pods/no-probes.fake.ts';
import { type ContainerStatusContext, containerStatus } from './container-status.ts';

const plain = makePod({ containers: [named('a')] });
const withInit = makePod({ initContainers: [named('i'), sidecar('s')], containers: [named('a')] });

function tell(
  kind: ContainerKind,
  name: string,
  state: PodRuntimeState,
  context: Partial<ContainerStatusContext> = {},
  pod: Pod = withInit,
): ContainerStatus {
  const all: Container[] = [...(pod.spec.initContainers ?? []), ...pod.spec.containers, named('debug')];
  const container = all.find((each) => each.name === name) ?? named(name);
  return containerStatus(pod, kind, container, state, {
    runtimeName: 'containerd',
    terminating: false,
    waiting: new Map(),
    probes: () => alive,
    allRestart: false,
    ...context,
  });
}

const told = (change: Partial<ContainerStatus>): ContainerStatus => ({
  name: 'a',
  state: {},
  lastState: {},
  ready: false,
  started: false,
  restartCount: 0,
  image: 'busybox',
  imageID: '',
  ...change,
});
const crashLoop = (name: string) => new Map([[name, { reason: 'CrashLoopBackOff', message: 'back-off' }]]);

test('not started yet: ContainerCreating, or PodInitializing in a pod with init containers', (t) => {
  t.is(tell('container', 'a', within(), {}, plain).state.waiting?.reason, 'ContainerCreating');
  for (const [kind, name] of [
    ['container', 'a'],
    ['init', 'i'],
    ['sidecar', 's'],
    ['ephemeral', 'debug'],
  ] as const) {
    t.is(tell(kind, name, within()).state.waiting?.reason, 'PodInitializing', kind);
  }
});

for (const [kind, name, verdict, ready, started] of [
  ['container', 'a', { started: true, ready: true }, true, true],
  ['container', 'a', { started: true, ready: false }, false, true],
  ['container', 'a', { started: false, ready: true }, false, false],
  ['sidecar', 's', { started: true, ready: false }, false, true],
  ['init', 'i', { started: false, ready: false }, false, true],
  ['ephemeral', 'debug', { started: true, ready: true }, false, false],
] as const) {
  test(`a running ${kind} whose probes say ${JSON.stringify(verdict)}`, (t) => {
    const status = tell(kind, name, within(record(name, 'running')), { probes: () => verdict });
    t.deepEqual([status.ready, status.started], [ready, started]);
  });
}

test('an init container is ready when it is done', (t) => {
  t.true(tell('init', 'i', within(exited('i', 0))).ready);
  t.false(tell('init', 'i', within(exited('i', 1))).ready);
});

for (const [title, kind, name, end, context, waits] of [
  ['a crash', 'container', 'a', exited('a', 1), {}, true],
  ['a crash of a pod that ends', 'container', 'a', exited('a', 1), { terminating: true }, false],
  ['an init container that failed', 'init', 'i', exited('i', 1), {}, true],
  ['an init container that is done', 'init', 'i', exited('i', 0), {}, false],
  ['a sidecar that crashed', 'sidecar', 's', exited('s', 1), {}, true],
  ['a sidecar that ended well', 'sidecar', 's', exited('s', 0), {}, false],
  ['an ephemeral container that ended', 'ephemeral', 'debug', exited('debug', 1), {}, false],
] as [string, ContainerKind, string, ContainerRecord, Partial<ContainerStatusContext>, boolean][]) {
  test(`${title} ${waits ? 'waits' : 'shows its end'}`, (t) => {
    const status = tell(kind, name, within(end), { waiting: crashLoop(name), ...context });
    if (waits) {
      t.is(status.state.waiting?.reason, 'CrashLoopBackOff');
      t.is(status.lastState.terminated?.exitCode, 1);
    } else t.is(status.state.terminated?.exitCode, end.exitCode);
  });
}

test('an init container whose record is gone ended well if main containers came after it; a sidecar did not', (t) => {
  const state = within(record('a', 'running'));
  const status = tell('init', 'i', state);
  t.like(status.state.terminated, { exitCode: 0, reason: 'Completed' });
  t.true(status.ready);
  t.is(tell('sidecar', 's', state).state.waiting?.reason, 'PodInitializing');
  const previous = told({ name: 'i', state: { terminated: { exitCode: 0, reason: 'Completed' } }, ready: true });
  t.deepEqual(tell('init', 'i', within(), { previous }), previous, 'what was told stays told');
});

test('a container removed to begin anew waits for that, and counts a restart', (t) => {
  const previous = told({ state: { running: { startedAt: '' } }, restartCount: 2, containerID: 'containerd://x' });
  const removed = tell('container', 'a', within(), { allRestart: true, previous });
  t.is(removed.state.waiting?.reason, 'RestartingAllContainers');
  t.like(removed.lastState.terminated, { reason: 'RestartingAllContainers', exitCode: 137 });
  t.is(removed.restartCount, 3);
  const later = tell('container', 'a', within(), { allRestart: true, previous: removed });
  t.is(later.restartCount, 3, 'once');
  const again = tell('container', 'a', within(record('a', 'running', { attempt: 3 })), { previous: later });
  t.is(again.restartCount, 3);
  t.is(again.lastState.terminated?.reason, 'RestartingAllContainers');
});

test('restart counts never fall, and count what the runtime lost', (t) => {
  const previous = told({ restartCount: 4, containerID: 'containerd://old', state: { terminated: { exitCode: 1 } } });
  t.is(tell('container', 'a', within(record('a', 'running')), { previous }).restartCount, 5);
  const running = told({ restartCount: 4, containerID: 'containerd://a-id', state: { running: { startedAt: '' } } });
  t.is(tell('container', 'a', within(record('a', 'running')), { previous: running }).restartCount, 4);
});

test('the last end is told from memory when its record is gone', (t) => {
  const ended = { terminated: { exitCode: 9, containerID: 'containerd://old' } };
  const previous = told({ containerID: 'containerd://old', state: ended, restartCount: 1 });
  const status = tell('container', 'a', within(record('a', 'running', { attempt: 2 })), { previous });
  t.deepEqual(status.lastState, ended);
  t.is(status.restartCount, 2);
});

const asking = named('a', {
  resources: { requests: { cpu: '100m', memory: '32Mi' }, limits: { cpu: '500m', memory: '64Mi' } },
  volumeMounts: [
    { name: 'data', mountPath: '/data' },
    { name: 'conf', mountPath: '/conf', readOnly: true },
    { name: 'deep', mountPath: '/deep', readOnly: true, recursiveReadOnly: 'Enabled' },
  ],
});
const askingPod = makePod({ containers: [asking] });
const actual = { cpuShares: 102, cpuQuotaUs: 50_000, cpuPeriodUs: 100_000, memoryLimitBytes: 67_108_864 };

test('what a container was given: requests, limits as they are, mounts, its user', (t) => {
  const user = { uid: 1000, gid: 3000, supplementalGroups: [2000] };
  const running = record('a', 'running', { resources: { ...actual, cpuQuotaUs: 25_000 }, user });
  const status = tell('container', 'a', within(running), {}, askingPod);
  t.deepEqual(status.allocatedResources, { cpu: '100m', memory: '32Mi' });
  t.deepEqual(status.resources, {
    requests: { cpu: '100m', memory: '32Mi' },
    limits: { cpu: '250m', memory: '64Mi' },
  });
  t.deepEqual(status.user, { linux: user });
  t.deepEqual(status.volumeMounts, [
    { name: 'data', mountPath: '/data' },
    { name: 'conf', mountPath: '/conf', readOnly: true, recursiveReadOnly: 'Disabled' },
    { name: 'deep', mountPath: '/deep', readOnly: true, recursiveReadOnly: 'Enabled' },
  ]);
});

test('a mount that is read-only with all below it if possible tells what it came to', (t) => {
  const volumeMounts = [{ name: 'v', mountPath: '/v', readOnly: true, recursiveReadOnly: 'IfPossible' as const }];
  const pod = makePod({ containers: [named('a', { volumeMounts })] });
  const told = (annotations: Record<string, string>) =>
    tell('container', 'a', within(record('a', 'running', { annotations })), {}, pod).volumeMounts?.[0]
      ?.recursiveReadOnly;
  t.is(told({}), 'Disabled');
  t.is(told({ 'keelson.dev/recursive-read-only': 'true' }), 'Enabled');
});

test('a container that does not run tells what it asked for; one without anything is told so', (t) => {
  const ended = exited('a', 0, { resources: { ...actual, cpuQuotaUs: 25_000 } });
  t.is(tell('container', 'a', within(ended), {}, askingPod).resources?.limits?.cpu, '500m');
  const without = tell('container', 'a', within(record('a', 'running', { resources: actual })), {}, plain);
  t.deepEqual(without.resources, {});
  t.false('allocatedResources' in without);
  t.false('user' in without);
  t.false('resources' in tell('container', 'a', within(), {}, askingPod), 'nothing was given yet');
});

test('amounts below what a cgroup can hold are told as they were asked for', (t) => {
  const tiny = makePod({
    containers: [named('a', { resources: { requests: { cpu: '1m' }, limits: { cpu: '5m' } } })],
  });
  const running = record('a', 'running', {
    resources: { cpuShares: 2, cpuQuotaUs: 1_000, cpuPeriodUs: 100_000, memoryLimitBytes: 0 },
  });
  t.deepEqual(tell('container', 'a', within(running), {}, tiny).resources, {
    requests: { cpu: '1m' },
    limits: { cpu: '5m' },
  });
});
