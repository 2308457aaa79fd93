/** The kubelet role as a whole on the fake runtime: what a manifest, a crash, a restart and a lost runtime lead to. */
import { mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ConfigMap, Pod, PodStatus, Secret } from '../api/core.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { CriError } from '../cri/cri-error.ts';
import { FakeRuntime } from '../cri/fake-runtime.ts';
import { type Kubelet, startKubelet } from './kubelet.ts';
import { fakeKubeletOptions } from './kubelet-options.fake.ts';
import type { PodSnapshot, PodSource } from './pod-source.ts';
import { noVolumes } from './pods/no-volumes.fake.ts';

const image = 'docker.io/library/busybox:latest';

class FakeSource implements PodSource {
  snapshot: PodSnapshot = { pods: [], configMaps: new Map(), secrets: new Map(), errors: [], brokenFiles: new Set() };
  #listener: ((snapshot: PodSnapshot) => void) | undefined;

  async start(listener: (snapshot: PodSnapshot) => void): Promise<void> {
    this.#listener = listener;
    listener(this.snapshot);
  }

  set(change: Partial<PodSnapshot>): void {
    this.snapshot = { ...this.snapshot, ...change };
    this.#listener?.(this.snapshot);
  }
}

interface Node {
  clock: FakeClock;
  fake: FakeRuntime;
  source: FakeSource;
  root: string;
  torndown: string[];
  start(): Promise<Kubelet>;
  until(what: string, condition: () => boolean | Promise<boolean>): Promise<void>;
}

async function makeNode(t: ExecutionContext, generation: '1.6' | '1.7' = '1.7', maxPods = 110): Promise<Node> {
  const root = await mkdtemp(join(tmpdir(), 'keelson-kubelet-'));
  const clock = new FakeClock();
  const fake = new FakeRuntime({ clock, generation });
  fake.setImage(image);
  const source = new FakeSource();
  const kubelets: Kubelet[] = [];
  const torndown: string[] = [];
  t.teardown(async () => {
    await Promise.all(kubelets.map((kubelet) => kubelet.stop()));
    await rm(root, { recursive: true, force: true });
  });
  return {
    clock,
    fake,
    source,
    root,
    torndown,
    async start() {
      const kubelet = await startKubelet(
        fakeKubeletOptions(
          { root, clock, runtime: fake.runtime, image: fake.image },
          {
            source,
            volumes: () => ({
              ...noVolumes,
              teardown: async (uid) => void torndown.push(uid),
            }),
            maxPods,
          },
        ),
        new AbortController().signal,
      );
      kubelets.push(kubelet);
      return kubelet;
    },
    async until(what, condition) {
      for (let i = 0; i < 400; i++) {
        if (await condition()) {
          t.pass(what);
          return;
        }
        // Short enough for event debouncing to pass, too short for any backoff to matter.
        await clock.advance(10);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      t.fail(`never happened: ${what}`);
    },
  };
}

const pod = (name: string, uid: string, spec: Partial<Pod['spec']> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', uid, annotations: { 'keelson.dev/config.file': `/m/${name}.yaml` } },
  spec: { containers: [{ name: 'c', image: 'busybox', imagePullPolicy: 'IfNotPresent' }], ...spec },
});

const statusOf = (kubelet: Kubelet, uid: string): PodStatus | undefined =>
  kubelet.board.list().find((entry) => entry.pod.metadata.uid === uid)?.status;
const isReady = (kubelet: Kubelet, uid: string): boolean =>
  statusOf(kubelet, uid)?.conditions.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
const running = (fake: FakeRuntime) => fake.containers.filter(({ state }) => state === 'CONTAINER_RUNNING');
const waitingReason = (kubelet: Kubelet, uid: string) =>
  statusOf(kubelet, uid)?.containerStatuses?.[0]?.state.waiting?.reason;
const methods = (fake: FakeRuntime): string[] => fake.calls.map(({ method }) => method);

for (const generation of ['1.6', '1.7'] as const) {
  test(`containerd ${generation}: a pod runs, its log is linked, and it goes without a trace`, async (t) => {
    const node = await makeNode(t, generation);
    node.source.set({ pods: [pod('web', 'u1')] });
    const kubelet = await node.start();
    await node.until('ready', () => isReady(kubelet, 'u1'));
    const status = statusOf(kubelet, 'u1');
    t.is(status?.phase, 'Running');
    t.truthy(status?.podIP);
    const [link = ''] = await readdir(join(node.root, 'containers'));
    t.regex(link, /^web_default_c-[0-9a-f]+\.log$/);
    t.is(await readlink(join(node.root, 'containers', link)), join(node.root, 'logs', 'default_web_u1', 'c', '0.log'));
    node.source.set({ pods: [] });
    await node.until('gone', () => node.fake.sandboxes.length === 0 && node.fake.containers.length === 0);
    await node.until('no status left', () => kubelet.board.list().length === 0);
    t.deepEqual(node.torndown, ['u1']);
    await node.until('no log left', async () => (await readdir(join(node.root, 'logs'))).length === 0);
    t.deepEqual(await readdir(join(node.root, 'containers')), []);
    t.deepEqual(kubelet.status().ending, []);
  });

  test(`containerd ${generation}: a crash is noticed and restarted, the second one after 10 s`, async (t) => {
    const node = await makeNode(t, generation);
    node.source.set({ pods: [pod('web', 'u1')] });
    const kubelet = await node.start();
    await node.until('ready', () => isReady(kubelet, 'u1'));
    node.fake.exitContainer(running(node.fake)[0]!.id, 1);
    await node.until('first restart', () => statusOf(kubelet, 'u1')?.containerStatuses?.[0]?.restartCount === 1);
    await node.until('ready again', () => isReady(kubelet, 'u1'));
    node.fake.exitContainer(running(node.fake)[0]!.id, 3);
    await node.until('backoff', () => waitingReason(kubelet, 'u1') === 'CrashLoopBackOff');
    t.is(statusOf(kubelet, 'u1')?.containerStatuses?.[0]?.lastState.terminated?.exitCode, 3);
    await node.clock.advance(8_000);
    t.is(running(node.fake).length, 0);
    await node.clock.advance(2_000);
    await node.until('second restart', () => statusOf(kubelet, 'u1')?.containerStatuses?.[0]?.restartCount === 2);
    await node.until('old instances forgotten', () => node.fake.containers.length === 2);
  });
}

test('a successor adopts what runs, goes on with the backoff, and ends what nobody wants', async (t) => {
  const node = await makeNode(t);
  node.source.set({ pods: [pod('keep', 'u1'), pod('drop', 'u2'), pod('crash', 'u3')] });
  const first = await node.start();
  await node.until('all ready', () => ['u1', 'u2', 'u3'].every((uid) => isReady(first, uid)));
  const crash = () =>
    running(node.fake).find((container) => container.config.labels?.['io.kubernetes.pod.uid'] === 'u3');
  node.fake.exitContainer(crash()!.id, 1);
  await node.until('restarted once', () => crash() !== undefined);
  node.fake.exitContainer(crash()!.id, 1);
  await node.until('backoff', () => waitingReason(first, 'u3') === 'CrashLoopBackOff');
  await first.stop();
  const kept = running(node.fake).find((container) => container.config.labels?.['io.kubernetes.pod.uid'] === 'u1')!;
  node.fake.calls.length = 0;

  node.source.snapshot = { ...node.source.snapshot, pods: [pod('keep', 'u1'), pod('crash', 'u3')] };
  const second = await node.start();
  await node.until('adopted', () => isReady(second, 'u1'));
  await node.until('orphan ended', () => !node.fake.sandboxes.some(({ config }) => config.metadata?.uid === 'u2'));
  t.is(waitingReason(second, 'u3'), 'CrashLoopBackOff');
  t.is(statusOf(second, 'u3')?.containerStatuses?.[0]?.restartCount, 1);
  t.false(methods(node.fake).includes('runPodSandbox'));
  t.false(methods(node.fake).includes('startContainer'));
  t.true(running(node.fake).some(({ id }) => id === kept.id));
  await node.clock.advance(10_000);
  await node.until('backoff over', () => statusOf(second, 'u3')?.containerStatuses?.[0]?.restartCount === 2);
});

test('when the role has started, the board has every pod of the first snapshot as the runtime has it', async (t) => {
  const node = await makeNode(t);
  node.source.set({ pods: [pod('web', 'u1'), pod('db', 'u2')] });
  const first = await node.start();
  await node.until('ready', () => isReady(first, 'u1') && isReady(first, 'u2'));
  const before = ['u1', 'u2'].map((uid) => statusOf(first, uid)?.podIP);
  await first.stop();
  const never = [{ name: 'c', image: 'nothere:1', imagePullPolicy: 'Never' as const }];
  node.source.snapshot = {
    ...node.source.snapshot,
    pods: [...node.source.snapshot.pods, pod('new', 'u3', { containers: never })],
  };
  const second = await node.start();
  t.deepEqual(
    ['u1', 'u2'].map((uid) => statusOf(second, uid)?.podIP),
    before,
  );
  t.true(isReady(second, 'u1') && isReady(second, 'u2'));
  t.is(statusOf(second, 'u3')?.phase, 'Pending');
});

test('listeners of the board hear that a pod is to end before its containers are asked to, and when it is gone', async (t) => {
  const node = await makeNode(t);
  node.source.set({ pods: [pod('web', 'u1')] });
  const kubelet = await node.start();
  await node.until('ready', () => isReady(kubelet, 'u1'));
  const heard: string[] = [];
  kubelet.board.onChange((entry, change) => {
    const asked = methods(node.fake).includes('stopContainer');
    heard.push(`${change} ${entry.status.phase} ${entry.ending ?? false} ${asked}`);
  });
  node.source.set({ pods: [] });
  t.deepEqual(heard, ['ending Running true false']);
  await node.until('gone', () => kubelet.board.list().length === 0);
  t.is(heard.at(-1)?.split(' ')[0], 'deleted');
  t.true(
    heard.slice(1).every((line) => / true true$/.test(line)),
    heard.join('; '),
  );
});

test('pods of a manifest that is unreadable since the start are spared', async (t) => {
  const node = await makeNode(t);
  node.source.set({ pods: [pod('web', 'u1')] });
  const first = await node.start();
  await node.until('ready', () => isReady(first, 'u1'));
  await first.stop();
  node.source.snapshot = { ...node.source.snapshot, pods: [], brokenFiles: new Set(['/m/web.yaml']) };
  await node.start();
  await node.clock.advance(3_000);
  t.is(running(node.fake).length, 1);
  node.source.set({ brokenFiles: new Set() });
  await node.until('now it is an orphan', () => node.fake.sandboxes.length === 0);
});

test('a changed manifest: the old pod is gone before the new one of that name starts', async (t) => {
  const node = await makeNode(t);
  node.source.set({ pods: [pod('web', 'old')] });
  const kubelet = await node.start();
  await node.until('ready', () => isReady(kubelet, 'old'));
  const release = node.fake.holdNext('stopContainer');
  node.source.set({ pods: [pod('web', 'new')] });
  await node.until('stop asked for', () => methods(node.fake).includes('stopContainer'));
  await node.clock.advance(1_000);
  t.false(node.fake.sandboxes.some(({ config }) => config.metadata?.uid === 'new'));
  release();
  await node.until('successor ready', () => isReady(kubelet, 'new'));
  t.false(node.fake.sandboxes.some(({ config }) => config.metadata?.uid === 'old'));
});

test('the runtime goes away: nothing is lost, a crash meanwhile is made good afterwards', async (t) => {
  const node = await makeNode(t);
  node.source.set({ pods: [pod('web', 'u1')] });
  const kubelet = await node.start();
  await node.until('ready', () => isReady(kubelet, 'u1'));
  node.fake.goDown();
  await node.until('noticed', () => !kubelet.status().runtime.healthy);
  node.source.set({ pods: [pod('web', 'u1'), pod('late', 'u2')] });
  await node.clock.advance(5_000);
  t.true(isReady(kubelet, 'u1'));
  node.fake.comeBack();
  await node.until('healthy', () => kubelet.status().runtime.healthy);
  await node.until('late pod', () => isReady(kubelet, 'u2'));
  t.is(running(node.fake).length, 2);
});

test('a job completes once: no restart, sandbox stopped, phase kept', async (t) => {
  const node = await makeNode(t);
  node.source.set({ pods: [pod('job', 'u1', { restartPolicy: 'OnFailure' })] });
  const kubelet = await node.start();
  await node.until('ready', () => isReady(kubelet, 'u1'));
  node.fake.exitContainer(running(node.fake)[0]!.id, 0);
  await node.until('succeeded', () => statusOf(kubelet, 'u1')?.phase === 'Succeeded');
  await node.until('sandbox stopped', () => node.fake.sandboxes.every(({ state }) => state === 'SANDBOX_NOTREADY'));
  await node.clock.advance(120_000);
  t.is(node.fake.containers.length, 1);
});

test('a pull that fails backs off and is tried again; the other container is not held up', async (t) => {
  const node = await makeNode(t);
  node.fake.failNext('pullImage', CriError.fromStatus('PullImage', 5, 'manifest unknown'));
  node.fake.offerImage('docker.io/library/late:1');
  const containers = [
    { name: 'a', image: 'late:1', imagePullPolicy: 'IfNotPresent' as const },
    { name: 'b', image: 'busybox', imagePullPolicy: 'Never' as const },
  ];
  node.source.set({ pods: [pod('web', 'u1', { containers })] });
  const kubelet = await node.start();
  const reasons = new Set<string | undefined>();
  kubelet.board.onChange(() => reasons.add(waitingReason(kubelet, 'u1')));
  await node.until('error shown', () => reasons.has('ErrImagePull'));
  await node.until('the other runs', () => running(node.fake).length === 1);
  await node.clock.advance(2_100);
  await node.until('backoff shown', () => waitingReason(kubelet, 'u1') === 'ImagePullBackOff');
  await node.clock.advance(10_000);
  await node.until('ready', () => isReady(kubelet, 'u1'));
});

test('Never without the image says ErrImageNeverPull; a bad name says InvalidImageName', async (t) => {
  const node = await makeNode(t);
  const container = (imageName: string) => [{ name: 'c', image: imageName, imagePullPolicy: 'Never' as const }];
  node.source.set({
    pods: [pod('a', 'u1', { containers: container('nothere:1') }), pod('b', 'u2', { containers: container('UPPER') })],
  });
  const kubelet = await node.start();
  await node.until('never', () => waitingReason(kubelet, 'u1') === 'ErrImageNeverPull');
  await node.until('invalid', () => waitingReason(kubelet, 'u2') === 'InvalidImageName');
});

test('a missing object is named, and its arrival starts the container', async (t) => {
  const node = await makeNode(t);
  const env = [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'conf', key: 'x' } } }];
  node.source.set({ pods: [pod('web', 'u1', { containers: [{ name: 'c', image: 'busybox', env }] })] });
  const kubelet = await node.start();
  await node.until('config error', () => waitingReason(kubelet, 'u1') === 'CreateContainerConfigError');
  t.regex(statusOf(kubelet, 'u1')?.containerStatuses?.[0]?.state.waiting?.message ?? '', /configmap "conf" not found/);
  const conf: ConfigMap = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'conf', namespace: 'default', uid: 'c' },
    data: { x: '1' },
  };
  node.source.set({ configMaps: new Map([['default/conf', conf]]) });
  await node.until('ready', () => isReady(kubelet, 'u1'));
});

test('credentials of imagePullSecrets go with the pull', async (t) => {
  const node = await makeNode(t);
  node.fake.offerImage(
    'registry.example:5000/team/app:1',
    {},
    (auth) => auth?.username === 'me' && auth.password === 's3cret',
  );
  const data = {
    '.dockerconfigjson': Buffer.from(
      JSON.stringify({ auths: { 'registry.example:5000': { auth: Buffer.from('me:s3cret').toString('base64') } } }),
    ).toString('base64'),
  };
  const secret: Secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'kubernetes.io/dockerconfigjson',
    metadata: { name: 'pull', namespace: 'default', uid: 's' },
    data,
  };
  const containers = [{ name: 'c', image: 'registry.example:5000/team/app:1', imagePullPolicy: 'Always' as const }];
  node.source.set({
    pods: [pod('web', 'u1', { containers, imagePullSecrets: [{ name: 'pull' }] })],
    secrets: new Map([['default/pull', secret]]),
  });
  const kubelet = await node.start();
  await node.until('ready', () => isReady(kubelet, 'u1'));
});

test('a sandbox that cannot be made is tried again', async (t) => {
  const node = await makeNode(t);
  node.fake.failNext('runPodSandbox', CriError.fromStatus('RunPodSandbox', 2, 'no address'), { times: 2 });
  node.source.set({ pods: [pod('web', 'u1')] });
  const kubelet = await node.start();
  await node.until('error kept for status', () => kubelet.status().pods[0]?.error?.includes('no address') ?? false);
  await node.clock.advance(4_000);
  await node.until('ready', () => isReady(kubelet, 'u1'));
  t.is(kubelet.status().pods[0]?.error, undefined);
});

test('a pod beyond maxPods is rejected by name, and its status goes with its manifest', async (t) => {
  const node = await makeNode(t, '1.7', 1);
  node.source.set({ pods: [pod('a', 'u1'), pod('b', 'u2')] });
  const kubelet = await node.start();
  await node.until('the first runs', () => isReady(kubelet, 'u1'));
  t.is(statusOf(kubelet, 'u2')?.phase, 'Failed');
  t.is(statusOf(kubelet, 'u2')?.reason, 'OutOfpods');
  node.source.set({ pods: [pod('a', 'u1')] });
  t.is(statusOf(kubelet, 'u2'), undefined);
});

test('a manifest pod that was rejected runs when there is room for it', async (t) => {
  const node = await makeNode(t, '1.7', 1);
  node.source.set({ pods: [pod('a', 'u1'), pod('b', 'u2')] });
  const kubelet = await node.start();
  await node.until('the first runs', () => isReady(kubelet, 'u1'));
  t.is(statusOf(kubelet, 'u2')?.reason, 'OutOfpods');
  node.source.set({ pods: [pod('b', 'u2')] });
  await node.until('the first is gone', () => statusOf(kubelet, 'u1') === undefined);
  node.source.set({ pods: [pod('b', 'u2')] });
  await node.until('the second runs', () => isReady(kubelet, 'u2'));
  t.is(statusOf(kubelet, 'u2')?.reason, undefined);
});

test('a pod of another agent, which names no manifest, is left alone', async (t) => {
  const node = await makeNode(t);
  const foreign = pod('foreign', 'u9');
  foreign.metadata.annotations = {};
  node.source.set({ pods: [foreign] });
  const other = await node.start();
  await node.until('the other agent runs it', () => isReady(other, 'u9'));
  await other.stop();
  node.source.snapshot = { ...node.source.snapshot, pods: [pod('web', 'u1')] };
  const kubelet = await node.start();
  await node.until('ours runs', () => isReady(kubelet, 'u1'));
  await node.clock.advance(70_000);
  t.is(running(node.fake).length, 2);
});
