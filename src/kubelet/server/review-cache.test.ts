/** The memory of reviews: times, bounds, shared questions. */
import test from 'ava';
import fc from 'fast-check';
import { FakeClock, settle } from '../../base/fake-clock.ts';
import { ReviewCache } from './review-cache.ts';

function setup(options: { maxEntries?: number; maxReviews?: number; timeoutMs?: number } = {}) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const cache = new ReviewCache<string>({ clock, signal: stop.signal, ...options });
  let asked = 0;
  const ask = (answer: string, keepMs: number) => async () => {
    asked++;
    return { answer, keepMs };
  };
  return { clock, stop, cache, ask, asked: () => asked };
}

test('an answer holds for its time and not longer', async (t) => {
  const { clock, cache, ask, asked } = setup();
  t.is(await cache.get('a', ask('1', 1000)), '1');
  await clock.advance(999);
  t.is(await cache.get('a', ask('2', 1000)), '1');
  await clock.advance(1);
  t.is(await cache.get('a', ask('3', 0)), '3');
  t.is(await cache.get('a', ask('4', 1000)), '4', 'an answer without time is not kept');
  t.is(asked(), 3);
});

test('a clock that was set back ends what is remembered', async (t) => {
  let now = 1000;
  const clock = { now: () => now, after: () => () => undefined };
  const cache = new ReviewCache<string>({ clock, signal: new AbortController().signal });
  await cache.get('a', async () => ({ answer: 'old', keepMs: 1e9 }));
  now = 0;
  t.is(await cache.get('a', async () => ({ answer: 'new', keepMs: 1e9 })), 'new');
});

test('those that wait for the same answer share one question, also its failure', async (t) => {
  const { cache, ask, asked } = setup();
  let fail: (error: Error) => void = () => undefined;
  let questions = 0;
  const failing = () => {
    questions++;
    return new Promise<never>((_, reject) => {
      fail = reject;
    });
  };
  const waiting = [cache.get('a', failing), cache.get('a', failing)];
  t.is(questions, 1);
  fail(new Error('away'));
  for (const one of waiting) await t.throwsAsync(one, { message: 'away' });
  t.is(await cache.get('a', ask('1', 1000)), '1', 'a failure is not remembered');
  t.is(asked(), 1);
});

test('too many questions at a time are refused, and the places come back', async (t) => {
  const { cache, ask } = setup({ maxReviews: 2 });
  const gates: (() => void)[] = [];
  const slow = () =>
    new Promise<{ answer: string; keepMs: number }>((done) => gates.push(() => done({ answer: 'x', keepMs: 0 })));
  const first = cache.get('a', slow);
  const second = cache.get('b', slow);
  await t.throwsAsync(cache.get('c', slow), { code: 'KUBELET_API_BUSY' });
  for (const open of gates) open();
  await Promise.all([first, second]);
  t.is(await cache.get('c', ask('1', 0)), '1');
});

test('a question ends with its time and with the server', async (t) => {
  const { clock, stop, cache } = setup({ timeoutMs: 500 });
  const hang = (signal: AbortSignal) =>
    new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const late = t.throwsAsync(cache.get('a', hang), { message: /within 0.5 s/ });
  await clock.advance(500);
  await late;
  const stopped = t.throwsAsync(cache.get('b', hang), { message: 'stop' });
  stop.abort(new Error('stop'));
  await stopped;
  await settle();
});

test('never more entries than allowed, and the ones used last stay', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 60 }), async (keys) => {
      const { cache, ask } = setup({ maxEntries: 3 });
      let recent: number[] = [];
      for (const key of keys) {
        await cache.get(String(key), ask(String(key), 1000));
        recent = [...recent.filter((other) => other !== key), key].slice(-3);
      }
      t.is(cache.size, recent.length);
      const before = cache.size;
      for (const key of recent) await cache.get(String(key), () => Promise.reject(new Error('forgotten')));
      return before <= 3;
    }),
  );
});
