import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { settle } from '../../base/fake-clock.ts';
import { CriError } from '../../cri/cri-error.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { HostReader } from '../node/node-measurements.ts';
import type { ContainerPhase, ContainerRecord } from '../plan/runtime-state.ts';
import type { PodVolumes } from '../pods/pod-context.ts';
import type { ServedPod } from '../server/served-pods.ts';
import { apiPod, podStats } from './evictable-pod.fake.ts';
import { createNodeSignals, podUsage } from './node-signals.ts';
import { PodReleases } from './pod-releases.ts';
import { hasEndedForGood, removeEndedContainers } from './remove-ended-containers.ts';

const never = new AbortController().signal;

test('a pod has made room when its volumes were removed', async (t) => {
  const releases = new PodReleases();
  const work = Promise.withResolvers<void>();
  const told: unknown[][] = [];
  const volumes = releases.watch({
    teardown(...about: Parameters<PodVolumes['teardown']>) {
      told.push(about);
      return work.promise;
    },
    mount: () => 'kept',
  });
  t.is(volumes.mount(), 'kept');
  let done = false;
  const waiting = releases.released('a', never).then(() => {
    done = true;
  });
  const about = ['a', never, undefined] as const;
  const teardown = volumes.teardown(...about);
  await settle();
  t.false(done);
  work.resolve();
  await Promise.all([teardown, waiting]);
  t.true(done);
  t.deepEqual(told, [[...about]]);
});

test('a teardown that fails, or another pod, releases nobody; who leaves is told why', async (t) => {
  const releases = new PodReleases();
  const scope = new AbortController();
  const waiting = releases.released('a', scope.signal);
  await t.throwsAsync(
    releases.watch({ teardown: async (_uid: string) => Promise.reject(new Error('busy')) }).teardown('a'),
  );
  await releases.watch({ teardown: async (_uid: string) => undefined }).teardown('b');
  scope.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  await t.throwsAsync(releases.released('a', scope.signal), { message: 'enough' });
});

const files: Record<string, string> = {
  '/proc/meminfo':
    'MemTotal: 1000 kB\nAnonPages: 300 kB\nCached: 200 kB\nBuffers: 0 kB\nSwapCached: 0 kB\n' +
    'Inactive(file): 100 kB\nSwapTotal: 0 kB\n',
  '/proc/sys/kernel/pid_max': '32768',
  '/proc/sys/kernel/threads-max': '1000',
  '/proc/loadavg': '0.1 0.2 0.3 2/100 5',
};

function machine() {
  const read: string[] = [];
  const host: HostReader = {
    readText: async (path) => {
      read.push(path);
      return files[path] ?? Promise.reject(new Error(`ENOENT ${path}`));
    },
    names: async () => [],
    filesystem: async (path) => {
      read.push(path);
      const size = path === '/root' ? 100 : 200;
      return { capacityBytes: size, availableBytes: size / 2, inodes: size, inodesFree: size / 4 };
    },
    kernelVersion: () => '6.18',
    architecture: () => 'amd64',
  };
  return { host, read };
}

test('signals: memory, both disks, process IDs, and no other file is read', async (t) => {
  const { host, read } = machine();
  const fake = new FakeRuntime();
  const { measure } = createNodeSignals({ host, rootDir: '/root', images: fake.image, log: silentLogger });
  t.deepEqual(await measure(), {
    'memory.available': { available: 600 * 1024, capacity: 1000 * 1024 },
    'nodefs.available': { available: 50, capacity: 100 },
    'nodefs.inodesFree': { available: 25, capacity: 100 },
    'imagefs.available': { available: 100, capacity: 200 },
    'imagefs.inodesFree': { available: 50, capacity: 200 },
    'pid.available': { available: 900, capacity: 1000 },
  });
  await measure();
  t.is(read.length, 12);
  t.is(fake.calls.filter(({ method }) => method === 'imageFsInfo').length, 1, 'asked once');
});

test('while the runtime is away there are still memory and the own disk', async (t) => {
  const { host } = machine();
  const fake = new FakeRuntime();
  fake.failNext('imageFsInfo', CriError.fromStatus('ImageFsInfo', 14, 'down'), { times: 2 });
  const signals = createNodeSignals({ host, rootDir: '/root', images: fake.image, log: silentLogger });
  const seen = await signals.measure();
  t.truthy(seen['nodefs.available']);
  t.is(seen['imagefs.available'], undefined);
  await t.throwsAsync(signals.layout(), { instanceOf: CriError });
  t.truthy((await signals.measure())['imagefs.available']);
});

test('images lie on a disk of their own when the device is another', async (t) => {
  const { host } = machine();
  for (const [device, dedicatedImageFs] of [
    [async () => 5, false],
    [async (path: string) => path.length, true],
  ] as const) {
    const images = new FakeRuntime().image;
    const { layout } = createNodeSignals({ host, rootDir: '/root', images, device, log: silentLogger });
    t.deepEqual(await layout(), { dedicatedImageFs });
  }
});

test('usage is that of /stats/summary, by uid', async (t) => {
  const web = podStats('web');
  const usage = podUsage({ summary: async () => ({ node: { nodeName: 'n', startTime: '' }, pods: [web] }) });
  t.deepEqual([...(await usage())], [['uid-web', web]]);
});

const served = (name: string, phase: 'Running' | 'Failed', containers: ContainerPhase[], change = {}): ServedPod => ({
  pod: apiPod(name),
  status: { phase, conditions: [] },
  state: {
    sandboxes: [{ id: `${name}-s`, attempt: 0, ready: false, createdAtMs: 0, ips: [], hostNetwork: false }],
    containers: containers.map(
      (is, attempt) => ({ id: `${name}-${attempt}`, name: 'main', attempt, phase: is }) as ContainerRecord,
    ),
  },
  ...change,
});

test('only what ended for good goes: of the API server, nothing of it running', (t) => {
  t.true(hasEndedForGood(served('a', 'Failed', ['exited', 'exited'])));
  t.true(hasEndedForGood(served('a', 'Failed', [])), 'its sandbox is left');
  t.false(hasEndedForGood(served('a', 'Running', ['exited'])), 'may start again');
  t.false(hasEndedForGood(served('a', 'Failed', ['exited', 'running'])));
  t.false(hasEndedForGood(served('a', 'Failed', ['unknown'])));
  t.false(hasEndedForGood(served('a', 'Failed', ['exited'], { pod: apiPod('a', {}, 'file') })), 'would begin anew');
  t.false(hasEndedForGood(served('a', 'Failed', [], { state: { sandboxes: [], containers: [] } })), 'nothing left');
});

test('containers, then sandboxes, with their logs; a failure keeps the other pods from nothing', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'keelson-ended-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const removed: string[] = [];
  const refreshed: string[] = [];
  const running = removeEndedContainers({
    pods: () => [
      served('a', 'Failed', ['exited']),
      served('b', 'Running', ['exited']),
      served('c', 'Failed', ['exited']),
    ],
    runtime: {
      removeContainer: async ({ containerId = '' }) => {
        if (containerId === 'a-0') throw CriError.fromStatus('RemoveContainer', 2, 'busy');
        removed.push(containerId);
        return {};
      },
      removePodSandbox: async ({ podSandboxId = '' }) => {
        removed.push(podSandboxId);
        return {};
      },
    },
    refresh: async ({ name }) => refreshed.push(name),
    paths: { rootDir: root, podLogDir: root, containerLogLinkDir: root },
  });
  await t.throwsAsync(running, { instanceOf: AggregateError });
  t.deepEqual(removed, ['c-0', 'c-s']);
  t.deepEqual(refreshed, ['c']);
});
