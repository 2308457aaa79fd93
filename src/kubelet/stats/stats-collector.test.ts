import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import { createLogger } from '../../observe/logger.ts';
import type { HostReader } from '../node/node-measurements.ts';
import { FakeStatsNode, filesystem } from './fake-stats-node.ts';
import { StatsCollector } from './stats-collector.ts';

async function collector(t: ExecutionContext, version: 1 | 2) {
  const root = await mkdtemp(join(tmpdir(), 'keelson-stats-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const node = new FakeStatsNode(version);
  const clock = new FakeClock(Date.UTC(2026, 0, 1, 0, 0, 15));
  const host: HostReader = {
    readText: async (path) => node.files.get(path) ?? '',
    names: async () => [],
    filesystem: async () => filesystem,
    kernelVersion: () => '6.12.0',
    architecture: () => 'amd64',
  };
  let imageTrouble = false;
  const it = new StatsCollector({
    nodeName: 'node-1',
    rootDir: join(root, 'kubelet'),
    podLogDir: join(root, 'logs'),
    volumePeriodMs: 60_000,
    pods: node.served,
    runtime: node.runtime,
    images: {
      async imageFsInfo() {
        if (imageTrouble) throw CriError.fromStatus('ImageFsInfo', GrpcStatus.unavailable, 'gone');
        const image = { timestamp: 0, usedBytes: { value: 5000 }, inodesUsed: { value: 50 } };
        return {
          imageFilesystems: [{ ...image, fsId: { mountpoint: '/var/lib/containerd' } }],
          containerFilesystems: [],
        };
      },
    },
    host,
    clock,
    log: createLogger(0, 'text'),
    files: node.hostFiles,
    signal: new AbortController().signal,
  });
  return {
    node,
    clock,
    root,
    it,
    breakImages: () => {
      imageTrouble = true;
    },
  };
}

const time = '2026-01-01T00:00:15Z';
const room = {
  time,
  availableBytes: filesystem.availableBytes,
  capacityBytes: filesystem.capacityBytes,
  inodesFree: 900,
  inodes: 1000,
};

/** Of the container's limit of 80 MiB. */
const memoryOf = (scale: number) => ({
  time,
  availableBytes: 83_886_080 - scale * 7_000_000,
  usageBytes: scale * 10_000_000,
  workingSetBytes: scale * 7_000_000,
  rssBytes: scale * 5_000_000,
  pageFaults: scale * 700,
  majorPageFaults: scale * 7,
});

test('v1: the whole summary, field by field', async (t) => {
  const { node, root, it } = await collector(t, 1);
  const { pod } = node.addPod({
    spec: {
      volumes: [
        { name: 'cache', emptyDir: {} },
        { name: 'key', secret: { secretName: 'key' } },
      ],
    },
  });
  const logs = join(root, `logs/default_web_${pod.metadata.uid}/main`);
  await mkdir(logs, { recursive: true });
  await writeFile(join(logs, '0.log'), Buffer.alloc(4096, 1));
  const volume = join(root, `kubelet/pods/${pod.metadata.uid}/volumes/kubernetes.io~empty-dir/cache`);
  await mkdir(volume, { recursive: true });
  await mkdir(join(root, `kubelet/pods/${pod.metadata.uid}/volumes/kubernetes.io~secret/key`), { recursive: true });
  const { node: nodeStats, pods } = await it.summary();
  const directoryBytes = pods[0]?.volume?.[0]?.usedBytes ?? Number.NaN;
  const logBytes = pods[0]?.containers[0]?.logs?.usedBytes ?? Number.NaN;
  t.true(logBytes >= 4096);
  t.deepEqual(pods, [
    {
      podRef: { name: 'web', namespace: 'default', uid: 'uid-web' },
      startTime: '2026-01-01T00:00:00Z',
      containers: [
        {
          name: 'main',
          startTime: '2026-01-01T00:00:00Z',
          cpu: { time, usageNanoCores: 100_000_000, usageCoreNanoSeconds: 1_500_000_000 },
          memory: memoryOf(1),
          swap: { time, swapAvailableBytes: 0, swapUsageBytes: 4096 },
          rootfs: { ...room, usedBytes: 24_576, inodesUsed: 9 },
          logs: { ...room, usedBytes: logBytes, inodesUsed: 1 },
        },
      ],
      cpu: { time, usageNanoCores: 300_000_000, usageCoreNanoSeconds: 4_500_000_000 },
      memory: memoryOf(3),
      swap: { time, swapAvailableBytes: 0, swapUsageBytes: 3 * 4096 },
      network: {
        time,
        name: 'eth0',
        rxBytes: 500,
        rxErrors: 1,
        txBytes: 1000,
        txErrors: 3,
        interfaces: [{ name: 'eth0', rxBytes: 500, rxErrors: 1, txBytes: 1000, txErrors: 3 }],
      },
      volume: [
        { ...room, usedBytes: directoryBytes, inodesUsed: 1, name: 'cache' },
        { ...room, usedBytes: directoryBytes, inodesUsed: 1, name: 'key' },
      ],
      // Without the secret, which lies in memory.
      'ephemeral-storage': { ...room, usedBytes: 24_576 + logBytes + directoryBytes, inodesUsed: 9 + 1 + 1 },
      process_stats: { process_count: 2 },
    },
  ]);
  const imageFs = { ...room, usedBytes: 5000, inodesUsed: 50 };
  const boot = new Date(1_767_220_000_000).toISOString().replace('.000', '');
  t.deepEqual(
    { ...nodeStats, systemContainers: nodeStats.systemContainers?.map(({ name, startTime }) => [name, startTime]) },
    {
      nodeName: 'node-1',
      systemContainers: [
        ['kubelet', time],
        ['pods', boot],
      ],
      startTime: boot,
      cpu: {
        time,
        usageNanoCores: Math.round(99e12 / (Date.parse(time) - 1_767_220_000_000)),
        usageCoreNanoSeconds: 99e9,
      },
      memory: {
        time,
        availableBytes: (8_000_000 - 2_510_000) * 1024,
        usageBytes: 4_510_000 * 1024,
        workingSetBytes: 2_510_000 * 1024,
        rssBytes: 1_500_000 * 1024,
        pageFaults: 471_737_674,
        majorPageFaults: 12_590,
      },
      swap: { time, swapAvailableBytes: 400_000 * 1024, swapUsageBytes: 100_000 * 1024 },
      network: {
        time,
        name: 'eth0',
        rxBytes: 1000,
        rxErrors: 1,
        txBytes: 2000,
        txErrors: 3,
        interfaces: [{ name: 'eth0', rxBytes: 1000, rxErrors: 1, txBytes: 2000, txErrors: 3 }],
      },
      fs: { ...room, usedBytes: filesystem.usedBytes, inodesUsed: 100 },
      runtime: { imageFs, containerFs: imageFs },
      rlimit: { time, maxpid: 31_000, curproc: 3518 },
    },
  );
});

test('v2: pressure stands beside CPU, memory and I/O', async (t) => {
  const { node, it } = await collector(t, 2);
  node.addPod();
  const { node: nodeStats, pods } = await it.summary();
  const psi = {
    full: { total: 456_000, avg10: 0.1, avg60: 0, avg300: 0 },
    some: { total: 123_456_000, avg10: 1.5, avg60: 0.2, avg300: 0.03 },
  };
  for (const stats of [nodeStats, pods[0], pods[0]?.containers[0]]) {
    t.deepEqual(stats?.cpu?.psi, psi);
    t.is(stats?.memory?.psi?.full.total, 9000);
    t.is(stats?.io?.psi?.some.total, 8000);
  }
});

test('only CPU and memory: no disk and no runtime is asked', async (t) => {
  const { node, it } = await collector(t, 2);
  node.addPod();
  const { node: nodeStats, pods } = await it.usageSummary();
  t.deepEqual(Object.keys(nodeStats), ['nodeName', 'systemContainers', 'startTime', 'cpu', 'memory', 'swap']);
  t.deepEqual(Object.keys(pods[0] ?? {}), ['podRef', 'startTime', 'containers', 'cpu', 'memory', 'swap']);
  t.false(node.calls.includes('listContainerStats'));
});

test('without pod cgroups a pod is the sum of its containers', async (t) => {
  const { node, it } = await collector(t, 2);
  node.addPod({ containers: ['a', 'b'] });
  for (const [file, text] of [...node.files]) {
    if (file.endsWith('/cgroup') && text.includes('poduid-web'))
      node.files.set(file, text.replaceAll('poduid-web', 'x'));
    if (file.includes('poduid-web/web-')) node.files.set(file.replace('poduid-web', 'x'), text);
  }
  const [pod] = (await it.usageSummary()).pods;
  t.is(pod?.cpu?.usageCoreNanoSeconds, 3e9);
  t.is(pod?.cpu?.usageNanoCores, 200_000_000);
  t.is(pod?.memory?.workingSetBytes, 14_000_000);
  t.is(pod?.memory?.availableBytes, 2 * (83_886_080 - 7_000_000));
});

test('a part that cannot be read is missing, the rest is there', async (t) => {
  const { node, it, breakImages } = await collector(t, 2);
  node.addPod();
  breakImages();
  const { node: nodeStats, pods } = await it.summary();
  t.is(nodeStats.runtime, undefined);
  t.truthy(nodeStats.fs);
  t.truthy(pods[0]?.containers[0]?.rootfs);
});

test('a pod with a hostile name hides no other', async (t) => {
  const { node, it, root } = await collector(t, 2);
  node.addPod({ name: 'web' });
  const bad = node.addPod({ name: 'bad' });
  bad.pod.metadata.namespace = '../..';
  const logs = join(root, 'logs/default_web_uid-web/main');
  await mkdir(logs, { recursive: true });
  const { pods } = await it.summary();
  t.deepEqual(
    pods.map(({ podRef, containers }) => [podRef.namespace, containers[0]?.logs !== undefined]),
    [
      ['default', true],
      ['../..', false],
    ],
  );
});

test('requests within two seconds see the same figures', async (t) => {
  const { node, clock, it } = await collector(t, 2);
  node.addPod();
  const first = await it.usageSummary();
  node.addCgroup('/kubepods/burstable/poduid-web/web-main-id', 5);
  await clock.advance(1_900);
  t.deepEqual(await it.usageSummary(), first);
  await clock.advance(200);
  t.notDeepEqual(await it.usageSummary(), first);
});
