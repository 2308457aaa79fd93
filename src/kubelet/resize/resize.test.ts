/** Pods resized in place by a whole kubelet: what reaches the runtime, what is told, what survives a kill. */
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import { apiPod, asks, resizeNode, sized } from './resize-node.fake.ts';

const mi = 1024 * 1024;

test('what grows and shrinks is told to the runtime, in the status and in events; nothing restarts', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  const { id } = node.running('web')!;
  t.deepEqual(node.given('web'), [512, 50_000, 64 * mi]);
  await t.throwsAsync(
    access(join(node.root, 'pods/uid-web/allocated-resources')),
    undefined,
    'no file without a resize',
  );

  node.resize('web', { c: asks('1', '128Mi') });
  await node.until(
    'resized',
    () => node.observed('web') === 2 && node.given('web')?.[1] === 100_000 && !node.isResizing('web'),
  );
  t.deepEqual(node.given('web'), [1024, 100_000, 128 * mi]);
  t.is(node.running('web')?.id, id);
  t.is(node.status('web')?.restartCount, 0);
  t.deepEqual(node.status('web')?.allocatedResources, { cpu: '1', memory: '128Mi' });
  t.deepEqual(node.status('web')?.resources, asks('1', '128Mi'));
  t.deepEqual(
    node.updates().map(({ quota, memory }) => [quota, memory]),
    [
      [50_000, 128 * mi],
      [100_000, 128 * mi],
    ],
    'memory first, with the CPU as it was',
  );
  t.deepEqual(node.eventsOf('web'), ['web ResizeStarted', 'web ResizeCompleted']);
  const early = node.told.filter((line) => line.startsWith('web 2 64Mi'));
  t.true(
    early.every((line) => line.includes('ResizeInProgress')),
    'never told as done with the old resources',
  );
  t.regex(
    node.events.find((event) => event.includes('ResizeStarted')) ?? '',
    /Pod resize started: {"containers":\[{"name":"c","resources":{"limits":{"cpu":"1","memory":"128Mi"},"requests":{"cpu":"1","memory":"128Mi"}}}\],"generation":2}$/,
  );

  node.resize('web', { c: asks('250m', '32Mi') });
  await node.until(
    'shrunk',
    () => node.observed('web') === 3 && node.given('web')?.[2] === 32 * mi && !node.isResizing('web'),
  );
  t.deepEqual(node.given('web'), [256, 25_000, 32 * mi]);
  t.is(node.running('web')?.id, id);
});

test('a status update or a label is no resize', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  node.server.change('default/web', ({ metadata, spec }) => {
    metadata.labels = { a: 'b' };
    spec.containers[0]!.resources = {
      requests: { cpu: '0.5', memory: '65536Ki' },
      limits: { cpu: '500m', memory: '64Mi' },
    };
  });
  await node.rest();
  t.deepEqual(node.updates(), []);
  t.deepEqual(node.eventsOf('web'), []);
});

test('what a pod says itself of what it was given counts for nothing', async (t) => {
  const node = await resizeNode(t);
  const first = await node.start();
  const lie = '{"containers":[{"name":"c","requests":{"cpu":"1m"},"limits":{"cpu":"1m"}}]}';
  for (const [name, resources] of [
    ['web', asks('500m', '64Mi')],
    ['none', {}],
  ] as const) {
    const pod = apiPod(name, [sized('c', resources)]);
    pod.metadata.annotations = { 'keelson.dev/allocated-resources': lie, 'keelson.dev/created-with': lie };
    node.server.bind(pod);
  }
  await node.until('ready', () => node.isReady('web') && node.isReady('none'));
  t.deepEqual(
    node.fake.sandboxes.map(({ config }) => JSON.parse(config.annotations['keelson.dev/allocated-resources'] ?? '{}')),
    [{ containers: [{ name: 'c', ...asks('500m', '64Mi') }] }, {}],
  );
  await first.stop();
  await node.start();
  await node.rest();
  t.deepEqual(node.status('web')?.allocatedResources, { cpu: '500m', memory: '64Mi' });
  t.deepEqual(node.updates(), []);
});

test('while a resize is told to the runtime, the status says so, with what was given and what is', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  const release = node.fake.holdNext('updateContainerResources');
  node.resize('web', { c: asks('1', '64Mi') });
  await node.until('in progress', () => node.condition('web', 'PodResizeInProgress') !== undefined);
  await node.until('given', () => node.status('web')?.allocatedResources?.cpu === '1');
  const { status, reason, observedGeneration } = node.condition('web', 'PodResizeInProgress') ?? {};
  t.deepEqual([status, reason, observedGeneration], ['True', undefined, 2]);
  t.is(node.condition('web', 'PodResizePending'), undefined);
  t.deepEqual(node.status('web')?.allocatedResources, { cpu: '1', memory: '64Mi' });
  t.deepEqual(node.status('web')?.resources, asks('500m', '64Mi'));
  release();
  await node.until('done', () => !node.isResizing('web'));
  t.deepEqual(node.status('web')?.resources, asks('1', '64Mi'));
});

test('without room a resize waits, and is given when a pod ends', async (t) => {
  const node = await resizeNode(t);
  const { kubelet } = await node.start();
  node.server.bind(apiPod('big', [sized('c', asks('1', '64Mi'))]));
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('big') && node.isReady('web'));
  node.resize('web', { c: asks('1500m', '64Mi') });
  await node.until('deferred', () => node.condition('web', 'PodResizePending')?.reason === 'Deferred');
  const pending = node.condition('web', 'PodResizePending');
  t.is(pending?.message, "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000");
  t.is(pending?.observedGeneration, 2);
  t.is(node.observed('web'), 2);
  t.deepEqual(kubelet.served.find('default', 'web')?.pod.spec.containers[0]?.resources, asks('1500m', '64Mi'));
  t.deepEqual(node.status('web')?.allocatedResources, { cpu: '500m', memory: '64Mi' });
  t.deepEqual(node.eventsOf('web'), ['web ResizeDeferred']);
  t.regex(
    node.events.join('\n'),
    /web ResizeDeferred: Pod resize OutOfcpu: {"containers":.*"generation":2,"error":"Node didn't have enough/,
  );
  await node.rest();
  t.deepEqual(node.updates(), []);

  node.server.askToDelete('default/big', 1);
  await node.until('given', () => node.given('web')?.[1] === 150_000 && !node.isResizing('web'));
  t.deepEqual(node.eventsOf('web'), ['web ResizeDeferred', 'web ResizeStarted', 'web ResizeCompleted']);
});

test('a resize that waits is given when another pod shrinks, and taken back when it is no longer asked for', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  for (const name of ['big', 'web']) node.server.bind(apiPod(name, [sized('c', asks('1', '64Mi'))]));
  await node.until('ready', () => node.isReady('big') && node.isReady('web'));
  node.resize('web', { c: asks('1200m', '64Mi') });
  await node.until('deferred', () => node.condition('web', 'PodResizePending') !== undefined);
  node.resize('web', { c: asks('1', '64Mi') });
  await node.until('taken back', () => !node.isResizing('web') && node.observed('web') === 3);
  t.deepEqual(node.updates(), []);
  node.resize('web', { c: asks('1200m', '64Mi') });
  await node.until('deferred again', () => node.condition('web', 'PodResizePending') !== undefined);
  node.resize('big', { c: asks('800m', '64Mi') });
  await node.until('given', () => node.given('web')?.[1] === 120_000 && !node.isResizing('web'));
  t.is(node.given('big')?.[1], 80_000);
});

test('what the node never has is infeasible', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  node.resize('web', { c: asks('4', '64Mi') });
  await node.until('infeasible', () => node.condition('web', 'PodResizePending')?.reason === 'Infeasible');
  t.is(
    node.condition('web', 'PodResizePending')?.message,
    "Node didn't have enough capacity: cpu, requested: 4000, capacity: 2000",
  );
  t.deepEqual(node.eventsOf('web'), ['web ResizeInfeasible']);
  node.resize('web', { c: asks('4', '8Gi') });
  await node.until('again', () => node.condition('web', 'PodResizePending')?.observedGeneration === 3);
  t.regex(
    node.condition('web', 'PodResizePending')?.message ?? '',
    /memory, requested: 8589934592, capacity: 4294967296/,
  );
  node.resize('web', { c: asks('1', '64Mi') });
  await node.until('given', () => node.given('web')?.[1] === 100_000 && !node.isResizing('web'));
});

test('other pods are admitted beside what a resized pod has, not what it asks for', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  node.server.bind(apiPod('big', [sized('c', asks('1', '64Mi'))]));
  await node.until('ready', () => node.isReady('big') && node.isReady('web'));
  node.resize('web', { c: asks('1100m', '64Mi') });
  await node.until('deferred', () => node.condition('web', 'PodResizePending') !== undefined);
  node.server.bind(apiPod('small', [sized('c', asks('500m', '64Mi'))]));
  await node.until('small runs', () => node.isReady('small'));
  node.resize('web', { c: asks('400m', '64Mi') });
  await node.until('shrunk', () => node.given('web')?.[1] === 40_000 && !node.isResizing('web'));
  node.server.bind(apiPod('late', [sized('c', asks('200m', '64Mi'))]));
  await node.until('refused', () => node.server.get('default/late')?.status?.phase === 'Failed');
  t.is(node.server.get('default/late')?.status?.reason, 'OutOfcpu');
  node.server.bind(apiPod('tiny', [sized('c', asks('100m', '64Mi'))]));
  await node.until('tiny runs', () => node.isReady('tiny'));
});

test('what a pod gives back is free only when it has given it back', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('1', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  const release = node.fake.holdNext('updateContainerResources');
  node.resize('web', { c: asks('200m', '64Mi') });
  await node.until('under way', () => node.condition('web', 'PodResizeInProgress') !== undefined);
  node.server.bind(apiPod('early', [sized('c', asks('1500m', '64Mi'))]));
  await node.until('refused', () => node.server.get('default/early')?.status?.reason === 'OutOfcpu');
  release();
  await node.until('given back', () => !node.isResizing('web'));
  node.server.bind(apiPod('late', [sized('c', asks('1500m', '64Mi'))]));
  await node.until('late runs', () => node.isReady('late'));
});

test('a container whose policy says so is restarted instead, others are not', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' as const }];
  node.server.bind(
    apiPod('web', [sized('c', asks('500m', '64Mi'), { resizePolicy }), sized('d', asks('100m', '64Mi'))]),
  );
  await node.until('ready', () => node.isReady('web'));
  const before = [node.running('web')?.id, node.running('web', 'd')?.id];
  node.resize('web', { c: asks('600m', '64Mi') });
  await node.until('CPU alone', () => node.given('web')?.[1] === 60_000 && !node.isResizing('web'));
  t.is(node.running('web')?.id, before[0]);
  node.resize('web', { c: asks('700m', '96Mi') });
  await node.until('restarted', () => node.given('web')?.[2] === 96 * mi && !node.isResizing('web'));
  t.not(node.running('web')?.id, before[0]);
  t.is(node.running('web', 'd')?.id, before[1]);
  t.is(node.status('web')?.restartCount, 1);
  t.deepEqual(node.given('web'), [716, 70_000, 96 * mi]);
  t.true(node.events.some((event) => event === 'web Killing: Container c resize requires restart'));
});

test('a memory request alone restarts a container whose policy says so', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' as const }];
  const limits = { cpu: '1', memory: '256Mi' };
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi', limits), { resizePolicy })]));
  await node.until('ready', () => node.isReady('web'));
  const before = node.running('web')?.id;
  node.resize('web', { c: asks('500m', '128Mi', limits) });
  await node.until('restarted', () => node.status('web')?.restartCount === 1 && node.isReady('web'));
  t.not(node.running('web')?.id, before);
  t.false(node.isResizing('web'));
});

test('sidecars are resized too', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  const initContainers = [sized('side', asks('100m', '32Mi'), { restartPolicy: 'Always' })];
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))], { initContainers }));
  await node.until('ready', () => node.isReady('web'));
  node.resize('web', { side: asks('200m', '48Mi'), c: asks('400m', '64Mi') });
  await node.until('resized', () => node.given('web', 'side')?.[2] === 48 * mi && !node.isResizing('web'));
  t.deepEqual(node.given('web', 'side'), [204, 20_000, 48 * mi]);
  t.deepEqual(
    node.updates().map(({ name }) => name),
    ['side', 'c', 'side'],
    'memory first, then the CPU that shrinks, then the one that grows',
  );
});

test('memory is not taken from processes that use it; it is tried again', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  node.fake.memoryUsage = () => 50 * mi;
  node.resize('web', { c: asks('400m', '32Mi') });
  await node.until('refused', () => node.condition('web', 'PodResizeInProgress')?.reason === 'Error');
  t.is(
    node.condition('web', 'PodResizeInProgress')?.message,
    `cannot decrease memory limits: attempting to set container "c" memory limit (${32 * mi}) below current usage (${50 * mi})`,
  );
  t.deepEqual(node.updates(), [], 'the CPU neither');
  t.deepEqual(node.status('web')?.resources, asks('500m', '64Mi'));
  t.deepEqual(node.eventsOf('web'), ['web ResizeStarted', 'web ResizeError']);
  node.fake.memoryUsage = () => 10 * mi;
  await node.until('tried again', () => node.given('web')?.[2] === 32 * mi && !node.isResizing('web'), 200);
  t.deepEqual(node.eventsOf('web'), ['web ResizeStarted', 'web ResizeError', 'web ResizeCompleted']);
});

test("the pod's own cgroup is not made smaller than what its containers use", async (t) => {
  const order: string[] = [];
  const more = { updatePodCgroup: async () => void order.push('pod') };
  const node = await resizeNode(t, { more });
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi')), sized('d', asks('100m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  node.fake.memoryUsage = ({ config }) => (config.metadata?.name === 'c' ? 20 : 60) * mi;
  node.resize('web', { c: asks('500m', '10Mi') });
  await node.until('refused', () => node.condition('web', 'PodResizeInProgress')?.reason === 'Error');
  const message = node.condition('web', 'PodResizeInProgress')?.message ?? '';
  t.true(message.includes(`set container "c" memory limit (${10 * mi}) below current usage (${20 * mi})`), message);
  t.true(message.includes(`set pod memory limit (${74 * mi}) below current usage (${80 * mi})`), message);
  t.deepEqual(order, []);
});

test('what the runtime refuses is told and tried again', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  const busy = CriError.fromStatus('UpdateContainerResources', GrpcStatus.unknown, 'device or resource busy');
  node.fake.failNext('updateContainerResources', busy);
  node.resize('web', { c: asks('1', '64Mi') });
  await node.until('error', () => node.condition('web', 'PodResizeInProgress')?.reason === 'Error');
  t.regex(node.condition('web', 'PodResizeInProgress')?.message ?? '', /device or resource busy/);
  await node.until('done', () => node.given('web')?.[1] === 100_000 && !node.isResizing('web'), 200);
});

test('the environment of the next instance follows what was given', async (t) => {
  const node = await resizeNode(t);
  await node.start();
  const env = [{ name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } } }];
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'), { env })]));
  node.server.bind(apiPod('big', [sized('c', asks('1', '64Mi'))]));
  await node.until('ready', () => node.isReady('web') && node.isReady('big'));
  const cpu = (): string | undefined =>
    node
      .running('web')
      ?.config.envs.flatMap(({ key, value }) => (key === 'CPU' ? [Buffer.from(value).toString()] : []))[0];
  node.resize('web', { c: asks('1500m', '64Mi') });
  await node.until('deferred', () => node.condition('web', 'PodResizePending') !== undefined);
  node.fake.exitContainer(node.running('web')!.id, 1);
  await node.until('restarted', () => node.status('web')?.restartCount === 1 && node.isReady('web'));
  t.is(cpu(), '500');
  node.server.askToDelete('default/big', 1);
  await node.until('given', () => node.given('web')?.[1] === 150_000);
  node.fake.exitContainer(node.running('web')!.id, 1);
  await node.until('restarted again', () => node.status('web')?.restartCount === 2 && node.isReady('web'), 100);
  t.is(cpu(), '1500');
});

test('resized while the daemon is away: what the pod had is known, and the resize is judged', async (t) => {
  const node = await resizeNode(t);
  const first = await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  node.server.bind(apiPod('big', [sized('c', asks('1', '64Mi'))]));
  await node.until('ready', () => node.isReady('web') && node.isReady('big'));
  await first.stop();
  node.resize('web', { c: asks('1800m', '64Mi') });
  const { kubelet } = await node.start();
  await node.until('deferred', () => node.condition('web', 'PodResizePending')?.reason === 'Deferred');
  t.deepEqual(node.status('web')?.allocatedResources, { cpu: '500m', memory: '64Mi' });
  t.deepEqual(node.updates(), []);
  await kubelet.stop();
});

test('killed with a resize that waits: it is told once, and what was given before still counts', async (t) => {
  const node = await resizeNode(t);
  const first = await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  node.server.bind(apiPod('big', [sized('c', asks('1', '64Mi'))]));
  await node.until('ready', () => node.isReady('web') && node.isReady('big'));
  node.resize('web', { c: asks('800m', '64Mi') });
  await node.until('given', () => node.given('web')?.[1] === 80_000 && !node.isResizing('web'));
  node.resize('web', { c: asks('1800m', '64Mi') });
  await node.until('deferred', () => node.condition('web', 'PodResizePending')?.reason === 'Deferred');
  const told = node.condition('web', 'PodResizePending');
  await first.stop();
  await node.clock.advance(5_000);
  await node.start();
  await node.rest();
  t.deepEqual(node.condition('web', 'PodResizePending'), told);
  t.is(node.eventsOf('web').filter((event) => event === 'web ResizeDeferred').length, 1);
  t.deepEqual(node.status('web')?.allocatedResources, { cpu: '800m', memory: '64Mi' });
  t.deepEqual(await node.record('web'), {
    generation: 2,
    allocation: { containers: [{ name: 'c', ...asks('800m', '64Mi') }] },
  });
  node.server.bind(apiPod('late', [sized('c', asks('300m', '64Mi'))]));
  await node.until('refused', () => node.server.get('default/late')?.status?.reason === 'OutOfcpu');
});

for (const [when, at] of [
  ['before', 1],
  ['after', 1],
  ['before', 2],
  ['after', 2],
] as const) {
  test(`killed ${when} update ${at}: the resize is carried through and told as complete`, async (t) => {
    let hit = false;
    const forEver = new Promise<void>(() => {});
    const onUpdate = async (now: string, count: number): Promise<void> => {
      if (hit || now !== when || count !== at) return;
      hit = true;
      await forEver;
    };
    const node = await resizeNode(t, { onUpdate });
    const first = await node.start();
    node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
    await node.until('ready', () => node.isReady('web'));
    const { id } = node.running('web')!;
    node.resize('web', { c: asks('1', '128Mi') });
    await node.until('under way', () => hit);
    await first.stop();
    t.true(node.updates().length === (when === 'after' ? at : at - 1));
    await node.start();
    const done = (): boolean => node.given('web')?.[1] === 100_000 && !node.isResizing('web');
    await node.until('resized', () => done() && node.observed('web') === 2);
    t.deepEqual(node.given('web'), [1024, 100_000, 128 * mi]);
    t.is(node.running('web')?.id, id);
    t.is(node.eventsOf('web').filter((event) => event === 'web ResizeStarted').length, 1);
    const most = when === 'before' && at === 1 ? 2 : 3;
    t.true(node.updates().length <= most, 'nothing is told twice but what was not known');
    await node.rest();
    t.true(node.updates().length <= most);
  });
}

test('a record that cannot be read costs no pod', async (t) => {
  const node = await resizeNode(t);
  const first = await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  node.resize('web', { c: asks('1', '64Mi') });
  await node.until('given', () => node.given('web')?.[1] === 100_000 && !node.isResizing('web'));
  await first.stop();
  await writeFile(
    join(node.root, 'pods/uid-web/allocated-resources'),
    '{"generation":2,"allocation":{"containers":[{"name":"c","requests":{"cpu":"-1"}}]}}',
  );
  await node.start();
  await node.rest();
  t.true(node.isReady('web'));
  t.deepEqual(node.given('web'), [1024, 100_000, 64 * mi]);
  t.false(node.isResizing('web'));
});

test('a runtime that tells no resources is told them', async (t) => {
  const node = await resizeNode(t, { generation: '1.6' });
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'), 100);
  node.resize('web', { c: asks('1', '128Mi') });
  await node.until('given', () => node.given('web')?.[1] === 100_000 && !node.isResizing('web'), 100);
  const count = node.updates().length;
  await node.rest();
  t.is(node.updates().length, count);
});

test("the pod's cgroup is widened before and narrowed after its containers", async (t) => {
  const order: string[] = [];
  const node = await resizeNode(t, {
    more: {
      updatePodCgroup: async ({ spec }) =>
        void order.push(
          `pod ${spec.containers.map(({ resources }) => `${resources?.limits?.cpu}/${resources?.limits?.memory}`)}`,
        ),
    },
  });
  await node.start();
  node.server.bind(apiPod('web', [sized('c', asks('500m', '64Mi'))]));
  await node.until('ready', () => node.isReady('web'));
  node.resize('web', { c: asks('600m', '64Mi') });
  await node.until('first', () => node.given('web')?.[1] === 60_000 && !node.isResizing('web'));
  t.deepEqual(order, ['pod 600m/64Mi'], 'not known before: set to what is wanted');
  order.length = 0;
  node.resize('web', { c: asks('700m', '32Mi') });
  await node.until('second', () => node.given('web')?.[1] === 70_000 && !node.isResizing('web'));
  t.deepEqual(order, ['pod 700m/64Mi', 'pod 700m/32Mi']);
});
