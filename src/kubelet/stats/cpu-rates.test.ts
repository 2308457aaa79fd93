import test from 'ava';
import fc from 'fast-check';
import { CpuRates } from './cpu-rates.ts';

const core = 1e9;

test('a first sample gives the average since the start, if that is known', (t) => {
  const rates = new CpuRates();
  t.is(rates.observe('a', 10_000, 5 * core, 0), core / 2);
  t.is(rates.observe('b', 10_000, 5 * core, undefined), undefined);
  t.is(rates.observe('c', 10_000, 5 * core, 9_950), undefined, 'too short a time says nothing');
});

test('later samples give the rate since one that is at least a window old', (t) => {
  const rates = new CpuRates();
  rates.observe('a', 0, 0, undefined);
  t.is(rates.observe('a', 1_000, core, undefined), core);
  t.is(rates.observe('a', 10_000, 10 * core, undefined), core);
  // Now it idles: the rate falls as the window moves on.
  t.is(rates.observe('a', 15_000, 10 * core, undefined), Math.round((core * 10) / 15));
  t.is(rates.observe('a', 20_000, 10 * core, undefined), 0);
  t.is(rates.observe('a', 25_000, 10 * core, undefined), 0);
});

test('a counter or a clock that goes back begins anew', (t) => {
  const rates = new CpuRates();
  rates.observe('a', 0, 10 * core, undefined);
  t.is(rates.observe('a', 10_000, core, undefined), undefined);
  t.is(rates.observe('a', 20_000, 2 * core, undefined), core / 10);
  rates.observe('b', 50_000, core, undefined);
  rates.observe('b', 10_000, 2 * core, undefined);
  t.is(rates.observe('b', 20_000, 3 * core, undefined), core / 10);
});

test('cgroups that are gone are forgotten', (t) => {
  const rates = new CpuRates();
  for (const key of ['a', 'b', 'c']) rates.observe(key, 0, 0, undefined);
  rates.retain(new Set(['b']));
  t.is(rates.size, 1);
});

test('no rate is negative or more than what was used', (t) => {
  const step = fc.record({
    ms: fc.integer({ min: -5_000, max: 60_000 }),
    ns: fc.integer({ min: -core, max: 100 * core }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const rates = new CpuRates();
      let [timeMs, usageNs] = [1_000_000, 500 * core];
      return steps.every(({ ms, ns }) => {
        timeMs += ms;
        usageNs = Math.max(0, usageNs + ns);
        const rate = rates.observe('a', timeMs, usageNs, undefined);
        return rate === undefined || (Number.isInteger(rate) && rate >= 0);
      });
    }),
  );
  t.pass();
});
