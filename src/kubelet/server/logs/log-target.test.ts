import test from 'ava';
import type { ContainerState, ContainerStatus } from '../../../api/core.ts';
import type { ContainerRecord } from '../../plan/runtime-state.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { ServedPod } from '../served-pods.ts';
import { logTarget } from './log-target.ts';

const record = (id: string): ContainerRecord => ({
  ...{ id, sandboxId: 's', name: 'main', attempt: 0, phase: 'running', image: 'i', imageRef: 'i', createdAtMs: 0 },
  ...{ startedAtMs: 0, finishedAtMs: undefined, exitCode: 0, reason: '', message: '', logPath: `/${id}` },
  annotations: {},
});

const status = (name: string, state: ContainerState, lastState: ContainerState = {}, id = 'now'): ContainerStatus => ({
  ...{ name, state, lastState, ready: true, started: true, restartCount: 0, image: 'i', imageID: 'i' },
  containerID: `containerd://${id}`,
});

const served = (statuses: Partial<ServedPod['status']>): ServedPod => ({
  pod: {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'team', uid: 'u' } },
    spec: {
      containers: [{ name: 'main', image: 'i' }],
      initContainers: [{ name: 'setup', image: 'i' }],
      ephemeralContainers: [{ name: 'debugger', image: 'i' }],
    },
  },
  status: { phase: 'Running', conditions: [], ...statuses },
  state: { sandboxes: [], containers: ['now', 'before'].map(record) },
});

const running: ContainerState = { running: { startedAt: '' } };
const terminated = (id?: string): ContainerState => ({
  terminated: { exitCode: 1, ...(id === undefined ? {} : { containerID: id && `containerd://${id}` }) },
});
const waiting = (reason: string): ContainerState => ({ waiting: { reason } });

const target = (state: ContainerState, lastState: ContainerState = {}, previous = false): string => {
  try {
    const { id } = logTarget(served({ containerStatuses: [status('main', state, lastState)] }), 'main', previous);
    return id;
  } catch (error) {
    if (error instanceof HttpStatusError) return `${error.status} ${error.message}`;
    throw error;
  }
};

const subject = 'container "main" in pod "web"';

for (const [what, found, expected] of [
  ['running', target(running, terminated('before')), 'now'],
  ['ended', target(terminated('now'), terminated('before')), 'now'],
  ['ended without an instance, one before', target(terminated(''), terminated('before')), 'before'],
  ['ended without any instance', target(terminated()), `400 ${subject} is terminated`],
  ['waits after an end', target(waiting('CrashLoopBackOff'), terminated('before')), 'before'],
  [
    'waits after an end without instance',
    target(waiting('CrashLoopBackOff'), terminated()),
    `400 ${subject} is terminated`,
  ],
  ['waits', target(waiting('ContainerCreating')), `400 ${subject} is waiting to start: ContainerCreating`],
  [
    'waits for the image',
    target(waiting('ImagePullBackOff')),
    `400 ${subject} is waiting to start: trying and failing to pull image`,
  ],
  ['has no image', target(waiting('ErrImagePull')), `400 ${subject} is waiting to start: image can't be pulled`],
  ['no state', target({}), `400 ${subject} is waiting to start - no logs yet`],
  ['previous', target(running, terminated('before'), true), 'before'],
  ['previous of the first', target(running, {}, true), `400 previous terminated ${subject} not found`],
  ['previous without instance', target(running, terminated(''), true), `400 previous terminated ${subject} not found`],
  ['gone from the runtime', target(terminated('gone')), '400 unable to retrieve container logs for containerd://gone'],
] as const) {
  test(what, (t) => t.is(found, expected));
}

test('init and ephemeral containers have logs, too', (t) => {
  const pod = served({
    initContainerStatuses: [status('setup', terminated('before'))],
    ephemeralContainerStatuses: [status('debugger', running)],
  });
  t.is(logTarget(pod, 'setup', false).id, 'before');
  t.is(logTarget(pod, 'debugger', false).id, 'now');
});

test('a container without a status is not available; one that the pod does not have is not found', (t) => {
  const refusal = (name: string) => t.throws(() => logTarget(served({}), name, false), { instanceOf: HttpStatusError });
  t.like(refusal('main'), { status: 400, message: `${subject} is not available` });
  t.like(refusal('other'), { status: 404, message: 'container "other" not found in pod "web"' });
  t.like(refusal('\u001b[2J"'), { status: 404, message: 'container "\\u001b[2J\\"" not found in pod "web"' });
});
