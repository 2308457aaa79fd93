import test from 'ava';
import fc from 'fast-check';
import { HttpStatusError } from '../http-status-error.ts';
import { type LogQuery, parseLogQuery } from './log-query.ts';

const now = Date.UTC(2026, 10, 21, 12);
const parse = (query: string): LogQuery => parseLogQuery(new URLSearchParams(query), now);
const seconds = (date: number): number => date / 1000;

test('nothing asked for', (t) => {
  t.deepEqual(parse(''), {
    ...{ follow: false, previous: false, timestamps: false },
    ...{ tailLines: undefined, limitBytes: undefined, since: undefined },
  });
});

test('every parameter', (t) => {
  t.deepEqual(parse('follow=true&previous=1&timestamps=true&tailLines=0&limitBytes=10&sinceSeconds=60&stream=All'), {
    ...{ follow: true, previous: true, timestamps: true, tailLines: 0, limitBytes: 10 },
    since: { seconds: seconds(now) - 60, nanos: 0 },
  });
  t.deepEqual(parse('sinceTime=2026-11-21T11:59:00%2B01:00').since, { seconds: seconds(now) - 3660, nanos: 0 });
  t.is(parse('container=x&insecureSkipTLSVerifyBackend=true&pretty=1').tailLines, undefined);
});

test('flags are true unless they say otherwise', (t) => {
  for (const [text, value] of [
    ['0', false],
    ['false', false],
    ['FALSE', false],
    ['', true],
    ['no', true],
    ['1', true],
  ] as const) {
    t.is(parse(`follow=${text}`).follow, value, text);
  }
});

test('the old name of tailLines goes before it', (t) => {
  t.is(parse('tail=3&tailLines=5').tailLines, 3);
  t.is(parse('tail=all&tailLines=5').tailLines, undefined);
  t.is(parse('tail=&tailLines=5').tailLines, 5);
});

test('no time is the beginning', (t) => {
  t.is(parse('sinceTime=').since?.seconds, Number.NEGATIVE_INFINITY);
  t.is(parse('sinceTime=null').since?.seconds, Number.NEGATIVE_INFINITY);
});

const refused = (query: string): [number, string] => {
  try {
    parse(query);
  } catch (error) {
    if (error instanceof HttpStatusError) return [error.status, error.message];
    throw error;
  }
  return [200, ''];
};

for (const query of [
  'tailLines=',
  'tailLines=x',
  'tailLines=1.5',
  'tailLines=0x10',
  'tailLines=1e3',
  'tailLines=%201',
  'tailLines=9223372036854775808',
  `limitBytes=${'9'.repeat(100_000)}`,
  'tail=-',
  'sinceSeconds=1_000',
  'sinceTime=yesterday',
  'sinceTime=2026-11-21',
]) {
  test(`cannot be read: ${query.slice(0, 40)}`, (t) => {
    t.deepEqual(refused(query), [400, '{"message": "Unable to decode query."}']);
  });
}

for (const query of [
  'tailLines=-1',
  'tail=-5',
  'limitBytes=0',
  'limitBytes=-1',
  'sinceSeconds=0',
  'sinceSeconds=-9223372036854775808',
  'sinceSeconds=5&sinceTime=2026-11-21T11:59:00Z',
  'stream=',
  'stream=stdout',
  'stream=Both',
  'stream=Stdout&tailLines=1',
]) {
  test(`out of range: ${query}`, (t) => t.deepEqual(refused(query), [422, '{"message": "Invalid request."}']));
}

test('one stream alone is behind a feature gate that is off', (t) => {
  const [status, message] = refused('stream=Stderr');
  t.is(status, 400);
  t.is(
    message,
    'unable to return the given log stream: "Stderr". Please enable PodLogsQuerySplitStreams feature gate in kubelet',
  );
});

test('any query is read or refused', (t) => {
  const name = fc.constantFrom('follow', 'tail', 'tailLines', 'limitBytes', 'sinceSeconds', 'sinceTime', 'stream');
  const value = fc.oneof(fc.string(), fc.constantFrom('1', '0', '-1', 'all', 'All', 'null', '2026-11-21T11:59:00Z'));
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 5 }), (pairs) => {
      const [status] = refused(new URLSearchParams(pairs).toString());
      t.true([200, 400, 422].includes(status));
    }),
  );
});
