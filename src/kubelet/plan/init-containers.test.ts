/** Cases of the kubelet's own tables for init containers and sidecars, and of what Keelson does better. */
import test from 'ava';
import type { ContainerRestartRule, PodSpec, RestartPolicy } from '../../api/core.ts';
import { restartBackoffAnnotation } from './annotations.ts';
import {
  exited,
  lines,
  makePod,
  named,
  nowMs,
  plan,
  record,
  sandbox,
  sidecar,
  type Verdicts,
  within,
} from './planned-pod.fake.ts';
import type { ContainerRecord, PodRuntimeState } from './runtime-state.ts';

const start = (what: string, attempt = 0): string => `create and start ${what}, attempt ${attempt}`;
const init = (name: string, attempt = 0): string => start(`init container ${name}`, attempt);
const side = (name: string, attempt = 0): string => start(`sidecar ${name}`, attempt);
const main = (name: string, attempt = 0): string => start(`container ${name}`, attempt);

const initPod: PodSpec = {
  initContainers: [named('i1'), named('i2'), named('i3')],
  containers: [named('a'), named('b')],
};
const failedI3 = [exited('i3', 137), exited('i2', 0), exited('i1', 0)];
const completed = ['stop sandbox s0: initialization failed'];

for (const [title, policy, records, expected] of [
  ['none has begun: the first one starts', 'Always', [], [init('i1')]],
  ['one runs: nothing', 'Always', [record('i1', 'running')], []],
  ['one is done: the next one', 'Always', [exited('i1', 0)], [init('i2')]],
  ['one is done under Never: the next one', 'Never', [exited('i1', 0)], [init('i2')]],
  ['all are done: the main ones', 'Always', [exited('i3', 0)], [main('a'), main('b')]],
  ['the last one failed, Always', 'Always', failedI3, [init('i3', 1)]],
  ['the last one failed, OnFailure', 'OnFailure', failedI3, [init('i3', 1)]],
  ['the last one failed, Never', 'Never', failedI3, completed],
  ['early records are gone: later ones tell', 'Always', [record('i3', 'running')], []],
  [
    'in an unknown state, Always',
    'Always',
    [record('i1', 'unknown')],
    ['kill container i1 (i1-id): container in unknown state', init('i1', 1)],
  ],
  [
    'in an unknown state, Never',
    'Never',
    [record('i1', 'unknown')],
    ['kill container i1 (i1-id): initialization failed', ...completed],
  ],
  [
    'created but not started: it is started',
    'Always',
    [record('i2', 'created'), exited('i1', 0)],
    ['start created init container i2, attempt 0'],
  ],
  ['a main one runs: init containers are not looked at', 'Always', [record('a', 'running')], [main('b')]],
  [
    'a main one ended, records of init containers are gone: they do not run again',
    'Always',
    [exited('a', 1), record('b', 'running')],
    [main('a', 1)],
  ],
] as [string, RestartPolicy, ContainerRecord[], string[]][]) {
  test(`init containers: ${title}`, (t) => {
    t.deepEqual(lines(plan(makePod({ ...initPod, restartPolicy: policy }), within(...records))), expected);
  });
}

test('a failed init container waits for its backoff', (t) => {
  const failed = exited('i1', 1, { annotations: { [restartBackoffAnnotation]: '20000' } });
  const { operations, backingOff, completed: done } = plan(makePod(initPod), within(failed));
  t.deepEqual(operations, []);
  t.deepEqual(backingOff, [{ name: 'i1', untilMs: nowMs + 19_000, delayMs: 20_000 }]);
  t.false(done);
});

test('an init container with rules of its own runs again under Never', (t) => {
  const rule: ContainerRestartRule = { action: 'Restart', exitCodes: { operator: 'In', values: [42] } };
  const spec: PodSpec = {
    restartPolicy: 'Never',
    initContainers: [named('i', { restartPolicy: 'Never', restartPolicyRules: [rule] })],
    containers: [named('a')],
  };
  t.deepEqual(lines(plan(makePod(spec), within(exited('i', 42)))), [init('i', 1)]);
  t.deepEqual(lines(plan(makePod(spec), within(exited('i', 1)))), ['stop sandbox s0: initialization failed']);
});

const sidePod: PodSpec = {
  initContainers: [sidecar('s1'), sidecar('s2', { startupProbe: {} }), sidecar('s3')],
  containers: [named('a')],
};
const waits = { started: false, ready: false };
const startupFailed: Verdicts = { s2: { ...waits, failed: { probe: 'startup', message: 'no', graceSeconds: 3 } } };
const livenessFailed: Verdicts = {
  s2: { started: true, ready: true, failed: { probe: 'liveness', message: 'no' } },
};
const up = (...names: string[]): ContainerRecord[] => names.map((name) => record(name, 'running'));

for (const [title, policy, records, verdicts, expected] of [
  ['the first one starts alone', 'Always', [], {}, [side('s1')]],
  ['started: the next one', 'Always', up('s1'), {}, [side('s2')]],
  ['not started yet: nothing', 'Always', up('s1', 's2'), { s2: waits }, []],
  ['started by its probe: the next one', 'Always', up('s1', 's2'), {}, [side('s3')]],
  ['the last one started: main ones', 'Always', up('s1', 's2', 's3'), {}, [main('a')]],
  [
    'the startup probe failed: it is made anew',
    'Always',
    up('s1', 's2'),
    startupFailed,
    ['kill container s2 (s2-id): startup probe failed', side('s2', 1)],
  ],
  [
    'the liveness probe failed: made anew, and the next one starts',
    'Always',
    up('s1', 's2'),
    livenessFailed,
    ['kill container s2 (s2-id): liveness probe failed', side('s2', 1), side('s3')],
  ],
  [
    'ended while others start: it runs again at once',
    'Always',
    [exited('s1', 0), ...up('s2')],
    { s2: waits },
    [side('s1', 1)],
  ],
  [
    'several ended after the start: each runs again in order',
    'Never',
    [exited('s3', 1), exited('s1', 0), ...up('s2', 'a')],
    {},
    [side('s1', 1), side('s3', 1)],
  ],
  ['the record is gone after the start: it runs again', 'Always', up('s2', 's3', 'a'), {}, [side('s1')]],
  [
    'in an unknown state, even under Never',
    'Never',
    [record('s1', 'unknown'), ...up('s2', 's3', 'a')],
    {},
    ['kill container s1 (s1-id): container in unknown state', side('s1', 1)],
  ],
  [
    'all main ones are done: sidecars end with the pod',
    'Never',
    [exited('a', 0), ...up('s1', 's2'), exited('s3', 1)],
    {},
    [
      'kill container s1 (s1-id): pod completed',
      'kill container s2 (s2-id): pod completed',
      'stop sandbox s0: pod completed',
    ],
  ],
] as [string, RestartPolicy, ContainerRecord[], Verdicts, string[]][]) {
  test(`sidecars: ${title}`, (t) => {
    t.deepEqual(lines(plan(makePod({ ...sidePod, restartPolicy: policy }), within(...records), verdicts)), expected);
  });
}

test('sidecars: a changed image makes it anew without a backoff', (t) => {
  const pod = makePod({ initContainers: [sidecar('s1', { image: 'busybox:2' })], containers: [named('a')] });
  const { operations } = plan(pod, within(...up('s1', 'a')));
  t.like(operations[0], { op: 'killContainer', message: 'Init container s1 definition changed' });
  t.deepEqual(operations[1], { op: 'startContainer', kind: 'sidecar', name: 's1', attempt: 1, backoffMs: 0 });
});

test("sidecars: the probe's own grace and the kubelet's words", (t) => {
  const [kill] = plan(makePod(sidePod), within(...up('s1', 's2')), startupFailed).operations;
  t.like(kill, { op: 'killContainer', message: 'Init container s2 failed startup probe', graceSeconds: 3 });
});

const lost = (...containers: ContainerRecord[]): PodRuntimeState => ({
  sandboxes: [sandbox({ ready: false, ips: [] })],
  containers,
});

for (const [title, spec, state, expected] of [
  [
    'begins anew with the first one',
    initPod,
    lost(record('a', 'running'), exited('i3', 0), exited('i2', 0), exited('i1', 0)),
    ['kill container a (a-id): sandbox not ready', 'create sandbox, attempt 1', init('i1', 1)],
  ],
  [
    'the first sidecar',
    sidePod,
    lost(exited('s1', 137), exited('a', 137)),
    ['create sandbox, attempt 1', side('s1', 1)],
  ],
  [
    'under Never nothing is made again',
    { ...initPod, restartPolicy: 'Never' },
    lost(exited('a', 137), exited('b', 137), exited('i3', 0)),
    [],
  ],
  [
    'under Never before any container: as at first',
    { ...initPod, restartPolicy: 'Never' },
    lost(),
    ['create sandbox, attempt 1', init('i1')],
  ],
  [
    'under OnFailure with all main ones done: nothing',
    { ...initPod, restartPolicy: 'OnFailure' },
    lost(exited('a', 0), exited('b', 0), exited('i3', 0)),
    [],
  ],
] as [string, PodSpec, PodRuntimeState, string[]][]) {
  test(`a lost sandbox: ${title}`, (t) => t.deepEqual(lines(plan(makePod(spec), state)), expected));
}

test('a lost sandbox under Never, before all have run: the pod fails and says why', (t) => {
  const actions = plan(makePod({ ...initPod, restartPolicy: 'Never' }), lost(exited('i1', 0), record('i2', 'running')));
  t.deepEqual(lines(actions), ['kill container i2 (i2-id): sandbox not ready']);
  t.true(actions.completed);
  t.regex(actions.failed ?? '', /sandbox was lost/);
});

test('in a new sandbox the records of the old one do not count', (t) => {
  const state = {
    sandboxes: [sandbox({ id: 's1', attempt: 1 }), sandbox({ ready: false })],
    containers: [
      record('i1', 'running', { sandboxId: 's1', attempt: 1 }),
      exited('a', 1),
      exited('i3', 0),
      exited('i1', 0),
    ],
  };
  t.deepEqual(lines(plan(makePod(initPod), state)), []);
  const done = {
    ...state,
    containers: [{ ...state.containers[0]!, phase: 'exited' as const }, ...state.containers.slice(1)],
  };
  t.deepEqual(lines(plan(makePod(initPod), done)), [init('i2')]);
});
