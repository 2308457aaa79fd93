/** A role in the background: what it waits for or fails with holds nobody up, and ending it leaves nothing. */
import test from 'ava';
import { ApiError } from '../../api/api-error.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { type Role, RoleStart } from './role-start.ts';

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

const abortable = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test('begun anew: the former role ends before the next one starts, and only one stands', async (t) => {
  const told: string[] = [];
  let lives = 0;
  const start = new RoleStart({
    name: 'network',
    clock: new FakeClock(),
    log: silentLogger,
    start: async () => {
      const life = ++lives;
      told.push(`start ${life}`);
      return { life, stop: async () => void told.push(`stop ${life}`) };
    },
  });
  await settled();
  start.restart('another podCIDR');
  start.restart('and yet another');
  t.is(start.role?.life, 1);
  await settled();
  await settled();
  t.is(start.role?.life, 2);
  t.deepEqual(told, ['start 1', 'stop 1', 'start 2']);
  await start.stop();
  start.restart('too late');
  await settled();
  t.deepEqual(told, ['start 1', 'stop 1', 'start 2', 'stop 2']);
});

test('begun anew while it tries, or rests: the next try is at once', async (t) => {
  let tries = 0;
  const start = new RoleStart({
    name: 'network',
    clock: new FakeClock(),
    log: silentLogger,
    start: async (signal): Promise<never> => {
      tries++;
      if (tries === 2) throw new Error('this podCIDR is in use');
      return abortable(signal);
    },
  });
  await settled();
  start.restart('another podCIDR');
  await settled();
  t.is(start.error, 'this podCIDR is in use');
  t.is(tries, 2);
  start.restart('another podCIDR');
  await settled();
  t.is(tries, 3);
  await start.stop();
});

test('a role that does not end well is followed by the next one', async (t) => {
  let lives = 0;
  const start = new RoleStart({
    name: 'proxy',
    clock: new FakeClock(),
    log: silentLogger,
    start: async () => ({
      life: ++lives,
      stop: () => (lives === 1 ? Promise.reject(new Error('x')) : Promise.resolve()),
    }),
  });
  await settled();
  start.restart('another podCIDR');
  await settled();
  await settled();
  t.is(start.role?.life, 2);
  await start.stop();
});

test('says what it waits for, as it is when somebody looks', async (t) => {
  let reason = 'waits for A';
  const go = Promise.withResolvers<void>();
  const start = new RoleStart({
    name: 'proxy',
    clock: new FakeClock(),
    log: silentLogger,
    start: async (_, say) => {
      say(() => reason);
      await go.promise;
      return { stop: async () => undefined };
    },
  });
  await settled();
  t.is(start.waiting, 'waits for A');
  reason = 'waits for A: refused';
  t.is(start.waiting, 'waits for A: refused');
  go.resolve();
  await settled();
  t.is(start.waiting, undefined);
  await start.stop();
});

test('others wait for it; whoever gives up is let go', async (t) => {
  const clock = new FakeClock();
  let tries = 0;
  const start = new RoleStart({
    name: 'container runtime',
    clock,
    log: silentLogger,
    start: async () => {
      if (++tries === 1) throw new Error('no such socket');
      return { stop: async () => undefined };
    },
  });
  const impatient = new AbortController();
  const given = t.throwsAsync(start.started(impatient.signal), { message: 'enough' });
  const role = start.started(new AbortController().signal);
  await start.attempted;
  impatient.abort(new Error('enough'));
  await given;
  await clock.advance(1_000);
  t.true((await role) === start.role);
  t.true((await start.started(new AbortController().signal)) === start.role);
  await t.throwsAsync(start.started(AbortSignal.abort(new Error('late'))), { message: 'late' });
  await start.stop();
});

test('an error that no try would mend is the end of it', async (t) => {
  const clock = new FakeClock();
  let tries = 0;
  const start = new RoleStart({
    name: 'kubelet',
    clock,
    log: silentLogger,
    mayPass: (error) => error instanceof RangeError,
    start: async (): Promise<never> => {
      throw ++tries === 1 ? new RangeError('away') : new Error('a mistake');
    },
  });
  await start.attempted;
  t.is(start.error, 'away');
  const fatal = t.throwsAsync(start.fatal, { message: 'a mistake' });
  await clock.advance(600_000);
  await fatal;
  t.is(tries, 2);
  await start.stop();
});

test('a refusal that may pass is no error, one that lasts is', async (t) => {
  const clock = new FakeClock();
  let isAllowed = false;
  const start = new RoleStart({
    name: 'proxy',
    clock,
    log: silentLogger,
    start: async () => {
      if (!isAllowed) throw new ApiError('API_FORBIDDEN', 'forbidden');
      return { stop: async () => undefined };
    },
  });
  await settled();
  t.is(start.error, undefined);
  t.regex(start.waiting ?? '', /rights/);
  await clock.advance(30_000);
  t.is(start.error, 'forbidden');
  isAllowed = true;
  await clock.advance(15_000);
  t.is(start.error, undefined);
  t.truthy(start.role);
  await start.stop();
});

test('a change is told: a failure with its error, then that the role stands', async (t) => {
  const clock = new FakeClock();
  const told: unknown[] = [];
  const failure = new RangeError('VNI is taken');
  let isFree = false;
  const start: RoleStart<Role> = new RoleStart<Role>({
    name: 'network',
    clock,
    log: silentLogger,
    onChange: () => void told.push(start.failure ?? start.role),
    start: async () => {
      if (!isFree) throw failure;
      return { stop: async () => undefined };
    },
  });
  await settled();
  t.deepEqual(told, [failure]);
  isFree = true;
  await clock.advance(1_000);
  await settled();
  t.deepEqual(told, [failure, start.role]);
  t.is(start.failure, undefined);
  await start.stop();
});
