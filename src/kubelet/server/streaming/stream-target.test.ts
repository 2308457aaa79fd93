import test from 'ava';
import type { Pod, PodStatus } from '../../../api/core.ts';
import type { ContainerPhase, ContainerRecord, SandboxRecord } from '../../plan/runtime-state.ts';
import { HttpStatusError } from '../http-status-error.ts';
import type { ServedPod, ServedPods } from '../served-pods.ts';
import { containerToAttach, containerToExec, findPod, readySandbox } from './stream-target.ts';

const record = (name: string, id: string, phase: ContainerPhase): ContainerRecord =>
  ({ name, id, phase }) as ContainerRecord;
const sandbox = (id: string, ready: boolean): SandboxRecord => ({ id, ready }) as SandboxRecord;

const served: ServedPod = {
  pod: {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop', uid: 'u1' },
    spec: {
      containers: [{ name: 'main', image: 'i', tty: true }],
      initContainers: [{ name: 'proxy', image: 'i', restartPolicy: 'Always' }],
      ephemeralContainers: [{ name: 'debugger', image: 'i', stdin: true }],
    },
  } satisfies Pod,
  status: {} as PodStatus,
  state: {
    sandboxes: [sandbox('s2', true), sandbox('s1', false)],
    containers: [
      record('main', 'm3', 'created'),
      record('main', 'm2', 'running'),
      record('main', 'm1', 'exited'),
      record('proxy', 'p1', 'running'),
      record('debugger', 'd1', 'running'),
      record('gone', 'g1', 'running'),
    ],
  },
};
const pods: ServedPods = {
  list: () => [served],
  find: (namespace, name, uid) =>
    namespace === 'shop' && name === 'web' && (uid === undefined || ['u1', 'mirror'].includes(uid))
      ? served
      : undefined,
};
const refused = (message: string) => ({ instanceOf: HttpStatusError, message, code: 'KUBELET_API' });

test('a pod by name, by its uid and by its mirror', (t) => {
  t.is(findPod(pods, { namespace: 'shop', pod: 'web' }), served);
  t.is(findPod(pods, { namespace: 'shop', pod: 'web', uid: 'u1' }), served);
  t.is(findPod(pods, { namespace: 'shop', pod: 'web', uid: 'mirror' }), served);
});

test('a pod that is not there, and one of another uid', (t) => {
  for (const [params, message] of [
    [{ namespace: 'shop', pod: 'none' }, 'pod does not exist'],
    [{ namespace: 'other', pod: 'web' }, 'pod does not exist'],
    [{ namespace: 'shop', pod: 'none', uid: 'u1' }, 'pod does not exist'],
    [{ namespace: 'shop', pod: 'web', uid: 'u0' }, 'pod not found'],
    [{}, 'pod does not exist'],
  ] as const) {
    const error = t.throws(() => findPod(pods, params), refused(message));
    t.is((error as HttpStatusError).status, 404);
  }
});

test('the newest running instance; main, sidecar and ephemeral containers', (t) => {
  t.deepEqual(containerToExec(served, { container: 'main' }), { containerId: 'm2', tty: true });
  t.deepEqual(containerToExec(served, { container: 'proxy' }), { containerId: 'p1', tty: false });
  t.deepEqual(containerToAttach(served, { container: 'debugger' }), { containerId: 'd1', tty: false });
});

test('no such container, none that runs, one that the pod does not name', (t) => {
  const still: ServedPod = { ...served, state: { sandboxes: [], containers: [record('main', 'm1', 'exited')] } };
  for (const [pod, container] of [
    [served, 'none'],
    [served, 'gone'],
    [still, 'main'],
  ] as const) {
    const exec = t.throws(() => containerToExec(pod, { container }), refused(`container not found ("${container}")`));
    t.is((exec as HttpStatusError).status, 500);
    t.throws(() => containerToAttach(pod, { container }), refused(`container ${container} not found in pod web_shop`));
  }
});

test('a hostile name in an answer is one line', (t) => {
  t.throws(() => containerToAttach(served, { container: 'a\r\nb' }), { message: /^container a\\r\\nb not found/ });
});

test('the newest sandbox, if it is ready', (t) => {
  t.is(readySandbox(served), 's2');
  for (const sandboxes of [[], [sandbox('s2', false), sandbox('s1', true)]]) {
    t.throws(
      () => readySandbox({ ...served, state: { sandboxes, containers: [] } }),
      refused('pod not found ("web_shop")'),
    );
  }
});
