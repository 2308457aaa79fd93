import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import { silentLogger } from '../../observe/logger.ts';
import { manifestFileAnnotation, type PodIdentity } from '../plan/annotations.ts';
import { PodRuntimeCache } from './runtime-cache.ts';

const image = 'docker.io/library/busybox:latest';
const refused = (method: string): CriError => CriError.fromStatus(method, GrpcStatus.internal, 'broken');

function setUp(generation: '1.6' | '1.7' | '2.1' = '1.7') {
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock, generation });
  fake.setImage(image);
  const changed: string[] = [];
  const warnings: object[] = [];
  const options = {
    runtime: fake.runtime,
    readTerminationMessage: async () => 'last words',
    clock,
    log: { ...silentLogger, warn: (fields: object) => void warnings.push(fields) },
  };
  const cache = new PodRuntimeCache(options);
  cache.onChange((uid) => changed.push(uid));
  return { clock, fake, cache, changed, warnings };
}

const labelsOf = ({ name, namespace, uid }: PodIdentity): Record<string, string> => ({
  'io.kubernetes.pod.name': name,
  'io.kubernetes.pod.namespace': namespace,
  'io.kubernetes.pod.uid': uid,
});
const pod = (uid: string): PodIdentity => ({ name: `pod-${uid}`, namespace: 'team', uid });

/** A sandbox as any client of the runtime may make it. */
async function runSandbox(fake: FakeRuntime, identity: PodIdentity, labels = labelsOf(identity)): Promise<string> {
  const annotations = { [manifestFileAnnotation]: `/m/${identity.uid}.yaml` };
  const config = { metadata: { ...identity, attempt: 0 }, labels, annotations };
  return (await fake.runtime.runPodSandbox({ config })).podSandboxId;
}

async function createContainer(fake: FakeRuntime, identity: PodIdentity, sandbox: string, name = 'c'): Promise<string> {
  const config = { metadata: { name, attempt: 0 }, image: { image }, labels: labelsOf(identity) };
  const sandboxConfig = { metadata: { ...identity, attempt: 0 } };
  return (await fake.runtime.createContainer({ podSandboxId: sandbox, config, sandboxConfig })).containerId;
}

async function runContainer(fake: FakeRuntime, identity: PodIdentity, sandbox: string, name = 'c'): Promise<string> {
  const containerId = await createContainer(fake, identity, sandbox, name);
  await fake.runtime.startContainer({ containerId });
  return containerId;
}

/** Follows until the test ends; resolves after the first relist. */
async function follow(t: ExecutionContext, setup: ReturnType<typeof setUp>): Promise<{ reconnects: number }> {
  const controller = new AbortController();
  const seen = { reconnects: 0 };
  const done = setup.cache.run(controller.signal, () => {
    seen.reconnects++;
  });
  t.teardown(async () => {
    controller.abort(new Error('the test is over'));
    await done;
  });
  await setup.clock.advance(0);
  return seen;
}

const phases = (cache: PodRuntimeCache, uid: string): string[] => cache.get(uid).containers.map(({ phase }) => phase);

test('a relist finds pods with their annotations, and says which changed', async (t) => {
  const { fake, cache, changed } = setUp();
  const id = await runSandbox(fake, pod('u1'));
  await runContainer(fake, pod('u1'), id);
  await runSandbox(fake, pod('u2'));
  await cache.relist();
  t.deepEqual(changed.sort(), ['u1', 'u2']);
  t.like(cache.get('u1').sandboxes[0], { id, ready: true, attempt: 0 });
  t.deepEqual(phases(cache, 'u1'), ['running']);
  t.is(cache.pods()[0]?.annotations[manifestFileAnnotation], '/m/u1.yaml');
  changed.length = 0;
  fake.calls.length = 0;
  await cache.relist();
  t.deepEqual(changed, []);
  t.deepEqual(
    fake.calls.map(({ method }) => method),
    ['listPodSandbox', 'listContainers'],
    'what did not change costs no further call',
  );
});

for (const [what, labels] of [
  ['no labels', {}],
  ['a label missing', { 'io.kubernetes.pod.name': 'x', 'io.kubernetes.pod.namespace': 'y' }],
  ['an empty name', labelsOf({ name: '', namespace: 'team', uid: 'u' })],
  ['a UID that leaves its directory', labelsOf({ name: 'x', namespace: 'team', uid: '../../etc' })],
  ['a name that is a directory', labelsOf({ name: '..', namespace: 'team', uid: 'u' })],
  ['a slash in the namespace', labelsOf({ name: 'x', namespace: 'a/b', uid: 'u' })],
] as const) {
  test(`a sandbox with ${what} is nobody's: neither listed nor told of by events`, async (t) => {
    const setup = setUp();
    const { fake, cache, changed, clock } = setup;
    await runSandbox(fake, pod('before'), labels);
    await follow(t, setup);
    await runSandbox(fake, pod('after'), labels);
    await clock.advance(2_000);
    t.deepEqual(cache.pods(), []);
    t.deepEqual(changed, []);
  });
}

test('events: a container that exits is reported once, without a relist', async (t) => {
  const setup = setUp();
  const { fake, cache, changed, clock } = setup;
  const id = await runContainer(fake, pod('u1'), await runSandbox(fake, pod('u1')));
  await follow(t, setup);
  t.is(cache.mode, 'events');
  await clock.advance(1_500);
  changed.length = 0;
  fake.calls.length = 0;
  fake.exitContainer(id, 3);
  await clock.advance(30);
  t.deepEqual(changed, ['u1']);
  t.like(cache.get('u1').containers[0], { phase: 'exited', exitCode: 3, message: 'last words' });
  t.false(fake.calls.some(({ method, request }) => method === 'listContainers' && !hasFilter(request)));
});

const hasFilter = (request: unknown): boolean => (request as { filter?: unknown }).filter !== undefined;

test('events about what a worker recorded itself cost no call', async (t) => {
  const setup = setUp();
  const { fake, cache, changed, clock } = setup;
  await follow(t, setup);
  await clock.advance(1_500);
  const sandbox = await runSandbox(fake, pod('u1'));
  await cache.refresh(pod('u1'));
  await clock.advance(30);
  t.is(cache.get('u1').sandboxes[0]?.id, sandbox);
  changed.length = 0;
  fake.calls.length = 0;
  await clock.advance(30);
  t.deepEqual(fake.calls, []);
  t.deepEqual(changed, []);
});

test('events: a pod that another made while we watch has its annotations', async (t) => {
  const setup = setUp();
  const { fake, cache, clock } = setup;
  await follow(t, setup);
  await clock.advance(1_500);
  await runSandbox(fake, pod('u1'));
  await clock.advance(30);
  t.is(cache.pods()[0]?.annotations[manifestFileAnnotation], '/m/u1.yaml');
});

for (const generation of ['1.7', '2.1'] as const) {
  test(`containerd ${generation}: late events about a pod that was forgotten bring nothing back`, async (t) => {
    const setup = setUp(generation);
    const { fake, cache, changed, clock } = setup;
    const sandbox = await runSandbox(fake, pod('u1'));
    await runContainer(fake, pod('u1'), sandbox);
    await follow(t, setup);
    await clock.advance(1_500);
    changed.length = 0;
    await fake.runtime.removePodSandbox({ podSandboxId: sandbox });
    cache.forget('u1');
    await clock.advance(100);
    t.deepEqual(cache.pods(), []);
    t.deepEqual(changed, []);
  });
}

test('without events: relisting each second finds the same', async (t) => {
  const setup = setUp('1.6');
  const { fake, cache, changed, clock } = setup;
  const sandbox = await runSandbox(fake, pod('u1'));
  const id = await runContainer(fake, pod('u1'), sandbox);
  await follow(t, setup);
  t.is(cache.mode, 'relist');
  changed.length = 0;
  fake.exitContainer(id, 1);
  await clock.advance(1_000);
  t.deepEqual(changed, ['u1']);
  t.deepEqual(phases(cache, 'u1'), ['exited']);
  await fake.runtime.removePodSandbox({ podSandboxId: sandbox });
  await clock.advance(1_000);
  t.deepEqual(changed, ['u1', 'u1']);
  t.deepEqual(cache.pods(), []);
});

test('what happened between the first relist and the subscription is found within a second', async (t) => {
  const setup = setUp();
  const { fake, cache, clock } = setup;
  const id = await runContainer(fake, pod('u1'), await runSandbox(fake, pod('u1')));
  await follow(t, setup);
  fake.setContainerEvents(false);
  fake.exitContainer(id, 1);
  await clock.advance(1_100);
  t.deepEqual(phases(cache, 'u1'), ['exited']);
});

test('a lost event is found by the slow resync', async (t) => {
  const setup = setUp();
  const { fake, cache, changed, clock } = setup;
  const id = await runContainer(fake, pod('u1'), await runSandbox(fake, pod('u1')));
  await follow(t, setup);
  await clock.advance(1_100);
  changed.length = 0;
  fake.setContainerEvents(false);
  fake.exitContainer(id, 1);
  await clock.advance(60_000);
  t.deepEqual(phases(cache, 'u1'), ['exited']);
  t.deepEqual(changed, ['u1']);
});

test('a runtime that dies: unhealthy, then a relist, one reconnect, and the stream again', async (t) => {
  const setup = setUp();
  const { fake, cache, clock, warnings } = setup;
  const id = await runContainer(fake, pod('u1'), await runSandbox(fake, pod('u1')));
  const seen = await follow(t, setup);
  t.is(seen.reconnects, 1);
  fake.goDown();
  await clock.advance(5_000);
  t.false(cache.healthy);
  t.is(warnings.length, 1, 'told once, not at each attempt');
  fake.exitContainer(id, 1);
  fake.comeBack();
  await clock.advance(1_000);
  t.true(cache.healthy);
  t.is(seen.reconnects, 2);
  t.deepEqual(phases(cache, 'u1'), ['exited']);
  t.is(fake.eventReaders, 1);
});

test('a stream that breaks while the runtime answers is opened again, not at once and not for ever busy', async (t) => {
  const setup = setUp();
  const { fake, clock, cache } = setup;
  fake.failNext('getContainerEvents', CriError.fromStatus('GetContainerEvents', 14, 'ended'), { times: 20 });
  await follow(t, setup);
  await clock.advance(3_000);
  const relists = fake.calls.filter(({ method }) => method === 'listPodSandbox').length;
  t.true(relists <= 8, `${relists} relists in 3 s`);
  await clock.advance(30_000);
  t.true(cache.healthy);
  t.is(fake.eventReaders, 1);
});

test('stopping ends the loop and the stream', async (t) => {
  const { fake, cache, clock } = setUp();
  const controller = new AbortController();
  const done = cache.run(controller.signal, () => {});
  await clock.advance(10);
  t.is(fake.eventReaders, 1);
  controller.abort(new Error('stop'));
  await done;
  await settle();
  t.is(fake.eventReaders, 0);
});

test('an inspection that began before a worker recorded does not overwrite it, known pod or not', async (t) => {
  for (const known of [true, false]) {
    const { fake, cache } = setUp();
    const sandbox = await runSandbox(fake, pod('u1'));
    if (known) await cache.refresh(pod('u1'));
    const release = fake.holdNext('podSandboxStatus');
    const held = fake.holdNext('listContainers');
    const old = cache.refresh(pod('u1'));
    held();
    await settle();
    // The list of containers was taken; now the worker makes one and says so.
    const id = await runContainer(fake, pod('u1'), sandbox);
    const record = {
      id,
      sandboxId: sandbox,
      name: 'c',
      attempt: 0,
      phase: 'running' as const,
      image,
      imageRef: '',
      createdAtMs: 1,
      startedAtMs: 1,
      finishedAtMs: undefined,
      exitCode: 0,
      reason: '',
      message: '',
      logPath: '',
      annotations: {},
    };
    cache.record(pod('u1'), { ...cache.get('u1'), containers: [record] });
    release();
    await old;
    t.deepEqual(phases(cache, 'u1'), ['running'], known ? 'known pod' : 'new pod');
  }
});

test('an inspection that began before the pod was forgotten does not bring it back', async (t) => {
  const { fake, cache } = setUp();
  const sandbox = await runSandbox(fake, pod('u1'));
  await runContainer(fake, pod('u1'), sandbox);
  await cache.refresh(pod('u1'));
  fake.exitContainer(fake.containers[0]!.id, 0);
  const release = fake.holdNext('containerStatus');
  const old = cache.refresh(pod('u1'));
  await settle();
  await fake.runtime.removePodSandbox({ podSandboxId: sandbox });
  cache.forget('u1');
  release();
  await old;
  t.deepEqual(cache.pods(), []);
});

test('refresh answers as of the call: it never joins an inspection that began earlier', async (t) => {
  const { fake, cache } = setUp();
  const id = await runContainer(fake, pod('u1'), await runSandbox(fake, pod('u1')));
  const release = fake.holdNext('podSandboxStatus');
  const early = cache.refresh(pod('u1'));
  await settle();
  await fake.runtime.stopContainer({ containerId: id, timeout: 1 });
  fake.calls.length = 0;
  const late = [cache.refresh(pod('u1')), cache.refresh(pod('u1'))];
  release();
  await early;
  const states = await Promise.all(late);
  for (const state of states) t.is(state.containers[0]?.phase, 'exited');
  t.is(fake.calls.filter(({ method }) => method === 'listContainers').length, 1, 'the late callers share one');
});

test('an inspection that fails leaves the way free for the next', async (t) => {
  const { fake, cache } = setUp();
  await runSandbox(fake, pod('u1'));
  fake.failNext('listContainers', refused('ListContainers'));
  const both = [cache.refresh(pod('u1')), cache.refresh(pod('u1'))];
  await t.throwsAsync(both[0]!, { message: 'broken' });
  t.is((await both[1]!).sandboxes.length, 1);
  t.is((await cache.refresh(pod('u1'))).sandboxes.length, 1);
});

test('one pod that cannot be inspected hides no other, is not taken for gone, and is tried again', async (t) => {
  const { fake, cache, changed, warnings } = setUp();
  for (const uid of ['u1', 'u2', 'u3']) await runContainer(fake, pod(uid), await runSandbox(fake, pod(uid)));
  fake.failNext('containerStatus', refused('ContainerStatus'));
  await cache.relist();
  t.deepEqual(changed.sort(), ['u2', 'u3']);
  t.like(warnings, [{ uid: 'u1', error: 'CRI ContainerStatus: broken' }]);
  t.true(
    cache.pods().some(({ identity }) => identity.uid === 'u1'),
    'its directories are no leftovers',
  );
  await cache.relist();
  t.deepEqual(phases(cache, 'u1'), ['running']);
  t.true(changed.includes('u1'));
});

test('a runtime that goes down during a relist fails the whole relist', async (t) => {
  const { fake, cache } = setUp();
  await runSandbox(fake, pod('u1'));
  fake.failNext('podSandboxStatus', CriError.fromStatus('PodSandboxStatus', GrpcStatus.unavailable, 'down'));
  await t.throwsAsync(cache.relist(), { instanceOf: CriError });
});

test('what vanishes between list and status is left out', async (t) => {
  const { fake, cache } = setUp();
  await runContainer(fake, pod('u1'), await runSandbox(fake, pod('u1')));
  fake.failNext('containerStatus', CriError.fromStatus('ContainerStatus', GrpcStatus.notFound, 'gone'));
  const state = await cache.refresh(pod('u1'));
  t.is(state.sandboxes.length, 1);
  t.deepEqual(state.containers, []);
});

test('asking about a pod that the runtime does not have leaves no entry', async (t) => {
  const { cache } = setUp();
  t.deepEqual(await cache.refresh(pod('u1')), { sandboxes: [], containers: [] });
  t.deepEqual(cache.pods(), []);
});
