import test from 'ava';
import { settle } from '../../base/fake-clock.ts';
import { apiPod } from './evictable-pod.fake.ts';
import { FakeNode } from './eviction-node.fake.ts';
import { startEviction } from './start-eviction.ts';

function setUp() {
  const node = new FakeNode({ evictionHard: new Map([['memory.available', '100']]) });
  const start = () => startEviction(node.options(), new AbortController().signal);
  return { node, start };
}

test('looks at once and each 10 s', async (t) => {
  const { node, start } = setUp();
  const eviction = start();
  await eviction.ready;
  node.run(apiPod('web'), { memory: 950 });
  await node.clock.advance(9_999);
  t.deepEqual(node.ended, []);
  await node.clock.advance(1);
  t.deepEqual(node.ended, ['web']);
  t.deepEqual([...eviction.evictions], [['memory.available', 1]]);
  await eviction.stop();
});

test('waits for the evicted pod to be gone, then looks again at once', async (t) => {
  const { node, start } = setUp();
  node.run(apiPod('first'), { memory: 600 });
  node.run(apiPod('second'), { memory: 450 });
  node.otherMemory = 500;
  const eviction = start();
  await eviction.ready;
  await node.clock.advance(29_000);
  t.deepEqual(node.ended, ['first'], 'it may still make enough room');
  node.release('first');
  await settle();
  t.deepEqual(node.ended, ['first', 'second']);
  node.release('second');
  await node.clock.advance(60_000);
  t.deepEqual(node.ended, ['first', 'second']);
  await eviction.stop();
});

test('a pod that does not go within 30 s keeps the node from no further help', async (t) => {
  const { node, start } = setUp();
  node.run(apiPod('stuck'), { memory: 600 });
  node.run(apiPod('next'), { memory: 390 });
  const eviction = start();
  await eviction.ready;
  await node.clock.advance(29_999);
  t.deepEqual(node.ended, ['stuck']);
  await node.clock.advance(1);
  t.deepEqual(node.ended, ['stuck', 'next']);
  await eviction.stop();
});

test('a look that fails is said once for each kind of trouble, and the next one comes', async (t) => {
  const { node, start } = setUp();
  node.measureFails = new Error('no /proc');
  const eviction = start();
  await eviction.ready;
  await node.clock.advance(30_000);
  t.is(node.warnings.length, 1);
  node.measureFails = undefined;
  node.run(apiPod('web'), { memory: 950 });
  await node.clock.advance(10_000);
  t.deepEqual(node.ended, ['web']);
  await eviction.stop();
});

test('stops while it waits', async (t) => {
  const { node, start } = setUp();
  node.run(apiPod('stuck'), { memory: 950 });
  const eviction = start();
  await eviction.ready;
  await eviction.stop();
  node.run(apiPod('later'), { memory: 950 });
  await node.clock.advance(60_000);
  t.deepEqual(node.ended, ['stuck']);
});

test('the conditions tell of changes, not of each look', async (t) => {
  const { node, start } = setUp();
  const told: string[] = [];
  node.pressure.onChange(() => void told.push(node.pressure.conditions().join()));
  node.run(apiPod('critical', { priority: 2_000_000_000 }), { memory: 950 });
  const eviction = start();
  await node.clock.advance(40_000);
  t.deepEqual(told, ['MemoryPressure']);
  node.release('critical');
  await node.clock.advance(310_000);
  t.deepEqual(told, ['MemoryPressure', '']);
  await eviction.stop();
});
