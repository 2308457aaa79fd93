import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import { parseVerboseInfo } from './container-places.ts';
import { FakeStatsNode } from './fake-stats-node.ts';
import { UsageSampler } from './usage-sample.ts';

function sampler(version: 1 | 2) {
  const node = new FakeStatsNode(version);
  const clock = new FakeClock();
  const files = node.hostFiles;
  return { node, clock, sampler: new UsageSampler({ pods: node.served, runtime: node.runtime, files, clock }) };
}

for (const version of [1, 2] as const) {
  test(`v${version}: containers, the pod's own cgroup, its network, the node and the system's cgroups`, async (t) => {
    const { node, sampler: it } = sampler(version);
    node.addPod({ containers: ['main', 'side'] });
    const sample = await it.sample('pressure');
    const [pod] = sample.pods;
    t.deepEqual(
      pod?.containers.map(({ record, measured }) => [record.name, measured?.sample.cpu?.usageNs, measured?.path]),
      [
        ['main', 1.5e9, '/kubepods/burstable/poduid-web/web-main-id'],
        ['side', 1.5e9, '/kubepods/burstable/poduid-web/web-side-id'],
      ],
    );
    t.is(pod?.own?.sample.memory?.usageBytes, 30_000_000);
    t.deepEqual(
      pod?.network?.map(({ name, receive, transmit }) => [name, receive.bytes, transmit.bytes]),
      [['eth0', 500, 1000]],
    );
    t.is(sample.node.cpu?.usageNs, 99e9);
    t.is(sample.node.memory?.workingSetBytes, (1_500_000 + 3_000_000 + 10_000 - 2_000_000) * 1024);
    t.is(sample.node.memory?.swapUsedBytes, 100_000 * 1024);
    t.deepEqual(
      sample.system.map(({ name, measured }) => [name, measured.path]),
      [
        ['kubelet', '/system.slice/kubelet.service'],
        ['pods', '/kubepods'],
      ],
    );
  });
}

test('the runtime is asked once about an instance, and about nothing else', async (t) => {
  const { node, clock, sampler: it } = sampler(2);
  node.addPod();
  for (let i = 0; i < 3; i++) {
    await it.sample('usage');
    await clock.advance(5_000);
  }
  t.deepEqual(node.calls.toSorted(), ['containerStatus web-main-id true', 'podSandboxStatus web-sandbox true']);
  node.addPod({ name: 'other' });
  await it.sample('usage');
  t.is(node.calls.length, 4);
});

test('a container that ended is not shown; one whose cgroup went meanwhile has no figures', async (t) => {
  const { node, sampler: it } = sampler(2);
  const { state } = node.addPod({ containers: ['main', 'done', 'gone'] });
  for (const container of state.containers) if (container.name === 'done') container.phase = 'exited';
  node.removeCgroup('web-gone-id');
  const [pod] = (await it.sample('usage')).pods;
  t.deepEqual(
    pod?.containers.map(({ record, measured }) => [record.name, measured !== undefined]),
    [
      ['main', true],
      ['gone', false],
    ],
  );
});

test('a pod without a running container is not shown', async (t) => {
  const { node, sampler: it } = sampler(2);
  const { state } = node.addPod();
  for (const container of state.containers) container.phase = 'exited';
  t.deepEqual((await it.sample('usage')).pods, []);
});

test('a process of another has the PID now: its network is not taken for the pod', async (t) => {
  const { node, clock, sampler: it } = sampler(2);
  node.addPod();
  await it.sample('usage');
  for (const file of node.files.keys())
    if (/^\/proc\/\d+\/cgroup$/.test(file)) node.files.set(file, '0::/user.slice\n');
  await clock.advance(5_000);
  t.is((await it.sample('usage')).pods[0]?.network, undefined);
});

test('a pod in the network of the host has none of its own', async (t) => {
  const { node, sampler: it } = sampler(2);
  node.addPod({ hostNetwork: true });
  t.is((await it.sample('usage')).pods[0]?.network, undefined);
});

test('a container whose process is not named is shown with the figures of the runtime, and asked about rarely', async (t) => {
  const { node, clock, sampler: it } = sampler(2);
  node.addPod();
  node.nameless.add('web-main-id');
  const first = await it.sample('usage');
  const measured = first.pods[0]?.containers[0]?.measured;
  t.is(measured?.sample.cpu?.usageNs, 77);
  t.is(measured?.sample.memory?.workingSetBytes, 88);
  await it.sample('usage');
  t.is(node.calls.filter((call) => call.startsWith('containerStatus')).length, 1);
  await clock.advance(61_000);
  await it.sample('usage');
  t.is(node.calls.filter((call) => call.startsWith('containerStatus')).length, 2);
});

test('a runtime that does not answer about a new container is an error', async (t) => {
  const { node, clock } = sampler(2);
  node.addPod();
  const runtime: typeof node.runtime = {
    ...node.runtime,
    containerStatus: async () => {
      throw CriError.fromStatus('ContainerStatus', GrpcStatus.unavailable, 'gone');
    },
  };
  const it = new UsageSampler({ pods: node.served, runtime, files: node.hostFiles, clock });
  await t.throwsAsync(it.sample('usage'), { instanceOf: CriError });
});

test('CPU in use is the average since the start at first, then since the sample before', async (t) => {
  const { node, clock, sampler: it } = sampler(2);
  node.addPod();
  await clock.advance(15_000);
  const nanoCores = async (): Promise<number | undefined> =>
    (await it.sample('usage')).pods[0]?.containers[0]?.measured?.usageNanoCores;
  t.is(await nanoCores(), 100_000_000);
  await clock.advance(10_000);
  node.addCgroup('/kubepods/burstable/poduid-web/web-main-id', 3);
  t.is(await nanoCores(), 300_000_000);
});

test('a daemon in the root cgroup shows its process', async (t) => {
  const { node, sampler: it } = sampler(2);
  node.files.set('/proc/self/cgroup', '0::/\n');
  const [own] = (await it.sample('usage')).system;
  t.is(own?.name, 'kubelet');
  t.is(own?.measured.path, '');
  t.true((own?.measured.sample.memory?.rssBytes ?? 0) > 1e6);
});

test('a machine without any cgroup mount still has figures of the node', async (t) => {
  const { node, sampler: it } = sampler(2);
  node.addPod();
  node.files.set('/proc/self/mountinfo', '');
  const sample = await it.sample('details');
  t.is(sample.node.cpu?.usageNs, (1000 + 50 + 500 + 7 + 3 + 2) * 10_000_000);
  t.is(sample.pods[0]?.containers[0]?.measured?.sample.cpu?.usageNs, 77, 'from the runtime');
});

test('verbose info of another shape names no process', (t) => {
  for (const text of ['', '{', '[]', 'null', '1', '{"pid":"7"}', '{"pid":-1}', '{"pid":1.5}', '{"pid":0}']) {
    t.is(parseVerboseInfo({ info: text }).pid, undefined, text);
  }
  t.is(parseVerboseInfo({}).pid, undefined);
  t.deepEqual(parseVerboseInfo({ info: '{"pid":7,"image":"a"}' }), { pid: 7, image: 'a' });
});
