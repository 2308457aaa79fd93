/** The fake keeps the rules that were recorded from real containerd, and its hooks do what they say. */
import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { CriError, GrpcStatus } from './cri-error.ts';
import { normalizeReference } from './fake-images.ts';
import { FakeRuntime, type FakeRuntimeOptions } from './fake-runtime.ts';
import type * as cri from './messages.generated.ts';
import { contractLines, walkContract } from './runtime-contract.ts';

function fake(options: FakeRuntimeOptions = {}) {
  const clock = new FakeClock();
  const it = new FakeRuntime({ clock, ...options });
  it.setImage('localhost/busybox:1');
  return { it, clock, runtime: it.runtime, image: it.image };
}

const podConfig = (name = 'web', attempt = 0): cri.PodSandboxConfigInput => ({
  metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt },
  logDirectory: `/var/log/pods/default_${name}_uid-${name}`,
  labels: { app: name },
});

async function startPod({ runtime }: { runtime: FakeRuntime['runtime'] }, name = 'web') {
  const sandboxConfig = podConfig(name);
  const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig });
  const config: cri.ContainerConfigInput = {
    metadata: { name: 'main' },
    image: { image: 'localhost/busybox:1' },
    logPath: 'main/0.log',
    mounts: [{ hostPath: '/x', containerPath: '/y', readonly: true }],
  };
  const { containerId } = await runtime.createContainer({ podSandboxId, sandboxConfig, config });
  await runtime.startContainer({ containerId });
  return { podSandboxId, containerId, sandboxConfig, config };
}

async function codeOf(t: ExecutionContext, promise: Promise<unknown>): Promise<string> {
  return (await t.throwsAsync(promise, { instanceOf: CriError }))?.code ?? '';
}

for (const generation of ['1.6', '1.7', '2.1'] as const) {
  test(`the contract walk gives the lines of real containerd ${generation}`, async (t) => {
    const { it } = fake({ generation });
    it.onStop = () => 5;
    it.onExec = (_, cmd) => ({ exitCode: cmd.includes('exit 3') ? 3 : 0 });
    const lines = await walkContract({
      runtime: it.runtime,
      image: it.image,
      imageName: 'localhost/busybox:1',
      seed: 'x',
      settle: async (id, exitCode) => it.exitContainer(id, exitCode),
    });
    t.deepEqual(lines, contractLines(generation));
    t.deepEqual([it.sandboxes.length, it.containers.length], [0, 0]);
  });
}

test('statuses carry what was asked for and when things happened, in nanoseconds', async (t) => {
  const f = fake();
  const start = f.clock.now();
  const { podSandboxId, containerId } = await startPod(f);
  await f.clock.advance(2500);
  f.it.exitContainer(containerId, 0);
  const { status } = await f.runtime.containerStatus({ containerId });
  t.is(status?.createdAt, start * 1e6);
  t.is(status?.startedAt, start * 1e6);
  t.is(status?.finishedAt, (start + 2500) * 1e6);
  t.is(status?.reason, 'Completed');
  t.is(status?.logPath, '/var/log/pods/default_web_uid-web/main/0.log');
  t.is(status?.image?.image, 'localhost/busybox:1');
  t.regex(status?.imageRef ?? '', /^localhost\/busybox@sha256:[0-9a-f]{64}$/);
  t.is(status?.mounts[0]?.propagation, 'PROPAGATION_PRIVATE');
  const sandbox = (await f.runtime.podSandboxStatus({ podSandboxId })).status;
  t.regex(sandbox?.network?.ip ?? '', /^10\.88\./);
  t.is(sandbox?.linux?.namespaces?.options?.network, 'POD');
  t.deepEqual(sandbox?.labels, { app: 'web' });
});

test('answers are copies: nobody can reach into the fake', async (t) => {
  const f = fake();
  const { podSandboxId, sandboxConfig } = await startPod(f);
  const labels = sandboxConfig.labels ?? {};
  labels.app = 'changed';
  const first = (await f.runtime.podSandboxStatus({ podSandboxId })).status;
  if (first) first.labels.app = 'changed too';
  t.deepEqual((await f.runtime.podSandboxStatus({ podSandboxId })).status?.labels, { app: 'web' });
});

test('every pod network sandbox has an address of its own; host network has none', async (t) => {
  const { runtime } = fake();
  const ips = new Set<string>();
  for (let i = 0; i < 600; i++) {
    const { podSandboxId } = await runtime.runPodSandbox({ config: podConfig(`p${i}`) });
    ips.add((await runtime.podSandboxStatus({ podSandboxId })).status?.network?.ip ?? '');
  }
  t.is(ips.size, 600);
  const host: cri.PodSandboxConfigInput = {
    ...podConfig('host'),
    linux: { securityContext: { namespaceOptions: { network: 'NODE' } } },
  };
  const { podSandboxId } = await runtime.runPodSandbox({ config: host });
  t.is((await runtime.podSandboxStatus({ podSandboxId })).status?.network?.ip, '');
});

test('a container that ignores SIGTERM is killed after the timeout, and lives when the caller gives up before', async (t) => {
  const f = fake();
  f.it.onStop = () => undefined;
  const { containerId } = await startPod(f);
  const controller = new AbortController();
  const given = f.runtime.stopContainer({ containerId, timeout: 30 }, { signal: controller.signal });
  await f.clock.advance(1000);
  controller.abort(new Error('given up'));
  await t.throwsAsync(given, { message: 'given up' });
  t.is(f.it.containers[0]?.state, 'CONTAINER_RUNNING');
  const stopped = f.runtime.stopContainer({ containerId, timeout: 30 });
  await f.clock.advance(29_999);
  t.is(f.it.containers[0]?.state, 'CONTAINER_RUNNING');
  await f.clock.advance(1);
  await stopped;
  t.is(f.it.containers[0]?.exitCode, 137);
});

test('a command that cannot start leaves a dead container and no event', async (t) => {
  const f = fake();
  f.it.onStart = () => 'exec: "/nope": no such file or directory';
  t.is(await codeOf(t, startPod(f)), 'CRI_FAILED');
  const { status } = await f.runtime.containerStatus({ containerId: f.it.containers[0]?.id ?? '' });
  t.like(status, { state: 'CONTAINER_EXITED', exitCode: 128, reason: 'StartError', startedAt: 0 });
  t.regex(status?.message ?? '', /nope/);
});

async function collect(f: ReturnType<typeof fake>, into: string[], signal?: AbortSignal): Promise<unknown> {
  try {
    for await (const event of f.runtime.getContainerEvents({}, signal ? { signal } : {})) {
      const states = event.containersStatuses.map((s) => `${s.metadata?.name}:${s.state}`).join(',');
      into.push(`${event.containerEventType} ${event.podSandboxStatus?.state ?? 'gone'} ${states}`.trim());
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

test('events tell the life of a pod, also what happened before the first reader came', async (t) => {
  const f = fake();
  const { podSandboxId, containerId } = await startPod(f);
  const seen: string[] = [];
  const controller = new AbortController();
  const done = collect(f, seen, controller.signal);
  await settle();
  t.is(f.it.eventReaders, 1);
  f.it.exitContainer(containerId, 1);
  await f.runtime.removePodSandbox({ podSandboxId });
  await settle();
  controller.abort(new Error('enough'));
  t.is(String(await done), 'Error: enough');
  t.is(f.it.eventReaders, 0);
  t.deepEqual(seen, [
    'CONTAINER_CREATED_EVENT SANDBOX_READY',
    'CONTAINER_STARTED_EVENT SANDBOX_READY',
    'CONTAINER_CREATED_EVENT SANDBOX_READY main:CONTAINER_CREATED',
    'CONTAINER_STARTED_EVENT SANDBOX_READY main:CONTAINER_RUNNING',
    'CONTAINER_STOPPED_EVENT SANDBOX_READY main:CONTAINER_EXITED',
    'CONTAINER_STOPPED_EVENT SANDBOX_NOTREADY main:CONTAINER_EXITED',
    'CONTAINER_DELETED_EVENT SANDBOX_NOTREADY',
    'CONTAINER_DELETED_EVENT gone',
  ]);
});

test('removing a running container kills it first', async (t) => {
  const f = fake();
  const { containerId } = await startPod(f);
  await f.runtime.removeContainer({ containerId });
  const seen: string[] = [];
  const done = collect(f, seen);
  await settle();
  f.it.goDown();
  await done;
  t.deepEqual(seen.slice(4), [
    'CONTAINER_STOPPED_EVENT SANDBOX_READY main:CONTAINER_EXITED',
    'CONTAINER_DELETED_EVENT SANDBOX_READY',
  ]);
});

test('events can be missing, as on 1.6', async (t) => {
  const f = fake();
  f.it.setContainerEvents(false);
  const error = await collect(f, []);
  t.true(error instanceof CriError && error.isUnimplemented());
  t.true((await collect(fake({ generation: '1.6' }), [])) instanceof CriError);
});

test('goDown breaks calls and streams; comeBack finds the containers as they became meanwhile', async (t) => {
  const f = fake();
  const { containerId } = await startPod(f);
  const seen: string[] = [];
  const stream = collect(f, seen);
  const release = f.it.holdNext('listContainers');
  const held = f.runtime.listContainers({});
  await settle();
  f.it.goDown();
  const broken = await stream;
  t.true(broken instanceof CriError && broken.isUnavailable());
  t.is(await codeOf(t, held), 'CRI_UNAVAILABLE');
  t.is(await codeOf(t, f.runtime.version({})), 'CRI_UNAVAILABLE');
  const late = await collect(f, []);
  t.true(late instanceof CriError && late.isUnavailable());
  f.it.exitContainer(containerId, 9);
  f.it.comeBack();
  release();
  const { status } = await f.runtime.containerStatus({ containerId });
  t.deepEqual([status?.state, status?.exitCode], ['CONTAINER_EXITED', 9]);
  t.is(seen.length, 4);
});

test('failNext fails as often as told, before or after the effect', async (t) => {
  const f = fake();
  const error = CriError.fromStatus('RunPodSandbox', GrpcStatus.unknown, 'no cgroup');
  f.it.failNext('runPodSandbox', error, { times: 2 });
  t.is(await t.throwsAsync(f.runtime.runPodSandbox({ config: podConfig() })), error);
  t.is(await t.throwsAsync(f.runtime.runPodSandbox({ config: podConfig() })), error);
  t.is(f.it.sandboxes.length, 0);
  f.it.failNext('runPodSandbox', error, { afterEffect: true });
  t.is(await t.throwsAsync(f.runtime.runPodSandbox({ config: podConfig() })), error);
  t.is(f.it.sandboxes.length, 1);
  await f.runtime.runPodSandbox({ config: podConfig('other') });
});

test('holdNext keeps a call until released, or until its deadline', async (t) => {
  const f = fake();
  const release = f.it.holdNext('runPodSandbox');
  const first = f.runtime.runPodSandbox({ config: podConfig() });
  await settle();
  t.is(f.it.sandboxes.length, 0);
  t.is(f.it.calls.length, 1);
  release();
  await first;
  t.is(f.it.sandboxes.length, 1);
  f.it.holdNext('status');
  const late = f.runtime.status({});
  await f.clock.advance(120_000);
  t.is(await codeOf(t, late), 'CRI_DEADLINE');
});

test('the call log has method, decoded request, deadline and time', async (t) => {
  const { it, runtime, clock } = fake();
  await runtime.listContainers({ filter: { labelSelector: { a: 'b' } } });
  t.deepEqual(it.calls, [
    {
      method: 'listContainers',
      request: { filter: { id: '', state: undefined, podSandboxId: '', labelSelector: { a: 'b' } } },
      timeoutMs: 120_000,
      at: clock.now(),
    },
  ]);
});

test('a sandbox whose pause process died is NOTREADY, its containers run on', async (t) => {
  const f = fake();
  const { podSandboxId, containerId } = await startPod(f);
  f.it.exitSandbox(podSandboxId);
  t.is((await f.runtime.podSandboxStatus({ podSandboxId })).status?.state, 'SANDBOX_NOTREADY');
  t.is((await f.runtime.containerStatus({ containerId })).status?.state, 'CONTAINER_RUNNING');
});

test('without CNI only host-network sandboxes start', async (t) => {
  const { it, runtime } = fake();
  it.setNetworkReady(false);
  t.is(await codeOf(t, runtime.runPodSandbox({ config: podConfig() })), 'CRI_FAILED');
  const { status } = await runtime.status({ verbose: true });
  t.false(status?.conditions.find((c) => c.type === 'NetworkReady')?.status);
  const linux = { securityContext: { namespaceOptions: { network: 'NODE' as const } } };
  await t.notThrowsAsync(runtime.runPodSandbox({ config: { ...podConfig(), linux } }));
});

test('images: pulls, names, credentials, removal', async (t) => {
  const { it, image } = fake();
  t.is(await codeOf(t, image.pullImage({ image: { image: 'nginx' } })), 'CRI_NOT_FOUND');
  it.offerImage('nginx:1.27', { uid: 101, size: 5 }, (auth) => auth?.password === 'secret');
  const wanted = { image: 'nginx:1.27' };
  t.is(await codeOf(t, image.pullImage({ image: wanted, auth: { password: 'no' } })), 'CRI_FAILED');
  const { imageRef } = await image.pullImage({ image: wanted, auth: { password: 'secret' } });
  for (const name of ['nginx:1.27', 'docker.io/library/nginx:1.27', imageRef, imageRef.slice(7, 30)]) {
    t.is((await image.imageStatus({ image: { image: name } })).image?.id, imageRef, name);
  }
  const found = (await image.listImages({ filter: { image: wanted } })).images;
  t.like(found[0], { size: 5, uid: { value: 101 }, repoTags: ['docker.io/library/nginx:1.27'] });
  t.is((await image.listImages({})).images.length, 2);
  t.is((await image.imageFsInfo({})).imageFilesystems[0]?.usedBytes?.value, 1_000_005);
  await image.removeImage({ image: wanted });
  t.is((await image.imageStatus({ image: wanted })).image, undefined);
});

test('a tag moves to the image pulled last; two tags of one image are one image', async (t) => {
  const { it, image } = fake();
  it.setImage('r.example/a:1', { id: `sha256:${'1'.repeat(64)}` });
  it.setImage('r.example/a:2', { id: `sha256:${'1'.repeat(64)}` });
  it.setImage('r.example/a:1', { id: `sha256:${'2'.repeat(64)}` });
  const images = (await image.listImages({})).images.map((i) => [i.id.slice(7, 9), i.repoTags]);
  t.deepEqual(images.slice(1), [
    ['11', ['r.example/a:2']],
    ['22', ['r.example/a:1']],
  ]);
});

test('names as containerd completes them', (t) => {
  t.is(normalizeReference('busybox'), 'docker.io/library/busybox:latest');
  t.is(normalizeReference('user/app:2'), 'docker.io/user/app:2');
  t.is(normalizeReference('localhost/app'), 'localhost/app:latest');
  t.is(normalizeReference('127.0.0.1:5000/a/b'), '127.0.0.1:5000/a/b:latest');
  t.is(normalizeReference('r.example/a@sha256:ab'), 'r.example/a@sha256:ab');
  t.is(normalizeReference('sha256:ab'), 'sha256:ab');
});

test('resources are updated on a live container and refused on a dead one', async (t) => {
  const f = fake();
  const { containerId } = await startPod(f);
  await f.runtime.updateContainerResources({ containerId, linux: { cpuShares: 512 } });
  t.is((await f.runtime.containerStatus({ containerId })).status?.resources?.linux?.cpuShares, 512);
  f.it.exitContainer(containerId, 0);
  t.is(await codeOf(t, f.runtime.updateContainerResources({ containerId, linux: {} })), 'CRI_FAILED');
  t.throws(() => f.it.exitContainer(containerId, 0), { message: /CONTAINER_EXITED/ });
});
