/**
 * CSI volumes on a real control plane: a driver registers, claims bound to its volumes are mounted, shared, grown and taken
 * away again; the driver restarts, fails, hangs; the daemon is killed between its calls. The driver runs in the tests'
 * process with real bind mounts and loop devices, and plays its own external attacher, as there is none here.
 * Layer: test (integration, root). One cluster and one node, the tests run in order.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { type ClusterNode, startClusterNode } from '../support/cluster-node.ts';
import { type ApiObject, type ClusterPods, clusterPods } from '../support/cluster-pods.ts';
import { type CsiDriverOptions, code, TestCsiDriver } from '../support/csi-driver.ts';
import { type RealMounter, realMounter } from '../support/csi-mounter.ts';
import { container, type Manifest, sleeper } from '../support/daemon.ts';
import { eventually } from '../support/exec.ts';
import { mountsBelow } from '../support/scrub.ts';

let on: ClusterNode;
let pods: ClusterPods;
let mounter: RealMounter;
let driver: TestCsiDriver;
const drivers: TestCsiDriver[] = [];

const name = 'hostpath.test.csi';
/** Alpha in 1.20: tokenRequests and requiresRepublish. */
const gates = '--feature-gates=CSIServiceAccountToken=true';

test.before(async () => {
  on = await startClusterNode({ images: ['pause', 'busybox'], controlPlane: { flags: { apiServer: [gates] } } });
  await on.waitForReady();
  pods = clusterPods(on);
  mounter = realMounter();
  driver = await newDriver(name);
  await csiDriver(name, {
    attachRequired: false,
    volumeLifecycleModes: ['Persistent', 'Ephemeral'],
    podInfoOnMount: true,
  });
});
test.afterEach.always(async () => {
  for (const pod of await pods.list()) await pods.remove(pod.metadata.name);
  await pods.waitForNoPods();
});
test.after.always(async () => {
  for (const one of drivers) one.stop();
  await mounter?.removeAll();
  await on?.end();
});

const root = (...path: string[]): string => join(on.node.dirs.root, ...path);
const request = async (method: string, path: string, body?: unknown, options?: { contentType?: string }) => {
  const answer = await on.cluster.request(method, path, body, options);
  if (answer.code >= 300) throw new Error(`${method} ${path}: ${answer.code} ${answer.object?.message}`);
  return answer.object;
};

async function newDriver(driverName: string, more: Partial<CsiDriverOptions> = {}): Promise<TestCsiDriver> {
  const made = new TestCsiDriver({
    name: driverName,
    directory: root('plugins', driverName),
    registryDirectory: root('plugins_registry'),
    mounter,
    nodeId: 'disk-node-7',
    ...more,
  });
  drivers.push(made);
  await made.start();
  await eventually(`${driverName} is registered`, () => made.notices.some(({ pluginRegistered }) => pluginRegistered));
  return made;
}

const csiDriver = (driverName: string, spec: Manifest): Promise<unknown> =>
  request('POST', '/apis/storage.k8s.io/v1/csidrivers', {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIDriver',
    metadata: { name: driverName },
    spec,
  });

/** A PersistentVolume of the driver and a claim that is bound to it. */
async function claim(claimName: string, csi: Manifest = {}, spec: Manifest = {}): Promise<void> {
  const { volumeMode, accessModes = ['ReadWriteOnce'] } = spec;
  await request('POST', '/api/v1/persistentvolumes', {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: `pv-${claimName}` },
    spec: {
      capacity: { storage: '1Gi' },
      accessModes,
      persistentVolumeReclaimPolicy: 'Retain',
      storageClassName: '',
      claimRef: { namespace: 'default', name: claimName },
      csi: {
        driver: name,
        volumeHandle: `handle/${claimName}`,
        fsType: 'ext4',
        volumeAttributes: { of: claimName },
        ...csi,
      },
      ...spec,
    },
  });
  await pods.create({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: claimName },
    spec: {
      accessModes,
      ...(volumeMode !== undefined && { volumeMode }),
      storageClassName: '',
      volumeName: `pv-${claimName}`,
      resources: { requests: { storage: '1Gi' } },
    },
  });
  await on.waitFor(
    `claim ${claimName} is bound`,
    `/api/v1/namespaces/default/persistentvolumeclaims/${claimName}`,
    (object) => (object.status?.phase === 'Bound' ? object : undefined),
  );
}

const claimVolume = (claimName: string): Manifest => ({ name: 'data', persistentVolumeClaim: { claimName } });
const withData = (volume: Manifest, more: Manifest = {}): Manifest => ({
  volumes: [volume],
  containers: [container('main', sleeper, { volumeMounts: [{ name: 'data', mountPath: '/data' }] })],
  ...more,
});
const eventOf = (pod: string, reason: string, message: RegExp): Promise<ApiObject> =>
  on.waitFor(
    `event ${reason} of ${pod}`,
    `/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=${pod}`,
    ({ items }) => items.find((event: ApiObject) => event.reason === reason && message.test(event.message)),
  );
const mounts = (): string[] => mountsBelow(root()).filter((path) => path.includes('csi'));
const uidOf = (pod: ApiObject | undefined): string => pod?.metadata.uid;

test.serial('a driver registers: CSINode, annotation of the Node, and the registrar is told', async (t) => {
  const csiNode = await on.get(`/apis/storage.k8s.io/v1/csinodes/${on.nodeName}`);
  const node = await on.get(`/api/v1/nodes/${on.nodeName}`);
  t.is(csiNode.metadata.ownerReferences[0].uid, node.metadata.uid);
  t.deepEqual(csiNode.spec.drivers, [{ name, nodeID: 'disk-node-7', topologyKeys: null }]);
  t.is(node.metadata.annotations['csi.volume.kubernetes.io/nodeid'], `{"${name}":"disk-node-7"}`);
  t.deepEqual(driver.notices, [{ pluginRegistered: true, error: '' }]);
});

test.serial('a volume is mounted, shared by two pods, and gone with the last; its data stays', async (t) => {
  await claim('shared');
  await pods.createPod('one', withData(claimVolume('shared'), { securityContext: { fsGroup: 4711 } }));
  await pods.createPod('two', withData(claimVolume('shared')));
  const [one, two] = await pods.waitForReady('one', 'two');
  t.is((await pods.exec(one, 'echo hello > /data/file && stat -c %g /data')).stdout.trim(), '4711');
  t.is((await pods.exec(two, 'cat /data/file')).stdout.trim(), 'hello');
  t.is(readFileSync(join(driver.data('handle/shared'), 'file'), 'utf8'), 'hello\n');
  t.is(driver.count('NodeStageVolume'), 1);
  t.like(driver.last('NodePublishVolume').volumeContext, {
    of: 'shared',
    'csi.storage.k8s.io/pod.namespace': 'default',
  });
  await pods.remove('one');
  await pods.waitForGone('one');
  t.is(driver.count('NodeUnstageVolume'), 0);
  t.is((await pods.exec(two, 'cat /data/file')).stdout.trim(), 'hello');
  await pods.remove('two');
  await pods.waitForNoPods();
  t.is(driver.count('NodeUnstageVolume'), 1);
  t.deepEqual(mounts(), []);
  t.false(existsSync(root('pods', uidOf(one))));
  t.deepEqual(readdirSync(root('plugins/kubernetes.io/csi', name)), []);
  t.true(existsSync(join(driver.data('handle/shared'), 'file')));
});

test.serial('the driver fails, then answers late: events say so, and the pod starts', async (t) => {
  await claim('flaky');
  driver.failNext('NodeStageVolume', code.internal, 'disk is on fire', { times: 2 });
  driver.failNext('NodePublishVolume', code.deadlineExceeded, 'no answer', { afterEffect: true });
  await pods.createPod('flaky', withData(claimVolume('flaky')));
  await eventOf('flaky', 'FailedMount', /disk is on fire/);
  await pods.waitForReady('flaky');
  t.true(driver.count('NodeStageVolume') >= 3);
  await pods.remove('flaky');
  await pods.waitForNoPods();
  t.deepEqual(mounts(), []);
});

test.serial('a call that hangs holds up no other pod; deleted meanwhile, the volume is taken back', async (t) => {
  await claim('hanging');
  await claim('quick', { volumeHandle: 'handle/quick' });
  const before = driver.count('NodePublishVolume');
  const release = driver.hold('NodePublishVolume');
  await pods.createPod('hanging', withData(claimVolume('hanging')));
  await eventually('the call came', () => driver.count('NodePublishVolume') > before);
  await pods.createPod('plain');
  await pods.waitForReady('plain');
  await pods.remove('hanging');
  release();
  await pods.createPod('quick', withData(claimVolume('quick')));
  await pods.waitForReady('quick');
  await pods.waitForGone('hanging');
  await pods.remove('quick');
  await pods.remove('plain');
  await pods.waitForNoPods();
  t.deepEqual(mounts(), []);
});

for (const method of ['NodeStageVolume', 'NodePublishVolume'] as const) {
  test.serial(`kill -9 of the daemon during ${method}: its successor finishes the pod`, async (t) => {
    const claimName = `killed-${method.toLowerCase()}`;
    await claim(claimName);
    const before = driver.count(method);
    const release = driver.hold(method);
    await pods.createPod(claimName, withData(claimVolume(claimName)));
    await eventually('the call came', () => driver.count(method) > before);
    await on.keelson.kill9();
    release();
    await on.start();
    const [pod] = await pods.waitForReady(claimName);
    t.is((await pods.exec(pod, 'echo x > /data/x; cat /data/x')).stdout.trim(), 'x');
    await on.keelson.kill9();
    await on.start();
    await on.waitForReady();
    const calls = driver.count('NodePublishVolume');
    t.is((await pods.exec(pod, 'cat /data/x')).stdout.trim(), 'x');
    await pods.remove(claimName);
    await pods.waitForNoPods();
    t.is(driver.count('NodePublishVolume'), calls, 'a volume that was finished is not published anew');
    t.deepEqual(mounts(), []);
  });
}

test.serial('the driver restarts while a pod runs; it goes while one ends, which waits for it', async (t) => {
  await claim('restarted');
  await pods.createPod('restarted', withData(claimVolume('restarted')));
  const [pod] = await pods.waitForReady('restarted');
  driver.stop();
  await on.waitFor('the CSINode has no driver', `/apis/storage.k8s.io/v1/csinodes/${on.nodeName}`, (object) =>
    (object.spec.drivers ?? []).length === 0 ? object : undefined,
  );
  t.is((await pods.exec(pod, 'echo still > /data/x; cat /data/x')).stdout.trim(), 'still');
  await pods.remove('restarted');
  await eventOf(
    'restarted',
    'FailedUnMount',
    /driver name hostpath\.test\.csi not found in the list of registered CSI/,
  );
  t.true(mounts().length > 0, 'nothing is unmounted behind the back of the driver');
  await driver.start();
  await pods.waitForNoPods();
  t.deepEqual(mounts(), []);
});

test.serial(
  'without an API server, and without its ConfigMap, a container starts again with what its pod has',
  async (t) => {
    await claim('outage');
    await pods.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'outage' }, data: { word: 'started' } });
    const script =
      'cat /config/word >> /data/starts; echo >> /data/starts; until rm /data/end; do sleep 0.2; done 2>/dev/null';
    await pods.createPod('outage', {
      volumes: [claimVolume('outage'), { name: 'config', configMap: { name: 'outage' } }],
      containers: [
        container('main', ['sh', '-c', script], {
          volumeMounts: [
            { name: 'data', mountPath: '/data' },
            { name: 'config', mountPath: '/config' },
          ],
        }),
      ],
    });
    await pods.waitForReady('outage');
    await request('DELETE', '/api/v1/namespaces/default/configmaps/outage');
    await on.cluster.apiServer.end('SIGKILL');
    try {
      const directory = driver.data('handle/outage');
      writeFileSync(join(directory, 'end'), '');
      await eventually(
        'it started again',
        () => readFileSync(join(directory, 'starts'), 'utf8') === 'started\nstarted\n',
        60_000,
      );
    } finally {
      on.cluster.apiServer.start();
      await on.cluster.waitForReady();
    }
    await eventOf('outage', 'FailedMount', /configMap default\/outage does not exist/);
    await pods.remove('outage');
    await pods.waitForNoPods();
    t.deepEqual(mounts(), []);
  },
);

test.serial('a pod whose driver is missing is told, and starts when it comes', async (t) => {
  await claim('late', { driver: 'late.test.csi' });
  await csiDriver('late.test.csi', { attachRequired: false });
  await pods.createPod('late', withData(claimVolume('late')));
  await eventOf('late', 'FailedMount', /driver name late\.test\.csi not found in the list of registered CSI drivers/);
  const late = await newDriver('late.test.csi');
  await pods.waitForReady('late');
  t.is(late.count('NodePublishVolume'), 1);
});

test.serial(
  'a volume that has to be attached waits for its VolumeAttachment, and keeps it while it is in use',
  async (t) => {
    const attached = await newDriver('attached.test.csi');
    await csiDriver('attached.test.csi', { attachRequired: true });
    await claim('attached', { driver: 'attached.test.csi' });
    await pods.createPod('attached', withData(claimVolume('attached')));
    const attachment = await on.waitFor(
      'the controller asks',
      '/apis/storage.k8s.io/v1/volumeattachments',
      ({ items }) => items[0],
    );
    t.is(attached.count('NodeStageVolume'), 0);
    const path = `/apis/storage.k8s.io/v1/volumeattachments/${attachment.metadata.name}`;
    const status = { attached: true, attachmentMetadata: { devicePath: '/dev/nothing' } };
    await request('PATCH', `${path}/status`, { status }, { contentType: 'application/merge-patch+json' });
    await pods.waitForReady('attached');
    t.deepEqual(attached.last('NodeStageVolume').publishContext, { devicePath: '/dev/nothing' });
    const node = await on.get(`/api/v1/nodes/${on.nodeName}`);
    t.deepEqual(node.status.volumesInUse, ['kubernetes.io/csi/attached.test.csi^handle/attached']);
    await pods.remove('attached');
    await pods.waitForNoPods();
    await on.waitFor('nothing is in use', `/api/v1/nodes/${on.nodeName}`, (object) =>
      (object.status.volumesInUse ?? []).length === 0 ? object : undefined,
    );
    await eventually('the controller detaches', async () => (await on.get(path)) === undefined, 60_000);
  },
);

test.serial('an inline volume lives as long as its pod', async (t) => {
  const csi = { driver: name, volumeAttributes: { kind: 'scratch' }, readOnly: true };
  await pods.createPod('inline', withData({ name: 'data', csi }));
  const [pod] = await pods.waitForReady('inline');
  t.like(driver.last('NodePublishVolume'), {
    readonly: true,
    volumeContext: {
      kind: 'scratch',
      'csi.storage.k8s.io/ephemeral': 'true',
      'csi.storage.k8s.io/pod.uid': uidOf(pod),
    },
  });
  t.not((await pods.exec(pod, 'touch /data/x')).code, 0);
  await pods.remove('inline');
  await pods.waitForNoPods();
  t.deepEqual(mounts(), []);
});

test.serial('a volume that was made larger is grown, and its claim says so', async (t) => {
  await claim('grown');
  const patch = { spec: { capacity: { storage: '2Gi' } } };
  await request('PATCH', '/api/v1/persistentvolumes/pv-grown', patch);
  await pods.createPod('grown', withData(claimVolume('grown')));
  await pods.waitForReady('grown');
  t.is(driver.sizes.get('handle/grown'), 2 * 2 ** 30);
  await on.waitFor('the claim', '/api/v1/namespaces/default/persistentvolumeclaims/grown', (object) =>
    object.status.capacity.storage === '2Gi' ? object : undefined,
  );
  await eventOf('grown', 'FileSystemResizeSuccessful', /succeeded/);
});

test.serial('a block volume is a device in the container', async (t) => {
  await claim('block', { fsType: undefined }, { volumeMode: 'Block' });
  await pods.createPod('block', {
    volumes: [claimVolume('block')],
    containers: [container('main', sleeper, { volumeDevices: [{ name: 'data', devicePath: '/dev/data' }] })],
  });
  const [pod] = await pods.waitForReady('block');
  const written = await pods.exec(
    pod,
    'test -b /dev/data && echo block-data | dd of=/dev/data conv=notrunc,fsync 2>&1',
  );
  t.is(written.code, 0, written.stdout + written.stderr);
  const link = root('pods', uidOf(pod), 'volumeDevices/kubernetes.io~csi/pv-block');
  t.is(readlinkSync(link), root('plugins/kubernetes.io/csi/volumeDevices/publish/pv-block', uidOf(pod)));
  await pods.remove('block');
  await pods.waitForNoPods();
  t.is(
    readFileSync(join(driver.data('handle/block'), 'device'))
      .subarray(0, 10)
      .toString(),
    'block-data',
  );
  t.deepEqual(mounts(), []);
  t.false(existsSync(root('plugins/kubernetes.io/csi/volumeDevices/pv-block')));
});

test.serial('a driver that wants tokens and to be asked again gets both', async (t) => {
  const vault = await newDriver('vault.test.csi', { capabilities: [] });
  await csiDriver('vault.test.csi', {
    attachRequired: false,
    requiresRepublish: true,
    tokenRequests: [{ audience: 'vault', expirationSeconds: 3600 }],
    volumeLifecycleModes: ['Ephemeral'],
  });
  await pods.createPod('vault', withData({ name: 'data', csi: { driver: 'vault.test.csi' } }));
  await pods.waitForReady('vault');
  const tokens = JSON.parse(vault.last('NodePublishVolume').volumeContext['csi.storage.k8s.io/serviceAccount.tokens']);
  const { token } = tokens.vault;
  const review = await request('POST', '/apis/authentication.k8s.io/v1/tokenreviews', {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, audiences: ['vault'] },
  });
  t.is(review.status.user.username, 'system:serviceaccount:default:default');
  const calls = vault.count('NodePublishVolume');
  // It would be looked at again within 90 s; a change of the pod is looked at now.
  await request('PATCH', '/api/v1/namespaces/default/pods/vault', { metadata: { annotations: { touched: 'yes' } } });
  await eventually('it is asked again', () => vault.count('NodePublishVolume') > calls, 150_000);
  t.notRegex(on.keelson.logs(), new RegExp(token.slice(0, 40)));
});
