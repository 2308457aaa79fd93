import test from 'ava';
import { BurstGarbage } from './burst-garbage.ts';
import { FakeClock } from './fake-clock.ts';

function setUp() {
  const clock = new FakeClock();
  const collections: number[] = [];
  const startMs = clock.now();
  const garbage = new BurstGarbage({ clock, collect: () => collections.push((clock.now() - startMs) / 1000) });
  return { clock, collections, garbage };
}

test('once after a burst, when it has calmed and not before', async (t) => {
  const { clock, collections, garbage } = setUp();
  for (let second = 0; second < 60; second++) {
    garbage.happened();
    await clock.advance(1_000);
  }
  t.deepEqual(collections, []);
  await clock.advance(3_600_000);
  t.deepEqual(collections, [69]);
});

test('what happens now and then is worth no collection', async (t) => {
  const { clock, collections, garbage } = setUp();
  garbage.happened(39);
  await clock.advance(3_600_000);
  t.deepEqual(collections, []);
  garbage.happened();
  await clock.advance(10_000);
  t.deepEqual(collections, [3610]);
});

test('bursts that follow each other are rarely collected, and the last one is not forgotten', async (t) => {
  const { clock, collections, garbage } = setUp();
  for (let burst = 0; burst < 6; burst++) {
    garbage.happened(60);
    await clock.advance(30_000);
  }
  t.deepEqual(collections, [10]);
  await clock.advance(3_600_000);
  t.deepEqual(collections, [10, 310]);
});

test('stopped: nothing any more', async (t) => {
  const { clock, collections, garbage } = setUp();
  garbage.happened(60);
  garbage.stop();
  garbage.happened(60);
  await clock.advance(3_600_000);
  t.deepEqual(collections, []);
});
