import test from 'ava';
import fc from 'fast-check';
import { LineFormatter, type LogOutput, maxHeaderBytes, outputCapacity } from './format-lines.ts';
import { compareLogTimes, parseLogTime } from './log-time.ts';

const at = '2026-11-21T15:39:20.5Z';
const wide = '2026-11-21T15:39:20.500000000Z';

const outputOf = (options: Partial<LogOutput> = {}): LogOutput => ({
  timestamps: false,
  since: undefined,
  remainingBytes: Number.POSITIVE_INFINITY,
  remainingLines: Number.POSITIVE_INFINITY,
  atLineStart: true,
  ...options,
});

/** As log-file.ts does it, with blocks of `blockBytes`. */
function format(log: Buffer, options: Partial<LogOutput> = {}, blockBytes = 1 << 20): Buffer {
  const formatter = new LineFormatter(outputOf(options));
  const chunks: Buffer[] = [];
  let rest: Buffer = Buffer.alloc(0);
  for (let start = 0; start < log.length; start += blockBytes) {
    const input = Buffer.concat([rest, log.subarray(start, start + blockBytes)]);
    const to = Buffer.alloc(outputCapacity(input.length));
    const { consumed, written } = formatter.format(input, to);
    chunks.push(to.subarray(0, written));
    rest = input.subarray(consumed);
  }
  return Buffer.concat(chunks);
}

const shown = (log: string, options: Partial<LogOutput> = {}): string => format(Buffer.from(log), options).toString();

test('both streams, in order, without their headers', (t) => {
  t.is(shown(`${at} stdout F one\n${at} stderr F two\n${at} stdout F \n${at} stdout F  x\n`), 'one\ntwo\n\n x\n');
});

test('pieces of a line are joined; its time is shown once', (t) => {
  const log = `${at} stdout P one \n${at} stdout P \n${at} stdout F two\n${at} stdout F three\n`;
  t.is(shown(log), 'one two\nthree\n');
  // An empty piece counts as the end of a line to the kubelet, too.
  t.is(shown(log, { timestamps: true }), `${wide} one ${wide} two\n${wide} three\n`);
  const usual = `${at} stdout P one \n${at} stdout P and \n${at} stdout F two\n`;
  t.is(shown(usual, { timestamps: true }), `${wide} one and two\n`);
});

test('only the first tag counts', (t) => {
  t.is(
    shown(`${at} stdout P:x a\n${at} stdout F:P b\n${at} stdout PP c\n${at} stdout  d\n${at} stdout X e\n`),
    'ab\nc\nd\ne\n',
  );
});

test('a line without its newline is shown as far as it goes', (t) => {
  t.is(shown(`${at} stdout F one\n${at} stdout F tw`), 'one\ntw');
  t.is(shown(`${at} stdout F one\n${at} stdout`), 'one\n');
});

for (const bad of [
  'hello',
  '',
  at,
  `${at} stdout F`,
  `${at} stdout`,
  `${at} stdlog F x`,
  `${at}  stdout F x`,
  `2026-11-21 stdout F x`,
  `${at}\tstdout F x`,
  `{"log":"x\\n","stream":"stdout","time":"${at}"}`,
  `${at} stdout ${'t'.repeat(1000)} x`,
  `2026-11-21T15:39:20.${'5'.repeat(1000)}Z stdout F x`,
  '\0\0\0\0',
  '\xff\xfe',
]) {
  test(`a line that is no log line is skipped: ${JSON.stringify(bad.slice(0, 50))}`, (t) => {
    const log = Buffer.concat([
      Buffer.from(`${at} stdout F one\n`),
      Buffer.from(bad, 'latin1'),
      Buffer.from(`\n${at} stdout F two\n`),
    ]);
    for (const blockBytes of [1, 7, 4096]) t.is(format(log, {}, blockBytes).toString(), 'one\ntwo\n');
  });
}

test('times before since are left out, to the nanosecond', (t) => {
  const log = ['20.1', '20.100000001', '20.09', '21'].map((s) => `2026-11-21T15:39:${s}Z stdout F ${s}\n`).join('');
  t.is(shown(log, { since: parseLogTime('2026-11-21T15:39:20.100000001Z') }), '20.100000001\n21\n');
  t.is(shown(log, { since: parseLogTime('2026-11-21T17:39:20.1+02:00') }), '20.1\n20.100000001\n21\n');
});

test('the limit of bytes cuts anywhere, a time included', (t) => {
  const log = `${at} stdout F one\n${at} stdout F two\n`;
  for (let limit = 1; limit < 9; limit++) t.is(shown(log, { remainingBytes: limit }), 'one\ntwo\n'.slice(0, limit));
  t.is(shown(log, { remainingBytes: 6, timestamps: true }), wide.slice(0, 6));
});

test('the limit of lines counts pieces and lines before since, not what is no line', (t) => {
  const old = '2020-01-01T00:00:00Z';
  const log = `junk\n${old} stdout F zero\n${at} stdout P one\n${at} stdout F two\n${at} stdout F three\n`;
  t.is(shown(log, { remainingLines: 3, since: parseLogTime('2026-01-01T00:00:00Z') }), 'onetwo\n');
  t.is(shown(log, { remainingLines: 0 }), '');
});

test('a line that a file left unfinished ends with the file', (t) => {
  const output = outputOf({ timestamps: true });
  const formatter = new LineFormatter(output);
  const to = Buffer.alloc(1000);
  t.is(formatter.format(Buffer.from(`${at} stdout F hal`), to).written, wide.length + 4);
  t.true(formatter.midLine);
  t.is(formatter.endFile(to), 1);
  t.is(to[0], 10);
  t.false(formatter.midLine);
  t.is(formatter.endFile(to), 0);
  const { written } = formatter.format(Buffer.from(`${at} stdout F x\n`), to);
  t.is(to.toString('utf8', 0, written), `${wide} x\n`);
});

test('a piece that a file left unfinished gets no newline', (t) => {
  const formatter = new LineFormatter(outputOf());
  const to = Buffer.alloc(1000);
  formatter.format(Buffer.from(`${at} stdout P hal`), to);
  t.is(formatter.endFile(to), 0);
});

test('a header that never ends is not kept', (t) => {
  const formatter = new LineFormatter(outputOf());
  const input = Buffer.from(`${at} stdout ${'x'.repeat(maxHeaderBytes)}`);
  t.is(formatter.format(input.subarray(0, 100), Buffer.alloc(1000)).consumed, 0);
  t.is(formatter.format(input, Buffer.alloc(1000)).consumed, input.length);
});

/** The rules said in the simplest way: whole lines, strings, one after the other. */
function reference(log: string, options: Partial<LogOutput>): string {
  let [text, atLineStart] = ['', true];
  let lines = options.remainingLines ?? Number.POSITIVE_INFINITY;
  for (const [line] of log.matchAll(/[^\n]*\n|[^\n]+$/g)) {
    if (lines <= 0) break;
    const match = /^([^ \n]{1,100}) (?:stdout|stderr) ([^ \n]{0,100}) (.*)$/s.exec(line);
    const time = parseLogTime(match?.[1] ?? '');
    if (!match || !time) continue;
    const partial = match[2]?.split(':')[0] === 'P';
    const rest = partial ? (match[3] ?? '').replace(/\n$/, '') : (match[3] ?? '');
    lines--;
    if (!options.since || compareLogTimes(time, options.since) >= 0) {
      if (options.timestamps && atLineStart) text += `${widened(match[1] ?? '')} `;
      text += rest;
    }
    atLineStart = rest === '' || rest.endsWith('\n');
  }
  return text.slice(0, options.remainingBytes ?? text.length);
}

function widened(time: string): string {
  const match = /^(.{19})(?:[.,](\d+))?(.*)$/.exec(time);
  const zone = match?.[3] ?? '';
  return `${match?.[1]}.${(match?.[2] ?? '').slice(0, 9).padEnd(9, '0')}${/^[+-]00:00$/.test(zone) ? 'Z' : zone}`;
}

const time = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .date({ min: new Date('2026-01-01'), max: new Date('2026-01-02'), noInvalidDate: true })
      .map((d) => d.toISOString()),
  },
  fc.constantFrom(
    '2026-01-01T12:00:00Z',
    '2026-01-01T12:00:00.123456789+01:00',
    '2026-01-01T12:00:00.5-00:00',
    '2026-02-30T00:00:00Z',
    'x',
    '',
  ),
);
const text = fc.string({ unit: fc.constantFrom('a', ' ', 'P', ':', '\r', '\t', '\0', '~'), maxLength: 40 });
const line = fc
  .tuple(
    time,
    fc.constantFrom('stdout', 'stderr', 'stdout', 'stdin', ''),
    fc.constantFrom('F', 'P', 'F', 'P:x', 'X', ''),
    text,
  )
  .map((parts) => parts.join(' '));
const log = fc
  .tuple(fc.array(fc.oneof({ weight: 6, arbitrary: line }, text), { maxLength: 12 }), fc.boolean())
  .map(([lines, finished]) => lines.join('\n') + (finished ? '\n' : ''));

test('any log, any options, any blocks: as the reference says', (t) => {
  const options = fc.record(
    {
      timestamps: fc.boolean(),
      since: fc.constant(parseLogTime('2026-01-01T12:00:00Z')),
      remainingBytes: fc.integer({ min: 1, max: 300 }),
      remainingLines: fc.integer({ min: 0, max: 12 }),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(log, options, fc.integer({ min: 1, max: 200 }), (bytes, chosen, blockBytes) => {
      const expected = reference(bytes, chosen);
      t.is(format(Buffer.from(bytes, 'latin1'), chosen, blockBytes).toString('latin1'), expected);
    }),
    { numRuns: 3000 },
  );
});

test('the output fits the capacity that is asked for', (t) => {
  const smallest = Buffer.from('2026-01-01T00:00:00Z stdout  \n'.repeat(5000));
  const formatter = new LineFormatter(outputOf({ timestamps: true }));
  const to = Buffer.alloc(outputCapacity(smallest.length));
  const { consumed, written } = formatter.format(smallest, to);
  t.is(consumed, smallest.length);
  t.is(written, 5000 * (30 + 2));
});
