import test from 'ava';
import fc from 'fast-check';
import { HttpStatusError } from '../http-status-error.ts';
import { forwardedPorts, isUpgrade, isWebSocket, quote, streamOptions } from './stream-options.ts';

const options = (query: string) => streamOptions(new URLSearchParams(query));
const webSocket = { connection: 'Upgrade', upgrade: 'websocket' };
const ports = (query: string, headers: Record<string, string> = webSocket) =>
  forwardedPorts(new URLSearchParams(query), headers);

test('each stream is asked for by 1', (t) => {
  t.deepEqual(options('input=1&output=1&error=1'), { stdin: true, stdout: true, stderr: true, tty: false });
  t.deepEqual(options('output=1&command=input%3D1'), { stdin: false, stdout: true, stderr: false, tty: false });
});

test('a terminal has no stderr', (t) => {
  t.deepEqual(options('input=1&error=1&tty=1'), { stdin: true, stdout: false, stderr: false, tty: true });
});

test('of a repeated parameter the first counts', (t) => {
  t.deepEqual(options('output=1&output=0&input=0&input=1').stdin, false);
});

for (const query of ['', 'tty=1', 'tty=1&error=1', 'input=true&output=yes', 'Input=1', 'stdin=1', 'input=01', 'input'])
  test(`no stream at all is refused: ${query || 'an empty query'}`, (t) => {
    const error = t.throws(() => options(query), { instanceOf: HttpStatusError });
    t.is(error.status, 400);
    t.is(error.message, 'you must specify at least 1 of stdin, stdout, stderr');
  });

test('SPDY names no ports in the query', (t) => {
  t.deepEqual(ports('port=80', { connection: 'Upgrade', upgrade: 'SPDY/3.1' }), []);
  t.deepEqual(ports('port=x', {}), []);
});

test('ports of a WebSocket: repeated or with commas', (t) => {
  t.deepEqual(ports('port=80'), [80]);
  t.deepEqual(ports('port=80,443&port=1&port=65535'), [80, 443, 1, 65535]);
});

for (const [query, message] of [
  ['', 'query parameter "port" is required'],
  ['port=', 'query parameter "port" cannot be empty'],
  ['port=80&port=', 'query parameter "port" cannot be empty'],
  ['port=http', 'unable to parse "http" as a port'],
  ['port=80,', 'unable to parse "80," as a port'],
  ['port=65536', 'unable to parse "65536" as a port'],
  ['port=%2B80', 'unable to parse "+80" as a port'],
  ['port=-1', 'unable to parse "-1" as a port'],
  ['port=8e1', 'unable to parse "8e1" as a port'],
  ['port=0', 'port "0" must be > 0'],
  ['port=%0d%0aX', 'unable to parse "\\r\\nX" as a port'],
] as const)
  test(`bad port refused: ${query || 'an empty query'}`, (t) => {
    const error = t.throws(() => ports(query), { instanceOf: HttpStatusError });
    t.is(error.status, 400);
    t.is(error.message, message);
  });

test('property: ports are those in the query, or the query is refused', (t) => {
  const part = fc.oneof(fc.integer({ min: -1, max: 70_000 }).map(String), fc.string({ maxLength: 4 }));
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.array(fc.array(part, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 }), (lists) => {
        const texts = lists.map((list) => list.join(','));
        const words = texts.flatMap((text) => text.split(','));
        const good = words.every((word) => /^\d+$/.test(word) && Number(word) >= 1 && Number(word) <= 65_535);
        const query = new URLSearchParams(texts.map((text) => ['port', text]));
        try {
          const found = forwardedPorts(query, webSocket);
          return good && words.map(Number).join() === found.join();
        } catch (error) {
          return !good && error instanceof HttpStatusError && error.status === 400;
        }
      }),
    ),
  );
});

test('which requests are upgrades, and which are WebSockets', (t) => {
  t.true(isUpgrade({ connection: 'keep-alive, Upgrade' }));
  t.false(isUpgrade({ connection: 'close' }));
  t.false(isUpgrade({}));
  t.true(isWebSocket({ connection: 'upgrade', upgrade: 'WebSocket' }));
  t.false(isWebSocket({ connection: 'upgrade', upgrade: 'SPDY/3.1' }));
  t.false(isWebSocket({ upgrade: 'websocket' }));
});

test("a client's text is quoted in one line and cut", (t) => {
  t.is(quote('a"b\n'), '"a\\"b\\n"');
  t.is(quote('x'.repeat(10_000)).length, 261);
});
