/**
 * The Node object in a real cluster: its Lease stops and goes on, somebody deletes it, the disk fills up. What runs on the
 * node goes on each time. Layer: test (integration, root). The grace and transition periods are short here.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { stringify } from 'yaml';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import {
  type ApiObject,
  type ClusterPods,
  clusterPods,
  condition,
  containerIds,
  fetchFrom,
  isReady,
  restarts,
  service,
  webPod,
} from '../support/cluster-pods.ts';
import { podManifest } from '../support/daemon.ts';
import { eventually, exec } from '../support/exec.ts';

let on: ClusterNode;
let pods: ClusterPods;
let nodePath: string;
let leasePath: string;
/** Of the pod of a manifest. */
let mirrorName: string;

/** With short periods, and a folder of manifests. */
const start = (): Promise<void> =>
  on.start({
    config: stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      staticPodPath: on.node.dirs.manifests,
      nodeLeaseDurationSeconds: 4,
      nodeStatusUpdateFrequency: '1s',
      evictionPressureTransitionPeriod: '3s',
      // The condition comes with the first sight; nobody is evicted for it here (eviction.test.ts).
      evictionHard: { 'memory.available': '100Mi' },
      evictionSoft: { 'nodefs.available': '10%' },
      evictionSoftGracePeriod: { 'nodefs.available': '10m' },
    }),
  });

test.before(async () => {
  on = await startClusterNode({
    images: ['pause', 'busybox'],
    controlPlane: { flags: { controllerManager: ['--node-monitor-period=1s', '--node-monitor-grace-period=6s'] } },
  });
  pods = clusterPods(on);
  nodePath = `/api/v1/nodes/${on.nodeName}`;
  leasePath = `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${on.nodeName}`;
  mirrorName = `manifest-${on.nodeName}`;
  await on.keelson.stop();
  // A root folder on a small filesystem of its own.
  const { dirs } = on.node;
  rmSync(dirs.root, { recursive: true, force: true });
  mkdirSync(dirs.root, { recursive: true });
  await exec('mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=0750', 'keelson-test', dirs.root]);
  mkdirSync(dirs.manifests, { recursive: true });
  writeFileSync(join(dirs.manifests, 'pod.yaml'), stringify(podManifest('manifest')));
  await start();
  await on.waitForReady();
  await pods.createPod('web', webPod(), { labels: { app: 'web' } });
  await pods.create(service('web', { app: 'web' }));
  await pods.waitForReady('web', mirrorName);
});
test.after.always(() => on?.end());

const identity = (pod: ApiObject) => ({
  uid: pod.metadata.uid,
  containers: containerIds(pod),
  restarts: restarts(pod),
});
const webUrl = async (): Promise<string> =>
  `http://${(await on.get('/api/v1/namespaces/default/services/web')).spec.clusterIP}/`;
const waitForCondition = (type: string, status: string): Promise<ApiObject> =>
  on.waitFor(`${type} is ${status}`, nodePath, (node) => (condition(node, type) === status ? node : undefined), 60_000);

test.serial('the daemon hangs: NotReady by the node controller; it goes on: Ready, and so are its pods', async (t) => {
  const before = await pods.waitForReady('web', mirrorName);
  const lease = await on.get(leasePath);
  t.is(lease.spec.holderIdentity, on.nodeName);
  t.is(lease.spec.leaseDurationSeconds, 4);
  t.is(lease.metadata.ownerReferences[0].uid, (await on.get(nodePath)).metadata.uid);
  process.kill(on.keelson.pid, 'SIGSTOP');
  t.teardown(() => {
    if (on.keelson.exit() === undefined) process.kill(on.keelson.pid, 'SIGCONT');
  });
  await waitForCondition('Ready', 'Unknown');
  await on.waitFor('its pods are not ready', '/api/v1/namespaces/default/pods/web', (pod) => !isReady(pod));
  t.is(await on.node.exec('curl', '-sS', '-m', '3', `http://${before[0].status.podIP}:8080/`), 'web\n');

  process.kill(on.keelson.pid, 'SIGCONT');
  await waitForCondition('Ready', 'True');
  const after = await pods.waitForReady('web', mirrorName);
  t.deepEqual(after.map(identity), before.map(identity));
  await on.waitFor('no taint is left', nodePath, ({ spec }) => (spec.taints ?? []).length === 0);
  await eventually('the Service answers', async () => fetchFrom(on, await webUrl()));

  // Ended and started again later, as for an upgrade that takes too long.
  t.is(await on.keelson.stop(), 0);
  await waitForCondition('Ready', 'Unknown');
  await start();
  await waitForCondition('Ready', 'True');
  t.deepEqual((await pods.waitForReady('web', mirrorName)).map(identity), before.map(identity));
});

test.serial(
  'somebody deletes the Node: it is registered again, with Lease and mirror pod, and pods go on',
  async (t) => {
    const [web, mirror] = await pods.waitForReady('web', mirrorName);
    const old = await on.get(nodePath);
    t.is(mirror.metadata.ownerReferences[0].uid, old.metadata.uid);
    await on.cluster.kubectl('delete', 'node', on.nodeName);
    const registered = await on.waitFor('another Node', nodePath, (node) =>
      node.metadata.uid !== old.metadata.uid && condition(node, 'Ready') === 'True' ? node : undefined,
    );
    await on.waitFor(
      'the Lease belongs to the new Node',
      leasePath,
      ({ metadata }) => metadata.ownerReferences[0].uid === registered.metadata.uid,
    );
    const renewed = await on.waitFor(
      'the mirror pod belongs to the new Node',
      `/api/v1/namespaces/default/pods/${mirrorName}`,
      (pod) => (pod.metadata.ownerReferences[0].uid === registered.metadata.uid && isReady(pod) ? pod : undefined),
      90_000,
    );
    t.deepEqual(containerIds(renewed), containerIds(mirror), 'the pod of the manifest was restarted');
    t.deepEqual(identity(await pods.get('web')), identity(web), 'a pod was restarted');
    t.deepEqual(registered.metadata.labels, old.metadata.labels);
    // New pods can be placed on it.
    await pods.createPod('later');
    await pods.waitForReady('later');
    await pods.remove('later');
  },
);

test.serial('the filesystem of the root folder fills up: DiskPressure, and again none', async (t) => {
  t.is(condition(await on.get(nodePath), 'DiskPressure'), 'False');
  const [web] = await pods.waitForReady('web');
  const ballast = join(on.node.dirs.root, 'ballast');
  writeFileSync(ballast, Buffer.alloc(61 << 20));
  t.teardown(() => rmSync(ballast, { force: true }));
  const full = await waitForCondition('DiskPressure', 'True');
  t.is(condition(full, 'Ready'), 'True');
  await on.waitFor('the controller keeps new pods away', nodePath, ({ spec }) =>
    spec.taints?.some(({ key }: { key: string }) => key === 'node.kubernetes.io/disk-pressure'),
  );
  rmSync(ballast);
  await waitForCondition('DiskPressure', 'False');
  const { object } = await on.cluster.request(
    'GET',
    `/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind=Node,involvedObject.name=${on.nodeName}`,
  );
  const reasons = object.items.map(({ reason }: { reason: string }) => reason);
  t.true(reasons.includes('NodeHasDiskPressure'), reasons.join(' '));
  t.deepEqual(identity(await pods.get('web')), identity(web));
  t.is(await on.keelson.stop(), 0);
});
