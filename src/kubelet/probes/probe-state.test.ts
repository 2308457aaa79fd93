import test from 'ava';
import fc from 'fast-check';
import { afterRun, carriedState, initialState } from './probe-state.ts';
import { type ProbeKind, probeKinds, probeTerms } from './probe-terms.ts';

const terms = { successThreshold: 2, failureThreshold: 3 };
type Outcome = 'success' | 'failure';

const results = (kind: ProbeKind, outcomes: string, state = initialState(kind)): string[] =>
  [...outcomes].map((letter) => {
    state = afterRun(kind, terms, state, letter === '+' ? 'success' : 'failure');
    return state.onHold ? `${state.result}, on hold` : state.result;
  });

test('before its first run a container is not ready, is alive, and not known to be started', (t) => {
  t.is(initialState('readiness').result, 'failure');
  t.is(initialState('liveness').result, 'success');
  t.is(initialState('startup').result, 'unknown');
  for (const kind of probeKinds) t.false(initialState(kind).onHold);
});

test('what was known before a restart counts until runs say otherwise', (t) => {
  t.is(carriedState('readiness').result, 'success');
  t.false(carriedState('readiness').onHold);
  t.deepEqual(results('readiness', '--', carriedState('readiness')), ['success', 'success']);
  t.true(carriedState('startup').onHold, 'a started container is not asked again');
});

test('a readiness result changes at its threshold and a run of the other kind begins the count anew', (t) => {
  t.deepEqual(results('readiness', '++--+---'), [
    'failure',
    'success',
    'success',
    'success',
    'success',
    'success',
    'success',
    'failure',
  ]);
});

test('a liveness probe that failed for good is put on hold, one that succeeded goes on', (t) => {
  t.deepEqual(results('liveness', '++--'), ['success', 'success', 'success', 'success']);
  t.deepEqual(results('liveness', '---'), ['success', 'success', 'failure, on hold']);
  t.deepEqual(results('liveness', '---+++').at(-1), 'failure, on hold', 'a late success does not revive it');
});

test('a startup probe says one thing only', (t) => {
  t.deepEqual(results('startup', '--++'), ['unknown', 'unknown', 'unknown', 'success, on hold']);
  t.deepEqual(results('startup', '---'), ['unknown', 'unknown', 'failure, on hold']);
});

test('property: the result is the last one that came as often in a row as its threshold', (t) => {
  const threshold = fc.integer({ min: 1, max: 5 });
  fc.assert(
    fc.property(threshold, threshold, fc.array(fc.boolean(), { maxLength: 60 }), (success, failure, runs) => {
      const limits = { successThreshold: success, failureThreshold: failure };
      let state = initialState('readiness');
      const seen: Outcome[] = [];
      let expected = 'failure';
      for (const good of runs) {
        const outcome: Outcome = good ? 'success' : 'failure';
        seen.push(outcome);
        const needed = good ? success : failure;
        if (seen.length >= needed && seen.slice(-needed).every((one) => one === outcome)) expected = outcome;
        state = afterRun('readiness', limits, state, outcome);
        if (state.result !== expected || state.onHold) return false;
      }
      return true;
    }),
  );
  t.pass();
});

test('numbers that are missing, 0 or absurd become what a schedule can hold', (t) => {
  t.deepEqual(probeTerms({}), {
    initialDelayMs: 0,
    periodMs: 10_000,
    timeoutSeconds: 1,
    successThreshold: 1,
    failureThreshold: 3,
    graceSeconds: undefined,
  });
  const odd = probeTerms({
    initialDelaySeconds: -5,
    periodSeconds: 0,
    timeoutSeconds: Number.NaN,
    successThreshold: 1e300,
    failureThreshold: Number.POSITIVE_INFINITY,
    terminationGracePeriodSeconds: 7.9,
  });
  t.deepEqual(odd, {
    initialDelayMs: 0,
    periodMs: 10_000,
    timeoutSeconds: 1,
    successThreshold: 2 ** 31 - 1,
    failureThreshold: 2 ** 31 - 1,
    graceSeconds: 7,
  });
});
