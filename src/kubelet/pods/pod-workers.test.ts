/** Races of the whole role on the fake runtime: lost answers, ends during starts, kill -9 at any instant. */
import { readdirSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Container, Pod } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import type { FakeMethod } from '../../cri/fake-server.ts';
import { type Kubelet, startKubelet } from '../kubelet.ts';
import { fakeKubeletOptions } from '../kubelet-options.fake.ts';
import type { PodSnapshot } from '../pod-source.ts';
import { noVolumes } from './no-volumes.fake.ts';

const busybox: Container = { name: 'c', image: 'busybox', imagePullPolicy: 'IfNotPresent' };
const uidOf = (name: string): string => Buffer.from(name).toString('hex').padEnd(32, '0');
const makePod = (name: string, containers: Container[] = [busybox]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'team', uid: uidOf(name), annotations: { 'keelson.dev/config.file': '/m' } },
  spec: { containers, terminationGracePeriodSeconds: 2 },
});

type Services = Record<string, (...args: never[]) => unknown>;

/** After `kill` nothing reaches the runtime and no answer comes back: what a dead process would see. */
function mortal<T extends object>(service: T, killed: () => boolean): T {
  const forever = new Promise<never>(() => {});
  const wrapped: Services = {};
  for (const [name, method] of Object.entries(service as Services)) {
    wrapped[name] = (...args) => {
      if (killed()) return name === 'getContainerEvents' ? silence() : forever;
      const result = method(...args);
      if (!(result instanceof Promise)) return result;
      return result.then(
        (value) => (killed() ? forever : value),
        (error) => (killed() ? forever : Promise.reject(error)),
      );
    };
  }
  return wrapped as T;
}

async function* silence(): AsyncGenerator<never> {
  await new Promise(() => {});
}

async function setUp(
  t: ExecutionContext,
  generation: '1.6' | '1.7' = '1.7',
  orphans = async (): Promise<string[]> => [],
) {
  const root = await mkdtemp(join(tmpdir(), 'keelson-races-'));
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock, generation });
  fake.setImage('docker.io/library/busybox:latest');
  let snapshot: PodSnapshot = {
    pods: [],
    configMaps: new Map(),
    secrets: new Map(),
    errors: [],
    brokenFiles: new Set(),
  };
  let listener: (snapshot: PodSnapshot) => void = () => {};
  const kills: (() => void)[] = [];
  const torndown: string[] = [];
  const kubelets: Kubelet[] = [];
  t.teardown(async () => {
    await Promise.all(kubelets.slice(-1).map((kubelet) => kubelet.stop()));
    await rm(root, { recursive: true, force: true });
  });
  const node = {
    clock,
    fake,
    root,
    torndown,
    set(pods: Pod[]): void {
      snapshot = { ...snapshot, pods };
      listener(snapshot);
    },
    async start(): Promise<Kubelet> {
      let dead = false;
      const scope = new AbortController();
      kills.push(() => {
        dead = true;
        scope.abort(new Error('killed'));
      });
      const kubelet = await startKubelet(
        fakeKubeletOptions(
          { root, clock, runtime: mortal(fake.runtime, () => dead), image: mortal(fake.image, () => dead) },
          {
            source: {
              start: async (next) => {
                listener = (value) => {
                  if (!dead) next(value);
                };
                next(snapshot);
              },
            },
            volumes: () => ({
              ...noVolumes,
              teardown: async (uid) => void torndown.push(uid),
              orphans,
            }),
            restartBackoff: { initialMs: 100, maxMs: 400 },
            parallelPulls: 2,
          },
        ),
        scope.signal,
      );
      kubelets.push(kubelet);
      return kubelet;
    },
    /** The process is gone between two instructions; its pods are not. */
    kill(): void {
      for (const kill of kills.splice(0)) kill();
    },
    async until(what: string, condition: () => boolean, milliseconds = 4_000): Promise<void> {
      for (let i = 0; i < milliseconds / 10; i++) {
        if (condition()) {
          t.pass(what);
          return;
        }
        await clock.advance(10);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      const state = fake.containers.map((c) => `${c.config.labels?.['io.kubernetes.pod.name']}:${c.state}`);
      t.fail(`never happened: ${what}; ${state.join(' ')}`);
    },
    running: (pod: string, name = 'c') =>
      fake.containers.filter(
        ({ state, config }) =>
          state === 'CONTAINER_RUNNING' &&
          config.labels?.['io.kubernetes.pod.name'] === pod &&
          config.metadata?.name === name,
      ),
    called: (method: FakeMethod): number => fake.calls.filter((call) => call.method === method).length,
    empty: (): boolean => fake.sandboxes.length === 0 && fake.containers.length === 0,
  };
  return node;
}

const lost = (method: string): CriError => CriError.fromStatus(method, GrpcStatus.unavailable, 'connection reset');

for (const held of ['pullImage', 'createContainer', 'startContainer'] as const) {
  test(`a container that crashes during the ${held} of its sibling is not forgotten`, async (t) => {
    const node = await setUp(t);
    node.fake.offerImage('docker.io/library/slow:1');
    const slow: Container = { name: 'slow', image: 'slow:1', imagePullPolicy: 'IfNotPresent' };
    if (held === 'pullImage') node.set([makePod('web', [busybox, slow])]);
    const release: (() => void)[] = [];
    if (held === 'pullImage') release.push(node.fake.holdNext('pullImage'));
    else {
      // The first start is let through, the second one waits.
      node.fake.holdNext(held)();
      release.push(node.fake.holdNext(held));
      node.set([makePod('web', [busybox, { ...busybox, name: 'slow' }])]);
    }
    await node.start();
    await node.until('the first runs', () => node.running('web').length === 1);
    await node.until('the second is on its way', () => node.called(held) >= (held === 'pullImage' ? 1 : 2));
    // Past the early relist, so that only the event can tell.
    await node.clock.advance(1_500);
    node.fake.exitContainer(node.running('web')[0]!.id, 1);
    await node.clock.advance(100);
    // What the worker itself records now must hold by itself: no later event comes to correct it.
    node.fake.setContainerEvents(false);
    for (const go of release) go();
    await node.until('both run', () => node.running('web').length === 1 && node.running('web', 'slow').length === 1);
    t.is(node.running('web')[0]?.config.metadata?.attempt, 1);
  });
}

for (const generation of ['1.6', '1.7'] as const) {
  for (const method of [
    'runPodSandbox',
    'createContainer',
    'startContainer',
    'podSandboxStatus',
    'containerStatus',
  ] as const) {
    test(`containerd ${generation}: the answer of ${method} is lost, its effect is not`, async (t) => {
      const node = await setUp(t, generation);
      node.set([makePod('web')]);
      node.fake.failNext(method, lost(method), { afterEffect: true });
      await node.start();
      await node.until('it runs', () => node.running('web').length === 1, 20_000);
      await node.clock.advance(2_000);
      t.is(node.fake.containers.length, 1);
      t.is(node.fake.containers[0]?.config.metadata?.attempt, 0);
      t.is(node.fake.sandboxes.length, 1);
    });
  }
}

for (const method of [
  'runPodSandbox',
  'podSandboxStatus',
  'createContainer',
  'startContainer',
  'containerStatus',
] as const) {
  test(`a pod that is ended during its ${method} leaves nothing`, async (t) => {
    const node = await setUp(t);
    const release = node.fake.holdNext(method);
    node.set([makePod('web')]);
    const kubelet = await node.start();
    await node.until('asked', () => node.called(method) > 0);
    node.set([]);
    await node.clock.advance(500);
    release();
    await node.until('gone', () => node.empty() && kubelet.board.list().length === 0);
    await node.clock.advance(2_000);
    t.true(node.empty());
    await node.until('no worker is left', () => kubelet.status().ending.length === 0);
    t.deepEqual(await readdir(join(node.root, 'containers')), []);
    t.deepEqual(await readdir(join(node.root, 'logs')), []);
  });
}

test('a sandbox that its event brings in before its own start has read it is one sandbox', async (t) => {
  const node = await setUp(t);
  const release = node.fake.holdNext('podSandboxStatus');
  node.set([makePod('web')]);
  await node.start();
  await node.until('made', () => node.fake.sandboxes.length === 1);
  await node.clock.advance(500);
  release();
  await node.until('it runs', () => node.running('web').length === 1);
  await node.clock.advance(2_000);
  t.is(node.called('runPodSandbox'), 1);
  t.is(node.called('stopPodSandbox'), 0);
});

test('a pod that is ended during its pull aborts the pull at once', async (t) => {
  const node = await setUp(t);
  node.fake.offerImage('docker.io/library/slow:1');
  node.fake.holdNext('pullImage');
  node.set([makePod('web', [{ name: 'c', image: 'slow:1', imagePullPolicy: 'IfNotPresent' }])]);
  await node.start();
  await node.until('pulling', () => node.called('pullImage') === 1);
  node.set([]);
  await node.until('gone', () => node.empty(), 500);
});

test('the same manifest taken away and put back during the end: ended once, started once', async (t) => {
  const node = await setUp(t);
  node.set([makePod('web')]);
  const kubelet = await node.start();
  await node.until('it runs', () => node.running('web').length === 1);
  const first = node.running('web')[0]!.id;
  const release = node.fake.holdNext('stopContainer');
  node.set([]);
  await node.until('stopping', () => node.called('stopContainer') === 1);
  node.set([makePod('web')]);
  node.set([]);
  node.set([makePod('web')]);
  release();
  await node.until('it runs anew', () => node.running('web').length === 1 && node.running('web')[0]!.id !== first);
  await node.clock.advance(3_000);
  t.is(node.fake.sandboxes.length, 1);
  t.is(node.fake.containers.length, 1);
  t.is(node.called('runPodSandbox'), 2);
  t.deepEqual(kubelet.status().ending, []);
});

test('a pod whose end fails is tried again and says why meanwhile', async (t) => {
  const node = await setUp(t);
  node.set([makePod('web')]);
  const kubelet = await node.start();
  await node.until('it runs', () => node.running('web').length === 1);
  node.fake.failNext('stopPodSandbox', CriError.fromStatus('StopPodSandbox', 2, 'CNI says no'), { times: 3 });
  node.set([]);
  await node.until('told', () => kubelet.status().pods[0]?.error?.includes('CNI says no') ?? false);
  t.is(kubelet.status().ending.length, 1);
  await node.until('gone', () => node.empty(), 20_000);
});

test('a stopped role starts nothing more and ends nothing more', async (t) => {
  const node = await setUp(t);
  const release = node.fake.holdNext('createContainer');
  node.set([makePod('web'), makePod('job')]);
  const kubelet = await node.start();
  await node.until('asked', () => node.called('createContainer') > 0);
  await kubelet.stop();
  node.fake.calls.length = 0;
  release();
  await node.clock.advance(120_000);
  const writes = node.fake.calls.map(({ method }) => method).filter((method) => /^(run|stop|remove|pull)/.test(method));
  t.deepEqual(writes, []);
});

test('a pod that comes while leftovers are removed is none of them', async (t) => {
  let arrive = (): void => {};
  const node = await setUp(t, '1.7', async () => {
    arrive();
    return [uidOf('late'), uidOf('gone')];
  });
  arrive = () => node.set([makePod('late')]);
  await node.start();
  await node.until('it runs', () => node.running('late').length === 1);
  t.deepEqual(node.torndown, [uidOf('gone')]);
});

/** A small generator with a seed that a failure prints. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
  const generation = seed % 2 === 0 ? '1.6' : '1.7';
  test(`storm, seed ${seed}, containerd ${generation}: kill -9, crashes and a dying runtime change nothing in the end`, async (t) => {
    const random = randomOf(seed);
    const node = await setUp(t, generation);
    const names = ['a', 'b', 'd', 'e'];
    const wanted = new Set(names.filter(() => random(2) === 0));
    const apply = (): void => node.set(['stable', ...wanted].map((name) => makePod(name)));
    apply();
    await node.start();
    await node.until('the stable one runs', () => node.running('stable').length === 1);
    const stable = node.running('stable')[0]!.id;
    let up = true;
    for (let step = 0; step < 60; step++) {
      const action = random(10);
      const name = names[random(names.length)] ?? 'a';
      if (action < 4) {
        if (!wanted.delete(name)) wanted.add(name);
        apply();
      } else if (action < 6) {
        const [victim] = node.running(name);
        if (victim) node.fake.exitContainer(victim.id, random(3));
      } else if (action < 8 && up) {
        node.kill();
        // What the dead one had begun on the disk ends first; a real death would have cut it off.
        for (let i = 0; i < 40; i++) await readdir(node.root);
        await new Promise((resolve) => setTimeout(resolve, 20));
        await node.start();
      } else if (action === 8) {
        if (up) node.fake.goDown();
        else node.fake.comeBack();
        up = !up;
      } else {
        const methods = ['createContainer', 'startContainer', 'runPodSandbox', 'removePodSandbox'] as const;
        const method = methods[random(methods.length)] ?? 'createContainer';
        node.fake.failNext(method, lost(method), { afterEffect: random(2) === 0 });
      }
      const pause = random(60);
      for (let i = 0; i < random(4); i++) await node.clock.advance(pause);
    }
    if (!up) node.fake.comeBack();
    const all = (): string[] => ['stable', ...wanted].sort();
    const ready = () => node.fake.sandboxes.filter(({ state }) => state === 'SANDBOX_READY');
    // An old sandbox stays as long as it holds the last dead instance of a pod that lives.
    const settled = (): boolean =>
      ready().length === all().length &&
      node.fake.sandboxes.every(({ config }) => all().includes(config.metadata?.name ?? '')) &&
      all().every((name) => node.running(name).length === 1);
    await node.until(`exactly ${all().join(' ')}`, settled, 60_000);
    // Ends and retries that were still to come.
    await node.clock.advance(30_000);
    await node.until('it stays so', settled, 60_000);
    t.deepEqual(
      node.running('stable').map(({ id }) => id),
      [stable],
      'what ran was not disturbed',
    );
    const logs = (): string[] =>
      readdirSync(join(node.root, 'logs'))
        .map((name) => name.split('_')[1] ?? '')
        .sort();
    await node.until('no log is left over', () => logs().join() === all().join());
    const links = await readdir(join(node.root, 'containers'));
    for (const link of links) t.true(all().includes(link.split('_')[0] ?? ''), link);
  });
}
