import test from 'ava';
import type { ContainerRestartRule, ContainerState, ContainerStatus, PodCondition } from '../../api/core.ts';
import { makePod, named, sidecar } from '../plan/planned-pod.fake.ts';
import { type ConditionContext, podConditions } from './pod-conditions.ts';

const status = (name: string, ready: boolean, started = ready, state: ContainerState = {}): ContainerStatus => ({
  name,
  state,
  lastState: {},
  ready,
  started,
  restartCount: 0,
  image: '',
  imageID: '',
});
const running: ContainerState = { running: { startedAt: '' } };
const pod = makePod({ initContainers: [named('i'), sidecar('s')], containers: [named('b'), named('a')] });

function tell(type: string, change: Partial<ConditionContext>, of = pod): Partial<PodCondition> | undefined {
  const conditions = podConditions(of, {
    nowMs: 0,
    phase: 'Pending',
    statuses: [],
    network: true,
    allRestart: false,
    disruption: undefined,
    previous: undefined,
    ...change,
  });
  const found = conditions.find((condition) => condition.type === type);
  if (!found) return undefined;
  const { type: _type, lastTransitionTime: _time, ...rest } = found;
  return rest;
}

const none = [status('i', false), status('s', false), status('a', false), status('b', false)];
const initDone = [status('i', true), status('s', false, true), status('a', false), status('b', false)];

for (const [title, change, expected] of [
  [
    'what is missing is named in the order of the spec',
    { statuses: none },
    { status: 'False', reason: 'ContainersNotInitialized', message: 'containers with incomplete status: [i s]' },
  ],
  [
    'what is not known at all',
    { statuses: [status('i', false)] },
    {
      status: 'False',
      reason: 'ContainersNotInitialized',
      message: 'containers with unknown status: [s], containers with incomplete status: [i]',
    },
  ],
  ['a sidecar counts from started, not from ready', { statuses: initDone }, { status: 'True' }],
  [
    'a main container has begun: initialized, though a sidecar restarts',
    { statuses: [status('i', true), status('s', false), status('a', false, false, running), status('b', false)] },
    { status: 'True' },
  ],
  ['the pod succeeded', { phase: 'Succeeded', statuses: none }, { status: 'True', reason: 'PodCompleted' }],
  [
    'an init container failed for good',
    { phase: 'Failed', statuses: [status('i', false), status('s', false)] },
    { status: 'False', reason: 'ContainersNotInitialized', message: 'containers with incomplete status: [i s]' },
  ],
  [
    'it was initialized and begins anew',
    { statuses: none, previous: { phase: 'Running', conditions: [{ type: 'Initialized', status: 'True' }] } },
    { status: 'True' },
  ],
] as [string, Partial<ConditionContext>, Partial<PodCondition>][]) {
  test(`Initialized: ${title}`, (t) => t.deepEqual(tell('Initialized', change), expected));
}

for (const [title, change, expected] of [
  [
    'unready ones in the order of the spec, sidecars first, init containers not',
    { statuses: none },
    { status: 'False', reason: 'ContainersNotReady', message: 'containers with unready status: [s b a]' },
  ],
  [
    'unknown ones',
    { statuses: [status('b', true)] },
    { status: 'False', reason: 'ContainersNotReady', message: 'containers with unknown status: [s a]' },
  ],
  [
    'all ready',
    { statuses: [status('i', false), status('s', true), status('a', true), status('b', true)] },
    { status: 'True' },
  ],
  ['the pod succeeded', { phase: 'Succeeded', statuses: none }, { status: 'False', reason: 'PodCompleted' }],
  ['the pod failed', { phase: 'Failed', statuses: none }, { status: 'False', reason: 'PodFailed' }],
] as [string, Partial<ConditionContext>, Partial<PodCondition>][]) {
  test(`ContainersReady: ${title}`, (t) => {
    t.deepEqual(tell('ContainersReady', change), expected);
    t.deepEqual(tell('Ready', change), expected);
  });
}

test('AllContainersRestarting is there only for pods that may ask for it', (t) => {
  t.is(tell('AllContainersRestarting', { allRestart: true }), undefined);
  const rule: ContainerRestartRule = { action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [1] } };
  const asks = makePod({ containers: [named('a', { restartPolicy: 'Never', restartPolicyRules: [rule] })] });
  t.deepEqual(tell('AllContainersRestarting', {}, asks), { status: 'False' });
  t.deepEqual(tell('AllContainersRestarting', { allRestart: true }, asks), {
    status: 'True',
    reason: 'RestartAllContainersStarted',
    message: 'container exited with restart policy rule',
  });
  t.deepEqual(tell('AllContainersRestarting', { allRestart: true, phase: 'Failed' }, asks), {
    status: 'False',
    reason: 'PodFailed',
  });
});

test('DisruptionTarget is said once and stays', (t) => {
  t.is(tell('DisruptionTarget', {}), undefined);
  const said = tell('DisruptionTarget', { disruption: 'low on memory' });
  t.deepEqual(said, { status: 'True', reason: 'TerminationByKubelet', message: 'low on memory' });
  const before: PodCondition = { type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler' };
  const previous = { phase: 'Running' as const, conditions: [before] };
  t.deepEqual(tell('DisruptionTarget', { disruption: 'x', previous }), {
    status: 'True',
    reason: 'PreemptionByScheduler',
  });
});
