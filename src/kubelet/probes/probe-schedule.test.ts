import test from 'ava';
import fc from 'fast-check';
import { earlyLooks, nextLook, nextRun, nextTick, restartDelay, together } from './probe-schedule.ts';

const time = fc.integer({ min: 0, max: 10 ** 12 });
const period = fc.integer({ min: 1000, max: 10 ** 6 });

test('property: the next tick is the first of its grid that is not too early, wherever the grid begins', (t) => {
  fc.assert(
    fc.property(time, period, time, (anchor, every, from) => {
      const tick = nextTick(anchor, every, from);
      if ((tick - anchor) % every !== 0 || tick < from) return false;
      return from > anchor ? tick - every < from : tick - from <= every && tick <= anchor;
    }),
  );
  t.is(nextTick(11_000, 10_000, 1_000), 11_000, 'a whole period ahead is waited for');
  t.is(nextTick(5_000, 10_000, 5_000), 5_000);
});

test('property: after a run comes the next tick, or a late one at once; the grid stays', (t) => {
  fc.assert(
    fc.property(time, period, fc.integer({ min: 0, max: 10 ** 7 }), (tick, every, lasted) => {
      const ended = tick + lasted;
      const next = nextRun(tick, every, ended);
      if (next.atMs < ended || (next.tickMs - tick) % every !== 0 || next.tickMs <= tick) return false;
      return lasted <= every ? next.atMs === tick + every : next.atMs === ended && ended - next.tickMs < every;
    }),
  );
  t.pass();
});

test('a run of one and a half periods is followed at once, and then by the tick it would have had', (t) => {
  t.deepEqual(nextRun(0, 10_000, 15_000), { atMs: 15_000, tickMs: 10_000 });
  t.deepEqual(nextRun(10_000, 10_000, 15_100), { atMs: 20_000, tickMs: 20_000 });
});

test('a clock that is set back delays no run by more than a period', (t) => {
  t.deepEqual(nextRun(3600_000, 10_000, 500), { atMs: 10_500, tickMs: 10_500 });
});

test('a container is looked at a few times in its first second, each time once', (t) => {
  const looks = earlyLooks.network;
  t.deepEqual(nextLook(looks, 1000, undefined, 1000), { atMs: 1050, last: false });
  t.deepEqual(nextLook(looks, 1000, 1050, 1051), { atMs: 1300, last: false });
  t.deepEqual(nextLook(looks, 1000, 1300, 1301), { atMs: 2000, last: true });
  t.is(nextLook(looks, 1000, 2000, 2001), undefined);
});

test('looks that have passed are one look, now', (t) => {
  const looks = earlyLooks.network;
  t.deepEqual(nextLook(looks, 1000, undefined, 1500), { atMs: 1500, last: false });
  t.deepEqual(nextLook(looks, 1000, undefined, 9000), { atMs: 9000, last: true });
  t.deepEqual(nextLook(looks, 1000, 1050, 9000), { atMs: 9000, last: true });
});

test('only a daemon that has just begun spreads its probes', (t) => {
  t.is(restartDelay(10_000, 0, 0.5), 5000);
  t.is(restartDelay(10_000, 9999, 0.999), 9990);
  t.is(restartDelay(10_000, 10_000, 0.5), 0);
});

test('property: runs gather at quarters of a second, never early and never by more than that', (t) => {
  fc.assert(
    fc.property(time, period, (at, every) => {
      const later = together(at, every) - at;
      return every < 5000 ? later === 0 : later >= 0 && later < 250 && (at + later) % 250 === 0;
    }),
  );
  t.pass();
});
