import test from 'ava';
import type { ContainerState, Pod, PodStatus } from '../api/core.ts';
import type { KubeletStatus } from '../kubelet/kubelet.ts';
import { podReports, podSummary } from './status-report.ts';

const running: ContainerState = { running: { startedAt: '2026-01-01T00:00:00Z' } };
const waiting = (reason?: string): ContainerState => ({ waiting: reason === undefined ? {} : { reason } });
const ended = (exitCode: number, reason?: string, signal?: number): ContainerState => ({
  terminated: {
    exitCode,
    ...(reason === undefined ? {} : { reason }),
    ...(signal === undefined ? {} : { signal }),
  },
});

function status(states: ContainerState[], change: Partial<PodStatus> = {}, podReady = true): PodStatus {
  return {
    phase: 'Running',
    conditions: [{ type: 'Ready', status: podReady ? 'True' : 'False' }],
    containerStatuses: states.map((state, i) => ({
      name: `c${i}`,
      state,
      lastState: {},
      ready: state.running !== undefined,
      started: state.running !== undefined,
      restartCount: i,
      image: 'i',
      imageID: '',
    })),
    ...change,
  };
}

// As kubectl's printPod: what the first container says wins, since it looks at the last one first.
for (const [what, given, expected] of [
  ['no container yet', status([], { phase: 'Pending' }), 'Pending'],
  ['all run', status([running, running]), 'Running'],
  ['the pod has a reason', status([], { phase: 'Failed', reason: 'OutOfpods' }), 'OutOfpods'],
  ['an empty reason is none', status([], { phase: 'Failed', reason: '' }), 'Failed'],
  ['one waits', status([running, waiting('CrashLoopBackOff')]), 'CrashLoopBackOff'],
  ['a wait without reason says nothing', status([waiting()], { phase: 'Pending' }), 'Pending'],
  ['two wait: the first one counts', status([waiting('ErrImagePull'), waiting('CrashLoopBackOff')]), 'ErrImagePull'],
  ['failed before waiting', status([ended(1, 'Error'), waiting('ErrImagePull')]), 'Error'],
  ['ended by number', status([ended(3)]), 'ExitCode:3'],
  ['ended by signal', status([ended(137, undefined, 9)]), 'Signal:9'],
  ['an empty reason falls back to the number', status([ended(3, '')]), 'ExitCode:3'],
  ['a job is done', status([ended(0, 'Completed')], { phase: 'Succeeded' }, false), 'Completed'],
  ['one done, one runs, pod ready', status([ended(0, 'Completed'), running]), 'Running'],
  ['one done, one runs, pod not ready', status([ended(0, 'Completed'), running], {}, false), 'NotReady'],
  ['one done, one failed', status([ended(0, 'Completed'), ended(1, 'Error')], {}, false), 'Error'],
  ['one failed, one done', status([ended(1, 'OOMKilled'), ended(0, 'Completed')], {}, false), 'OOMKilled'],
] as [string, PodStatus, string][]) {
  test(`summary: ${what}: ${expected}`, (t) => t.is(podSummary(given), expected));
}

const pod = (name: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'team', uid: `uid-${name}` },
  spec: { containers: [] },
});

test('a report counts readiness and restarts, and a pod on its way out is Terminating', (t) => {
  const kubelet: KubeletStatus = {
    pods: [
      { pod: pod('web'), status: status([running, waiting('CrashLoopBackOff'), running]), error: 'cannot mount' },
      { pod: pod('old'), status: status([running]), error: undefined },
    ],
    ending: [{ namespace: 'team', name: 'old', uid: 'uid-old' }],
    manifestErrors: [],
    runtime: { healthy: true, mode: 'events' },
  };
  t.like(podReports(kubelet), [
    { name: 'web', summary: 'CrashLoopBackOff', ready: 2, containers: 3, restarts: 3, error: 'cannot mount' },
    { name: 'old', summary: 'Terminating', ready: 1, containers: 1, restarts: 0, error: undefined },
  ]);
});

test('a pod without container statuses counts none', (t) => {
  const { containerStatuses: _, ...bare } = status([], { phase: 'Failed', reason: 'OutOfpods' });
  const kubelet: KubeletStatus = {
    pods: [{ pod: pod('refused'), status: bare, error: undefined }],
    ending: [],
    manifestErrors: [],
    runtime: { healthy: true, mode: undefined },
  };
  t.like(podReports(kubelet), [{ summary: 'OutOfpods', ready: 0, containers: 0, restarts: 0 }]);
});
