/** A role in the background: what it waits for or fails with holds nobody up, and ending it leaves nothing. */
import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { RoleStart } from './role-start.ts';

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('tried again, ever later, until it stands; then no more', async (t) => {
  const clock = new FakeClock();
  let attempts = 0;
  const stopped: string[] = [];
  const start = new RoleStart({
    name: 'proxy',
    clock,
    log: silentLogger,
    start: async () => {
      attempts++;
      if (attempts < 3) throw new Error(`refused ${attempts}`);
      return { stop: async () => void stopped.push('role') };
    },
  });
  await settled();
  t.is(start.role, undefined);
  t.is(start.error, 'refused 1');
  await clock.advance(1_000);
  await settled();
  t.is(start.error, 'refused 2');
  await clock.advance(1_000);
  await settled();
  t.is(attempts, 2, 'the second delay is longer');
  await clock.advance(1_000);
  await settled();
  t.truthy(start.role);
  t.is(start.error, undefined);
  await clock.advance(600_000);
  t.is(attempts, 3);
  await start.stop();
  t.deepEqual(stopped, ['role']);
});

test('stopped while it waits: the start is told, and nothing is left to stop', async (t) => {
  let reason: unknown;
  const start = new RoleStart({
    name: 'network',
    clock: new FakeClock(),
    log: silentLogger,
    start: (signal) =>
      new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason;
          reject(signal.reason);
        });
      }),
  });
  await settled();
  await start.stop();
  t.regex(String(reason), /the network role stops/);
  t.is(start.error, undefined);
});

test('stopped between two attempts: there is no third', async (t) => {
  const clock = new FakeClock();
  let attempts = 0;
  const start = new RoleStart({
    name: 'proxy',
    clock,
    log: silentLogger,
    start: async (): Promise<never> => {
      attempts++;
      throw new Error('refused');
    },
  });
  await settled();
  await start.stop();
  await clock.advance(600_000);
  t.is(attempts, 1);
});
