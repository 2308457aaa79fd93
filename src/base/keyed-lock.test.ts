import test from 'ava';
import { KeyedLock } from './keyed-lock.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('one key in order, other keys meanwhile, failures reach their caller only', async (t) => {
  const lock = new KeyedLock();
  const log: string[] = [];
  const task =
    (name: string, fails = false) =>
    async () => {
      log.push(`${name} begins`);
      await turn();
      log.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    };
  const first = lock.run('a', task('a1', true));
  const second = lock.run('a', task('a2'));
  const other = lock.run('b', task('b1'));
  await t.throwsAsync(first, { message: 'a1' });
  t.is(await second, 'a2');
  t.is(await other, 'b1');
  t.true(log.indexOf('a1 ends') < log.indexOf('a2 begins'));
  t.true(log.indexOf('b1 begins') < log.indexOf('a1 ends'));
  await lock.idle();
});

test('idle waits for what is queued while it waits', async (t) => {
  const lock = new KeyedLock();
  let done = 0;
  void lock.run('a', async () => {
    await turn();
    done++;
    void lock.run('a', async () => {
      await turn();
      done++;
    });
  });
  await lock.idle();
  t.is(done, 2);
});
