/** Pods' cgroups over whole lives of pods: before the sandbox, until nothing of the pod is left. */
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { KubeletOptions } from '../kubelet.ts';
import { busybox, podNode, staticPod } from '../pods/pod-node.fake.ts';
import { FakeCgroupFiles } from './fake-cgroup-files.ts';
import { startCgroups } from './start-cgroups.ts';

async function cgroupNode(t: ExecutionContext, files = new FakeCgroupFiles(), more: Partial<KubeletOptions> = {}) {
  const clock = new FakeClock();
  const cgroups = await startCgroups({
    files,
    cgroupRoot: '/',
    machine: { cores: 2, memoryBytes: 2 ** 32, pids: 10_000, hugePages: new Map(), cpus: undefined },
    reservations: { systemReserved: new Map(), kubeReserved: new Map() },
    evictionMemoryBytes: 0,
    enforce: new Set(['pods']),
    pods: { enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000, podPidsLimit: -1 },
    clock,
    log: silentLogger,
  });
  t.teardown(() => cgroups.stop());
  const node = await podNode(t, { cgroups, ...more });
  return { node, files, clock };
}

const parent = '/kubepods/besteffort/poduid-web';
const podPaths = (files: FakeCgroupFiles): string[] => files.paths().filter((path) => path.includes('/pod'));

test('the cgroup is there before the sandbox, and both requests name it', async (t) => {
  const { node, files } = await cgroupNode(t);
  node.set(staticPod('web', { containers: [busybox('main')] }));
  await node.start();
  await node.until('the pod runs', () => node.isReady('web'));
  const parents = node.fake.calls.flatMap(({ method, request }) => {
    if (method === 'runPodSandbox') return [(request as { config: Linux }).config.linux?.cgroupParent];
    if (method === 'createContainer') return [(request as { sandboxConfig: Linux }).sandboxConfig.linux?.cgroupParent];
    return [];
  });
  t.deepEqual(parents, [parent, parent]);
  t.deepEqual(podPaths(files), [parent]);
});

test('a pod that goes leaves no cgroup and no process', async (t) => {
  const { node, files } = await cgroupNode(t);
  node.set(staticPod('web', { containers: [busybox('main')] }));
  await node.start();
  await node.until('the pod runs', () => node.isReady('web'));
  await files.mkdir(`${parent}/container`);
  await files.write(`${parent}/container`, 'cgroup.procs', '4711');
  node.set();
  await node.until('the pod is gone', () => node.fake.sandboxes.length === 0);
  t.deepEqual(podPaths(files), []);
});

test('what is in use by a process that does not end keeps the pod; it goes as soon as that ends', async (t) => {
  const { node, files } = await cgroupNode(t);
  node.set(staticPod('web', { containers: [busybox('main')] }));
  const kubelet = await node.start();
  await node.until('the pod runs', () => node.isReady('web'));
  files.refuse.set(`${parent}/cgroup.kill`, 'EIO');
  await files.write(parent, 'cgroup.procs', '4711');
  node.set();
  await node.until('its end is tried', () => kubelet.status().ending.length === 1);
  await node.clock.advance(5000);
  t.deepEqual(podPaths(files), [parent]);
  files.endProcess(4711);
  await node.until('the pod is gone', () => node.fake.sandboxes.length === 0, 1000);
  t.deepEqual(podPaths(files), []);
});

test('a pod that ended has no cgroup any more', async (t) => {
  const { node, files } = await cgroupNode(t);
  node.set(staticPod('web', { containers: [busybox('main')], restartPolicy: 'Never' }));
  await node.start();
  await node.until('it runs', () => node.running('main') !== undefined);
  node.exit('main', 0);
  await node.until('it ended', () => node.status('web')?.phase === 'Succeeded' && podPaths(files).length === 0);
});

test('cgroups of pods that nobody knows are removed at the start, others not', async (t) => {
  const files = new FakeCgroupFiles();
  const { node } = await cgroupNode(t, files);
  for (const path of ['/kubepods/podold', '/kubepods/burstable/poduid-web']) await files.mkdir(path);
  await files.write('/kubepods/podold', 'cgroup.procs', '9');
  node.set(staticPod('web', { containers: [busybox('main', { resources: { requests: { cpu: '1' } } })] }));
  await node.start();
  t.deepEqual(podPaths(files), ['/kubepods/burstable/poduid-web']);
});

test('without its cgroup no sandbox is made; it is tried again', async (t) => {
  const { node, files } = await cgroupNode(t);
  files.refuse.set(`${parent}/cpu.weight`, 'EPERM');
  // 100 is the value of a new cgroup.
  files.refuse.set(`${parent}/pids.max`, 'EPERM');
  node.set(staticPod('web', { containers: [busybox('main')] }));
  const kubelet = await node.start();
  await node.until('it says why', () => /cpu\.weight.*EPERM/.test(kubelet.status().pods[0]?.error ?? ''));
  t.is(node.fake.sandboxes.length, 0);
  files.refuse.clear();
  await node.until('the pod runs', () => node.isReady('web'), 1000);
});

test('after a restart of the daemon a pod that runs counts for the weight of its class', async (t) => {
  const { node, files } = await cgroupNode(t);
  const web = staticPod('web', { containers: [busybox('main', { resources: { requests: { cpu: '1' } } })] });
  node.set(web);
  const first = await node.start();
  await node.until('the pod runs', () => node.isReady('web'));
  t.is(files.valuesOf('/kubepods/burstable')?.['cpu.weight'], '39');
  await first.stop();
  // The same runtime, another daemon.
  const again = await cgroupNode(t, files, { runtime: node.fake.runtime, images: node.fake.image });
  again.node.set(web);
  await again.node.start();
  await again.node.until('the pod is found again', () => again.node.isReady('web'));
  await again.clock.advance(61_000);
  t.is(files.valuesOf('/kubepods/burstable')?.['cpu.weight'], '39');
  t.is(node.fake.sandboxes.length, 1);
});

interface Linux {
  linux?: { cgroupParent?: string };
}
