/** The phase of pods with init containers, sidecars and restart rules; cases of the kubelet's own getPhase tables. */
import test from 'ava';
import type {
  Container,
  ContainerRestartRule,
  ContainerState,
  ContainerStatus,
  PodPhase,
  RestartPolicy,
} from '../../api/core.ts';
import { makePod, named, sidecar } from '../plan/planned-pod.fake.ts';
import { type PhaseContext, podPhase } from './pod-phase.ts';

type Short = 'runs' | 'started' | 'waits' | 'ok' | 'failed' | 'ok, waits' | 'failed, waits' | 'removed';

const end = (exitCode: number): ContainerState => ({ terminated: { exitCode } });
const states: Record<Short, [ContainerState, ContainerState]> = {
  runs: [{ running: { startedAt: '' } }, {}],
  started: [{ running: { startedAt: '' } }, {}],
  waits: [{ waiting: {} }, {}],
  ok: [end(0), {}],
  failed: [end(1), {}],
  'ok, waits': [{ waiting: {} }, end(0)],
  'failed, waits': [{ waiting: {} }, end(1)],
  removed: [{ waiting: {} }, { terminated: { exitCode: 137, reason: 'RestartingAllContainers' } }],
};

const status = (name: string, short: Short): ContainerStatus => {
  const [state, lastState] = states[short];
  const started = short === 'started';
  return { name, state, lastState, started, ready: false, restartCount: 0, image: '', imageID: '' };
};

const initialized: PhaseContext = { terminal: false, initialized: true };
const starting: PhaseContext = { terminal: false, initialized: false };
const terminal: PhaseContext = { terminal: true, initialized: true };

type Case = [string, RestartPolicy, Record<string, Short>, PhaseContext, PodPhase];

function cases(what: string, initContainers: Container[], list: Case[]): void {
  for (const [title, restartPolicy, shorts, context, phase] of list) {
    test(`phase, ${what}: ${title} (${restartPolicy})`, (t) => {
      const pod = makePod({ restartPolicy, initContainers, containers: [named('a'), named('b')] });
      const statuses = Object.entries(shorts).map(([name, short]) => status(name, short));
      t.is(podPhase(pod, statuses, context), phase);
    });
  }
}

cases(
  'init container',
  [named('x')],
  [
    ['nothing known', 'Always', {}, starting, 'Pending'],
    ['runs', 'Always', { x: 'runs', a: 'waits', b: 'waits' }, starting, 'Pending'],
    ['waits', 'Always', { x: 'waits', a: 'waits', b: 'waits' }, starting, 'Pending'],
    ['failed, restarts', 'Always', { x: 'failed', a: 'waits', b: 'waits' }, starting, 'Pending'],
    ['failed, restarts', 'OnFailure', { x: 'failed', a: 'waits', b: 'waits' }, starting, 'Pending'],
    ['failed for good', 'Never', { x: 'failed', a: 'waits', b: 'waits' }, starting, 'Failed'],
    ['waits after a failure', 'Always', { x: 'failed, waits', a: 'waits', b: 'waits' }, starting, 'Pending'],
    ['waits after a failure for good', 'Never', { x: 'failed, waits', a: 'waits', b: 'waits' }, starting, 'Failed'],
    ['done, main ones wait', 'Always', { x: 'ok', a: 'waits', b: 'waits' }, starting, 'Pending'],
    ['done, main ones run', 'Always', { x: 'ok', a: 'runs', b: 'runs' }, initialized, 'Running'],
    ['done, one main one waits', 'Always', { x: 'ok', a: 'runs', b: 'waits' }, initialized, 'Pending'],
    ['done, one main one unknown', 'Always', { x: 'ok', a: 'runs' }, initialized, 'Pending'],
    ['done, main ones ended well', 'Never', { x: 'ok', a: 'ok', b: 'ok' }, initialized, 'Succeeded'],
    ['done, one failed', 'Never', { x: 'ok', a: 'ok', b: 'failed' }, initialized, 'Failed'],
    ['begins anew', 'Never', { x: 'runs', a: 'removed', b: 'removed' }, starting, 'Pending'],
    ['removed to begin anew', 'Never', { x: 'removed', a: 'removed', b: 'removed' }, starting, 'Running'],
  ],
);

cases(
  'sidecar',
  [sidecar('s')],
  [
    ['nothing known', 'Always', {}, starting, 'Pending'],
    ['runs, not started', 'Always', { s: 'runs', a: 'waits', b: 'waits' }, starting, 'Pending'],
    ['ended', 'Always', { s: 'failed' }, starting, 'Pending'],
    ['waits', 'Always', { s: 'waits' }, starting, 'Pending'],
    ['waits after an end', 'Always', { s: 'ok, waits' }, starting, 'Pending'],
    ['started, one main one unknown', 'Always', { s: 'started', a: 'runs' }, initialized, 'Pending'],
    ['started, main ones run', 'Always', { s: 'started', a: 'runs', b: 'runs' }, initialized, 'Running'],
    ['starts again beside main ones', 'Always', { s: 'runs', a: 'runs', b: 'runs' }, initialized, 'Running'],
    [
      'in a crash loop beside main ones',
      'Always',
      { s: 'failed, waits', a: 'runs', b: 'runs' },
      initialized,
      'Running',
    ],
    ['runs on after the main ones', 'Never', { s: 'started', a: 'ok', b: 'ok' }, initialized, 'Running'],
    ['ended badly after main ones ended well', 'Never', { s: 'failed', a: 'ok', b: 'ok' }, initialized, 'Succeeded'],
    ['ended well after a main one failed', 'Never', { s: 'ok', a: 'failed', b: 'ok' }, initialized, 'Failed'],
    ['the pod was ended, all well', 'Always', { s: 'failed', a: 'ok', b: 'ok' }, terminal, 'Succeeded'],
    ['the pod was ended, one failed', 'Always', { s: 'ok', a: 'failed', b: 'ok' }, terminal, 'Failed'],
    ['the pod was ended in a crash loop', 'Always', { s: 'ok', a: 'ok, waits', b: 'ok' }, terminal, 'Failed'],
  ],
);

test('phase: policies of the containers themselves', (t) => {
  const own = (restartPolicy: RestartPolicy) => named('a', { restartPolicy });
  const phase = (pod: RestartPolicy, container: Container, short: Short): PodPhase =>
    podPhase(makePod({ restartPolicy: pod, containers: [container] }), [status('a', short)], initialized);
  t.is(phase('Never', own('Always'), 'ok'), 'Running');
  t.is(phase('Never', own('OnFailure'), 'failed'), 'Running');
  t.is(phase('Never', own('OnFailure'), 'ok'), 'Succeeded');
  t.is(phase('Always', own('Never'), 'failed'), 'Failed');
  const rule: ContainerRestartRule = { action: 'Restart', exitCodes: { operator: 'In', values: [1] } };
  t.is(phase('Never', { ...own('Never'), restartPolicyRules: [rule] }, 'failed'), 'Running');
});
