import test from 'ava';
import { createTokenBucket } from './token-bucket.ts';

test('the burst is spent at once, then tokens come at the rate', (t) => {
  const bucket = createTokenBucket(2, 3);
  t.deepEqual(
    [0, 0, 0, 0].map((now) => bucket.take(now)),
    [true, true, true, false],
  );
  t.deepEqual(
    [499, 500, 501].map((now) => bucket.take(now)),
    [false, true, false],
  );
  t.deepEqual(
    [60_000, 60_000, 60_000, 60_000].map((now) => bucket.take(now)),
    [true, true, true, false],
  );
});

test('a rate of 0 is no limit', (t) => {
  const bucket = createTokenBucket(0, 1);
  t.true(Array.from({ length: 100 }, () => bucket.take(0)).every(Boolean));
});
