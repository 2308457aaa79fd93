import test from 'ava';
import { KeyedBackoff, nextDelay } from './backoff.ts';

test('delays double up to the ceiling', (t) => {
  const limits = { initialMs: 10_000, maxMs: 300_000 };
  const delays: number[] = [];
  for (let i = 0; i < 7; i++) delays.push(nextDelay(delays.at(-1) ?? 0, limits));
  t.deepEqual(delays, [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
});

test('keys are independent, remaining counts down and a quiet time forgets', (t) => {
  const backoff = new KeyedBackoff({ initialMs: 10, maxMs: 40 });
  t.is(backoff.remaining('a', 0), 0);
  t.is(backoff.failed('a', 0), 10);
  t.is(backoff.remaining('a', 4), 6);
  t.is(backoff.remaining('b', 4), 0);
  t.is(backoff.failed('a', 10), 20);
  t.is(backoff.failed('a', 90), 10, 'forgotten after 2 x max without a failure');
  backoff.forget('a');
  t.is(backoff.remaining('a', 90), 0);
});
