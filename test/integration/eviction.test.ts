/**
 * A node whose disk fills up: pods beyond their own limits go, unused images go before pods do, and of the pods the one that
 * uses most. What is critical, modest or in use stays. Layer: test (integration, root). Images, containers and the root
 * folder lie on one small filesystem; a real control plane sees what becomes of the pods.
 */
import { existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { stringify } from 'yaml';
import { connectRuntime } from '../../src/cri/connect.ts';
import { busyboxImage, entrypointImage, pauseImage } from '../images/build.ts';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { type ApiObject, type ClusterPods, clusterPods, condition, containerIds } from '../support/cluster-pods.ts';
import { loadImages } from '../support/containerd.ts';
import { container, type Manifest } from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';

let on: ClusterNode;
let pods: ClusterPods;

const mib = 1 << 20;
const podPath = (name: string): string => `/api/v1/namespaces/default/pods/${name}`;
const freeMib = (): number => {
  const { bavail, bsize } = statfsSync(on.node.dirs.root);
  return Math.floor((bavail * bsize) / mib);
};

test.before(async () => {
  on = await startClusterNode({ images: ['pause'] });
  pods = clusterPods(on);
  await on.keelson.stop();
  const { dirs, run, containerd } = on.node;
  await containerd.kill();
  const disk = join(run.path, 'containerd/root');
  rmSync(disk, { recursive: true, force: true });
  mkdirSync(disk, { recursive: true });
  await exec('mount', ['-t', 'tmpfs', '-o', 'size=256m,mode=0711', 'keelson-test', disk]);
  mkdirSync(join(disk, 'keelson'));
  rmSync(dirs.root, { recursive: true, force: true });
  mkdirSync(dirs.root, { recursive: true });
  await exec('mount', ['--bind', join(disk, 'keelson'), dirs.root]);
  await containerd.start();
  await loadImages(containerd, ['pause', 'busybox', 'entrypoint']);
  await on.start({
    config: stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      nodeStatusUpdateFrequency: '1s',
      volumeStatsAggPeriod: '1s',
      evictionHard: { 'nodefs.available': '40Mi' },
      evictionPressureTransitionPeriod: '3s',
      imageMinimumGCAge: '1s',
    }),
  });
  await on.waitForReady();
});
test.after.always(() => on?.end());

const scratch = (emptyDir: Manifest = {}): Manifest => ({
  containers: [container('main', undefined, { volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] })],
  volumes: [{ name: 'scratch', emptyDir }],
});

const write = async (pod: ApiObject, megabytes: number): Promise<void> => {
  await pods.exec(pod, `dd if=/dev/zero of=/scratch/ballast bs=1M count=${megabytes}`);
};

const waitForEvicted = (name: string): Promise<ApiObject> =>
  on.waitFor(`pod ${name} is evicted`, podPath(name), (pod) => (pod.status.phase === 'Failed' ? pod : undefined));

const waitForRemovedVolumes = (pod: ApiObject): Promise<true> =>
  eventually(
    'its volumes are removed',
    async () => !existsSync(join(on.node.dirs.root, 'pods', pod.metadata.uid, 'volumes')),
  );

async function imageNames(): Promise<string[]> {
  const cri = await connectRuntime(on.node.containerd.endpoint);
  try {
    return (await cri.image.listImages({})).images.flatMap(({ repoTags }) => repoTags);
  } finally {
    cri.close();
  }
}

test.serial('an emptyDir above its limit: the pod is evicted, and not for the sake of others', async (t) => {
  await pods.createPod('limited', scratch({ sizeLimit: '1Mi' }));
  await pods.createPod('modest', scratch({ sizeLimit: '20Mi' }));
  const [limited, modest] = await pods.waitForReady('limited', 'modest');
  await write(limited, 3);
  await write(modest, 5);
  const { status } = await waitForEvicted('limited');
  t.is(status.reason, 'Evicted');
  t.is(status.message, 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". ');
  t.is(condition({ status }, 'DisruptionTarget'), undefined);
  t.is((await pods.events('limited')).Evicted, 1);
  await waitForRemovedVolumes(limited);
  t.deepEqual(containerIds(await pods.get('modest')), containerIds(modest));
  await pods.remove('limited');
});

test.serial(
  'a full disk: unused images go, then the pod that uses most; the others and their images stay',
  async (t) => {
    await pods.createPod('critical', { ...scratch(), priorityClassName: 'system-node-critical' });
    await pods.createPod('hog', scratch());
    const [critical, hog, modest] = await pods.waitForReady('critical', 'hog', 'modest');
    t.true((await imageNames()).includes(entrypointImage));
    await write(critical, Math.floor(freeMib() / 2) - 30);
    await write(hog, freeMib() - 10);
    t.true(freeMib() < 40);
    const { status, metadata } = await waitForEvicted('hog');
    t.is(status.reason, 'Evicted');
    t.regex(
      status.message,
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: 40Mi, available: \S+\. /,
    );
    t.is(condition({ status }, 'DisruptionTarget'), 'True');
    t.is((await pods.events('hog')).Evicted, 1);
    const { object } = await on.cluster.request(
      'GET',
      `/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind=Node,involvedObject.name=${on.nodeName}`,
    );
    const said = object.items.map(
      ({ reason, message }: { reason: string; message: string }) => `${reason}: ${message}`,
    );
    t.true(said.includes('EvictionThresholdMet: Attempting to reclaim ephemeral-storage'), said.join('\n'));
    await waitForRemovedVolumes({ metadata });
    await on.waitFor(
      'no pressure again',
      `/api/v1/nodes/${on.nodeName}`,
      (node) => condition(node, 'DiskPressure') === 'False',
    );
    const images = await imageNames();
    t.deepEqual(
      [busyboxImage, pauseImage, entrypointImage].map((name) => images.includes(name)),
      [true, true, false],
    );
    for (const pod of [critical, modest]) {
      const now = await pods.get(pod.metadata.name);
      t.is(now.status.phase, 'Running');
      t.deepEqual(containerIds(now), containerIds(pod));
    }
    t.deepEqual(containerIds(hog).length, 1);
  },
);

test.serial('the pod that was evicted stays as it ended, also over a restart of the daemon', async (t) => {
  const before = await pods.get('hog');
  t.is(await on.keelson.stop(), 0);
  await on.start();
  await on.waitForReady();
  const after = await pods.get('hog');
  t.deepEqual([after.status.phase, after.status.message], ['Failed', before.status.message]);
  await pods.remove('hog');
  await pods.waitForGone('hog');
  t.is((await pods.get('modest')).status.phase, 'Running');
});
