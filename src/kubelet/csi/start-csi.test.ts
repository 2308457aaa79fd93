/** The whole CSI part: a driver registers over its socket, the cluster is told, volumes use it, it goes and comes again. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { TestCsiDriver } from '../../../test/support/csi-driver.ts';
import { createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { VolumesInUse } from '../node/volumes-in-use.ts';
import { csiPod, driverName, FakeMountTable, persistentVolume } from './csi-node.fake.ts';
import { startCsi } from './start-csi.ts';

const signal = new AbortController().signal;

async function until(what: string, look: () => boolean): Promise<void> {
  for (let i = 0; i < 3000; i++) {
    if (look()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never: ${what}`);
}

test('from the first start to a restart of the daemon', async (t) => {
  const rootDir = mkdtempSync(join(tmpdir(), 'keelson-startcsi-'));
  const table = new FakeMountTable();
  const server = await startFakeApiServer();
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  const driver = new TestCsiDriver({
    name: driverName,
    directory: join(rootDir, 'driver'),
    registryDirectory: join(rootDir, 'plugins_registry'),
    mounter: table,
  });
  const woken: string[] = [];
  let isNodeReady = false;
  const nodeKnown = Promise.withResolvers<void>();
  const known = { node: undefined, onKnown: () => () => undefined };
  const inUse = new VolumesInUse({ known, wake: () => undefined });
  const start = (using: VolumesInUse) =>
    startCsi(
      { nodeName: 'node-1', rootDir },
      {
        client,
        mounts: table,
        requestToken: async () => ({ token: 't', expiresAtMs: Date.now() + 3_600_000 }),
        wake: (uid) => woken.push(uid),
        recordEvent: () => undefined,
        nodeKnown: nodeKnown.promise,
        inUse: using,
        isNodeReady: () => isNodeReady,
        onReadiness: () => undefined,
        clock: systemClock,
        log: silentLogger,
      },
      signal,
    );
  let csi = await start(inUse);
  t.teardown(async () => {
    await csi.stop();
    client.close();
    driver.stop();
    await server.close();
    rmSync(rootDir, { recursive: true, force: true });
  });
  t.deepEqual(csi.notReady(), ['CSINode is not yet initialized']);
  isNodeReady = true;
  t.deepEqual(csi.notReady(), [], 'a restart does not take the readiness away');
  server.script(({ path }) =>
    path.includes('/csinodes') ? { status: 403, body: failure(403, 'Forbidden', 'not yet') } : undefined,
  );
  server.put('/api/v1/nodes', { metadata: { name: 'node-1', uid: 'node-uid' } });
  server.put('/apis/storage.k8s.io/v1/csidrivers', { metadata: { name: driverName }, spec: { attachRequired: false } });
  nodeKnown.resolve();
  await until('the trouble is told', () => /failed to initialize CSINode: .*not yet/.test(csi.notReady()[0] ?? ''));
  server.script(undefined);
  await until('ready', () => csi.notReady().length === 0);

  const csiNode = () => server.read('/apis/storage.k8s.io/v1/csinodes', 'node-1')?.spec as { drivers: unknown[] };
  const volume = persistentVolume(csiPod('web'));
  await t.throwsAsync(csi.driver.setUp(volume, signal), { code: 'CSI_DRIVER_MISSING' });
  await driver.start();
  await until('the pod is woken', () => woken.includes('uid-web'));
  const { hostPath } = await csi.driver.setUp(volume, signal);
  t.true(table.targets.has(hostPath));
  t.is((await csi.volumeStats('uid-web', 'pv-1', signal))?.usedBytes, 400);
  await until('the registrar is told', () => driver.notices.length === 1);

  server.put('/api/v1/nodes', { metadata: { name: 'node-1', uid: 'new-uid' } });
  csi.nodeReplaced();
  const ownerOf = (): unknown =>
    (server.read('/apis/storage.k8s.io/v1/csinodes', 'node-1')?.metadata.ownerReferences as { uid: string }[])?.[0]
      ?.uid;
  await until("the CSINode is the new Node's", () => ownerOf() === 'new-uid' && csiNode().drivers.length === 1);

  driver.stop();
  await until('the driver is gone', () => csi.drivers().length === 0);
  await until('the cluster knows', () => csiNode().drivers.length === 0);

  await csi.stop();
  const second = new VolumesInUse({ known, wake: () => undefined });
  csi = await start(second);
  t.deepEqual(second.names, [`kubernetes.io/csi/${driverName}^vol-1`], 'what the predecessor mounted is in use');
  t.is((await csi.driver.setUp(volume, signal)).hostPath, hostPath, 'and needs no driver');
  await t.throwsAsync(csi.driver.tearDown('uid-web', 'pv-1', signal), { code: 'CSI_DRIVER_MISSING' });
  await driver.start();
  await until('it is back', () => csi.drivers().length === 1);
  await csi.driver.tearDown('uid-web', 'pv-1', signal);
  t.is(table.targets.size, 0);
  t.deepEqual(second.names, []);
});
