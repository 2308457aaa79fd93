import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Pod, PodStatus } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { createSemaphore } from '../../base/semaphore.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import type { FakeMethod } from '../../cri/fake-server.ts';
import { silentLogger } from '../../observe/logger.ts';
import { type PodIdentity, terminationGracePeriodAnnotation } from '../plan/annotations.ts';
import { containerLogLinkName } from '../plan/log-paths.ts';
import type { PodRuntimeState } from '../plan/runtime-state.ts';
import { noProbes } from './no-probes.fake.ts';
import { noVolumes } from './no-volumes.fake.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { PodRuntimeCache } from './runtime-cache.ts';
import { stopTimeout } from './stop-containers.ts';
import { syncPod } from './sync-pod.ts';
import { removePodGarbage, terminatePod } from './terminate-pod.ts';

const image = 'docker.io/library/busybox:latest';
const identity: PodIdentity = { name: 'web', namespace: 'team', uid: 'a'.repeat(32) };
const makePod = (seconds?: number): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: identity,
  spec: {
    containers: [{ name: 'c', image: 'busybox' }],
    ...(seconds === undefined ? {} : { terminationGracePeriodSeconds: seconds }),
  },
});

async function setUp(t: ExecutionContext, generation: '1.6' | '1.7' | '2.1' = '1.7') {
  const root = await mkdtemp(join(tmpdir(), 'keelson-end-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock, generation });
  fake.setImage(image);
  const inspect = { runtime: fake.runtime, readTerminationMessage: async () => '' };
  const cache = new PodRuntimeCache({ ...inspect, clock, log: silentLogger });
  const paths = { rootDir: root, podLogDir: join(root, 'logs'), containerLogLinkDir: join(root, 'links') };
  await mkdir(paths.containerLogLinkDir);
  const steps: string[] = [];
  let teardownFailures = 0;
  const context: PodContext = {
    ...inspect,
    cache,
    node: {
      nodeName: 'node1',
      hostIPs: [],
      runtimeName: 'containerd',
      resources: { memoryBytes: 2 ** 33, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 },
      allocatable: { milliCores: 1000, memoryBytes: 2 ** 33 },
      clusterDns: { servers: [], domain: '' },
      resolvConf: '',
      security: { seccompDefault: false, seccompProfileRoot: '' },
    },
    paths,
    volumes: {
      ...noVolumes,
      teardown: async (uid) => {
        steps.push(`teardown ${uid.slice(0, 4)}`);
        if (teardownFailures-- > 0) throw new Error('device is busy');
      },
    },
    images: {
      ensure: async () => ({ ref: image, user: { uid: 0, username: '' } }),
      forget: (uid) => void steps.push(`forget images of ${uid.slice(0, 4)}`),
    },
    probes: noProbes,
    runHook: async () => {},
    sources: { configMap: () => undefined, secret: () => undefined },
    clock,
    log: silentLogger,
    restartBackoff: { initialMs: 10_000, maxMs: 300_000 },
    startSlots: createSemaphore(1),
    networkReady: async () => {},
    objectsKnown: async () => {},
    publish: () => {},
    statusBefore: () => undefined,
    recordEvent: () => {},
  };

  async function run(names: string[], { attempt = 0, annotations = {}, start = true } = {}): Promise<string> {
    const labels = {
      'io.kubernetes.pod.name': identity.name,
      'io.kubernetes.pod.namespace': identity.namespace,
      'io.kubernetes.pod.uid': identity.uid,
    };
    const metadata = { ...identity, attempt };
    const { podSandboxId } = await fake.runtime.runPodSandbox({ config: { metadata, labels } });
    for (const name of names) {
      const { containerId } = await fake.runtime.createContainer({
        podSandboxId,
        config: { metadata: { name, attempt }, image: { image }, labels, annotations },
        sandboxConfig: { metadata },
      });
      if (start) await fake.runtime.startContainer({ containerId });
      const directory = join(paths.podLogDir, `team_web_${identity.uid}`, name);
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, `${attempt}.log`), '');
      const link = join(paths.containerLogLinkDir, containerLogLinkName(identity, name, containerId));
      await symlink(join(directory, `${attempt}.log`), link);
    }
    fake.calls.length = 0;
    return podSandboxId;
  }

  const stopped: PodRuntimeState[] = [];
  const end = (pod: Pod | undefined = makePod(), graceSeconds?: number): Promise<void> =>
    terminatePod(
      {
        identity,
        pod,
        ...(graceSeconds === undefined ? {} : { graceSeconds }),
        onStopped: (state) => {
          steps.push('status');
          stopped.push(state);
        },
      },
      context,
    );
  const timeouts = (): number[] =>
    fake.calls
      .filter(({ method }) => method === 'stopContainer')
      .map(({ request }) => (request as { timeout: number }).timeout);
  const left = async (): Promise<string[]> => [
    ...fake.sandboxes.map(({ id }) => `sandbox ${id}`),
    ...fake.containers.map(({ id }) => `container ${id}`),
    ...cache.pods().map(({ identity: { name } }) => `cached ${name}`),
    ...(await readdir(paths.podLogDir).catch(() => [])),
    ...(await readdir(paths.containerLogLinkDir)),
  ];
  return {
    context,
    clock,
    fake,
    cache,
    paths,
    steps,
    stopped,
    run,
    end,
    timeouts,
    left,
    failTeardown: (times: number) => {
      teardownFailures = times;
    },
  };
}

test('containers, sandbox, status, volumes, records, logs: in that order, and no trace', async (t) => {
  const { fake, end, run, left, steps, stopped } = await setUp(t);
  await run(['a', 'b']);
  const original = fake.runtime.removePodSandbox;
  fake.runtime.removePodSandbox = (...args) => {
    steps.push('remove');
    return original(...args);
  };
  await end();
  t.deepEqual(steps, ['status', 'teardown aaaa', 'remove', 'forget images of aaaa']);
  t.deepEqual(
    stopped[0]?.containers.map(({ phase, exitCode }) => [phase, exitCode]),
    [
      ['exited', 143],
      ['exited', 143],
    ],
  );
  const order = fake.calls.map(({ method }) => method).filter((method) => /^(stop|remove)/.test(method));
  t.deepEqual(order, ['stopContainer', 'stopContainer', 'stopPodSandbox', 'removePodSandbox']);
  t.deepEqual(await left(), []);
});

for (const [what, seconds, graceSeconds, annotated, expected] of [
  ['nothing said', undefined, undefined, undefined, 30],
  ['the pod', 5, undefined, '60', 5],
  ['the request wins', 5, 12, '60', 12],
  ['never less than two seconds', 0, undefined, undefined, 2],
  ['nor by request', 60, 0, undefined, 2],
  ['more than a deadline can hold', Number.MAX_SAFE_INTEGER, undefined, undefined, 2 ** 31 - 1],
] as const) {
  test(`grace: ${what}`, async (t) => {
    const { run, end, timeouts } = await setUp(t);
    await run(['c'], annotated === undefined ? {} : { annotations: { [terminationGracePeriodAnnotation]: annotated } });
    await end(makePod(seconds), graceSeconds);
    t.deepEqual(timeouts(), [expected]);
  });
}

for (const [annotated, expected] of [
  [undefined, 30],
  ['7', 7],
  ['0', 2],
  ['-3', 2],
  ['7.5', 8],
  ['1e300', 2 ** 31 - 1],
  ['Infinity', 30],
  ['soon', 30],
] as const) {
  test(`an orphan whose container says ${annotated ?? 'nothing'} gets ${expected} s`, async (t) => {
    const { run, timeouts, context, left } = await setUp(t);
    await run(['c'], annotated === undefined ? {} : { annotations: { [terminationGracePeriodAnnotation]: annotated } });
    await terminatePod({ identity, pod: undefined, onStopped: () => {} }, context);
    t.deepEqual(timeouts(), [expected]);
    t.deepEqual(await left(), []);
  });
}

test('stopTimeout is always a whole number that the runtime takes', (t) => {
  for (const seconds of [Number.NaN, -1, 0, 1.2, 1e12, Number.POSITIVE_INFINITY]) {
    const timeout = stopTimeout(seconds);
    t.true(Number.isInteger(timeout) && timeout >= 2 && timeout < 2 ** 31);
  }
});

const steps: FakeMethod[] = [
  'listPodSandbox',
  'listContainers',
  'containerStatus',
  'podSandboxStatus',
  'stopContainer',
  'stopPodSandbox',
  'removePodSandbox',
];
for (const generation of ['1.6', '1.7', '2.1'] as const) {
  for (const method of steps) {
    for (const afterEffect of [false, true]) {
      test(`containerd ${generation}: ${method} fails ${afterEffect ? 'after' : 'before'} its effect: the next try ends it all`, async (t) => {
        const { fake, run, end, left, stopped } = await setUp(t, generation);
        await run(['a', 'b']);
        fake.failNext(method, CriError.fromStatus(method, GrpcStatus.internal, 'broken'), { afterEffect });
        await t.throwsAsync(end(), { message: /broken/ });
        await end();
        t.deepEqual(await left(), []);
        const last = stopped.at(-1);
        if (method !== 'removePodSandbox')
          t.deepEqual(
            last?.containers.map(({ phase }) => phase),
            ['exited', 'exited'],
          );
      });
    }
  }
}

test('volumes that cannot be unmounted keep the records: a successor finds the pod again', async (t) => {
  const { fake, run, end, left, failTeardown, steps: done } = await setUp(t);
  await run(['c']);
  failTeardown(1);
  await t.throwsAsync(end(), { message: 'device is busy' });
  t.is(fake.sandboxes.length, 1);
  t.is(fake.containers.length, 1);
  await end();
  t.deepEqual(await left(), []);
  t.deepEqual(done.filter((step) => step.startsWith('teardown')).length, 2);
});

test('ending what is gone already is quiet', async (t) => {
  const { end, left, run } = await setUp(t);
  await run(['c']);
  await end();
  await t.notThrowsAsync(end());
  t.deepEqual(await left(), []);
});

test('one container that cannot be stopped does not keep the others running, and every error is told', async (t) => {
  const { fake, run, end } = await setUp(t);
  await run(['a', 'b', 'c']);
  const broken = CriError.fromStatus('StopContainer', GrpcStatus.internal, 'stuck');
  fake.failNext('stopContainer', broken, { times: 2 });
  const error = await t.throwsAsync(end(), { instanceOf: AggregateError });
  t.is(error?.errors.length, 2);
  t.is(fake.containers.filter(({ state }) => state === 'CONTAINER_EXITED').length, 1);
  t.is(fake.sandboxes[0]?.state, 'SANDBOX_READY', 'the sandbox outlives its containers');
});

test('sandboxes of earlier attempts, containers that never started: all go', async (t) => {
  const { fake, run, end, left, timeouts } = await setUp(t);
  const old = await run(['a'], { attempt: 0 });
  await fake.runtime.stopPodSandbox({ podSandboxId: old });
  await run(['a'], { attempt: 1, start: false });
  await end();
  t.deepEqual(timeouts(), []);
  t.deepEqual(await left(), []);
});

test('a container that ignores the signal is killed when its grace is over', async (t) => {
  const { fake, run, end, stopped, context } = await setUp(t);
  fake.onStop = () => undefined;
  await run(['c']);
  let ended = false;
  const ending = end(makePod(20)).then(() => {
    ended = true;
  });
  const clock = context.clock as FakeClock;
  await clock.advance(19_000);
  t.false(ended);
  await clock.advance(2_000);
  await ending;
  t.is(stopped[0]?.containers[0]?.exitCode, 137);
});

test('garbage of a living pod: the instance, its log and its link go; the newest dead one stays', async (t) => {
  const { fake, run, cache, context, paths } = await setUp(t);
  for (const attempt of [0, 1, 2]) {
    const sandbox = await run(['c'], { attempt });
    if (attempt < 2) await fake.runtime.stopPodSandbox({ podSandboxId: sandbox });
    await context.clock.after(0, () => {});
    await (context.clock as FakeClock).advance(1_000);
  }
  await removePodGarbage(identity, await cache.refresh(identity), context);
  t.deepEqual(
    cache.get(identity.uid).containers.map(({ attempt }) => attempt),
    [2, 1],
  );
  t.deepEqual(
    fake.sandboxes.map(({ config }) => config.metadata?.attempt),
    [1, 2],
  );
  t.deepEqual((await readdir(join(paths.podLogDir, `team_web_${identity.uid}`, 'c'))).sort(), ['1.log', '2.log']);
  t.is((await readdir(paths.containerLogLinkDir)).length, 2);
  fake.calls.length = 0;
  await removePodGarbage(identity, cache.get(identity.uid), context);
  t.deepEqual(fake.calls, []);
});

test('garbage that cannot be removed is tried again', async (t) => {
  const { fake, run, cache, context } = await setUp(t);
  for (const attempt of [0, 1, 2]) {
    const sandbox = await run(['c'], { attempt });
    if (attempt < 2) await fake.runtime.stopPodSandbox({ podSandboxId: sandbox });
    await (context.clock as FakeClock).advance(1_000);
  }
  fake.failNext('removePodSandbox', CriError.fromStatus('RemovePodSandbox', GrpcStatus.internal, 'busy'));
  await t.throwsAsync(removePodGarbage(identity, await cache.refresh(identity), context), { message: 'busy' });
  await removePodGarbage(identity, await cache.refresh(identity), context);
  t.is(fake.containers.length, 2);
  t.is(fake.sandboxes.length, 2);
});

const hooked = (seconds?: number): Pod => {
  const pod = makePod(seconds);
  pod.spec.containers[0]!.lifecycle = { preStop: { sleep: { seconds: 3600 } } };
  return pod;
};

test('a grace of 0 counts as 1: that long the preStop hook may take', async (t) => {
  const { context, clock, run, end, timeouts } = await setUp(t);
  await run(['c']);
  context.runHook = (_handler, _target, signal) =>
    new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const ended = end(hooked(60), 0);
  await clock.advance(900);
  t.deepEqual(timeouts(), []);
  await clock.advance(200);
  await ended;
  t.deepEqual(timeouts(), [2]);
});

test('asked again with a shorter grace: the hook that was begun does not run again', async (t) => {
  const { context, clock, run, timeouts } = await setUp(t);
  await run(['c']);
  let hooks = 0;
  context.runHook = () => {
    hooks++;
    return new Promise(() => {});
  };
  const preStopped = new Set<string>();
  const scope = new AbortController();
  const request = { identity, pod: hooked(60), preStopped, onStopped: () => {} };
  const first = terminatePod({ ...request, signal: scope.signal }, context);
  await clock.advance(1_000);
  scope.abort(new Error('shortened'));
  await t.throwsAsync(first, { message: 'shortened' });
  await terminatePod({ ...request, graceSeconds: 5 }, context);
  t.is(hooks, 1);
  t.deepEqual(timeouts(), [5]);
});

test('a container that the runtime no longer has counts as ended', async (t) => {
  const { fake, run, end, left } = await setUp(t);
  await run(['c']);
  fake.failNext('stopContainer', CriError.fromStatus('StopContainer', GrpcStatus.notFound, 'no such container'));
  await end();
  t.deepEqual(await left(), []);
});

test('who waits for the end of a pod hears of it before its records go, and once more if that is tried again', async (t) => {
  const { context, fake, steps, run } = await setUp(t);
  await run(['c']);
  fake.failNext('removePodSandbox', CriError.fromStatus('RemovePodSandbox', 2, 'busy'));
  const request = {
    identity,
    pod: makePod(),
    onStopped: () => void steps.push('status'),
    onReleased: () => void steps.push(`released, ${fake.sandboxes.length} left`),
  };
  await t.throwsAsync(terminatePod(request, context), { message: /busy/ });
  t.deepEqual(steps, ['status', 'teardown aaaa', 'released, 1 left']);
  await terminatePod(request, context);
  t.is(fake.sandboxes.length, 0);
});

test('a pod that the node evicts: Failed at once, its own grace, DisruptionTarget, and an event when it takes too long', async (t) => {
  const { context, clock, cache, fake, run, timeouts } = await setUp(t);
  await run(['c']);
  await cache.relist();
  const published: PodStatus[] = [];
  const events: string[] = [];
  context.publish = (_pod, status) => void published.push(status);
  context.recordEvent = (_pod, { reason }) => void events.push(reason);
  const memory: PodMemory = {
    waiting: new Map(),
    lastStatus: undefined,
    firstSeenMs: clock.now(),
    volumesStale: true,
    verdict: { reason: 'Evicted', message: 'low on memory', graceSeconds: 1, disruption: 'low on memory' },
    volumesGone: false,
    preStopped: new Set(),
  };
  const release = fake.holdNext('stopContainer');
  const done = syncPod(makePod(60), memory, context, new AbortController().signal);
  await clock.advance(100);
  t.like(published[0], { phase: 'Failed', reason: 'Evicted', message: 'low on memory' });
  t.deepEqual(timeouts(), [2]);
  await clock.advance(10_000);
  t.true(events.includes('ExceededGracePeriod'));
  release();
  await done;
  const last = published.at(-1);
  t.like(
    last?.conditions.find(({ type }) => type === 'DisruptionTarget'),
    { status: 'True', reason: 'TerminationByKubelet', message: 'low on memory' },
  );
  t.truthy(last?.containerStatuses?.[0]?.state.terminated);
});
