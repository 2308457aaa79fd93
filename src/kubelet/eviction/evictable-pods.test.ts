import test from 'ava';
import type { PodPhase } from '../../api/core.ts';
import { busybox, podNode, staticPod } from '../pods/pod-node.fake.ts';
import type { PodPhaseOfWork } from '../pods/pod-worker.ts';
import { StatusBoard } from '../status/status-board.ts';
import { apiPod } from './evictable-pod.fake.ts';
import { createEvictablePods } from './evictable-pods.ts';
import { PodReleases } from './pod-releases.ts';

const verdict = { reason: 'Evicted', message: 'why', graceSeconds: 1 };

function setUp() {
  const board = new StatusBoard();
  const calls: string[] = [];
  const running = new Set<string>();
  const workers = new Map<string, { phase: PodPhaseOfWork; fail(): void; terminate(grace?: number): void }>();
  const add = (name: string, phase: PodPhase, work?: PodPhaseOfWork): void => {
    board.set(apiPod(name), { phase, conditions: [] });
    if (work === undefined) return;
    workers.set(`uid-${name}`, {
      phase: work,
      fail: () => void calls.push(`${name} fail`),
      terminate: (grace) => void calls.push(`${name} terminate ${grace}`),
    });
  };
  const pods = createEvictablePods({
    board,
    mayRun: (uid) => running.has(uid),
    worker: (uid) => workers.get(uid),
    releases: new PodReleases(),
  });
  return { add, calls, running, pods };
}

test('what has not ended is there, and what ended but runs on', (t) => {
  const { add, running, pods } = setUp();
  add('a', 'Running');
  add('b', 'Pending');
  add('c', 'Failed');
  add('d', 'Succeeded');
  running.add('uid-d');
  t.deepEqual(
    pods.list().map(({ metadata }) => metadata.name),
    ['a', 'b', 'd'],
  );
});

test('a running pod fails; one that is being ended is hastened; each once', (t) => {
  const { add, calls, pods } = setUp();
  add('runs', 'Running', 'syncing');
  add('ends', 'Running', 'terminating');
  add('failed', 'Failed', 'syncing');
  add('gone', 'Running', 'removing');
  add('unknown', 'Running');
  const end = (name: string): boolean => pods.end(`uid-${name}`, verdict);
  t.deepEqual(['runs', 'ends', 'failed', 'gone', 'unknown'].map(end), [true, true, false, false, false]);
  t.deepEqual(['runs', 'ends'].map(end), [false, false]);
  t.deepEqual(calls, ['runs fail', 'ends terminate 1']);
});

test('a pod that waits for its image is ended at once, and released when its volumes are gone', async (t) => {
  const node = await podNode(t);
  const image = 'registry.example/app:1';
  node.fake.offerImage(image);
  node.fake.holdNext('pullImage');
  const pod = staticPod('web', { nodeName: 'node1', containers: [busybox('main', { image })] });
  pod.metadata.annotations = { 'kubernetes.io/config.source': 'api' };
  node.set(pod);
  const kubelet = await node.start();
  await node.until('it pulls', () => node.fake.calls.some(({ method }) => method === 'pullImage'));
  const released = kubelet.evictable.released('uid-web', new AbortController().signal);
  t.true(kubelet.evictable.end('uid-web', { ...verdict, disruption: verdict.message }));
  await node.until('it has failed', () => node.status('web')?.phase === 'Failed');
  t.like(node.status('web'), { reason: 'Evicted', message: 'why' });
  t.is(node.condition('web', 'DisruptionTarget')?.status, 'True');
  await released;
  t.deepEqual(kubelet.evictable.list(), []);
  t.deepEqual(node.fake.containers, []);
  t.false(
    node.events.some((event) => event.includes('Failed')),
    "that its pull ended is nobody's failure",
  );
});
