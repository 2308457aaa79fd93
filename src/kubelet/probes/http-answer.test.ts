import test from 'ava';
import fc from 'fast-check';
import { HttpAnswerReader } from './http-answer.ts';

const limits = { headBytes: 500, bodyBytes: 20 };

function read(text: string, { cuts = [] as number[], ends = true } = {}) {
  const reader = new HttpAnswerReader(limits);
  const bytes = Buffer.from(text, 'utf8');
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    reader.push(bytes.subarray(from, cut));
    from = Math.max(from, cut);
  }
  if (ends) reader.end();
  const { status, location, fault, done } = reader;
  return { status, location, fault, done, body: reader.body() };
}
const bodyOf = (text: string): string => {
  const { status, body, fault, done } = read(text);
  return `${status} ${done} ${fault ?? ''}|${body}`;
};

test('answers of every shape are read to their end', (t) => {
  t.is(bodyOf('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokX'), '200 true |ok');
  t.is(bodyOf('HTTP/1.0 200\r\n\r\nuntil the end'), '200 true |until the end');
  t.is(bodyOf('HTTP/1.1 200 OK\n\nbare line ends'), '200 true |bare line ends');
  t.is(
    bodyOf('HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n'),
    '200 true |abcde',
  );
  t.is(bodyOf('HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n'), '204 true |');
  t.is(bodyOf('HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n'), '503 true |');
  t.is(bodyOf('HTTP/1.1 101 Switching Protocols\r\n\r\n'), '101 true |');
  t.is(read('HTTP/1.1 302 Found\r\nLOCATION:  /a b \r\nX: y\r\n folded\r\n\r\n').location, '/a b');
});

test('a sized body is done without the connection being closed', (t) => {
  t.true(read('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', { ends: false }).done);
  t.false(read('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok', { ends: false }).done);
  t.false(read('HTTP/1.1 200 OK\r\n\r\nok', { ends: false }).done);
});

test('a body is read as far as its limit and no further', (t) => {
  const long = 'x'.repeat(1000);
  for (const head of ['Content-Length: 1000', 'Content-Length: 999999999999', 'X: y']) {
    t.is(bodyOf(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${long}`), `200 true |${'x'.repeat(20)}`);
  }
  t.is(bodyOf(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n${long}`), `200 true |${'x'.repeat(20)}`);
});

test('a body that is cut off or damaged is told apart from an answer that is none', (t) => {
  const length = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n';
  const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  t.is(bodyOf(`${length}abc`), '200 true unexpected EOF|abc');
  t.is(bodyOf(`${chunked}3\r\nab`), '200 true unexpected EOF|ab');
  t.is(bodyOf(`${chunked}zz\r\n`), '200 true invalid byte in chunk length|');
  t.is(bodyOf(`${chunked}1\r\naXX\r\n`), '200 true malformed chunked encoding|a');
  t.is(bodyOf(`${chunked}${'1'.repeat(5000)}`), '200 true header line too long|');
});

test('what is no HTTP answer has no status and one reason', (t) => {
  const broken = 'net/http: HTTP/1.x transport connection broken: ';
  const cases: [string, string][] = [
    ['', 'EOF'],
    ['HTTP/1.1 200', 'unexpected EOF'],
    ['HTTP/1.1 200 OK\r\nX: y', 'unexpected EOF'],
    ['SSH-2.0-x\r\n', `${broken}malformed HTTP response "SSH-2.0-x"`],
    ['hello you\r\n', `${broken}malformed HTTP status code "you"`],
    ['HELLO 200\r\n', `${broken}malformed HTTP version "HELLO"`],
    ['HTTP/1.1 20 OK\r\n', `${broken}malformed HTTP status code "20"`],
    ['HTTP/1.1 200 OK\r\nno colon\r\n', `${broken}malformed MIME header: missing colon: "no colon"`],
    ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n', `${broken}bad Content-Length "-1"`],
    ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n', `${broken}bad Content-Length "2"`],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n', `${broken}unsupported transfer encoding: "gzip"`],
    [`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(600)}`, 'net/http: server response headers exceeded 500 bytes; aborted'],
    ['HTTP/1.1 100 C\r\n\r\n'.repeat(50), 'net/http: server response headers exceeded 500 bytes; aborted'],
  ];
  for (const [text, fault] of cases) {
    const result = read(text);
    t.is(result.fault, fault, text.slice(0, 40));
    t.is(result.status, 0);
  }
});

test('property: how an answer is cut into pieces changes nothing', (t) => {
  const line = fc.constantFrom(
    'HTTP/1.1 200 OK',
    'X: y',
    'Content-Length: 4',
    'Transfer-Encoding: chunked',
    '',
    '3',
    'abc',
    '0',
  );
  const answer = fc
    .tuple(fc.array(line, { maxLength: 12 }), fc.constantFrom('\r\n', '\n'), fc.string({ maxLength: 30 }))
    .map(([lines, end, tail]) => `HTTP/1.1 302 F${end}${lines.join(end)}${tail}`);
  fc.assert(
    fc.property(answer, fc.array(fc.nat(200), { maxLength: 40 }), (text, places) => {
      const cuts = places.sort((a, b) => a - b).filter((place) => place <= Buffer.byteLength(text));
      t.deepEqual(read(text, { cuts }), read(text));
    }),
  );
});

test('property: no bytes make it throw or keep more than its limits', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), (chunks) => {
      const reader = new HttpAnswerReader(limits);
      reader.push(Buffer.from('HTTP/1.1 200 OK\r\n'));
      for (const chunk of chunks) reader.push(Buffer.from(chunk));
      reader.end();
      return reader.done && Buffer.byteLength(reader.body(), 'latin1') <= 3 * limits.bodyBytes;
    }),
  );
  t.pass();
});
