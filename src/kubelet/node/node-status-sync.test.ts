import test, { type ExecutionContext } from 'ava';
import type { Node } from '../../api/node.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { FakeNodeApi } from './fake-node-api.ts';
import { KnownNode } from './node-api.ts';
import { healthyFacts, nodeSettings, readyConditions } from './node-facts.fake.ts';
import type { NodeSettings } from './node-labels.ts';
import type { NodeStatusFacts } from './node-status.ts';
import { NodeStatusSync } from './node-status-sync.ts';

const never = new AbortController().signal;
const hour = 3_600_000;
const noNetwork = readyConditions.slice(0, 1);

interface SetUp {
  watched?: boolean;
  registerNode?: boolean;
  settings?: Partial<NodeSettings>;
}

function setUp(t: ExecutionContext, { watched = false, registerNode = true, settings = {} }: SetUp = {}) {
  const clock = new FakeClock();
  const api = new FakeNodeApi(clock, 'node-a');
  const known = new KnownNode();
  const events: string[] = [];
  const registered: string[] = [];
  const warnings: object[] = [];
  const state = { bend: {} as Partial<NodeStatusFacts>, conditions: readyConditions, measured: 0 };
  if (watched) {
    api.onNode = (node, deleted) =>
      void setImmediate(() => (deleted ? known.observeDeleted(node.metadata.uid) : known.observe(node)));
  }
  const sync = new NodeStatusSync({
    api,
    known,
    settings: nodeSettings(settings),
    registerNode,
    requestTimeoutMs: 10_000,
    updateFrequencyMs: 10_000,
    reportFrequencyMs: 300_000,
    clock,
    random: () => 0.5,
    log: { ...silentLogger, warn: (fields) => void warnings.push(fields) },
    facts: async () => {
      state.measured++;
      const now = clock.now();
      const readiness = { runtimeConditions: state.conditions, runtimeReadyMs: now, plegActiveMs: now };
      return healthyFacts(now, { readiness, ...state.bend });
    },
    recordEvent: ({ reason }) => void events.push(reason),
    onRegistered: ({ metadata }) => void registered.push(metadata.uid),
    onSynced: () => {},
  });
  t.teardown(() => sync.stop());
  const node = (): Node => api.nodes.get('node-a')!;
  const ready = (): string | undefined => node().status?.conditions?.find(({ type }) => type === 'Ready')?.status;
  return { clock, api, known, sync, state, events, registered, warnings, node, ready };
}

test('creates the Node with its whole status, and then writes only what changed or is due', async (t) => {
  const { clock, api, sync, state, node, ready, events } = setUp(t, { watched: true });
  sync.start();
  await clock.advance(0);
  t.is(ready(), 'True');
  t.is(node().metadata.labels?.['kubernetes.io/hostname'], 'node-a');
  t.deepEqual(events, ['NodeHasSufficientMemory', 'NodeHasNoDiskPressure', 'NodeHasSufficientPID']);
  await clock.advance(290_000);
  t.is(api.made('patch', 'node').length, 0);
  t.is(api.made('get', 'node').length, 0, 'the watch tells');
  t.true(state.measured >= 28);
  await clock.advance(30_000);
  t.is(api.made('patch', 'node').length, 1, 'the report of every five minutes');
  state.bend = { images: [] };
  await clock.advance(11_000);
  t.is(api.made('patch', 'node').length, 2);
  t.is(node().status?.images, undefined);
  t.is(api.mostAtOnce, 1);
});

test('without a watch the Node is asked for at each sync, from the cache', async (t) => {
  const { clock, api, sync, node, ready } = setUp(t);
  sync.start();
  await clock.advance(50_000);
  t.true(api.made('get', 'node').length >= 4);
  api.adminChange('node-a', ({ status }) => {
    for (const condition of status!.conditions!) condition.status = 'Unknown';
  });
  await clock.advance(11_000);
  t.is(ready(), 'True');
  t.is(node().status?.conditions?.length, 4);
});

test('what the watch shows is put right at once: Unknown of the node controller', async (t) => {
  const { clock, api, sync, ready, events } = setUp(t, { watched: true });
  sync.start();
  await clock.advance(12_000);
  api.adminChange('node-a', ({ status }) => {
    for (const condition of status!.conditions!) condition.status = 'Unknown';
  });
  t.is(ready(), 'Unknown');
  await clock.advance(1_000);
  t.is(ready(), 'True');
  t.is(events.filter((reason) => reason === 'NodeReady').length, 1);
});

test('a change of readiness is written when woken', async (t) => {
  const { clock, sync, state, ready, events, node } = setUp(t, { watched: true });
  state.conditions = noNetwork;
  sync.start();
  await clock.advance(3_000);
  t.is(ready(), 'False');
  state.conditions = readyConditions;
  sync.wake();
  await clock.advance(0);
  t.is(ready(), 'True');
  t.true(events.includes('NodeReady'));
  state.conditions = noNetwork;
  sync.wake();
  sync.wake();
  await clock.advance(0);
  t.is(ready(), 'False');
  t.is(events.filter((reason) => reason === 'NodeNotReady').length, 1);
  t.is(node().status?.conditions?.at(-1)?.message, 'container runtime network not ready: <nil>');
});

test('a Node that exists: labels put right, taints and other labels left', async (t) => {
  const { clock, api, sync, node, ready, events } = setUp(t, {
    settings: { registerWithTaints: [{ key: 'new', effect: 'NoSchedule' }] },
  });
  await api.createNode(
    {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'node-a', labels: { team: 'x', 'kubernetes.io/hostname': 'old' } },
      spec: { taints: [{ key: 'theirs', effect: 'NoExecute' }], unschedulable: true },
      status: { conditions: [{ type: 'NetworkUnavailable', status: 'True' }], capacity: { 'example.com/gpu': '1' } },
    },
    never,
  );
  sync.start();
  await clock.advance(0);
  t.like(node().metadata.labels, { team: 'x', 'kubernetes.io/hostname': 'node-a', 'kubernetes.io/os': 'linux' });
  t.is(node().metadata.annotations?.['volumes.kubernetes.io/controller-managed-attach-detach'], 'true');
  t.deepEqual(node().spec.taints, [{ key: 'theirs', effect: 'NoExecute' }]);
  t.deepEqual(node().status?.conditions?.[0], { type: 'NetworkUnavailable', status: 'True' });
  t.is(node().status?.capacity?.['example.com/gpu'], '1');
  t.is(ready(), 'True');
  t.true(events.includes('NodeNotSchedulable'));
  api.adminChange('node-a', ({ spec }) => {
    delete spec.unschedulable;
  });
  await clock.advance(11_000);
  t.true(events.includes('NodeSchedulable'));
});

test('creating is forbidden: an admin makes the Node', async (t) => {
  const { clock, api, sync, ready } = setUp(t);
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-a' }, spec: {} } as const;
  const forbid = (): void =>
    void api.failures.push({
      status: 403,
      reason: 'Forbidden',
      when: ({ verb, body }) => verb === 'create' && body !== node,
    });
  for (let count = 0; count < 40; count++) forbid();
  sync.start();
  await clock.advance(60_000);
  t.is(api.nodes.size, 0);
  await api.createNode(node, never);
  await clock.advance(10_000);
  t.is(ready(), 'True');
});

test('registerNode: false waits for the Node and then only keeps its status', async (t) => {
  const { clock, api, sync, ready, node } = setUp(t, { registerNode: false });
  sync.start();
  await clock.advance(60_000);
  t.is(api.made('create', 'node').length, 0);
  await api.createNode({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-a' }, spec: {} }, never);
  await clock.advance(10_000);
  t.is(ready(), 'True');
  t.is(node().metadata.labels?.['kubernetes.io/hostname'], undefined);
  t.is(node().metadata.labels?.['kubernetes.io/os'], 'linux');
});

test('deleted by hand: back at once with a watch, at the next sync without, and on the sign of a lost Lease', async (t) => {
  const watched = setUp(t, { watched: true });
  watched.sync.start();
  await watched.clock.advance(15_000);
  watched.api.adminDelete('node-a');
  await watched.clock.advance(1_000);
  t.is(watched.ready(), 'True');
  t.deepEqual(watched.registered, ['node-uid-1', 'node-uid-2']);

  const asking = setUp(t);
  asking.sync.start();
  await asking.clock.advance(15_000);
  asking.api.adminDelete('node-a');
  await asking.clock.advance(11_000);
  t.is(asking.ready(), 'True');

  const blind = setUp(t, { watched: true });
  blind.sync.start();
  await blind.clock.advance(15_000);
  blind.api.onNode = () => {};
  blind.api.adminDelete('node-a');
  blind.sync.recheck();
  await blind.clock.advance(0);
  t.is(blind.ready(), 'True');
});

test('deleted between two writes: the refused patch leads to a new Node', async (t) => {
  const { clock, api, sync, state, ready } = setUp(t, { watched: true });
  sync.start();
  await clock.advance(15_000);
  api.onNode = () => {};
  api.adminDelete('node-a');
  state.bend = { images: [] };
  await clock.advance(12_000);
  t.is(ready(), 'True');
});

test('an hour without API server: tries go on at a measured pace, and all is right soon after', async (t) => {
  const { clock, api, sync, state, ready, warnings } = setUp(t, { watched: true });
  sync.start();
  await clock.advance(15_000);
  api.network = 'refused';
  state.conditions = noNetwork;
  const before = api.requests.length;
  await clock.advance(hour);
  const tries = api.requests.length - before;
  t.true(tries > 500 && tries < 5_000, `${tries} requests in the hour`);
  t.is(warnings.length, 1);
  api.network = 'up';
  await clock.advance(7_000);
  t.is(ready(), 'False');
  state.conditions = readyConditions;
  await clock.advance(11_000);
  t.is(ready(), 'True');
  t.is(api.mostAtOnce, 1);
});

test('no API server at the start: registered when it comes', async (t) => {
  const { clock, api, sync, ready, warnings } = setUp(t);
  api.network = 'refused';
  sync.start();
  await clock.advance(hour);
  const { length } = api.requests;
  t.true(length > hour / 7_000 - 10 && length < hour / 5_000, `${length} requests`);
  api.network = 'up';
  await clock.advance(7_000);
  t.is(ready(), 'True');
  t.is(warnings.length, 1);
});

test('a silent server: requests end at their deadline', async (t) => {
  const { clock, api, sync, ready, state } = setUp(t);
  sync.start();
  await clock.advance(15_000);
  api.network = 'silent';
  state.conditions = noNetwork;
  await clock.advance(120_000);
  api.network = 'up';
  await clock.advance(20_000);
  t.is(ready(), 'False');
  t.is(api.mostAtOnce, 1);
});

test('refusals are tried again with a fresh Node', async (t) => {
  const { clock, api, sync, state, ready } = setUp(t, { watched: true });
  sync.start();
  await clock.advance(15_000);
  const isPatch = ({ verb }: { verb: string }): boolean => verb === 'patch';
  api.failures.push({ status: 409, reason: 'Conflict', when: isPatch });
  api.failures.push({ status: 500, reason: 'InternalError', when: isPatch });
  state.conditions = noNetwork;
  sync.wake();
  await clock.advance(500);
  t.is(ready(), 'False');
  t.is(api.made('patch', 'node').length, 3);
  t.is(api.made('get', 'node').length, 2);
});

test('an API server too old for some fields is not told of them again and again', async (t) => {
  const { clock, api, sync, state, node } = setUp(t);
  api.unknownStatusFields = ['declaredFeatures', 'runtimeHandlers', 'features'];
  state.bend = { declaredFeatures: ['ExtendWebSocketsToKubelet'] };
  sync.start();
  await clock.advance(120_000);
  t.is(api.made('patch', 'node').length, 1);
  t.is(node().status?.declaredFeatures, undefined);
  state.bend = { ...state.bend, images: [] };
  await clock.advance(60_000);
  t.is(api.made('patch', 'node').length, 2, 'another change is told');
});

test('somebody who rewrites the status for ever makes no storm', async (t) => {
  const { clock, api, sync } = setUp(t, { watched: true });
  sync.start();
  await clock.advance(15_000);
  const { onNode } = api;
  api.onNode = (changed, deleted) => {
    onNode(changed, deleted);
    if (changed.status?.images === undefined) return;
    setImmediate(() => api.adminChange('node-a', ({ status }) => void delete status!.images));
  };
  api.adminChange('node-a', ({ status }) => void delete status!.images);
  await clock.advance(60_000);
  t.true(api.made('patch', 'node').length <= 65, String(api.made('patch', 'node').length));
  api.onNode = () => {};
});

test('stop ends everything', async (t) => {
  const { clock, api, sync, known } = setUp(t, { watched: true });
  sync.start();
  await clock.advance(1_000);
  await sync.stop();
  const count = api.requests.length;
  known.observeDeleted('node-uid-1');
  sync.wake();
  await clock.advance(hour);
  t.is(api.requests.length, count);
  const waiting = setUp(t);
  waiting.api.network = 'refused';
  waiting.sync.start();
  await waiting.clock.advance(3_000);
  await waiting.sync.stop();
  t.is(waiting.api.nodes.size, 0);
});
