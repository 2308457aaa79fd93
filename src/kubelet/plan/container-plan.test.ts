/** Main and ephemeral containers: probes, policies and rules of their own, RestartAllContainers. */
import test from 'ava';
import type { Container, PodSpec, RestartPolicy } from '../../api/core.ts';
import { restartBackoffAnnotation } from './annotations.ts';
import { exited, lines, makePod, named, nowMs, plan, record, sandbox, sidecar, within } from './planned-pod.fake.ts';
import type { PodOperation } from './pod-operation.ts';

const inSandbox = 'stop sandbox s0: pod completed';
const again = 'create and start container a, attempt 1';

for (const [title, container, podPolicy, exitCode, expected] of [
  ['Always in a Never pod', { restartPolicy: 'Always' }, 'Never', 0, again],
  ['OnFailure in a Never pod, failed', { restartPolicy: 'OnFailure' }, 'Never', 3, again],
  ['OnFailure in a Never pod, done', { restartPolicy: 'OnFailure' }, 'Never', 0, inSandbox],
  ['Never in an Always pod', { restartPolicy: 'Never' }, 'Always', 1, inSandbox],
  ['a rule that matches', rules([['Restart', 'In', [42]]]), 'Never', 42, again],
  ['a rule that does not match', rules([['Restart', 'In', [42]]]), 'Never', 41, inSandbox],
  ['NotIn', rules([['Restart', 'NotIn', [1]]]), 'Never', 2, again],
  ['NotIn, listed', rules([['Restart', 'NotIn', [1]]]), 'Never', 1, inSandbox],
  ['an unknown operator matches nothing', rules([['Restart', 'Near', [1]]]), 'Never', 1, inSandbox],
  [
    'a rule without exit codes matches nothing',
    { restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart' }] },
    'Never',
    1,
    inSandbox,
  ],
  [
    'rules without a policy of the container itself do not count',
    { restartPolicyRules: [rule('Restart', 'In', [1])] },
    'Never',
    1,
    inSandbox,
  ],
] as [string, Partial<Container>, RestartPolicy, number, string][]) {
  test(`restart rules: ${title}`, (t) => {
    const pod = makePod({ restartPolicy: podPolicy, containers: [named('a', container)] });
    t.deepEqual(lines(plan(pod, within(exited('a', exitCode)))), [expected]);
  });
}

function rule(action: string, operator: string, values: number[]) {
  return { action, exitCodes: { operator, values } } as NonNullable<Container['restartPolicyRules']>[number];
}

function rules(list: [string, string, number[]][]): Partial<Container> {
  return { restartPolicy: 'Never', restartPolicyRules: list.map((each) => rule(...each)) };
}

test('the first rule that matches decides', (t) => {
  const first = named('a', {
    restartPolicy: 'Never',
    restartPolicyRules: [rule('Restart', 'In', [5]), rule('RestartAllContainers', 'In', [5])],
  });
  const pod = makePod({ restartPolicy: 'Never', containers: [first, named('b')] });
  t.deepEqual(lines(plan(pod, within(exited('a', 5), record('b', 'running')))), [again]);
});

for (const [policy, own, message, restarts] of [
  ['Always', undefined, 'Container a failed liveness probe, will be restarted', true],
  ['OnFailure', undefined, 'Container a failed liveness probe, will be restarted', true],
  ['Never', undefined, 'Container a failed liveness probe', false],
  ['Never', 'Always', 'Container a failed liveness probe, will be restarted', true],
  ['Always', 'Never', 'Container a failed liveness probe', false],
] as [RestartPolicy, RestartPolicy | undefined, string, boolean][]) {
  test(`a failed liveness probe, ${policy}${own ? `, the container's own ${own}` : ''}`, (t) => {
    const container = named('a', own === undefined ? {} : { restartPolicy: own });
    const pod = makePod({ restartPolicy: policy, containers: [container, named('b')] });
    const failed = { probe: 'liveness', message: 'no', graceSeconds: 7 } as const;
    const { operations } = plan(pod, within(record('a', 'running'), record('b', 'running')), {
      a: { started: true, ready: true, failed },
    });
    t.like(operations[0], { op: 'killContainer', name: 'a', message, graceSeconds: 7 });
    t.deepEqual(
      operations.slice(1),
      restarts ? [{ op: 'startContainer', kind: 'container', name: 'a', attempt: 1, backoffMs: 10_000 }] : [],
    );
  });
}

test('a failed startup probe is said so', (t) => {
  const failed = { probe: 'startup', message: 'no' } as const;
  const state = within(record('a', 'running'));
  const { operations } = plan(makePod({ containers: [named('a')] }), state, {
    a: { started: false, ready: false, failed },
  });
  t.like(operations[0], { message: 'Container a failed startup probe, will be restarted' });
});

test('an instance that its probe ends before its backoff is over: its successor waits', (t) => {
  const failed = { probe: 'liveness', message: 'no' } as const;
  const carrying = record('a', 'running', {
    attempt: 3,
    startedAtMs: nowMs - 30_000,
    annotations: { [restartBackoffAnnotation]: '40000' },
  });
  const pod = makePod({ containers: [named('a')] });
  const soon = plan(pod, within(carrying), { a: { started: true, ready: true, failed } });
  t.deepEqual(
    soon.operations.map(({ op }) => op),
    ['killContainer'],
  );
  t.deepEqual(soon.backingOff, [{ name: 'a', untilMs: nowMs + 40_000, delayMs: 40_000 }]);
  const later = { ...carrying, startedAtMs: nowMs - 41_000 };
  const [, next] = plan(pod, within(later), { a: { started: true, ready: true, failed } }).operations;
  t.deepEqual(next, { op: 'startContainer', kind: 'container', name: 'a', attempt: 4, backoffMs: 80_000 });
});

test('the only container fails its probe and must not run again: the pod is completed', (t) => {
  const failed = { probe: 'liveness', message: 'no', graceSeconds: 1 } as const;
  const pod = makePod({ restartPolicy: 'Never', containers: [named('a')] });
  const actions = plan(pod, within(record('a', 'running')), { a: { started: true, ready: true, failed } });
  t.true(actions.completed);
  t.deepEqual(lines(actions), ['kill container a (a-id): liveness probe failed', inSandbox]);
  t.like(actions.operations[0], { graceSeconds: 1 });
});

const all = named('a', {
  restartPolicy: 'Never',
  restartPolicyRules: [rule('RestartAllContainers', 'In', [88])],
});
const allPod: PodSpec = {
  restartPolicy: 'Never',
  initContainers: [named('i'), sidecar('s')],
  containers: [all, named('b')],
};

test('RestartAllContainers: all others end without grace and go first, what caused it goes last', (t) => {
  const state = within(
    exited('a', 88),
    record('b', 'running'),
    exited('b', 1, { id: 'b-old' }),
    record('s', 'running'),
    exited('i', 0),
    record('debug', 'running'),
  );
  const { operations, completed } = plan(makePod({ ...allPod, ephemeralContainers: [named('debug')] }), state);
  t.deepEqual(lines({ operations, completed, backingOff: [] }), [
    'kill container b (b-id): all containers restart',
    'remove container b (b-id)',
    'remove container b (b-old)',
    'remove container i (i-id)',
    'kill container s (s-id): all containers restart',
    'remove container s (s-id)',
    'remove container a (a-id)',
  ]);
  t.false(completed);
  const kill = (operation: PodOperation | undefined) => (operation?.op === 'killContainer' ? operation : undefined);
  t.is(kill(operations[0])?.graceSeconds, 0);
});

test('RestartAllContainers: cut short, a successor goes on; done, the first init container starts', (t) => {
  const pod = makePod(allPod);
  t.deepEqual(lines(plan(pod, within(exited('a', 88)))), ['remove container a (a-id)']);
  t.deepEqual(lines(plan(pod, within())), ['create and start init container i, attempt 0']);
});

test('RestartAllContainers: an end in a sandbox that was replaced asks for nothing', (t) => {
  const state = {
    sandboxes: [sandbox({ id: 's1', attempt: 1 }), sandbox({ ready: false })],
    containers: [record('i', 'running', { sandboxId: 's1' }), exited('a', 88)],
  };
  t.deepEqual(lines(plan(makePod(allPod), state)), []);
});

test('ephemeral containers start once, also while the pod initializes, and keep nothing alive', (t) => {
  const pod = makePod({ restartPolicy: 'Never', initContainers: [named('i')], containers: [named('a')] });
  pod.spec.ephemeralContainers = [named('debug')];
  t.deepEqual(lines(plan(pod, within(record('i', 'running')))), [
    'create and start ephemeral container debug, attempt 0',
  ]);
  t.deepEqual(lines(plan(pod, within(record('i', 'running'), exited('debug', 1)))), []);
  t.deepEqual(lines(plan(pod, within(exited('a', 0), exited('i', 0), record('debug', 'running')))), [
    'kill container debug (debug-id): pod completed',
    inSandbox,
  ]);
});

test('ephemeral containers wait for a sandbox and do not come back with a new one', (t) => {
  const pod = makePod({ containers: [named('a')], ephemeralContainers: [named('debug')] });
  t.deepEqual(lines(plan(pod, { sandboxes: [], containers: [] })), [
    'create sandbox, attempt 0',
    'create and start container a, attempt 0',
  ]);
  const state = {
    sandboxes: [sandbox({ id: 's1', attempt: 1 })],
    containers: [record('a', 'running', { sandboxId: 's1' }), exited('debug', 137)],
  };
  t.deepEqual(lines(plan(pod, state)), []);
});

test('what still runs in a replaced sandbox is ended', (t) => {
  const pod = makePod({ initContainers: [sidecar('s')], containers: [named('a')] });
  const state = {
    sandboxes: [sandbox({ id: 's1', attempt: 1 }), sandbox({ ready: false })],
    containers: [record('s', 'running')],
  };
  t.deepEqual(lines(plan(pod, state)), [
    'kill container s (s-id): in a sandbox that was replaced',
    'create and start sidecar s, attempt 1',
  ]);
});

test('a lost sandbox: a container with a policy of its own is looked at by that', (t) => {
  const pod = makePod({
    restartPolicy: 'Always',
    containers: [named('a'), named('b', { restartPolicy: 'OnFailure' }), named('c')],
  });
  const state = {
    sandboxes: [sandbox({ ready: false })],
    containers: [exited('a', 0), exited('b', 0), exited('c', 1)],
  };
  t.deepEqual(lines(plan(pod, state)), [
    'create sandbox, attempt 1',
    'create and start container a, attempt 1',
    'create and start container c, attempt 1',
  ]);
});
