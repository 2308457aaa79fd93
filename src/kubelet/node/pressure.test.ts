import test from 'ava';
import { evictionThresholds } from './eviction-thresholds.ts';
import { isUnderPressure, noPressure, observePressure, type SignalObservations } from './pressure.ts';

const minute = 60_000;
const transition = 5 * minute;
const thresholds = evictionThresholds({
  evictionHard: new Map([
    ['memory.available', '100'],
    ['nodefs.available', '10%'],
    ['nodefs.inodesFree', '5%'],
    ['imagefs.available', '15%'],
    ['pid.available', '10'],
  ]),
});
const memory = (available: number): SignalObservations => ({ 'memory.available': { available, capacity: 1000 } });

test('a condition holds from the first sight to the end of the transition period after the last', (t) => {
  const holds = (state: typeof noPressure, nowMs: number): boolean =>
    isUnderPressure(state, 'MemoryPressure', nowMs, transition);
  let state = observePressure(noPressure, thresholds, memory(100), 0);
  t.false(holds(state, 0), 'the threshold itself is enough');
  state = observePressure(state, thresholds, memory(99), minute);
  t.true(holds(state, minute));
  state = observePressure(state, thresholds, memory(99), 2 * minute);
  state = observePressure(state, thresholds, memory(900), 3 * minute);
  t.true(holds(state, 7 * minute - 1), 'two minutes after the last sight, less one millisecond, plus five');
  t.false(holds(state, 7 * minute));
});

test('each signal leads to its condition', (t) => {
  const cases: [SignalObservations, string][] = [
    [memory(1), 'MemoryPressure'],
    [{ 'nodefs.available': { available: 99, capacity: 1000 } }, 'DiskPressure'],
    [{ 'nodefs.inodesFree': { available: 49, capacity: 1000 } }, 'DiskPressure'],
    [{ 'imagefs.available': { available: 149, capacity: 1000 } }, 'DiskPressure'],
    [{ 'pid.available': { available: -3, capacity: 1000 } }, 'PIDPressure'],
  ];
  for (const [observations, expected] of cases) {
    const state = observePressure(noPressure, thresholds, observations, 0);
    const seen = (['MemoryPressure', 'DiskPressure', 'PIDPressure'] as const).filter((condition) =>
      isUnderPressure(state, condition, 0, transition),
    );
    t.deepEqual(seen, [expected], JSON.stringify(observations));
  }
});

test('a signal that was not measured says nothing', (t) => {
  const state = observePressure(noPressure, thresholds, {}, 0);
  t.deepEqual(state.lastMetMs, {});
});

test('a soft threshold shows at once and is met for eviction after its grace period', (t) => {
  const soft = evictionThresholds({
    evictionHard: new Map(),
    evictionSoft: new Map([['memory.available', '300']]),
    evictionSoftGracePeriod: new Map([['memory.available', 90_000]]),
  });
  let state = observePressure(noPressure, soft, memory(299), 0);
  t.true(isUnderPressure(state, 'MemoryPressure', 0, transition));
  t.is(state.met.length, 0);
  state = observePressure(state, soft, memory(299), 89_999);
  t.is(state.met.length, 0);
  state = observePressure(state, soft, memory(299), 90_000);
  t.is(state.met.length, 1);
  state = observePressure(state, soft, memory(300), 100_000);
  state = observePressure(state, soft, memory(299), 110_000);
  t.is(state.met.length, 0, 'the grace period begins anew');
});

test('once met, a threshold stays met until the minimum reclaim is reached', (t) => {
  const reclaiming = evictionThresholds({
    evictionHard: new Map([['memory.available', '100']]),
    evictionMinimumReclaim: new Map([['memory.available', '50']]),
  });
  let state = observePressure(noPressure, reclaiming, memory(120), 0);
  t.is(state.met.length, 0);
  state = observePressure(state, reclaiming, memory(99), 1);
  state = observePressure(state, reclaiming, memory(149), 2);
  t.is(state.met.length, 1);
  state = observePressure(state, reclaiming, memory(150), 3);
  t.is(state.met.length, 0);
});
