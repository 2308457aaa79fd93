import test from 'ava';
import { untilAborted } from './until-aborted.ts';

test('the work, until the signal is sooner; what becomes of the work then disturbs nobody', async (t) => {
  const { signal } = new AbortController();
  t.is(await untilAborted(Promise.resolve(1), signal), 1);
  await t.throwsAsync(untilAborted(Promise.reject(new Error('broken')), signal), { message: 'broken' });
  const controller = new AbortController();
  const work = Promise.withResolvers<void>();
  const waiting = untilAborted(work.promise, controller.signal);
  controller.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  work.reject(new Error('later'));
  await t.throwsAsync(untilAborted(Promise.reject(new Error('unheard')), controller.signal), { message: 'enough' });
});
