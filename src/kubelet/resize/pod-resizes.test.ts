/** What a pod was given while it is being recorded, when that fails, and when the pod goes meanwhile. */
import test from 'ava';
import type { Pod, PodStatus } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { podRequests } from '../plan/pod-requests.ts';
import { PodResizes } from './pod-resizes.ts';
import { apiPod, asks, sized } from './resize-node.fake.ts';

const nano = 1_000_000_000n;

function podOf(name: string, cpu: string, generation = 1): Pod {
  const pod = apiPod(name, [sized('c', asks(cpu, '64Mi'))]);
  return { ...pod, metadata: { ...pod.metadata, generation, annotations: { 'kubernetes.io/config.source': 'api' } } };
}

function setUp() {
  const clock = new FakeClock();
  const saves: { uid: string; done: PromiseWithResolvers<void> }[] = [];
  const removed: string[] = [];
  const events: string[] = [];
  const woken: string[] = [];
  const statuses = new Map<string, PodStatus>();
  let desired: Pod[] = [];
  let rounds = 0;
  const node = { known: true };
  const resizes = new PodResizes({
    files: {
      save(uid) {
        const done = Promise.withResolvers<void>();
        saves.push({ uid, done });
        return done.promise;
      },
      remove: async (uid) => void removed.push(uid),
    },
    records: new Map(),
    annotationsOf: () => ({}),
    statusOf: (uid) => statuses.get(uid),
    node: { memoryBytes: 2 ** 33, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 },
    clock,
    log: silentLogger,
    recordEvent: (pod, { reason }) => void events.push(`${pod.metadata.name} ${reason}`),
    wake: (uid) => void woken.push(uid),
    takeAgain: () => take(),
  });
  const take = (...pods: Pod[]): void => {
    rounds++;
    if (pods.length > 0) desired = pods;
    resizes.retain((uid) => desired.some(({ metadata }) => metadata.uid === uid));
    const holders = desired.map((pod) => resizes.allocated(pod, false));
    for (const pod of holders) resizes.admit(pod);
    resizes.decide({ holders, allocatable: node.known ? { cpu: '2', memory: '4Gi' } : undefined });
  };
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) await Promise.resolve();
  };
  const cpuOf = (pod: Pod): bigint => (podRequests(pod).get('cpu') ?? 0n) / (nano / 1000n);
  return {
    clock,
    resizes,
    saves,
    removed,
    events,
    woken,
    statuses,
    take,
    settle,
    node,
    rounds: () => rounds,
    clear: (): void => {
      desired = [];
    },
    has: (pod: Pod): bigint => cpuOf(resizes.allocated(pod, true)),
    holds: (pod: Pod): bigint => cpuOf(resizes.held(resizes.allocated(pod, true))),
  };
}

test('until it is recorded a pod has what it had, and holds both; it is recorded once', async (t) => {
  const node = setUp();
  const [web, big] = [podOf('web', '500m'), podOf('big', '500m')];
  node.take(web, big);
  const larger = podOf('web', '1200m', 2);
  node.take(larger, big);
  node.take(larger, big);
  t.deepEqual(
    node.saves.map(({ uid }) => uid),
    ['uid-web'],
  );
  t.is(node.has(larger), 500n);
  t.is(node.holds(larger), 1200n);
  const other = podOf('big', '1', 2);
  node.take(larger, other);
  t.is(node.resizes.of('uid-big')?.pending?.reason, 'Deferred');
  t.is(node.saves.length, 1);
  t.deepEqual(node.resizes.of('uid-web')?.recording, { generation: 2 });
  node.saves[0]!.done.resolve();
  await node.settle();
  t.is(node.has(larger), 1200n);
  t.like(node.resizes.of('uid-web'), { pending: undefined, accepted: { generation: 2 }, recording: undefined });
  t.deepEqual(node.events, ['big ResizeDeferred', 'web ResizeStarted']);
});

test('what cannot be recorded is not given, and is tried again', async (t) => {
  const node = setUp();
  node.take(podOf('web', '500m'));
  const larger = podOf('web', '1', 2);
  node.take(larger);
  node.saves[0]!.done.reject(new Error('ENOSPC'));
  await node.settle();
  t.is(node.has(larger), 500n);
  t.is(node.holds(larger), 500n);
  t.deepEqual(node.resizes.of('uid-web')?.recording, { generation: 2 }, 'it is not told as done');
  t.deepEqual(node.events, []);
  await node.clock.advance(10_000);
  t.is(node.saves.length, 2);
  node.saves[1]!.done.resolve();
  await node.settle();
  t.is(node.has(larger), 1000n);
});

test('another wish that comes while one is recorded is decided after it', async (t) => {
  const node = setUp();
  node.take(podOf('web', '500m'));
  node.take(podOf('web', '1', 2));
  const last = podOf('web', '1500m', 3);
  node.take(last);
  t.is(node.saves.length, 1);
  node.saves[0]!.done.resolve();
  await node.settle();
  t.is(node.has(last), 1000n);
  t.is(node.saves.length, 2);
  node.saves[1]!.done.resolve();
  await node.settle();
  t.is(node.has(last), 1500n);
  t.deepEqual(node.resizes.of('uid-web')?.accepted, { generation: 3 });
});

test('the record of a pod that went meanwhile is removed, and nothing is remembered of it', async (t) => {
  const node = setUp();
  node.take(podOf('web', '500m'));
  node.take(podOf('web', '1', 2));
  node.clear();
  node.take();
  node.saves[0]!.done.resolve();
  await node.settle();
  t.deepEqual(node.removed, ['uid-web']);
  t.deepEqual(node.events, []);
  t.is(node.resizes.of('uid-web'), undefined);
  t.is(node.has(podOf('web', '700m')), 700n, 'a pod that comes with that uid begins anew');
});

test('what waits is looked at again by itself, in case the node grew', async (t) => {
  const node = setUp();
  node.take(podOf('web', '500m'));
  node.take(podOf('web', '4', 2));
  t.is(node.resizes.of('uid-web')?.pending?.reason, 'Infeasible');
  t.deepEqual(node.woken, ['uid-web']);
  const before = node.rounds();
  await node.clock.advance(180_000);
  await node.settle();
  t.is(node.rounds(), before + 1);
  node.take(podOf('web', '500m', 3));
  t.is(node.resizes.of('uid-web'), undefined);
  t.deepEqual(node.woken, ['uid-web', 'uid-web']);
  const after = node.rounds();
  await node.clock.advance(600_000);
  await node.settle();
  t.is(node.rounds(), after, 'nothing waits: nothing is done');
});

test('before the Node is known nothing is decided, and nothing told as done', async (t) => {
  const it = setUp();
  it.node.known = false;
  it.take(podOf('web', '500m'));
  const larger = podOf('web', '4', 2);
  it.take(larger);
  t.deepEqual(it.resizes.of('uid-web')?.recording, { generation: 2 });
  t.is(it.has(larger), 500n);
  it.node.known = true;
  await it.clock.advance(180_000);
  await it.settle();
  t.is(it.resizes.of('uid-web')?.recording, undefined);
  t.is(it.resizes.of('uid-web')?.pending?.reason, 'Infeasible');
});

test('pods of manifests and pods that ask for nothing else cost nothing', (t) => {
  const node = setUp();
  const manifest = apiPod('static', [sized('c', asks('1', '64Mi'))]);
  t.is(node.resizes.allocated(manifest, true), manifest);
  const web = podOf('web', '1');
  node.take(web);
  t.is(node.resizes.allocated(web, true), web);
  t.is(node.resizes.held(web), web);
  t.is(node.resizes.of('uid-web'), undefined);
  t.deepEqual(node.saves, []);
});
