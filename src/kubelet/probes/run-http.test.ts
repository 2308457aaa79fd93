import type { Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import type { HTTPGetAction } from '../../api/core.ts';
import { createFakeAuthority } from '../../api/fake-pki.ts';
import { systemClock } from '../../base/clock.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { closedPort, type FakeListener, listen } from './fake-listener.ts';
import type { ProbeOutcome } from './probe-outcome.ts';
import { runHttpProbe } from './run-http.ts';
import type { ProbeRequest } from './run-probe.ts';

const host = '127.0.0.1';

const request = (overrides: Partial<ProbeRequest> = {}): ProbeRequest => ({
  container: { name: 'c', image: 'i' },
  containerId: 'id',
  host,
  timeoutSeconds: 20,
  clock: systemClock,
  signal: new AbortController().signal,
  ...overrides,
});
const probe = (port: number, action: Partial<HTTPGetAction> = {}, overrides: Partial<ProbeRequest> = {}) =>
  runHttpProbe({ port, path: '/healthz', ...action }, request(overrides));

async function listening(t: ExecutionContext, ...parameters: Parameters<typeof listen>): Promise<FakeListener> {
  const listener = await listen(...parameters);
  t.teardown(() => listener.close());
  return listener;
}
const answering = (t: ExecutionContext, ...answers: string[]): Promise<FakeListener> =>
  listening(t, (socket, count) => socket.end(answers[count] ?? answers.at(-1) ?? ''));
const plain = (status: number, body = '', headers = ''): string =>
  `HTTP/1.1 ${status} X\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;
const found = (location: string): string => plain(302, '', `Location: ${location}\r\n`);
const failure = (output: string): ProbeOutcome => ({ result: 'failure', output });

test('200 to 299 is success, 400 and more a failure that does not show the body', async (t) => {
  for (const status of [200, 204, 299]) {
    const { port } = await answering(t, plain(status));
    t.deepEqual(await probe(port), { result: 'success', output: '' }, String(status));
  }
  for (const status of [400, 404, 500, 599, 999, 101]) {
    const { port } = await answering(t, plain(status, 'secret'));
    t.deepEqual(await probe(port), failure(`HTTP probe failed with statuscode: ${status}`));
  }
});

test('the request is the one that the pod asked for, on a connection of its own', async (t) => {
  const listener = await answering(t, plain(200));
  await probe(listener.port, { httpHeaders: [{ name: 'X-A', value: '1' }] });
  await probe(listener.port);
  const sent = `GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:${listener.port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\n`;
  t.deepEqual(listener.received, [`${sent}X-A: 1\r\nConnection: close\r\n\r\n`, `${sent}Connection: close\r\n\r\n`]);
});

test('HTTPS is spoken without looking at the certificate', async (t) => {
  const expired = createFakeAuthority().issue({
    names: ['else'],
    notBefore: 1_600_000_000_000,
    notAfter: 1_700_000_000_000,
  });
  const listener = await listening(t, (socket) => socket.end(plain(200, 'ok')), { tls: expired });
  t.deepEqual(await probe(listener.port, { scheme: 'HTTPS' }), { result: 'success', output: 'ok' });
  t.true(listener.received[0]?.startsWith('GET /healthz HTTP/1.1\r\n'));
  const broken = await probe(listener.port);
  t.is(broken.result, 'failure', 'plain HTTP to a TLS server');
});

test('HTTPS to a server without TLS is named as such', async (t) => {
  const { port } = await answering(t, 'HTTP/1.1 400 Bad Request\r\n\r\n');
  const url = `https://127.0.0.1:${port}/healthz`;
  t.deepEqual(
    await probe(port, { scheme: 'HTTPS' }),
    failure(`Get "${url}": http: server gave HTTP response to HTTPS client`),
  );
});

test('redirects on the host are followed with the same headers', async (t) => {
  const listener = await answering(t, found('/login?x'), plain(200, 'in'));
  const headers = [{ name: 'Host', value: 'site' }];
  t.deepEqual(await probe(listener.port, { httpHeaders: headers }), { result: 'success', output: 'in' });
  t.true(listener.received[1]?.startsWith('GET /login?x HTTP/1.1\r\nHost: site\r\n'));
  const failing = await answering(t, found('/login'), plain(500));
  t.deepEqual(await probe(failing.port), failure('HTTP probe failed with statuscode: 500'));
});

test('a redirect that leaves the host is a success with a warning', async (t) => {
  const { port, received } = await answering(t, plain(302, 'elsewhere', 'Location: http://192.0.2.1/\r\n'));
  t.deepEqual(await probe(port), {
    result: 'warning',
    output: 'Probe terminated redirects, Response body: elsewhere',
  });
  t.is(received.length, 1);
  const none = await answering(t, plain(304));
  t.is((await probe(none.port)).result, 'warning', 'no Location to follow');
});

test('redirects end after ten requests', async (t) => {
  const listener = await answering(t, found('/again'));
  const url = `http://127.0.0.1:${listener.port}/again`;
  t.deepEqual(await probe(listener.port), failure(`Get "${url}": stopped after 10 redirects`));
  t.is(listener.received.length, 10);
});

test('where nobody listens the probe fails in Go words', async (t) => {
  const port = await closedPort();
  const address = `127.0.0.1:${port}`;
  const reason = `dial tcp ${address}: connect: connection refused`;
  t.deepEqual(await probe(port), failure(`Get "http://${address}/healthz": ${reason}`));
});

test('a request that cannot be made is an error of the node, not a failure of the container', async (t) => {
  t.deepEqual(await probe(0), { result: 'error', state: 'unknown', output: 'invalid port "0"' });
  t.deepEqual(await probe(80, {}, { host: undefined }), {
    result: 'error',
    state: 'unknown',
    output: 'the pod has no IP address',
  });
});

test('servers that close, reset or babble fail the probe', async (t) => {
  const url = (port: number): string => `Get "http://127.0.0.1:${port}/healthz": `;
  const closing = await listening(t, (socket) => socket.end(), { greet: true });
  t.deepEqual(await probe(closing.port), failure(`${url(closing.port)}EOF`));
  const resetting = await listening(t, (socket) => socket.resetAndDestroy());
  const reason = `read tcp 127.0.0.1:${resetting.port}: connection reset by peer`;
  t.deepEqual(await probe(resetting.port), failure(url(resetting.port) + reason));
  const babbling = await answering(t, 'SSH-2.0-OpenSSH\r\n');
  const broken = 'net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-OpenSSH"';
  t.deepEqual(await probe(babbling.port), failure(url(babbling.port) + broken));
});

/** Writes as fast as the other side takes it, until it closes. */
function pour(socket: Socket, text: string): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(text)) {}
  };
  socket.on('drain', more);
  more();
}

test('endless headers and endless bodies end at their limits', async (t) => {
  const line = `X-Y: ${'z'.repeat(10_000)}\r\n`;
  const headers = await listening(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    pour(socket, line);
  });
  t.deepEqual(
    await probe(headers.port),
    failure(
      `Get "http://127.0.0.1:${headers.port}/healthz": net/http: server response headers exceeded 262144 bytes; aborted`,
    ),
  );
  for (const head of ['', 'Content-Length: 5000000000\r\n']) {
    const body = await listening(t, (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n`);
      pour(socket, 'x'.repeat(100_000));
    });
    const outcome = await probe(body.port);
    t.is(outcome.result, 'success');
    t.is(outcome.output.length, 10_240);
  }
});

test('a server that says nothing fails at the timeout, one that stops in its body is an error', async (t) => {
  const clock = new FakeClock();
  const arrived = Promise.withResolvers<void>();
  const silent = await listening(t, () => arrived.resolve());
  const waiting = probe(silent.port, {}, { clock, timeoutSeconds: 3 });
  await arrived.promise;
  await clock.advance(2_999);
  t.is(await Promise.race([waiting, 'still waiting']), 'still waiting');
  await clock.advance(1);
  const reason = 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)';
  t.deepEqual(await waiting, failure(`Get "http://127.0.0.1:${silent.port}/healthz": ${reason}`));

  const body = await listening(t, (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow'));
  const outcome = await probe(body.port, {}, { timeoutSeconds: 1 });
  t.deepEqual(outcome, {
    result: 'error',
    state: 'failure',
    output: 'context deadline exceeded (Client.Timeout or context cancellation while reading body)',
  });
});

test('an aborted probe rejects with the reason and closes its connection', async (t) => {
  const gone = Promise.withResolvers<void>();
  const scope = new AbortController();
  const silent = await listening(t, (socket) => {
    socket.on('close', () => gone.resolve());
    scope.abort(new Error('over'));
  });
  await t.throwsAsync(probe(silent.port, {}, { signal: scope.signal }), { message: 'over' });
  await gone.promise;
  await t.throwsAsync(probe(silent.port, {}, { signal: scope.signal }), { message: 'over' });
  t.is(silent.received.length, 1);
});
