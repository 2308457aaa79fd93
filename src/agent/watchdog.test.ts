/** Signs of life come as long as the thread pool works, stop when it does not, and never outlive the watchdog. */
import test from 'ava';
import { FakeClock, settle } from '../base/fake-clock.ts';
import { watchdogLimitMs } from '../kernel/notify.ts';
import { type Logger, silentLogger } from '../observe/logger.ts';
import { startWatchdog } from './watchdog.ts';

function world(limitMs: number | undefined = 60_000) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const note = (_fields: object, message: string): void => void lines.push(message);
  const log: Logger = { ...silentLogger, info: note, warn: note, error: note };
  const signs: number[] = [];
  const state = { pool: (): Promise<unknown> => Promise.resolve(), refuse: false };
  const began = clock.now();
  const watchdog = startWatchdog({
    limitMs,
    notify(text) {
      if (state.refuse) throw new Error('ECONNREFUSED');
      signs.push(clock.now() - began);
      if (text !== 'WATCHDOG=1') throw new Error(text);
    },
    poolWork: () => state.pool(),
    clock,
    log,
  });
  return { clock, lines, signs, state, watchdog };
}

test('a sign at once, then four in the time that systemd waits', async (t) => {
  const { clock, signs, watchdog } = world();
  await settle();
  await clock.advance(45_000);
  t.deepEqual(signs, [0, 15_000, 30_000, 45_000]);
  watchdog[Symbol.dispose]();
  await clock.advance(60_000);
  t.is(signs.length, 4);
});

test('no sign while the thread pool is stuck, one line about it, and signs again when it is not', async (t) => {
  const { clock, signs, state, lines } = world();
  await settle();
  const stuck = Promise.withResolvers<void>();
  let asked = 0;
  state.pool = () => {
    asked++;
    return stuck.promise;
  };
  await clock.advance(120_000);
  t.deepEqual(signs, [0]);
  t.is(asked, 1, 'a stuck pool is not given more work');
  t.is(lines.filter((line) => line.includes('does not get done')).length, 1);
  state.pool = () => Promise.resolve();
  stuck.resolve();
  await settle();
  t.deepEqual(signs, [0, 120_000]);
  await clock.advance(15_000);
  t.is(signs.length, 3);
  t.is(lines.filter((line) => line.includes('gets done again')).length, 1);
});

test('pool work that fails is work done', async (t) => {
  const { clock, signs, state } = world();
  await settle();
  state.pool = () => Promise.reject(new Error('ENOENT'));
  await clock.advance(15_000);
  t.is(signs.length, 2);
});

test('a notify socket that refuses is told once and ends nothing', async (t) => {
  const { clock, signs, state, lines } = world();
  await settle();
  state.refuse = true;
  await clock.advance(45_000);
  t.is(lines.filter((line) => line.includes('does not take')).length, 1);
  state.refuse = false;
  await clock.advance(15_000);
  t.deepEqual(signs, [0, 60_000]);
});

test('nothing is done when nobody waits', async (t) => {
  const clock = new FakeClock();
  startWatchdog({
    limitMs: undefined,
    notify: () => t.fail(),
    poolWork: () => Promise.resolve(t.fail()),
    clock,
    log: silentLogger,
  });
  await clock.advance(600_000);
  t.pass();
});

test('whom systemd waits for, and how long', (t) => {
  t.is(watchdogLimitMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '7' }, 7), 60_000);
  t.is(watchdogLimitMs({ WATCHDOG_USEC: '1500' }, 7), 1.5);
  t.is(watchdogLimitMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '8' }, 7), undefined);
  for (const text of ['', '0', '-1', '1e9', ' 5', '5s', '99999999999999999999', '0x10'])
    t.is(watchdogLimitMs({ WATCHDOG_USEC: text }, 7), undefined, text);
  t.is(watchdogLimitMs({}, 7), undefined);
});
