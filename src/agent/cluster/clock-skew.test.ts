import test from 'ava';
import fc from 'fast-check';
import { silentLogger } from '../../observe/logger.ts';
import { aheadOf, type ClockSkew, ClockSkewWatch } from './clock-skew.ts';

const noon = Date.UTC(2026, 10, 21, 12);

function setUp() {
  const told: (ClockSkew | undefined)[] = [];
  const watch = new ClockSkewWatch({ log: silentLogger, onChange: (skew) => void told.push(skew) });
  let serverMs = noon;
  /** An answer of a server whose clock runs right, to a machine that is ahead by so much. */
  const answer = (aheadMs: number, tookMs = 10): void => {
    serverMs += 1_000;
    const answeredMs = serverMs + aheadMs;
    watch.observe({ sentMs: answeredMs - tookMs, answeredMs, date: new Date(serverMs).toUTCString() });
  };
  return { watch, told, answer };
}

test('a skew is told with its numbers after two answers, and once', (t) => {
  const { told, answer, watch } = setUp();
  answer(90_000);
  t.deepEqual(told, []);
  for (let n = 0; n < 5; n++) answer(90_000);
  t.deepEqual(told, [
    {
      seconds: 89,
      text: "the clock of this machine is 89 s ahead of the API server's: 2026-11-21T12:01:32.000Z here, 2026-11-21T12:00:02.000Z there",
    },
  ]);
  t.is(watch.skew, told[0]);
});

test('behind is told, too; a small difference is not; what has passed is told', (t) => {
  const { told, answer } = setUp();
  for (let n = 0; n < 5; n++) answer(-3_000);
  t.deepEqual(told, []);
  for (let n = 0; n < 3; n++) answer(-20_000);
  t.regex(told[0]?.text ?? '', /^the clock of this machine is 2[01] s behind the API server's: /);
  // Between the two bounds nothing changes.
  answer(-7_000);
  t.is(told.length, 1);
  answer(0);
  answer(0);
  t.deepEqual(told.slice(1), [undefined]);
});

test('a skew that grows is told again, one answer or a slow one is not believed', (t) => {
  const { told, answer } = setUp();
  answer(60_000);
  answer(0);
  answer(60_000);
  t.deepEqual(told, []);
  for (let n = 0; n < 3; n++) answer(60_000, 5_000);
  t.deepEqual(told, []);
  answer(60_000);
  answer(70_000);
  answer(40_000);
  answer(3_600_000);
  t.deepEqual(
    told.map((skew) => skew?.seconds),
    [59, 3599],
  );
});

test('whatever the header says, nothing is thrown and the result is a number or nothing', (t) => {
  t.is(aheadOf({ sentMs: noon, answeredMs: noon, date: undefined }), undefined);
  t.is(aheadOf({ sentMs: noon, answeredMs: noon, date: 'tomorrow' }), undefined);
  const watch = new ClockSkewWatch({ log: silentLogger, onChange: () => undefined });
  fc.assert(
    fc.property(fc.option(fc.oneof(fc.string(), fc.date().map(String)), { nil: undefined }), (date) => {
      const time = { sentMs: noon, answeredMs: noon, date };
      watch.observe(time);
      watch.observe(time);
      const ahead = aheadOf(time);
      return ahead === undefined || Number.isFinite(ahead);
    }),
  );
  t.pass();
});
