import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { evictionThresholds } from './eviction-thresholds.ts';
import { NodePressure } from './node-pressure.ts';
import { isAnyUnresolved } from './pressure.ts';

const minute = 60_000;
const thresholds = evictionThresholds({
  evictionHard: new Map([['memory.available', '100']]),
  evictionSoft: new Map([['pid.available', '20']]),
  evictionSoftGracePeriod: new Map([['pid.available', minute]]),
  evictionMinimumReclaim: new Map([['memory.available', '50']]),
});
const memory = (available: number) => ({ 'memory.available': { available, capacity: 1000 } });

test('conditions last for the transition period, thresholds end at once', async (t) => {
  const clock = new FakeClock();
  const pressure = new NodePressure({ thresholds, transitionMs: 5 * minute, clock });
  t.deepEqual(pressure.conditions(), []);
  pressure.observe(memory(99));
  t.deepEqual(pressure.conditions(), ['MemoryPressure']);
  t.is(pressure.met.length, 1);
  pressure.observe(memory(500));
  t.is(pressure.met.length, 0);
  t.true(pressure.isUnder('MemoryPressure'));
  await clock.advance(5 * minute);
  t.deepEqual(pressure.conditions(), []);
});

test('a listener hears of changed conditions until it leaves', (t) => {
  const pressure = new NodePressure({ thresholds, transitionMs: 0, clock: new FakeClock() });
  let heard = 0;
  const leave = pressure.onChange(() => heard++);
  pressure.observe(memory(99));
  t.is(heard, 0, 'a transition period of 0 shows nothing');
  leave();
  const lasting = new NodePressure({ thresholds, transitionMs: minute, clock: new FakeClock() });
  const leaveLasting = lasting.onChange(() => heard++);
  lasting.observe(memory(99));
  lasting.observe(memory(98));
  t.is(heard, 1);
  leaveLasting();
  lasting.observe({ ...memory(98), 'pid.available': { available: 1, capacity: 100 } });
  t.is(heard, 1);
  t.deepEqual(lasting.conditions(), ['MemoryPressure', 'PIDPressure']);
});

test('unresolved: any threshold, its grace period aside and its minimum reclaim included', (t) => {
  const pids = (available: number) => ({ 'pid.available': { available, capacity: 100 } });
  t.true(isAnyUnresolved(thresholds, memory(149)));
  t.false(isAnyUnresolved(thresholds, memory(150)));
  t.true(isAnyUnresolved(thresholds, pids(19)));
  t.false(isAnyUnresolved(thresholds, {}));
});
