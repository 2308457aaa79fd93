import test from 'ava';
import fc from 'fast-check';
import type { Pod, RestartPolicy } from '../../api/core.ts';
import { alive } from '../pods/no-probes.fake.ts';
import { restartBackoffAnnotation } from './annotations.ts';
import { lines, nowMs, plan, record, restartBackoff, sandbox } from './planned-pod.fake.ts';
import { computePodActions } from './pod-actions.ts';
import type { ContainerPhase, PodRuntimeState } from './runtime-state.ts';

function makePod(names: string[], restartPolicy: RestartPolicy = 'Always', hostNetwork = false): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default', uid: 'u1' },
    spec: { restartPolicy, hostNetwork, containers: names.map((name) => ({ name, image: 'busybox' })) },
  };
}

test('a new pod gets a sandbox, then its containers in order', (t) => {
  const actions = plan(makePod(['a', 'b']), { sandboxes: [], containers: [] });
  t.deepEqual(lines(actions), [
    'create sandbox, attempt 0',
    'create and start container a, attempt 0',
    'create and start container b, attempt 0',
  ]);
  t.false(actions.completed);
});

test('a healthy pod needs nothing', (t) => {
  const state = { sandboxes: [sandbox()], containers: [record('a', 'running')] };
  t.deepEqual(plan(makePod(['a']), state), { operations: [], backingOff: [], completed: false });
});

test('an instance made by another agent is kept', (t) => {
  const state = { sandboxes: [sandbox()], containers: [record('a', 'running', { annotations: {} })] };
  t.deepEqual(lines(plan(makePod(['a']), state)), []);
});

test('a lost sandbox ends what is left of it and starts again with the next attempt', (t) => {
  const state = {
    sandboxes: [sandbox({ ready: false, ips: [], attempt: 3 })],
    containers: [record('a', 'running')],
  };
  t.deepEqual(lines(plan(makePod(['a']), state)), [
    'kill container a (a-id): sandbox not ready',
    'create sandbox, attempt 4',
    'create and start container a, attempt 1',
  ]);
});

test('two ready sandboxes are both stopped', (t) => {
  const state = { sandboxes: [sandbox({ id: 's1', attempt: 1 }), sandbox({ id: 's0' })], containers: [] };
  t.deepEqual(lines(plan(makePod(['a']), state)).slice(0, 3), [
    'stop sandbox s1: several ready sandboxes',
    'stop sandbox s0: several ready sandboxes',
    'create sandbox, attempt 2',
  ]);
});

test('a ready sandbox without address or with another network mode is replaced', (t) => {
  t.is(
    lines(plan(makePod(['a']), { sandboxes: [sandbox({ ips: [] })], containers: [] }))[0],
    'stop sandbox s0: sandbox without address',
  );
  t.is(
    lines(plan(makePod(['a'], 'Always', true), { sandboxes: [sandbox()], containers: [] }))[0],
    'stop sandbox s0: network namespace changed',
  );
});

for (const [policy, exitCode, restarts] of [
  ['Always', 0, true],
  ['Always', 1, true],
  ['OnFailure', 0, false],
  ['OnFailure', 1, true],
  ['Never', 0, false],
  ['Never', 1, false],
] as const) {
  test(`${policy}: exit ${exitCode} ${restarts ? 'restarts' : 'does not restart'}`, (t) => {
    const state = { sandboxes: [sandbox()], containers: [record('a', 'exited', { exitCode })] };
    const actions = plan(makePod(['a'], policy), state);
    t.deepEqual(
      lines(actions),
      restarts ? ['create and start container a, attempt 1'] : ['stop sandbox s0: pod completed'],
    );
    t.is(actions.completed, !restarts);
  });
}

test('a completed pod whose sandbox is stopped stays as it is', (t) => {
  const state = { sandboxes: [sandbox({ ready: false })], containers: [record('a', 'exited')] };
  t.deepEqual(plan(makePod(['a'], 'OnFailure'), state), { operations: [], backingOff: [], completed: true });
});

test('the crash loop waits 0, 10, 20, 40 s by what each instance carries', (t) => {
  let carried = 0;
  const waits: number[] = [];
  for (let attempt = 0; attempt < 4; attempt++) {
    const annotations = { ...record('a', 'exited').annotations, [restartBackoffAnnotation]: String(carried) };
    const crashed = record('a', 'exited', { attempt, exitCode: 1, finishedAtMs: nowMs - 1_000, annotations });
    const state = { sandboxes: [sandbox()], containers: [crashed] };
    const actions = plan(makePod(['a']), state);
    waits.push(actions.backingOff[0] ? actions.backingOff[0].untilMs - (nowMs - 1_000) : 0);
    const later = computePodActions(makePod(['a']), state, {
      nowMs: nowMs + 600_000,
      restartBackoff,
      verdict: () => alive,
    });
    const [start] = later.operations;
    if (start?.op !== 'startContainer') return t.fail('no start after the backoff');
    t.is(start.attempt, attempt + 1);
    carried = start.backoffMs;
  }
  t.deepEqual(waits, [0, 10_000, 20_000, 40_000]);
});

test('a run of more than ten minutes forgets the backoff', (t) => {
  const annotations = { [restartBackoffAnnotation]: '300000' };
  const crashed = record('a', 'exited', {
    exitCode: 1,
    startedAtMs: nowMs - 700_000,
    finishedAtMs: nowMs - 1,
    annotations,
  });
  const actions = plan(makePod(['a']), { sandboxes: [sandbox()], containers: [crashed] });
  t.deepEqual(actions.operations, [
    { op: 'startContainer', kind: 'container', name: 'a', attempt: 1, backoffMs: 10_000 },
  ]);
});

test('what a dead predecessor created but did not start is started, not made again', (t) => {
  const state = { sandboxes: [sandbox()], containers: [record('a', 'created', { attempt: 2 })] };
  t.deepEqual(plan(makePod(['a']), state).operations, [
    { op: 'startContainer', kind: 'container', name: 'a', attempt: 2, backoffMs: 0, existingId: 'a-id' },
  ]);
});

test('a changed image replaces the instance; a container that is no longer named is ended', (t) => {
  const pod = makePod(['a']);
  pod.spec.containers[0]!.image = 'busybox:2';
  const state = { sandboxes: [sandbox()], containers: [record('a', 'running'), record('old', 'running')] };
  t.deepEqual(lines(plan(pod, state)), [
    'kill container a (a-id): container definition changed',
    'kill container old (old-id): not part of the pod',
    'create and start container a, attempt 1',
  ]);
});

test('whatever the runtime has, the plan never starts a container twice nor one that already runs', (t) => {
  const phases: ContainerPhase[] = ['created', 'running', 'exited', 'unknown'];
  const recordArbitrary = fc.record({
    name: fc.constantFrom('a', 'b', 'x'),
    phase: fc.constantFrom(...phases),
    exitCode: fc.constantFrom(0, 1, 137),
    sandboxId: fc.constantFrom('s0', 'sandbox1'),
    attempt: fc.nat(5),
    id: fc.uuid(),
  });
  fc.assert(
    fc.property(
      fc.constantFrom<RestartPolicy>('Always', 'OnFailure', 'Never'),
      fc.array(fc.record({ id: fc.constantFrom('s0', 'sandbox1'), ready: fc.boolean() }), { maxLength: 2 }),
      fc.array(recordArbitrary, { maxLength: 6 }),
      (policy, sandboxes, containers) => {
        const state: PodRuntimeState = {
          sandboxes: sandboxes.map((overrides) => sandbox(overrides)),
          containers: containers.map(({ name, phase, ...overrides }) => record(name, phase, overrides)),
        };
        const { operations } = plan(makePod(['a', 'b'], policy), state);
        const starts = operations.filter((operation) => operation.op === 'startContainer');
        const killed = new Set(
          operations.flatMap((operation) => (operation.op === 'killContainer' ? [operation.id] : [])),
        );
        t.is(new Set(starts.map(({ name }) => name)).size, starts.length);
        for (const start of starts) {
          const alive = state.containers.find(({ name }) => name === start.name);
          t.false(
            alive?.phase === 'running' && !killed.has(alive.id),
            'a running instance must be killed before the next',
          );
        }
        const creates = operations.findIndex(({ op }) => op === 'createSandbox');
        const firstStart = operations.findIndex(({ op }) => op === 'startContainer');
        if (creates >= 0) t.true(creates < firstStart);
      },
    ),
  );
});
