/** What a driver must say of itself to be taken into use, and what the cluster is told of it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { code, TestCsiDriver } from '../../../test/support/csi-driver.ts';
import { createApiClient } from '../../api/client.ts';
import { failure, startFakeApiServer } from '../../api/fake-api-server.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { Plugin } from '../plugins/plugin-registry.ts';
import { createCsiApi } from './csi-api.ts';
import { csiPluginHandler } from './csi-plugin-handler.ts';
import { NodeInfo } from './node-info.ts';
import { connectNodeService } from './node-service.ts';
import { RegisteredDrivers } from './registered-drivers.ts';

const signal = new AbortController().signal;
const noMounts = { bind: async () => {}, unmount: async () => {}, isMounted: async () => false };
const name = 'hostpath.test.csi';

async function setUp(t: ExecutionContext) {
  const root = mkdtempSync(join(tmpdir(), 'keelson-handler-'));
  const driver = new TestCsiDriver({ name, directory: root, registryDirectory: root, mounter: noMounts });
  await driver.startService();
  const server = await startFakeApiServer();
  server.put('/api/v1/nodes', { metadata: { name: 'node-1', uid: 'node-uid', labels: { zone: 'a' } } });
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  const nodeInfo = new NodeInfo(createCsiApi(client, 'node-1'), 'node-1');
  const drivers = new RegisteredDrivers();
  const handler = csiPluginHandler({ drivers, nodeInfo, connect: connectNodeService });
  const plugin = (more: Partial<Plugin> = {}): Plugin => ({
    type: 'CSIPlugin',
    name,
    endpoint: driver.endpoint,
    versions: ['1.0.0'],
    socketPath: '/reg/a.sock',
    ...more,
  });
  t.teardown(async () => {
    drivers.close();
    client.close();
    driver.stop();
    await server.close();
    rmSync(root, { recursive: true, force: true });
  });
  return { driver, server, nodeInfo, drivers, handler, plugin };
}

type Setup = Awaited<ReturnType<typeof setUp>>;
// biome-ignore lint/suspicious/noExplicitAny: what the API server has, as it has it.
const objectOf = ({ server }: Setup, resource: string): any => server.read(resource, 'node-1');
const csiNodeOf = (setup: Setup) => objectOf(setup, '/apis/storage.k8s.io/v1/csinodes');
const nodeOf = (setup: Setup) => objectOf(setup, '/api/v1/nodes');

test('a driver is told to the cluster: CSINode, annotation, labels; and taken back', async (t) => {
  const setup = await setUp(t);
  const { driver, drivers, handler, plugin } = setup;
  Object.assign(driver, { nodeId: 'disk-node-7', maxVolumes: 16, topology: { zone: 'a', 'topology.x/rack': 'r1' } });
  await handler.register(plugin(), signal);
  t.like(csiNodeOf(setup).metadata.ownerReferences[0], {
    apiVersion: 'v1',
    kind: 'Node',
    name: 'node-1',
    uid: 'node-uid',
  });
  t.deepEqual(csiNodeOf(setup).spec.drivers, [
    { name, nodeID: 'disk-node-7', topologyKeys: ['topology.x/rack', 'zone'], allocatable: { count: 16 } },
  ]);
  t.is(nodeOf(setup).metadata.annotations['csi.volume.kubernetes.io/nodeid'], `{"${name}":"disk-node-7"}`);
  t.deepEqual(nodeOf(setup).metadata.labels, { zone: 'a', 'topology.x/rack': 'r1' });
  t.is(drivers.required(name).endpoint, driver.endpoint);

  const versions = [csiNodeOf(setup), nodeOf(setup)].map(({ metadata }) => metadata.resourceVersion);
  await handler.register(plugin(), signal);
  t.deepEqual(
    [csiNodeOf(setup), nodeOf(setup)].map(({ metadata }) => metadata.resourceVersion),
    versions,
    'the same again writes nothing',
  );

  await handler.deregister(plugin(), signal);
  t.deepEqual(csiNodeOf(setup).spec.drivers, []);
  t.is(nodeOf(setup).metadata.annotations?.['csi.volume.kubernetes.io/nodeid'], undefined);
  t.is(drivers.get(name), undefined);
  await t.notThrowsAsync(handler.deregister(plugin(), signal));
});

test('entries of other drivers stay as they are, also fields that we do not know', async (t) => {
  const setup = await setUp(t);
  const other = { name: 'other.csi', nodeID: 'x', topologyKeys: null, novel: { a: 1 } };
  setup.server.put('/apis/storage.k8s.io/v1/csinodes', {
    metadata: {
      name: 'node-1',
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'node-uid' }],
    },
    spec: { drivers: [other, { name, nodeID: 'before', topologyKeys: [] }] },
  });
  await setup.handler.register(setup.plugin(), signal);
  t.deepEqual(csiNodeOf(setup).spec.drivers, [other, { name, nodeID: 'test-node', topologyKeys: [] }]);
  const writes = setup.server.requests.filter(({ method, path }) => method === 'PATCH' && path.includes('csinodes'));
  t.is(writes.length, 2, 'a changed entry goes and comes, as the API server takes no other change');
});

test('the CSINode of an earlier Node of the name is replaced', async (t) => {
  const setup = await setUp(t);
  setup.server.put('/apis/storage.k8s.io/v1/csinodes', {
    metadata: { name: 'node-1', ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'old' }] },
    spec: { drivers: [{ name: 'old.csi', nodeID: 'x' }] },
  });
  await setup.nodeInfo.initialise(signal);
  t.is(csiNodeOf(setup).metadata.ownerReferences[0].uid, 'node-uid');
  t.deepEqual(csiNodeOf(setup).spec.drivers, []);
});

test('a topology that contradicts a label of the Node is refused', async (t) => {
  const setup = await setUp(t);
  setup.driver.topology = { zone: 'b' };
  const error = await t.throwsAsync(setup.handler.register(setup.plugin(), signal), { instanceOf: KeelsonError });
  t.regex(error.message, /topology value collision: driver reported "zone":"b" but existing label is "zone":"a"/);
  t.is(setup.drivers.get(name), undefined);
  t.false(setup.handler.isOwnTrouble(error));
});

for (const [what, topology] of [
  ['a key that is no label', { 'a b': 'x' }],
  ['a value that is no label', { rack: 'x'.repeat(64) }],
  ['thousands of keys', Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`k${index}`, 'v']))],
] as const) {
  test(`a topology that cannot be labels is refused, and the Node is not touched: ${what}`, async (t) => {
    const setup = await setUp(t);
    Object.assign(setup.driver, { topology });
    const error = await t.throwsAsync(setup.handler.register(setup.plugin(), signal), { code: 'PLUGIN_REFUSED' });
    t.false(setup.handler.isOwnTrouble(error));
    t.true((error?.message.length ?? 0) < 400);
    t.deepEqual(nodeOf(setup).metadata.labels, { zone: 'a' });
    t.is(setup.drivers.get(name), undefined);
  });
}

test('another writer between reading and writing: read again', async (t) => {
  const setup = await setUp(t);
  let disturbed = false;
  setup.server.script(({ method, path }) => {
    if (disturbed || method !== 'PATCH' || !path.endsWith('/csinodes/node-1')) return undefined;
    disturbed = true;
    return { status: 409, body: failure(409, 'Conflict', 'the object has been modified') };
  });
  await setup.handler.register(setup.plugin(), signal);
  t.true(disturbed);
  t.is(csiNodeOf(setup).spec.drivers.length, 1);
});

test('an API server that fails is no fault of the driver', async (t) => {
  const setup = await setUp(t);
  setup.server.script(({ path }) =>
    path.includes('csinodes') ? { status: 403, body: failure(403, 'Forbidden', 'no') } : undefined,
  );
  const error = await t.throwsAsync(setup.handler.register(setup.plugin(), signal));
  t.true(setup.handler.isOwnTrouble(error));
  t.is(setup.drivers.get(name), undefined);
});

test('versions, names and endpoints that are not taken', async (t) => {
  const { handler, plugin, drivers } = await setUp(t);
  const bad: [Partial<Plugin>, RegExp][] = [
    [{ versions: [] }, /none of its CSI versions is supported: it names none/],
    [{ versions: ['0.3.0', '2.0.0', 'x', '1', '', `1.${'9'.repeat(20)}`].filter((v) => v !== '1') }, /supported: 1\.x/],
    [{ name: '../../etc' }, /driver name/],
    [{ name: 'x'.repeat(64) }, /driver name/],
    [{ name: '' }, /driver name/],
    [{ endpoint: 'tcp://1.2.3.4:5' }, /is no path of a socket/],
    [{ endpoint: 'relative.sock' }, /is no path of a socket/],
    [{ endpoint: `/${'x'.repeat(200)}` }, /is no path of a socket/],
    [{ endpoint: '/a\0b' }, /is no path of a socket/],
  ];
  for (const [more, message] of bad) {
    await t.throwsAsync(
      handler.register(plugin(more), signal),
      { code: 'PLUGIN_REFUSED', message },
      JSON.stringify(more),
    );
  }
  t.deepEqual(drivers.names(), []);
});

test('a driver that does not say which node this is, is refused', async (t) => {
  const setup = await setUp(t);
  setup.driver.nodeId = '';
  await t.throwsAsync(setup.handler.register(setup.plugin(), signal), {
    code: 'PLUGIN_REFUSED',
    message: /node id has 0 bytes/,
  });
  for (const nodeId of ['x'.repeat(257), 'é'.repeat(129), 'x'.repeat(2_000_000)]) {
    setup.driver.nodeId = nodeId;
    await t.throwsAsync(setup.handler.register(setup.plugin(), signal), { message: /node id has \d+ bytes, not 1 to/ });
  }
  t.is(nodeOf(setup).metadata.annotations?.['csi.volume.kubernetes.io/nodeid'], undefined);
  setup.driver.failNext('NodeGetInfo', code.internal, 'no disk service');
  await t.throwsAsync(setup.handler.register(setup.plugin(), signal), {
    code: 'CSI_REFUSED',
    message: /no disk service/,
  });
});

for (const [maxVolumes, allocatable] of [
  [-1, undefined],
  [0, undefined],
  [2 ** 40, { count: 2 ** 31 - 1 }],
] as const) {
  test(`a driver that has room for ${maxVolumes} volumes`, async (t) => {
    const setup = await setUp(t);
    Object.assign(setup.driver, { maxVolumes });
    await setup.handler.register(setup.plugin(), signal);
    t.deepEqual(csiNodeOf(setup).spec.drivers[0].allocatable, allocatable);
  });
}

test('a second registration of a name: a higher version wins, the loser takes nothing back', async (t) => {
  const { handler, plugin, drivers } = await setUp(t);
  await handler.register(plugin({ versions: ['1.2.0'] }), signal);
  const rival = plugin({ socketPath: '/reg/b.sock', versions: ['1.2.0'] });
  await t.throwsAsync(handler.register(rival, signal), { message: /already registered .* v1\.2\.0 at \/reg\/a\.sock/ });
  await handler.deregister(rival, signal);
  t.is(drivers.required(name).socketPath, '/reg/a.sock');
  await handler.register({ ...rival, versions: ['v1.10.0', '1.3'] }, signal);
  t.is(drivers.required(name).socketPath, '/reg/b.sock');
  t.deepEqual(drivers.required(name).version, [1, 10, 0]);
  await handler.deregister(plugin(), signal);
  t.is(drivers.required(name).socketPath, '/reg/b.sock');
});
