import test from 'ava';
import fc from 'fast-check';
import { restartBackoffAnnotation } from './annotations.ts';
import { healthyRunMs, restartDecision } from './restart-backoff.ts';
import type { ContainerRecord } from './runtime-state.ts';

const limits = { initialMs: 10_000, maxMs: 300_000 };
const end = 1_000_000_000;

const ended = (carried: string | undefined, ranMs = 1_000, change: Partial<ContainerRecord> = {}): ContainerRecord => ({
  id: 'c',
  sandboxId: 's',
  name: 'c',
  attempt: 0,
  phase: 'exited',
  image: '',
  imageRef: '',
  createdAtMs: end - ranMs - 5,
  startedAtMs: end - ranMs,
  finishedAtMs: end,
  exitCode: 1,
  reason: '',
  message: '',
  logPath: '',
  annotations: carried === undefined ? {} : { [restartBackoffAnnotation]: carried },
  ...change,
});

test('a first start waits for nothing', (t) => {
  t.deepEqual(restartDecision(undefined, limits), { notBeforeMs: 0, nextBackoffMs: 0, currentBackoffMs: 0 });
});

for (const [carried, wait, next] of [
  [undefined, 0, 10_000],
  ['0', 0, 10_000],
  ['10000', 10_000, 20_000],
  ['20000', 20_000, 40_000],
  ['160000', 160_000, 300_000],
  ['300000', 300_000, 300_000],
  // What is not ours or was tampered with neither waits for ever nor throws.
  ['9e99', 300_000, 300_000],
  ['Infinity', 0, 10_000],
  ['NaN', 0, 10_000],
  ['-5', 0, 10_000],
  ['ten', 0, 10_000],
] as const) {
  test(`an instance that carries ${carried ?? 'nothing'} waits ${wait} ms, the next carries ${next}`, (t) => {
    t.deepEqual(restartDecision(ended(carried), limits), {
      notBeforeMs: wait === 0 ? 0 : end + wait,
      nextBackoffMs: next,
      currentBackoffMs: wait,
    });
  });
}

test('ten minutes of running forget the crashes, a millisecond less does not', (t) => {
  t.is(restartDecision(ended('300000', healthyRunMs + 1), limits).currentBackoffMs, 0);
  t.is(restartDecision(ended('300000', healthyRunMs), limits).currentBackoffMs, 300_000);
});

test('an instance that never started counts from its creation', (t) => {
  const record = ended('10000', 0, { startedAtMs: undefined, finishedAtMs: undefined, createdAtMs: end });
  t.is(restartDecision(record, limits).notBeforeMs, end + 10_000);
});

test('a ceiling below the first delay holds from the first crash on', (t) => {
  t.is(restartDecision(ended('0'), { initialMs: 10_000, maxMs: 1_000 }).nextBackoffMs, 1_000);
});

test('no annotation makes a wait that is longer than the ceiling or not a number', (t) => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1_000, max: 300_000 }), (carried, maxMs) => {
      const decision = restartDecision(ended(carried), { initialMs: 10_000, maxMs });
      t.true(decision.currentBackoffMs >= 0 && decision.currentBackoffMs <= maxMs);
      t.true(decision.nextBackoffMs > 0 && decision.nextBackoffMs <= maxMs);
    }),
  );
});
