import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { PeriodicTask } from './periodic-task.ts';

const pause = (clock: FakeClock, ms: number): Promise<void> => new Promise((resolve) => clock.after(ms, resolve));

test('the rest begins when the work ends; a wake during the work is work once more, not twice at a time', async (t) => {
  const clock = new FakeClock(0);
  const runs: number[] = [];
  let underWay = 0;
  const task = new PeriodicTask({
    clock,
    random: () => 0.5,
    log: silentLogger,
    periodMs: 1000,
    run: async () => {
      runs.push(clock.now());
      t.is(++underWay, 1);
      await pause(clock, 100);
      underWay--;
      return undefined;
    },
  });
  task.start();
  task.start();
  await clock.advance(1300);
  t.deepEqual(runs, [0, 1120], '2 % of chance, after 100 ms of work');
  await clock.advance(700);
  task.wake();
  await clock.advance(50);
  task.wake();
  task.wake();
  await clock.advance(200);
  t.deepEqual(runs.slice(2), [2000, 2100]);
  await task.stop();
  await clock.advance(10_000);
  t.is(runs.length, 4);
});

test('the work names its next time; what it throws is reported and does not end it', async (t) => {
  const clock = new FakeClock(0);
  const errors: object[] = [];
  let runs = 0;
  const task = new PeriodicTask({
    clock,
    random: () => 0,
    log: { ...silentLogger, error: (fields) => void errors.push(fields) },
    periodMs: 1000,
    run: async () => {
      runs++;
      if (runs === 2) throw new Error('unforeseen');
      return 10;
    },
  });
  task.start();
  await clock.advance(10);
  t.is(runs, 2);
  await clock.advance(999);
  t.is(runs, 2);
  await clock.advance(1);
  t.is(runs, 3);
  t.deepEqual(errors, [{ error: 'unforeseen' }]);
  await task.stop();
});
