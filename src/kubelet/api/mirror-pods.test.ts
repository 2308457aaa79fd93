/** Mirror pods follow the manifests, whoever interferes. */
import test, { type ExecutionContext } from 'ava';
import type { Pod } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { type Logger, silentLogger } from '../../observe/logger.ts';
import type { PodSnapshot } from '../pod-source.ts';
import { ApiPods } from './api-pods.ts';
import { FakePodApi } from './fake-pod-api.ts';
import { mirrorPlan } from './mirror-plan.ts';
import { MirrorPods } from './mirror-pods.ts';

const manifest = (name: string, hash: string, image = 'busybox'): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    namespace: 'kube-system',
    uid: hash,
    labels: { tier: 'control-plane' },
    annotations: {
      'kubernetes.io/config.source': 'file',
      'kubernetes.io/config.hash': hash,
      'keelson.dev/config.file': `/m/${name}.yaml`,
    },
  },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image }], hostNetwork: true },
});
const snapshot = (pods: Pod[], brokenFiles: string[] = []): PodSnapshot => ({
  pods,
  configMaps: new Map(),
  secrets: new Map(),
  errors: [],
  brokenFiles: new Set(brokenFiles),
});

function setUp(t: ExecutionContext) {
  const clock = new FakeClock();
  const server = new FakePodApi(clock);
  const pods = new ApiPods(clock);
  const scope = new AbortController();
  let nodeUid: string | undefined = 'node-uid';
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (_, message) => void warnings.push(message) };
  const mirrors = new MirrorPods({
    api: server,
    pods,
    nodeName: 'n1',
    nodeUid: () => nodeUid,
    clock,
    log,
  });
  t.teardown(() => {
    mirrors.stop();
    scope.abort();
  });
  return {
    clock,
    server,
    warnings,
    mirrors,
    connect: () => pods.start(server.follow, scope.signal),
    setNodeUid(uid: string | undefined) {
      nodeUid = uid;
      if (uid !== undefined) server.nodeUid = uid;
      mirrors.wake();
    },
  };
}
const key = 'kube-system/etcd-n1';

test('made when the first list came and the Node is known; gone with the manifest', async (t) => {
  const { clock, server, mirrors, connect, setNodeUid } = setUp(t);
  setNodeUid(undefined);
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1')]));
  await clock.advance(10_000);
  connect();
  await clock.advance(10_000);
  t.deepEqual(server.requests, [], 'the owner is not known yet');
  setNodeUid('node-uid');
  await clock.advance(10);
  const made = server.get(key);
  t.is(made?.metadata.annotations?.['kubernetes.io/config.mirror'], 'h1');
  t.deepEqual(made?.metadata.ownerReferences, [
    { apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'node-uid', controller: true },
  ]);
  t.not(made?.metadata.uid, 'h1', 'a uid of its own');
  mirrors.setManifests(snapshot([]));
  await clock.advance(10);
  t.deepEqual(server.keys(), []);
  await clock.advance(600_000);
  t.is(server.requests.length, 2);
});

for (const [what, interfere] of [
  ['deleted at once', (server: FakePodApi) => server.askToDelete(key, 0, true)],
  ['asked to be deleted', (server: FakePodApi) => server.askToDelete(key, 30)],
  [
    'edited',
    (server: FakePodApi) => server.change(key, ({ spec }) => Object.assign(spec.containers[0]!, { image: 'evil' })),
  ],
  [
    'given another hash',
    (server: FakePodApi) =>
      server.change(key, ({ metadata }) =>
        Object.assign(metadata.annotations!, { 'kubernetes.io/config.mirror': 'x' }),
      ),
  ],
  [
    'robbed of its owner',
    (server: FakePodApi) => server.change(key, ({ metadata }) => Object.assign(metadata, { ownerReferences: [] })),
  ],
] as const) {
  test(`made anew when ${what}`, async (t) => {
    const { clock, server, mirrors, connect } = setUp(t);
    connect();
    mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1')]));
    await clock.advance(10);
    const first = server.get(key)?.metadata.uid;
    interfere(server);
    await clock.advance(3_000);
    const second = server.get(key);
    t.not(second?.metadata.uid, first);
    t.is(second?.spec.containers[0]?.image, 'busybox');
    t.is(second?.metadata.annotations?.['kubernetes.io/config.mirror'], 'h1');
  });
}

test('a changed manifest: a new hash, as kubeadm waits for', async (t) => {
  const { clock, server, mirrors, connect } = setUp(t);
  connect();
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1')]));
  await clock.advance(10);
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h2', 'busybox:2')]));
  await clock.advance(3_000);
  t.is(server.get(key)?.metadata.annotations?.['kubernetes.io/config.mirror'], 'h2');
});

test('what the server refused once is tried again', async (t) => {
  const { clock, server, mirrors, connect } = setUp(t);
  connect();
  server.failures.push(500);
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1')]));
  await clock.advance(3_000);
  t.deepEqual(server.keys(), [key]);
});

test('a late watch makes no second request; an outage makes few', async (t) => {
  const { clock, server, mirrors, connect } = setUp(t);
  connect();
  server.watchDelayMs = 700;
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1')]));
  await clock.advance(5_000);
  t.is(server.requests.length, 1);
  server.goDown();
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1'), manifest('other-n1', 'h2')]));
  await clock.advance(600_000);
  t.true(server.requests.length < 25);
  const before = server.requests.length;
  server.comeBack();
  await clock.advance(1_000);
  t.is(server.requests.length, before + 1, 'at once when the server is back');
  t.deepEqual(server.keys(), [key, 'kube-system/other-n1']);
});

test('a mirror of a manifest that cannot be read is left alone', async (t) => {
  const { clock, server, mirrors, connect } = setUp(t);
  connect();
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1')]));
  await clock.advance(10);
  mirrors.setManifests(snapshot([], ['/m/etcd-n1.yaml']));
  await clock.advance(10_000);
  t.deepEqual(server.keys(), [key]);
});

test('a pod of somebody else that has the name is not touched', (t) => {
  const other = { ...manifest('etcd-n1', 'x'), metadata: { name: 'etcd-n1', namespace: 'kube-system', uid: 'other' } };
  const state = {
    manifests: [manifest('etcd-n1', 'h1')],
    unreadable: new Set<string>(),
    node: { name: 'n1', uid: 'u' },
  };
  t.deepEqual(mirrorPlan({ ...state, known: [other] }), []);
});

test('a 403 that passes within seconds is nothing to warn of, one that stays is', async (t) => {
  const { clock, server, mirrors, connect, warnings } = setUp(t);
  connect();
  await clock.advance(10);
  server.failures.push(403, 403);
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1')]));
  await clock.advance(9_000);
  t.truthy(server.get(key));
  t.deepEqual(warnings, []);
  server.failures.push(...Array.from({ length: 6 }, () => 403));
  mirrors.setManifests(snapshot([manifest('etcd-n1', 'h1'), manifest('api-n1', 'h2')]));
  await clock.advance(60_000);
  t.is(warnings[0], 'mirror pod not created yet');
});
