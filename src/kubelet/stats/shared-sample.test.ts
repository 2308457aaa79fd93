import test from 'ava';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { SharedSample } from './shared-sample.ts';

function meter() {
  const clock = new FakeClock();
  const depths: number[] = [];
  const waiting: PromiseWithResolvers<string>[] = [];
  const shared = new SharedSample<string>(
    (depth) => {
      depths.push(depth);
      const next = Promise.withResolvers<string>();
      waiting.push(next);
      return next.promise;
    },
    clock,
    2_000,
  );
  return { clock, depths, waiting, shared };
}

test('requests that come together share a measurement, and so do those shortly after', async (t) => {
  const { clock, depths, waiting, shared } = meter();
  const both = Promise.all([shared.get(), shared.get()]);
  waiting[0]?.resolve('one');
  t.deepEqual(await both, ['one', 'one']);
  await clock.advance(1_999);
  t.is(await shared.get(), 'one');
  await clock.advance(1);
  const later = shared.get();
  waiting[1]?.resolve('two');
  t.is(await later, 'two');
  t.is(depths.length, 2);
});

test('a deeper sample answers for a shallower one, not the other way round', async (t) => {
  const { depths, waiting, shared } = meter();
  const shallow = shared.get(0);
  const deep = [shared.get(2), shared.get(2)];
  await settle();
  t.deepEqual(depths, [0], 'two measurements must not overlap');
  waiting[0]?.resolve('shallow');
  t.is(await shallow, 'shallow');
  await settle();
  t.deepEqual(depths, [0, 2]);
  waiting[1]?.resolve('deep');
  t.deepEqual(await Promise.all(deep), ['deep', 'deep']);
  t.is(await shared.get(0), 'deep');
  t.is(await shared.get(1), 'deep');
  t.is(depths.length, 2);
});

test('a measurement that failed is not kept', async (t) => {
  const { waiting, shared } = meter();
  const both = [shared.get(), shared.get()];
  waiting[0]?.reject(new Error('no'));
  for (const one of both) await t.throwsAsync(one, { message: 'no' });
  const again = shared.get();
  waiting[1]?.resolve('yes');
  t.is(await again, 'yes');
});

test('a clock that was put back makes no sample immortal', async (t) => {
  let nowMs = 10_000;
  let count = 0;
  const shared = new SharedSample(async () => ++count, { now: () => nowMs, after: () => () => undefined }, 2_000);
  await shared.get();
  nowMs = 0;
  t.is(await shared.get(), 2);
});
