import test from 'ava';
import fc from 'fast-check';
import { compareLogTimes, logTimeOfMs, parseLogTime, readTimestamp, timestampEnd, writeTimestamp } from './log-time.ts';

const written = (text: string): string => {
  const to = Buffer.alloc(64);
  const bytes = Buffer.from(text);
  return to.toString('utf8', 0, writeTimestamp(bytes, 0, bytes.length, to, 0));
};

test('a time is the instant that Date says, with nanoseconds', (t) => {
  for (const text of [
    '2026-11-21T15:39:20Z',
    '1970-01-01T00:00:00Z',
    '1969-12-31T23:59:59Z',
    '2000-02-29T12:00:00+05:30',
  ]) {
    t.deepEqual(parseLogTime(text), { seconds: Date.parse(text) / 1000, nanos: 0 }, text);
  }
  t.is(parseLogTime('2026-11-21T15:39:20.5Z')?.nanos, 500_000_000);
  t.is(parseLogTime('2026-11-21T15:39:20.000000001-01:00')?.nanos, 1);
  t.is(parseLogTime('2026-11-21T15:39:20.123456789987Z')?.nanos, 123_456_789);
  t.deepEqual(parseLogTime('2026-11-21T15:39:20,25Z'), parseLogTime('2026-11-21T15:39:20.25Z'));
});

test('any instant between the years 1 and 9999, in any zone', (t) => {
  const instant = fc.date({
    min: new Date('0001-01-02T00:00:00Z'),
    max: new Date('9999-12-30T00:00:00Z'),
    noInvalidDate: true,
  });
  const zone = fc.integer({ min: -14 * 60, max: 14 * 60 });
  fc.assert(
    fc.property(instant, zone, (date, minutes) => {
      const local = new Date(date.getTime() + minutes * 60_000).toISOString().replace('Z', '');
      const two = (n: number): string => String(n).padStart(2, '0');
      const distance = Math.abs(minutes);
      const text = `${local}${minutes < 0 ? '-' : '+'}${two(Math.floor(distance / 60))}:${two(distance % 60)}`;
      t.deepEqual(parseLogTime(text), logTimeOfMs(date.getTime()), text);
    }),
  );
});

for (const bad of [
  '',
  '2026',
  '2026-11-21',
  '2026-11-21T15:39:20',
  '2026-11-21 15:39:20Z',
  '2026-13-01T00:00:00Z',
  '2026-00-01T00:00:00Z',
  '2026-02-29T00:00:00Z',
  '1900-02-29T00:00:00Z',
  '2026-04-31T00:00:00Z',
  '2026-11-00T00:00:00Z',
  '2026-11-21T24:00:00Z',
  '2026-11-21T23:60:00Z',
  '2026-11-21T23:59:60Z',
  '2026-11-21T23:59:59.Z',
  '2026-11-21T23:59:59z',
  '2026-11-21T23:59:59+2:00',
  '2026-11-21T23:59:59+02:60',
  '2026-11-21T23:59:59+25:00',
  '2026-11-21T23:59:59Z ',
  '+026-11-21T23:59:59Z',
  `2026-11-21T23:59:59.${'1'.repeat(100)}Z`,
  '２026-11-21T23:59:59Z',
]) {
  test(`${JSON.stringify(bad)} is no time`, (t) => t.is(parseLogTime(bad), undefined));
}

test('every beginning of a time may still become one', (t) => {
  for (const text of ['2026-11-21T15:39:20.123456789+02:00', '2026-11-21T15:39:20Z', '2026-11-21T15:39:20.1-23:59']) {
    const bytes = Buffer.from(text);
    for (let end = 0; end < bytes.length; end++) t.is(timestampEnd(bytes, 0, end), -2, text.slice(0, end));
    t.is(timestampEnd(bytes, 0, bytes.length), bytes.length);
  }
});

test('what comes after the end of a block is not looked at', (t) => {
  t.is(timestampEnd(Buffer.from('2026-11-21T15:39:20.x'), 0, 20), -2);
  t.is(timestampEnd(Buffer.from('2026-11-21T15:39:20.x'), 0, 21), -1);
  t.is(timestampEnd(Buffer.from('2026-11-21T15:39:20+02x00'), 0, 22), -2);
  t.is(timestampEnd(Buffer.from('2026-11-21T15:39:20+02x00'), 0, 25), -1);
});

test('times are shown with nine digits and Z for no offset', (t) => {
  t.is(written('2026-11-21T15:39:20Z'), '2026-11-21T15:39:20.000000000Z');
  t.is(written('2026-11-21T15:39:20.57606443Z'), '2026-11-21T15:39:20.576064430Z');
  t.is(written('2026-11-21T15:39:20.123456789123Z'), '2026-11-21T15:39:20.123456789Z');
  t.is(written('2026-11-21T15:39:20.5+02:00'), '2026-11-21T15:39:20.500000000+02:00');
  t.is(written('2026-11-21T15:39:20.5+00:00'), '2026-11-21T15:39:20.500000000Z');
  t.is(written('2026-11-21T15:39:20-07:30'), '2026-11-21T15:39:20.000000000-07:30');
});

test('order is by second, then by nanosecond', (t) => {
  const [a, b] = [
    readTimestamp(Buffer.from('2026-11-21T15:39:20.000000001Z'), 0),
    logTimeOfMs(Date.UTC(2026, 10, 21, 15, 39, 20)),
  ];
  t.true(compareLogTimes(a, b) > 0);
  t.true(compareLogTimes(b, a) < 0);
  t.is(compareLogTimes(a, a), 0);
  t.true(compareLogTimes({ seconds: -1, nanos: 999_999_999 }, { seconds: 0, nanos: 0 }) < 0);
});
