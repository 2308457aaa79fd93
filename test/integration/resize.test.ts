/**
 * Pods resized in place on a real runtime: the kubelet role with a fake API server (the real one of the tests is too old
 * to store a resize), and what the kernel says in the containers' own cgroups.
 * Layer: test (integration, root). cgroup v1 and v2.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { PodCondition } from '../../src/api/core.ts';
import { systemClock } from '../../src/base/clock.ts';
import { connectRuntime, type RuntimeConnection } from '../../src/cri/connect.ts';
import { FakePodApi } from '../../src/kubelet/api/fake-pod-api.ts';
import { apiPod, asks, type ResizeDaemon, sized, startWithApi } from '../../src/kubelet/resize/resize-node.fake.ts';
import { busyboxImage } from '../images/build.ts';
import { eventually } from '../support/exec.ts';
import { createTestNode, type TestNode } from '../support/node.ts';

const mi = 1024 * 1024;
const image = busyboxImage;

let node: TestNode;
let cri: RuntimeConnection;
let server: FakePodApi;
let daemon: ResizeDaemon;
const events: string[] = [];

const start = async (): Promise<void> => {
  const root = join(node.run.path, 'resize');
  mkdirSync(root, { recursive: true });
  const { runtime, image: images } = cri;
  const allocatable = { cpu: '2', memory: '1Gi' };
  daemon = await startWithApi({ runtime, images, clock: systemClock, root, server, events, allocatable });
};

test.before(async () => {
  node = await createTestNode({ images: ['pause', 'busybox'] });
  cri = await connectRuntime(node.containerd.endpoint);
  server = new FakePodApi(systemClock);
  await start();
});
test.after.always(async () => {
  await daemon?.stop();
  cri?.close();
  await node?.stop();
});

const container = (name: string, cpu: string, memory: string, command: string, more: object = {}) =>
  sized(name, asks(cpu, memory), {
    image,
    command: ['sh', '-c', `${command}; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`],
    ...more,
  });

const status = (pod: string) => server.get(`default/${pod}`)?.status;
const condition = (pod: string, type: string): PodCondition | undefined =>
  status(pod)?.conditions.find((each) => each.type === type);
const isSettled = (pod: string, generation: number): boolean =>
  status(pod)?.observedGeneration === generation &&
  condition(pod, 'Ready')?.status === 'True' &&
  condition(pod, 'PodResizePending') === undefined &&
  condition(pod, 'PodResizeInProgress') === undefined;
const settled = (pod: string, generation: number) =>
  eventually(
    () => `${pod} settled; ${JSON.stringify(status(pod))}; ${events.join('\n')}`,
    () => isSettled(pod, generation),
    60_000,
  );
const statusOf = (pod: string, name: string) => status(pod)?.containerStatuses?.find((each) => each.name === name);
const idOf = (pod: string, name: string): string => statusOf(pod, name)?.containerID?.split('//')[1] ?? '';

function resize(pod: string, sizes: Record<string, [cpu: string, memory: string]>): void {
  server.change(`default/${pod}`, ({ metadata, spec }) => {
    metadata.generation = (metadata.generation ?? 0) + 1;
    for (const each of spec.containers) {
      const size = sizes[each.name];
      if (size) each.resources = asks(...size);
    }
  });
}

async function run(pod: string, name: string, script: string): Promise<string> {
  const { stdout, stderr, exitCode } = await cri.runtime.execSync({
    containerId: idOf(pod, name),
    cmd: ['sh', '-c', script],
    timeout: 20,
  });
  if (exitCode !== 0) throw new Error(`${script}: ${Buffer.from(stderr)}`);
  return Buffer.from(stdout).toString().trim();
}

/** CPU quota in millicores and memory limit in bytes, as the container's own cgroup has them. */
async function cgroup(pod: string, name: string): Promise<[milliCores: number, memory: number]> {
  const root = '/sys/fs/cgroup';
  const text = await run(
    pod,
    name,
    `if [ -e ${root}/cgroup.controllers ]; then cat ${root}/cpu.max ${root}/memory.max; else ` +
      `cat ${root}/cpu/cpu.cfs_quota_us ${root}/cpu/cpu.cfs_period_us ${root}/memory/memory.limit_in_bytes; fi`,
  );
  const [quota = 0, period = 0, memory = 0] = text.split(/\s+/).map(Number);
  return [(quota * 1000) / period, memory];
}

async function remove(...pods: string[]): Promise<void> {
  for (const pod of pods) server.askToDelete(`default/${pod}`, 1);
  await eventually('pods gone', () => pods.every((pod) => !server.keys().includes(`default/${pod}`)), 60_000);
}

const hostNetwork = { hostNetwork: true };

test.serial('CPU and memory grow and shrink in the cgroup of a container that goes on', async (t) => {
  server.bind(
    apiPod('web', [container('c', '100m', '64Mi', 'true'), container('d', '100m', '32Mi', 'true')], hostNetwork),
  );
  await settled('web', 1);
  t.deepEqual(await cgroup('web', 'c'), [100, 64 * mi]);
  const ids = [idOf('web', 'c'), idOf('web', 'd')];
  resize('web', { c: ['250m', '96Mi'] });
  await settled('web', 2);
  t.deepEqual(await cgroup('web', 'c'), [250, 96 * mi]);
  t.deepEqual(await cgroup('web', 'd'), [100, 32 * mi]);
  t.deepEqual(statusOf('web', 'c')?.resources, asks('250m', '96Mi'));
  t.deepEqual(statusOf('web', 'c')?.allocatedResources, { cpu: '250m', memory: '96Mi' });
  resize('web', { c: ['50m', '48Mi'], d: ['200m', '48Mi'] });
  await settled('web', 3);
  t.deepEqual(await cgroup('web', 'c'), [50, 48 * mi]);
  t.deepEqual(await cgroup('web', 'd'), [200, 48 * mi]);
  t.deepEqual([idOf('web', 'c'), idOf('web', 'd')], ids);
  t.deepEqual(
    status('web')?.containerStatuses?.map(({ restartCount }) => restartCount),
    [0, 0],
  );
  t.deepEqual(
    events.filter((event) => event.startsWith('web Resize')).map((event) => event.split(':')[0]),
    ['web ResizeStarted', 'web ResizeCompleted', 'web ResizeStarted', 'web ResizeCompleted'],
  );
  await remove('web');
});

test.serial('a restart where the policy asks for one, with the new resources', async (t) => {
  const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }];
  server.bind(apiPod('again', [container('c', '100m', '64Mi', 'true', { resizePolicy })], hostNetwork));
  await settled('again', 1);
  const before = idOf('again', 'c');
  resize('again', { c: ['150m', '64Mi'] });
  await settled('again', 2);
  t.is(idOf('again', 'c'), before);
  resize('again', { c: ['150m', '80Mi'] });
  await eventually('restarted', () => statusOf('again', 'c')?.restartCount === 1, 60_000);
  await settled('again', 3);
  t.not(idOf('again', 'c'), before);
  t.deepEqual(await cgroup('again', 'c'), [150, 80 * mi]);
  await remove('again');
});

test.serial('memory in use is not taken away; once it is free, it is', async (t) => {
  // Pages of a tmpfs count as the container's own, and nothing can take them back.
  const fill = 'dd if=/dev/zero of=/dev/shm/fill bs=1M count=40 2>/dev/null';
  server.bind(apiPod('full', [container('c', '100m', '128Mi', fill)], hostNetwork));
  await settled('full', 1);
  await eventually('filled', async () => (await run('full', 'c', 'du -m /dev/shm/fill')).startsWith('40'), 60_000);
  resize('full', { c: ['100m', '32Mi'] });
  await eventually('refused', () => condition('full', 'PodResizeInProgress')?.reason === 'Error', 60_000);
  t.regex(
    condition('full', 'PodResizeInProgress')?.message ?? '',
    /^cannot decrease memory limits: attempting to set container "c"/,
  );
  t.deepEqual(await cgroup('full', 'c'), [100, 128 * mi]);
  t.deepEqual(statusOf('full', 'c')?.resources, asks('100m', '128Mi'));
  await run('full', 'c', 'rm /dev/shm/fill');
  await settled('full', 2);
  t.deepEqual(await cgroup('full', 'c'), [100, 32 * mi]);
  t.is(statusOf('full', 'c')?.restartCount, 0);
  await remove('full');
});

test.serial(
  'killed and resized meanwhile: what was given counts, no container restarts, the rest follows',
  async (t) => {
    server.bind(apiPod('web', [container('c', '500m', '64Mi', 'true')], hostNetwork));
    server.bind(apiPod('big', [container('c', '1', '64Mi', 'true')], hostNetwork));
    await settled('web', 1);
    await settled('big', 1);
    const id = idOf('web', 'c');
    resize('web', { c: ['800m', '64Mi'] });
    await settled('web', 2);
    await daemon.stop();
    resize('web', { c: ['1500m', '96Mi'] });
    await start();
    await eventually('deferred', () => condition('web', 'PodResizePending')?.reason === 'Deferred', 60_000);
    t.deepEqual(await cgroup('web', 'c'), [800, 64 * mi]);
    t.deepEqual(statusOf('web', 'c')?.allocatedResources, { cpu: '800m', memory: '64Mi' });
    await daemon.stop();
    await start();
    await remove('big');
    await settled('web', 3);
    t.deepEqual(await cgroup('web', 'c'), [1500, 96 * mi]);
    t.is(idOf('web', 'c'), id);
    t.is(statusOf('web', 'c')?.restartCount, 0);
    await remove('web');
  },
);

test.serial('a storm of resizes and kills: the last wish is in force, nothing restarted', async (t) => {
  server.bind(
    apiPod('storm', [container('c', '100m', '64Mi', 'true'), container('d', '100m', '64Mi', 'true')], hostNetwork),
  );
  await settled('storm', 1);
  const ids = [idOf('storm', 'c'), idOf('storm', 'd')];
  for (let round = 1; round <= 10; round++) {
    resize('storm', {
      c: [`${100 + 50 * round}m`, `${64 + 8 * round}Mi`],
      d: [`${700 - 50 * round}m`, `${160 - 8 * round}Mi`],
    });
    // Anywhere in the resize: deciding, recording, telling the runtime, telling the API server.
    await new Promise((resolve) => setTimeout(resolve, (round * 7) % 40));
    await daemon.stop();
    await start();
  }
  await settled('storm', 11);
  t.deepEqual(await cgroup('storm', 'c'), [600, 144 * mi]);
  t.deepEqual(await cgroup('storm', 'd'), [200, 80 * mi]);
  t.deepEqual([idOf('storm', 'c'), idOf('storm', 'd')], ids);
  await remove('storm');
});
