import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { FakeNodeApi } from './fake-node-api.ts';
import { KnownNode } from './node-api.ts';
import { nodeSettings } from './node-facts.fake.ts';
import { initialNode } from './node-labels.ts';
import { NodeLease } from './node-lease.ts';

const never = new AbortController().signal;
const hour = 3_600_000;

async function setUp(t: ExecutionContext, { registered = true } = {}) {
  const clock = new FakeClock();
  const api = new FakeNodeApi(clock, 'node-a');
  const known = new KnownNode();
  const warnings: object[] = [];
  let gone = 0;
  const lease = new NodeLease({
    api,
    known,
    nodeName: 'node-a',
    durationSeconds: 40,
    requestTimeoutMs: 10_000,
    clock,
    random: () => 0,
    log: { ...silentLogger, warn: (fields) => void warnings.push(fields) },
    onLeaseGone: () => void gone++,
  });
  t.teardown(() => lease.stop());
  const register = async (): Promise<void> =>
    known.answered(await api.createNode(initialNode(nodeSettings(), {}), never));
  if (registered) await register();
  const renewedMs = (): number => Date.parse(api.leases.get('node-a')?.spec.renewTime ?? '');
  return { clock, api, known, lease, register, renewedMs, warnings, gone: () => gone };
}

test('made with its owner, then renewed every quarter of its duration by one request', async (t) => {
  const { clock, api, lease, renewedMs } = await setUp(t);
  lease.start();
  await clock.advance(0);
  const start = clock.now();
  t.like(api.leases.get('node-a'), {
    metadata: {
      name: 'node-a',
      namespace: 'kube-node-lease',
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'node-uid-1' }],
    },
    spec: { holderIdentity: 'node-a', leaseDurationSeconds: 40, renewTime: '2026-01-01T00:00:00.000000Z' },
  });
  await clock.advance(100_000);
  t.is(renewedMs(), start + 100_000);
  t.is(api.made('update', 'lease').length, 10);
  t.is(api.made('get', 'lease').length, 1, 'only before it was made');
});

test('a daemon that starts again takes the Lease over', async (t) => {
  const { clock, api, known, lease, renewedMs } = await setUp(t);
  lease.start();
  await clock.advance(0);
  await lease.stop();
  await clock.advance(60_000);
  const again = new NodeLease({
    api,
    known,
    nodeName: 'node-a',
    durationSeconds: 20,
    requestTimeoutMs: 10_000,
    clock,
    random: () => 0,
    log: silentLogger,
    onLeaseGone: () => {},
  });
  again.start();
  await clock.advance(0);
  t.is(renewedMs(), clock.now());
  t.is(api.leases.get('node-a')?.spec.leaseDurationSeconds, 20);
  t.is(api.made('create', 'lease').length, 1);
  await again.stop();
});

test('waits for the Node that owns it', async (t) => {
  const { clock, api, lease, register, warnings } = await setUp(t, { registered: false });
  lease.start();
  await clock.advance(30_000);
  t.is(api.made('create', 'lease').length, 0);
  t.deepEqual(warnings, []);
  await register();
  lease.wake();
  await clock.advance(0);
  t.is(api.leases.get('node-a')?.metadata.ownerReferences?.[0]?.uid, 'node-uid-1');
});

test('somebody else wrote it: asks for it and renews, keeping what the other wrote', async (t) => {
  const { clock, api, lease, renewedMs } = await setUp(t);
  lease.start();
  await clock.advance(0);
  api.adminChangeLease('node-a', (stored) => {
    stored.metadata.labels = { theirs: 'yes' };
  });
  await clock.advance(10_000);
  t.is(renewedMs(), clock.now());
  t.deepEqual(api.leases.get('node-a')?.metadata.labels, { theirs: 'yes' });
});

test('five attempts in a row, then at most every 7 s; an hour later renewed as soon as a server answers', async (t) => {
  const { clock, api, lease, renewedMs, warnings } = await setUp(t);
  lease.start();
  await clock.advance(0);
  api.network = 'refused';
  await clock.advance(10_000);
  t.is(api.made('update', 'lease').length, 5);
  const before = api.requests.length;
  await clock.advance(hour);
  const tries = api.requests.length - before;
  t.true(tries > hour / 7_000 - 5 && tries < hour / 7_000 + 10, `${tries} requests in the hour`);
  t.is(warnings.length, 1, 'one line for the outage');
  api.network = 'up';
  await clock.advance(7_000);
  t.true(clock.now() - renewedMs() <= 7_000);
  await clock.advance(20_000);
  t.true(clock.now() - renewedMs() <= 10_000);
  t.is(api.made('create', 'lease').length, 1);
  t.is(api.mostAtOnce, 1);
});

test('a silent server holds nothing up for ever', async (t) => {
  const { clock, api, lease, renewedMs } = await setUp(t);
  lease.start();
  await clock.advance(0);
  api.network = 'silent';
  await clock.advance(hour);
  t.true(api.requests.every(({ outcome }, index) => outcome !== undefined || index === api.requests.length - 1));
  api.network = 'up';
  await clock.advance(17_000);
  t.true(clock.now() - renewedMs() <= 17_000);
  t.is(api.mostAtOnce, 1);
});

test('gone with its Node: says so, and is made again for the new one', async (t) => {
  const { clock, api, known, lease, register, gone } = await setUp(t);
  lease.start();
  await clock.advance(0);
  api.adminDelete('node-a');
  t.is(api.leases.size, 0);
  await clock.advance(10_000);
  t.is(gone(), 1);
  known.gone();
  await register();
  lease.wake();
  await clock.advance(0);
  t.is(api.leases.get('node-a')?.metadata.ownerReferences?.[0]?.uid, known.node?.metadata.uid);
});

test('a new uid of the Node replaces the old owner; other owners stay', async (t) => {
  const { clock, api, known, lease } = await setUp(t);
  lease.start();
  await clock.advance(0);
  const other = { apiVersion: 'v1', kind: 'ConfigMap', name: 'c', uid: 'c' };
  api.adminChangeLease('node-a', (stored) => void stored.metadata.ownerReferences?.push(other));
  const node = known.node!;
  known.answered({ ...node, metadata: { ...node.metadata, uid: 'second' } });
  await clock.advance(10_000);
  t.deepEqual(
    api.leases.get('node-a')?.metadata.ownerReferences?.map(({ uid }) => uid),
    ['c', 'second'],
  );
});

test('stop ends the request under way, and nothing follows', async (t) => {
  const { clock, api, lease } = await setUp(t);
  api.network = 'silent';
  lease.start();
  await clock.advance(0);
  await lease.stop();
  const count = api.requests.length;
  await clock.advance(hour);
  t.is(api.requests.length, count);
});
