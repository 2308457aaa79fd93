/** CSI volumes from the first call to the last, against a driver on a socket that keeps to the specification. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import { code } from '../../../test/support/csi-driver.ts';
import { unknownDriver } from './csi-driver-objects.ts';
import { CsiError } from './csi-error.ts';
import { csiPod, driverName, fakeCsiNode, inlineVolume, nodeName, persistentVolume } from './csi-node.fake.ts';
import { PodTokens } from './pod-tokens.ts';
import { attachmentName, inlineVolumeHandle, stagingDirectoryName } from './volume-names.ts';

const signal = new AbortController().signal;
const methods = (calls: readonly { method: string }[]): string[] =>
  calls.map(({ method }) => method).filter((method) => method !== 'NodeGetCapabilities');

test('a persistent volume is staged and published, with records of the kubelet beside both, and taken away again', async (t) => {
  const { driver, volumes, rootDir, table } = await fakeCsiNode(t);
  const pod = csiPod('web');
  const volume = persistentVolume(pod, { fsType: 'ext4' }, { mountOptions: ['noatime'], fsGroup: 2000 });
  const { hostPath, ownership } = await volumes.setUp(volume, signal);
  const directory = join(rootDir, 'pods/uid-web/volumes/kubernetes.io~csi/pv-1');
  const device = join(rootDir, 'plugins/kubernetes.io/csi', driverName, stagingDirectoryName('vol-1'));
  t.is(hostPath, join(directory, 'mount'));
  t.is(ownership, 'fsGroup', 'an RWO volume with a file system type');
  t.deepEqual(methods(driver.calls), ['NodeStageVolume', 'NodePublishVolume']);
  t.deepEqual(driver.last('NodeStageVolume'), {
    volumeId: 'vol-1',
    stagingTargetPath: join(device, 'globalmount'),
    volumeCapability: {
      mount: { fsType: 'ext4', mountFlags: ['noatime'] },
      accessMode: { mode: 'SINGLE_NODE_WRITER' },
    },
    volumeContext: { size: 'big' },
  });
  t.deepEqual(driver.last('NodePublishVolume'), {
    volumeId: 'vol-1',
    stagingTargetPath: join(device, 'globalmount'),
    targetPath: hostPath,
    volumeCapability: {
      mount: { fsType: 'ext4', mountFlags: ['noatime'] },
      accessMode: { mode: 'SINGLE_NODE_WRITER' },
    },
    volumeContext: { size: 'big' },
  });
  t.like(JSON.parse(readFileSync(join(directory, 'vol_data.json'), 'utf8')), {
    specVolID: 'pv-1',
    volumeHandle: 'vol-1',
    driverName,
    nodeName,
    attachmentID: attachmentName('vol-1', driverName, nodeName),
    volumeLifecycleMode: 'Persistent',
  });
  t.like(JSON.parse(readFileSync(join(device, 'vol_data.json'), 'utf8')), { volumeHandle: 'vol-1', driverName });

  t.deepEqual(await volumes.setUp(volume, signal), { hostPath, ownership });
  t.is(methods(driver.calls).length, 2, 'what is mounted is left alone');

  await volumes.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(methods(driver.calls).slice(2), ['NodeUnpublishVolume', 'NodeUnstageVolume']);
  t.is(table.targets.size, 0);
  t.false(existsSync(directory));
  t.false(existsSync(device));
  await volumes.tearDown('uid-web', 'pv-1', signal);
  t.is(methods(driver.calls).length, 4, 'a second teardown asks nobody');
});

test('two pods share the staged volume; the last one unstages it', async (t) => {
  const { driver, volumes } = await fakeCsiNode(t);
  await volumes.setUp(persistentVolume(csiPod('a')), signal);
  await volumes.setUp(persistentVolume(csiPod('b')), signal);
  t.is(driver.count('NodeStageVolume'), 1);
  t.is(driver.published.size, 2);
  await volumes.tearDown('uid-a', 'pv-1', signal);
  t.is(driver.count('NodeUnstageVolume'), 0);
  await volumes.tearDown('uid-b', 'pv-1', signal);
  t.is(driver.count('NodeUnstageVolume'), 1);
  t.is(driver.staged.size, 0);
});

test('who else has a volume is known from disk after a restart', async (t) => {
  const node = await fakeCsiNode(t);
  await node.volumes.setUp(persistentVolume(csiPod('a')), signal);
  await node.volumes.setUp(persistentVolume(csiPod('b')), signal);
  node.restart();
  node.connectDriver();
  await node.volumes.tearDown('uid-a', 'pv-1', signal);
  t.is(node.driver.count('NodeUnstageVolume'), 0);
  node.restart();
  node.connectDriver();
  await node.volumes.tearDown('uid-b', 'pv-1', signal);
  t.is(node.driver.count('NodeUnstageVolume'), 1);
});

test('after a restart what was finished is found again, without the driver', async (t) => {
  const node = await fakeCsiNode(t);
  const volume = persistentVolume(csiPod('web'), { fsType: 'ext4' }, { fsGroup: 7 });
  const before = await node.volumes.setUp(volume, signal);
  node.restart();
  const calls = node.driver.calls.length;
  t.deepEqual(await node.volumes.setUp(volume, signal), before);
  t.is(node.driver.calls.length, calls);
});

test('after a reboot the records are there and the mounts are not: both calls are made again', async (t) => {
  const node = await fakeCsiNode(t);
  const volume = persistentVolume(csiPod('web'));
  await node.volumes.setUp(volume, signal);
  node.table.targets.clear();
  node.driver.published.clear();
  node.driver.staged.clear();
  node.restart();
  node.connectDriver();
  // The directory that the bind mount was on is still there, as the driver left it.
  const { rmdirSync } = await import('node:fs');
  rmdirSync(join(node.rootDir, 'pods/uid-web/volumes/kubernetes.io~csi/pv-1/mount'));
  await node.volumes.setUp(volume, signal);
  t.is(node.driver.count('NodeStageVolume'), 2);
  t.is(node.driver.count('NodePublishVolume'), 2);
});

for (const method of ['NodeStageVolume', 'NodePublishVolume'] as const) {
  test(`killed while ${method} is under way: the next daemon finishes it, or takes it back`, async (t) => {
    const node = await fakeCsiNode(t);
    const volume = persistentVolume(csiPod('web'));
    const release = node.driver.hold(method);
    const killed = new AbortController();
    const attempt = node.volumes.setUp(volume, killed.signal);
    while (node.driver.count(method) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    killed.abort(new Error('killed'));
    await t.throwsAsync(attempt, { message: 'killed' });
    node.restart();
    release();
    node.connectDriver();
    while (node.driver.published.size + node.driver.staged.size === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
    const again = node.volumes.setUp(volume, signal);
    await t.notThrowsAsync(again);
    await node.volumes.tearDown('uid-web', 'pv-1', signal);
    t.is(node.driver.published.size + node.driver.staged.size + node.table.targets.size, 0);
  });
}

test('a kill between the calls of a teardown: the next daemon unstages', async (t) => {
  const node = await fakeCsiNode(t);
  await node.volumes.setUp(persistentVolume(csiPod('web')), signal);
  node.driver.failNext('NodeUnstageVolume', code.internal, 'not now');
  await t.throwsAsync(node.volumes.tearDown('uid-web', 'pv-1', signal), { message: /NodeUnstageVolume: not now/ });
  node.restart();
  node.connectDriver();
  await node.volumes.tearDown('uid-web', 'pv-1', signal);
  t.is(node.driver.staged.size, 0);
  t.is(node.table.targets.size, 0);
});

test('a volume that was half unstaged is staged anew for the next pod', async (t) => {
  const node = await fakeCsiNode(t);
  await node.volumes.setUp(persistentVolume(csiPod('a')), signal);
  node.driver.failNext('NodeUnstageVolume', code.deadlineExceeded, 'lost', { afterEffect: true });
  await t.throwsAsync(node.volumes.tearDown('uid-a', 'pv-1', signal));
  await node.volumes.setUp(persistentVolume(csiPod('b')), signal);
  t.is(node.driver.count('NodeStageVolume'), 2);
  t.is(node.driver.staged.size, 1);
});

test('a volume whose unstaging was begun is staged anew, though it is mounted still', async (t) => {
  const node = await fakeCsiNode(t);
  await node.volumes.setUp(persistentVolume(csiPod('a')), signal);
  node.driver.failNext('NodeUnstageVolume', code.deadlineExceeded, 'lost');
  await t.throwsAsync(node.volumes.tearDown('uid-a', 'pv-1', signal));
  t.is(node.driver.staged.size, 1);
  await node.volumes.setUp(persistentVolume(csiPod('b')), signal);
  t.is(node.driver.count('NodeStageVolume'), 2);
});

test('a driver that refuses for good leaves nothing that would need it again', async (t) => {
  const node = await fakeCsiNode(t);
  node.driver.failNext('NodeStageVolume', code.internal, 'no such disk');
  const error = await t.throwsAsync(node.volumes.setUp(persistentVolume(csiPod('web')), signal), {
    instanceOf: CsiError,
  });
  t.is(error.code, 'CSI_REFUSED');
  t.is(error.toLine(), `CSI driver ${driverName}: NodeStageVolume: no such disk`);
  node.restart();
  await t.notThrowsAsync(node.volumes.tearDown('uid-web', 'pv-1', signal), 'no driver is registered any more');
  t.false(existsSync(join(node.rootDir, 'plugins/kubernetes.io/csi', driverName, stagingDirectoryName('vol-1'))));
});

for (const [name, status] of Object.entries(code).filter(([, s]) => [1, 4, 10, 14].includes(s))) {
  test(`${name} leaves open whether the volume is mounted: the teardown asks the driver`, async (t) => {
    const node = await fakeCsiNode(t);
    node.driver.failNext('NodePublishVolume', status, 'lost', { afterEffect: true });
    const error = await t.throwsAsync(node.volumes.setUp(persistentVolume(csiPod('web')), signal), {
      instanceOf: CsiError,
    });
    t.is(error.code, 'CSI_UNCERTAIN');
    t.is(node.table.targets.size, 2, 'it is mounted all the same');
    node.restart();
    await t.throwsAsync(node.volumes.tearDown('uid-web', 'pv-1', signal), { code: 'CSI_DRIVER_MISSING' });
    node.connectDriver();
    await node.volumes.tearDown('uid-web', 'pv-1', signal);
    t.is(node.table.targets.size, 0);
    t.is(node.driver.staged.size, 0);
  });
}

test('a refused publish of a staged volume: the teardown unstages it', async (t) => {
  const node = await fakeCsiNode(t);
  node.driver.failNext('NodePublishVolume', code.internal, 'no');
  await t.throwsAsync(node.volumes.setUp(persistentVolume(csiPod('web')), signal), { code: 'CSI_REFUSED' });
  t.is(node.driver.staged.size, 1);
  await node.clock.advance(1000);
  await node.volumes.tearDown('uid-web', 'pv-1', signal);
  t.is(node.driver.staged.size, 0);
});

test('failures are repeated with growing delays, until the driver registers anew', async (t) => {
  const node = await fakeCsiNode(t);
  const volume = persistentVolume(csiPod('web'));
  node.driver.failNext('NodeStageVolume', code.internal, 'broken', { times: 3 });
  const attempt = (): Promise<unknown> => node.volumes.setUp(volume, signal);
  await t.throwsAsync(attempt(), { message: /broken/ });
  await t.throwsAsync(attempt(), { message: /broken/ });
  t.is(node.driver.count('NodeStageVolume'), 1, 'the second was not sent');
  await node.clock.advance(500);
  await t.throwsAsync(attempt(), { message: /broken/ });
  await node.clock.advance(999);
  await t.throwsAsync(attempt(), { message: /broken/ });
  t.is(node.driver.count('NodeStageVolume'), 2);
  await node.clock.advance(1);
  await t.throwsAsync(attempt(), { message: /broken/ });
  t.is(node.driver.count('NodeStageVolume'), 3);
  node.connectDriver();
  t.deepEqual(node.woken, ['uid-web']);
  await t.notThrowsAsync(attempt());
});

test('a pod whose driver is not registered is told so, and woken when it is', async (t) => {
  const node = await fakeCsiNode(t);
  node.restart();
  const attempt = (): Promise<unknown> => node.volumes.setUp(persistentVolume(csiPod('web')), signal);
  const error = await t.throwsAsync(attempt(), { instanceOf: CsiError });
  t.is(error.message, `driver name ${driverName} not found in the list of registered CSI drivers`);
  t.false(existsSync(join(node.rootDir, 'pods')), 'nothing is begun');
  node.connectDriver();
  t.deepEqual(node.woken, ['uid-web']);
  await t.notThrowsAsync(attempt());
});

test('operations on one volume never overlap, those of two volumes do', async (t) => {
  const node = await fakeCsiNode(t);
  const release = node.driver.hold('NodeStageVolume');
  const first = node.volumes.setUp(persistentVolume(csiPod('a')), signal);
  const second = node.volumes.setUp(persistentVolume(csiPod('b')), signal);
  const other = node.volumes.setUp(
    persistentVolume(csiPod('c'), { volumeHandle: 'vol-2' }, { specName: 'pv-2' }),
    signal,
  );
  while (node.driver.count('NodeStageVolume') < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  release();
  await Promise.all([first, second, other]);
  t.is(node.driver.count('NodeStageVolume'), 2);
  t.is(node.driver.published.size, 3);
});

test('a driver that dies with its socket: uncertain now, mounted after its restart', async (t) => {
  const node = await fakeCsiNode(t);
  const volume = persistentVolume(csiPod('web'));
  node.driver.stop();
  await t.throwsAsync(node.volumes.setUp(volume, signal), { code: 'CSI_UNCERTAIN' });
  await node.driver.startService();
  node.connectDriver();
  await t.notThrowsAsync(node.volumes.setUp(volume, signal));
});

test('without STAGE_UNSTAGE_VOLUME there is nothing to stage', async (t) => {
  const node = await fakeCsiNode(t, { capabilities: [] });
  await node.volumes.setUp(persistentVolume(csiPod('web')), signal);
  t.is(node.driver.last('NodePublishVolume').stagingTargetPath, undefined);
  await node.volumes.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(methods(node.driver.calls), ['NodePublishVolume', 'NodeUnpublishVolume']);
});

test('the VolumeAttachment is waited for, and what it says is handed on', async (t) => {
  const node = await fakeCsiNode(t);
  node.objects.delete(driverName);
  const volume = persistentVolume(csiPod('web'));
  const attempt = node.volumes.setUp(volume, signal);
  attempt.catch(() => {});
  for (let i = 0; i < 20; i++) await node.clock.advance(20);
  t.is(node.driver.count('NodeStageVolume'), 0);
  node.attach('vol-1', { attached: false });
  for (let i = 0; i < 20; i++) await node.clock.advance(20);
  t.is(node.driver.count('NodeStageVolume'), 0);
  node.attach('vol-1', { metadata: { devicePath: '/dev/sdx' } });
  while (node.driver.count('NodePublishVolume') === 0) {
    await node.clock.advance(500);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await attempt;
  t.deepEqual(node.driver.last('NodeStageVolume').publishContext, { devicePath: '/dev/sdx' });
  t.deepEqual(node.driver.last('NodePublishVolume').publishContext, { devicePath: '/dev/sdx' });
});

test('a volume that is not attached in time, or cannot be, says why', async (t) => {
  const node = await fakeCsiNode(t);
  node.objects.delete(driverName);
  const fail = async (message: RegExp): Promise<void> => {
    const attempt = node.volumes.setUp(persistentVolume(csiPod('web')), signal);
    let over = false;
    attempt.then(
      () => (over = true),
      () => (over = true),
    );
    while (!over) {
      await node.clock.advance(1000);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await t.throwsAsync(attempt, { code: 'CSI_NOT_ATTACHED', message });
    await node.clock.advance(200_000);
  };
  await fail(/there is no VolumeAttachment csi-/);
  node.attach('vol-1', { attached: false });
  await fail(/is not attached: VolumeAttachment csi-\w+ waits for hostpath.test.csi/);
  node.attach('vol-1', { attached: false, error: 'disk is in another zone' });
  await fail(/cannot be attached: disk is in another zone/);
  node.attach('vol-1', { deleting: true });
  await fail(/volume attachment is being deleted/);
});

test('an inline volume: its own handle, the pod in its context, never staged', async (t) => {
  const node = await fakeCsiNode(t);
  node.objects.set(driverName, {
    ...unknownDriver,
    podInfoOnMount: true,
    volumeLifecycleModes: ['Ephemeral'],
  });
  await node.volumes.setUp(inlineVolume(csiPod('web')), signal);
  t.deepEqual(methods(node.driver.calls), ['NodePublishVolume']);
  t.like(node.driver.last('NodePublishVolume'), {
    volumeId: inlineVolumeHandle('uid-web', 'scratch'),
    volumeContext: {
      kind: 'scratch',
      'csi.storage.k8s.io/pod.name': 'web',
      'csi.storage.k8s.io/pod.namespace': 'default',
      'csi.storage.k8s.io/pod.uid': 'uid-web',
      'csi.storage.k8s.io/serviceAccount.name': 'builder',
      'csi.storage.k8s.io/ephemeral': 'true',
    },
  });
  await node.volumes.tearDown('uid-web', 'scratch', signal);
  t.deepEqual(methods(node.driver.calls), ['NodePublishVolume', 'NodeUnpublishVolume']);
});

test('a kind of volume that the CSIDriver object does not list is refused', async (t) => {
  const node = await fakeCsiNode(t);
  await t.throwsAsync(node.volumes.setUp(inlineVolume(csiPod('a')), signal), {
    code: 'CSI_UNSUPPORTED',
    message: `volume mode "Ephemeral" not supported by driver ${driverName} (only supports Persistent)`,
  });
  node.objects.delete(driverName);
  await t.throwsAsync(node.volumes.setUp(inlineVolume(csiPod('b')), signal), { message: /no CSIDriver object/ });
});

test('secrets are read for the calls that name them, and a missing one is named', async (t) => {
  const node = await fakeCsiNode(t);
  const volume = persistentVolume(csiPod('web'), {
    nodeStageSecretRef: { namespace: 'storage', name: 'stage' },
    nodePublishSecretRef: { namespace: 'storage', name: 'publish' },
  });
  await t.throwsAsync(node.volumes.setUp(volume, signal), {
    code: 'CSI_API',
    message: 'fetching nodeStageSecretRef storage/stage failed: secrets "stage" not found',
  });
  t.false(existsSync(join(node.rootDir, 'pods')), 'nothing is begun');
  node.secrets.set('storage/stage', { user: 'a' });
  node.secrets.set('storage/publish', { user: 'b' });
  await node.clock.advance(1000);
  await node.volumes.setUp(volume, signal);
  t.deepEqual(node.driver.last('NodeStageVolume').secrets, { user: 'a' });
  t.deepEqual(node.driver.last('NodePublishVolume').secrets, { user: 'b' });
  const files = readdirSync(node.rootDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const file of files) t.notRegex(readFileSync(join(file.parentPath, file.name), 'utf8'), /"user"/);
});

test('tokens that the driver asks for come as one JSON text, and stay out of the logs and records', async (t) => {
  const node = await fakeCsiNode(t);
  node.objects.set(driverName, {
    ...unknownDriver,
    attachRequired: false,
    requiresRepublish: true,
    tokenRequests: [{ audience: 'vault', expirationSeconds: 900 }, { audience: '' }],
  });
  const volume = persistentVolume(csiPod('web'));
  await node.volumes.setUp(volume, signal);
  const text = node.driver.last('NodePublishVolume').volumeContext['csi.storage.k8s.io/serviceAccount.tokens'];
  t.deepEqual(JSON.parse(text), {
    vault: { token: 'token-of-web-for-vault', expirationTimestamp: '2026-01-01T01:00:00Z' },
    '': { token: 'token-of-web-for-', expirationTimestamp: '2026-01-01T01:00:00Z' },
  });
  t.is(node.driver.last('NodeStageVolume').volumeContext['csi.storage.k8s.io/serviceAccount.tokens'], undefined);
  // Renewed at 80 % of its life.
  await node.clock.advance(0.8 * 3_600_000);
  await node.volumes.setUp(volume, signal);
  const renewed = node.driver.last('NodePublishVolume').volumeContext['csi.storage.k8s.io/serviceAccount.tokens'];
  t.is(JSON.parse(renewed).vault.expirationTimestamp, '2026-01-01T01:48:00Z');
  node.objects.set(driverName, {
    ...unknownDriver,
    attachRequired: false,
    requiresRepublish: true,
    tokensInSecrets: true,
    tokenRequests: [{ audience: 'vault' }],
  });
  await node.volumes.setUp(volume, signal);
  t.deepEqual(Object.keys(node.driver.last('NodePublishVolume').secrets), ['csi.storage.k8s.io/serviceAccount.tokens']);
  t.is(node.driver.last('NodePublishVolume').volumeContext['csi.storage.k8s.io/serviceAccount.tokens'], undefined);
});

test('requiresRepublish: published again at each look, and a failure leaves the pod what it has', async (t) => {
  const node = await fakeCsiNode(t);
  node.objects.set(driverName, { ...unknownDriver, attachRequired: false, requiresRepublish: true });
  const volume = persistentVolume(csiPod('web'));
  const mounted = await node.volumes.setUp(volume, signal);
  await node.volumes.setUp(volume, signal);
  t.is(node.driver.count('NodePublishVolume'), 2);
  t.is(node.driver.count('NodeStageVolume'), 1);
  node.driver.failNext('NodePublishVolume', code.internal, 'vault is sealed');
  t.deepEqual(await node.volumes.setUp(volume, signal), mounted);
  t.like(node.events.at(-1), { type: 'Warning', reason: 'FailedMount' });
  t.regex(node.events.at(-1)?.message ?? '', /vault is sealed/);
  t.true(node.table.targets.has(mounted.hostPath));
  t.deepEqual(node.woken, []);
  await node.clock.advance(60_000);
  t.deepEqual(node.woken, ['uid-web'], 'the pod is looked at again by itself');
});

test('a driver that does not answer keeps no container from starting with the volume that its pod has', async (t) => {
  const node = await fakeCsiNode(t);
  const pod = csiPod('web');
  const mounted = await node.volumes.setUp(persistentVolume(pod), signal);
  const grown = persistentVolume(pod, {}, { capacity: { volume: '2Gi', claimStatus: '1Gi' } });
  const release = node.driver.hold('NodeExpandVolume');
  const waiting = node.volumes.setUp(grown, signal);
  while (node.driver.count('NodeExpandVolume') === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await node.clock.advance(2_000);
  t.deepEqual(await waiting, mounted);
  t.deepEqual(node.events, [], 'the driver has not answered yet, not even with an error');
  const again = node.volumes.setUp(grown, signal);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await node.clock.advance(2_000);
  await again;
  t.is(node.driver.count('NodeExpandVolume'), 1, 'it is asked once');
  // The end of the pod does not wait for it either.
  await node.volumes.tearDown('uid-web', 'pv-1', signal);
  t.is(node.driver.published.size + node.table.targets.size, 0);
  release();
});

test('a mount that went away meanwhile is made anew: nothing is written to the node in its place', async (t) => {
  const node = await fakeCsiNode(t);
  const volume = persistentVolume(csiPod('web'));
  const { hostPath } = await node.volumes.setUp(volume, signal);
  // As when a driver that serves its volumes itself (FUSE) was killed.
  node.table.targets.clear();
  node.driver.published.clear();
  node.driver.staged.clear();
  rmSync(hostPath, { recursive: true });
  t.is((await node.volumes.setUp(volume, signal)).hostPath, hostPath);
  t.true(node.table.targets.has(hostPath));
  t.is(node.driver.count('NodeStageVolume'), 2);
  t.is(node.driver.count('NodePublishVolume'), 2);
});

test('a token that is due but good serves while the API server is away', async (t) => {
  const node = await fakeCsiNode(t);
  let isAway = false;
  const tokens = new PodTokens(async () => {
    if (isAway) throw new Error('connection refused');
    return { token: 'a', expiresAtMs: node.clock.now() + 1_000_000 };
  }, node.clock);
  const text = await tokens.text(csiPod('web'), [{ audience: 'x' }], 'volume');
  isAway = true;
  await node.clock.advance(900_000);
  t.is(await tokens.text(csiPod('web'), [{ audience: 'x' }], 'volume'), text);
  await node.clock.advance(200_000);
  await t.throwsAsync(tokens.text(csiPod('web'), [{ audience: 'x' }], 'volume'), { code: 'CSI_API' });
});

test('a volume that has grown is expanded once, and its claim is told', async (t) => {
  const node = await fakeCsiNode(t);
  const pod = csiPod('web');
  await node.volumes.setUp(persistentVolume(pod), signal);
  t.is(node.driver.count('NodeExpandVolume'), 0);
  const grown = persistentVolume(
    pod,
    { nodeExpandSecretRef: { namespace: 's', name: 'expand' } },
    { capacity: { volume: '2Gi', claimStatus: '1Gi' } },
  );
  await node.volumes.setUp(grown, signal);
  t.like(node.events.at(-1), { type: 'Warning', reason: 'VolumeResizeFailed' });
  node.secrets.set('s/expand', { key: 'k' });
  await node.volumes.setUp(grown, signal);
  t.is(node.driver.count('NodeExpandVolume'), 0, 'not before its delay');
  await node.clock.advance(500);
  await node.volumes.setUp(grown, signal);
  t.like(node.driver.last('NodeExpandVolume'), {
    volumeId: 'vol-1',
    volumePath: node.volumes.held('uid-web', 'pv-1')?.target,
    stagingTargetPath: node.volumes.held('uid-web', 'pv-1')?.staging,
    capacityRange: { requiredBytes: 2 * 2 ** 30 },
    secrets: { key: 'k' },
  });
  t.like(node.events.at(-1), { type: 'Normal', reason: 'FileSystemResizeSuccessful' });
  t.like(node.claimPatches[0], { claim: 'default/claim', status: { capacity: { storage: '2Gi' } } });
  await node.volumes.setUp(grown, signal);
  t.is(node.driver.count('NodeExpandVolume'), 1);
});

test('a read-only volume, and one of a driver that cannot, are not expanded', async (t) => {
  const node = await fakeCsiNode(t, { capabilities: ['STAGE_UNSTAGE_VOLUME'] });
  const capacity = { volume: '2Gi', claimStatus: '1Gi' };
  await node.volumes.setUp(persistentVolume(csiPod('a'), {}, { capacity }), signal);
  node.driver.capabilities.push('EXPAND_VOLUME');
  await node.volumes.setUp(persistentVolume(csiPod('b'), {}, { capacity, readOnly: true }), signal);
  t.is(node.driver.count('NodeExpandVolume'), 0);
  t.deepEqual(node.events, []);
});

test('VOLUME_MOUNT_GROUP: the driver gives the files to the group', async (t) => {
  const node = await fakeCsiNode(t, { capabilities: ['STAGE_UNSTAGE_VOLUME', 'VOLUME_MOUNT_GROUP'] });
  const { ownership } = await node.volumes.setUp(
    persistentVolume(csiPod('web'), { fsType: 'ext4' }, { fsGroup: 2000 }),
    signal,
  );
  t.is(ownership, 'leave');
  for (const method of ['NodeStageVolume', 'NodePublishVolume'] as const)
    t.is(node.driver.last(method).volumeCapability.mount.volumeMountGroup, '2000');
});

test('a block volume: paths of the kubelet, a link in the pod, all gone at the end', async (t) => {
  const node = await fakeCsiNode(t);
  Object.assign(node.table, {
    async attachDevice(file: string, target: string) {
      writeFileSync(file, 'device');
      writeFileSync(target, '');
      node.table.targets.set(target, { source: file, readOnly: false });
    },
    async detachDevice(target: string) {
      node.table.targets.delete(target);
    },
  });
  const volume = persistentVolume(csiPod('web'), {}, { mode: 'Block', fsGroup: 5 });
  const mounted = await node.volumes.setUp(volume, signal);
  const devices = join(node.rootDir, 'plugins/kubernetes.io/csi/volumeDevices');
  t.deepEqual(mounted, { hostPath: join(devices, 'publish/pv-1/uid-web'), ownership: 'leave' });
  const link = join(node.rootDir, 'pods/uid-web/volumeDevices/kubernetes.io~csi/pv-1');
  t.is(readlinkSync(link), mounted.hostPath);
  t.is(node.driver.last('NodeStageVolume').stagingTargetPath, join(devices, 'staging/pv-1'));
  t.deepEqual(node.driver.last('NodePublishVolume').volumeCapability, {
    block: {},
    accessMode: { mode: 'SINGLE_NODE_WRITER' },
  });
  t.true(existsSync(join(devices, 'pv-1/data/vol_data.json')));
  node.restart();
  t.deepEqual(await node.volumes.setUp(volume, signal), mounted);
  node.connectDriver();
  await node.volumes.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(readdirSync(devices, { recursive: true }).sort(), ['publish', 'staging']);
  t.throws(() => readlinkSync(link));
  t.is(node.driver.staged.size, 0);
});

test('volumes of a kubelet that ran here before are taken away by its records', async (t) => {
  const node = await fakeCsiNode(t);
  const volume = persistentVolume(csiPod('web'));
  await node.volumes.setUp(volume, signal);
  const directory = join(node.rootDir, 'pods/uid-web/volumes/kubernetes.io~csi/pv-1');
  const device = dirname(node.volumes.held('uid-web', 'pv-1')?.staging ?? '');
  for (const path of [directory, device]) {
    const record = JSON.parse(readFileSync(join(path, 'vol_data.json'), 'utf8'));
    for (const key of Object.keys(record)) if (key.startsWith('keelson')) delete record[key];
    writeFileSync(join(path, 'vol_data.json'), JSON.stringify(record));
  }
  // A block volume: only the link and the record beside the device.
  const data = join(node.rootDir, 'plugins/kubernetes.io/csi/volumeDevices/pv-2/data');
  mkdirSync(data, { recursive: true });
  writeFileSync(join(data, 'vol_data.json'), JSON.stringify({ specVolID: 'pv-2', volumeHandle: 'vol-2', driverName }));
  const link = join(node.rootDir, 'pods/uid-web/volumeDevices/kubernetes.io~csi/pv-2');
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(join(node.rootDir, 'plugins/kubernetes.io/csi/volumeDevices/publish/pv-2/uid-web'), link);
  node.restart();
  node.connectDriver();
  for (const name of ['pv-1', 'pv-2']) await node.volumes.tearDown('uid-web', name, signal);
  t.is(node.driver.staged.size, 0);
  t.is(node.table.targets.size, 0);
  t.true(
    node.driver.calls.some(({ method, request }) => method === 'NodeUnpublishVolume' && request.volumeId === 'vol-2'),
  );
  t.false(existsSync(directory));
  t.throws(() => readlinkSync(link));
});

test('a directory without a record: removed when nothing is mounted there, else left and told', async (t) => {
  const node = await fakeCsiNode(t);
  const mount = join(node.rootDir, 'pods/uid-web/volumes/kubernetes.io~csi/pv-1/mount');
  mkdirSync(mount, { recursive: true });
  await node.table.bind('/x', mount, false);
  await t.throwsAsync(node.volumes.tearDown('uid-web', 'pv-1', signal), { code: 'CSI_STILL_MOUNTED' });
  t.true(existsSync(mount));
  await node.table.unmount(mount);
  await node.clock.advance(1000);
  await node.volumes.tearDown('uid-web', 'pv-1', signal);
  t.false(existsSync(dirname(mount)));
});

test('a driver that is gone for good: what docs/volumes.md says lets the pod go, and the volume may be used again', async (t) => {
  const node = await fakeCsiNode(t);
  const { hostPath } = await node.volumes.setUp(persistentVolume(csiPod('web')), signal);
  node.context.drivers.delete(driverName);
  await t.throwsAsync(node.volumes.tearDown('uid-web', 'pv-1', signal), { code: 'CSI_DRIVER_MISSING' });
  const staging = [...node.table.targets.keys()].find((path) => path.endsWith('/globalmount')) ?? '';
  for (const path of [hostPath, staging]) node.table.targets.delete(path);
  node.driver.published.clear();
  node.driver.staged.clear();
  rmSync(join(dirname(hostPath), 'vol_data.json'));
  await node.volumes.tearDown('uid-web', 'pv-1', signal);
  t.false(existsSync(dirname(hostPath)));
  node.connectDriver();
  await node.volumes.setUp(persistentVolume(csiPod('next')), signal);
  await node.volumes.tearDown('uid-next', 'pv-1', signal);
  t.is(node.driver.count('NodeStageVolume'), 2);
  t.is(node.driver.count('NodeUnstageVolume'), 1);
});

test('a damaged record is told, nothing is deleted, and no volume is unstaged that it may have', async (t) => {
  const node = await fakeCsiNode(t);
  await node.volumes.setUp(persistentVolume(csiPod('a')), signal);
  await node.volumes.setUp(persistentVolume(csiPod('b')), signal);
  const record = join(node.rootDir, 'pods/uid-b/volumes/kubernetes.io~csi/pv-1/vol_data.json');
  writeFileSync(record, '{"driverName": 1');
  node.restart();
  node.connectDriver();
  await t.throwsAsync(node.volumes.tearDown('uid-b', 'pv-1', signal), { code: 'CSI_RECORD' });
  t.true(existsSync(record));
  await node.volumes.tearDown('uid-a', 'pv-1', signal);
  t.is(node.driver.count('NodeUnstageVolume'), 0);
});

test('a driver that says yes and leaves the mount: nothing is removed', async (t) => {
  const node = await fakeCsiNode(t);
  const { hostPath } = await node.volumes.setUp(persistentVolume(csiPod('web')), signal);
  node.table.unmount = async () => {};
  const refuse = node.driver;
  refuse.capabilities = ['STAGE_UNSTAGE_VOLUME'];
  await t.throwsAsync(node.volumes.tearDown('uid-web', 'pv-1', signal), { code: 'CSI_STILL_MOUNTED' });
  t.true(existsSync(join(dirname(hostPath), 'vol_data.json')));
});

test('names that would lead elsewhere are refused', async (t) => {
  const node = await fakeCsiNode(t);
  for (const [uid, name] of [
    ['../x', 'pv'],
    ['uid', '..'],
    ['uid', 'a/b'],
    ['uid', ''],
    ['uid', 'a\0b'],
    ['uid', 'x'.repeat(300)],
  ] as const)
    await t.throwsAsync(node.volumes.tearDown(uid, name, signal), { code: 'VOLUME_PATH' }, `${uid} ${name}`);
  for (const driver of ['../../etc', 'volumeDevices', 'a/b', '.hidden']) {
    const volume = persistentVolume(csiPod('web'), { driver });
    await t.throwsAsync(node.volumes.setUp(volume, signal), { code: 'CSI_UNSUPPORTED' }, driver);
  }
  for (const specName of ['staging', 'publish']) {
    const volume = persistentVolume(csiPod('web'), {}, { specName, mode: 'Block' });
    await t.throwsAsync(node.volumes.setUp(volume, signal), { code: 'VOLUME_PATH' }, specName);
  }
});
