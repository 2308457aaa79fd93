/** Go's duration syntax: examples of time.ParseDuration, refusals, and print-parse round trips. */
import test from 'ava';
import fc from 'fast-check';
import { DurationError, durationFromMs, durationToMs, formatDuration, parseDuration } from './duration.ts';

const s = 1_000_000_000n;

test('reads what Go reads', (t) => {
  const cases: [string, bigint][] = [
    ['0', 0n],
    ['-0', 0n],
    ['0s', 0n],
    ['5s', 5n * s],
    ['1m30s', 90n * s],
    ['100ms', 100_000_000n],
    ['-1.5h', -5400n * s],
    ['+5s', 5n * s],
    ['5.s', 5n * s],
    ['.5s', s / 2n],
    ['1.5m', 90n * s],
    ['10.5s4m', 250n * s + s / 2n],
    ['-2m3.4s', -(123n * s + (2n * s) / 5n)],
    ['1h2m3s4ms5us6ns', 3_723_004_005_006n],
    ['12\u00b5s', 12_000n],
    ['12\u03bcs34ns', 12_034n],
    ['3s3s', 6n * s],
    ['0.3333333333333333333h', 1_199_999_999_999n],
    ['0.9ns', 0n],
    ['9223372036854775807ns', 2n ** 63n - 1n],
    ['-9223372036854775808ns', -(2n ** 63n)],
  ];
  for (const [text, expected] of cases) t.is(parseDuration(text), expected, text);
});

test('refuses what Go refuses', (t) => {
  const bad = [
    '',
    '-',
    '+',
    '3',
    '.',
    '-.',
    '.s',
    '+.s',
    's',
    '1d',
    '1S',
    '1m 30s',
    ' 1s',
    '1s ',
    '1e3s',
    '0x1s',
    '1,5s',
  ];
  for (const text of [...bad, '1.2.3s', '9223372036854775808ns', '300y', 'constructors', '-9223372036854775809ns']) {
    const error = t.throws(() => parseDuration(text), { instanceOf: DurationError }, text);
    t.is(error?.code, 'CONFIG_DURATION');
    t.false(error?.toLine().includes('\n'));
  }
  t.throws(() => parseDuration(`${'9'.repeat(1_000_000)}s`), { message: /too long/ });
});

test('prints as Go prints', (t) => {
  const cases: [bigint, string][] = [
    [0n, '0s'],
    [1n, '1ns'],
    [1_100n, '1.1\u00b5s'],
    [2_200_000n, '2.2ms'],
    [100_000_000n, '100ms'],
    [3n * s + (3n * s) / 10n, '3.3s'],
    [60n * s, '1m0s'],
    [245n * s + s / 1000n, '4m5.001s'],
    [5n * 3600n * s + 367n * s, '5h6m7s'],
    [-90n * s, '-1m30s'],
    [480n * 3600n * s, '480h0m0s'],
  ];
  for (const [value, expected] of cases) t.is(formatDuration(value), expected);
});

test('what is printed reads back to the same value', (t) => {
  fc.assert(
    fc.property(
      fc.bigInt(-(2n ** 63n) + 1n, 2n ** 63n - 1n),
      (value) => parseDuration(formatDuration(value)) === value,
    ),
  );
  t.pass();
});

test('any text is read or refused with a DurationError', (t) => {
  const texts = fc.oneof(fc.string(), fc.stringMatching(/^[-+]?[0-9.]{0,6}(ns|us|ms|s|m|h|x)?[0-9.]{0,4}(s|m)?$/));
  fc.assert(
    fc.property(texts, (text) => {
      try {
        return typeof parseDuration(text) === 'bigint';
      } catch (error) {
        return error instanceof DurationError;
      }
    }),
  );
  t.pass();
});

test('milliseconds keep fractions and come back', (t) => {
  t.is(durationToMs(parseDuration('1500us')), 1.5);
  t.is(durationToMs(parseDuration('2m')), 120_000);
  t.is(durationToMs(parseDuration('-250ms')), -250);
  t.is(durationFromMs(1.5), 1_500_000n);
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 45 }), (ms) => durationToMs(durationFromMs(ms)) === ms));
});
