/** Tests of the client against the scripted API server over real TLS connections. Layer: api. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket, connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { systemClock } from '../base/clock.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { isRecord } from '../config/schema-compound.ts';
import { ApiError, type ApiErrorCode } from './api-error.ts';
import { type ApiClient, type ApiClientOptions, createApiClient, type ServerTime } from './client.ts';
import { type FakeApiServer, type FakeApiServerOptions, failure, startFakeApiServer } from './fake-api-server.ts';
import { createFakeAuthority } from './fake-pki.ts';
import { chunksOf } from './http.ts';
import { collectionPath, objectPath, pods } from './resource.ts';

const podsPath = '/api/v1/pods';
const podA = objectPath(pods, { namespace: 'default', name: 'a' });
const pod = (name = 'a', extra: object = {}) => ({ metadata: { name, namespace: 'default' }, ...extra });
const asRecord = (value: unknown): Readonly<Record<string, unknown>> => {
  if (!isRecord(value)) throw new Error('is no object');
  return value;
};

async function serve(t: ExecutionContext, options?: FakeApiServerOptions): Promise<FakeApiServer> {
  const server = await startFakeApiServer(options);
  t.teardown(() => server.close());
  return server;
}

function clientOf(
  t: ExecutionContext,
  options: Pick<ApiClientOptions, 'access'> & Partial<ApiClientOptions>,
): ApiClient {
  const client = createApiClient({ userAgent: 'keelson/test', random: () => 0, ...options });
  t.teardown(() => client.close());
  return client;
}

async function failsWith(t: ExecutionContext, promise: Promise<unknown>, code: ApiErrorCode): Promise<ApiError> {
  const error = await t.throwsAsync(promise);
  t.true(error instanceof ApiError, String(error));
  t.is((error as ApiError).code, code, (error as ApiError).toLine());
  return error as ApiError;
}

for (const http1 of [false, true]) {
  const over = http1 ? 'HTTP/1.1' : 'HTTP/2';

  test(`${over}: create, get, conflict, patch, status, delete with uid`, async (t) => {
    const server = await serve(t, { http1, chunkBytes: 7 });
    const client = clientOf(t, { access: server.access() });
    const created = asRecord(await client.create(collectionPath(pods, 'default'), pod(), asRecord));
    const exists = await failsWith(
      t,
      client.create(collectionPath(pods, 'default'), pod(), asRecord),
      'API_ALREADY_EXISTS',
    );
    t.is(exists.reason, 'AlreadyExists');
    const first = asRecord(created.metadata);
    await client.patch(podA, 'merge', { metadata: { labels: { x: 'ü🐢' } } }, asRecord);
    const stale = client.update(podA, { ...created, spec: {} }, asRecord);
    t.is((await failsWith(t, stale, 'API_CONFLICT')).object, `PUT ${podA}`);
    await client.patch(`${podA}/status`, 'strategic', { status: { phase: 'Running' } }, asRecord);
    const now = asRecord(await client.get(podA, asRecord));
    t.deepEqual(now.status, { phase: 'Running' });
    t.deepEqual(asRecord(now.metadata).labels, { x: 'ü🐢' });
    await failsWith(t, client.delete(podA, { uid: 'another' }), 'API_CONFLICT');
    await client.delete(podA, { uid: String(first.uid), gracePeriodSeconds: 0 });
    await failsWith(t, client.get(podA, asRecord), 'API_NOT_FOUND');
    await failsWith(t, client.delete(podA), 'API_NOT_FOUND');
    t.deepEqual(
      server.requests.filter((request) => request.method === 'PATCH').map((request) => request.headers['content-type']),
      ['application/merge-patch+json', 'application/strategic-merge-patch+json'],
    );
    t.true(server.requests.every((request) => request.headers['user-agent'] === 'keelson/test'));
    t.deepEqual(server.requests.at(-2)?.method === 'GET' && server.requests.at(-3)?.body, {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      preconditions: { uid: first.uid },
      gracePeriodSeconds: 0,
    });
    t.true(server.connections <= 2, 'connections are used again');
  });

  test(`${over}: the connection is reset under a GET, which is repeated; a POST is not`, async (t) => {
    const server = await serve(t, { http1 });
    const client = clientOf(t, { access: server.access() });
    server.put(podsPath, pod());
    let torn = 0;
    server.script(() => (torn++ < 2 ? 'reset' : undefined));
    t.truthy(await client.get(podA, asRecord));
    t.is(torn, 3);
    torn = 0;
    const error = await failsWith(
      t,
      client.create(collectionPath(pods, 'default'), pod('b'), asRecord),
      'API_UNREACHABLE',
    );
    t.true(error.sent);
    t.is(torn, 1);
  });

  test(`${over}: an answer that is cut off is repeated, then told`, async (t) => {
    const server = await serve(t, { http1 });
    const client = clientOf(t, { access: server.access() });
    server.put(podsPath, pod());
    let count = 0;
    server.script(() => (count++ === 0 ? { status: 200, cutAfter: '{"metadata":{' } : undefined));
    t.truthy(await client.get(podA, asRecord));
    server.script(() => ({ status: 200, cutAfter: '{"metadata":{' }));
    await failsWith(t, client.get(podA, asRecord), 'API_RESPONSE');
  });

  test(`${over}: abort and timeout end a request that hangs`, async (t) => {
    const server = await serve(t, { http1 });
    const client = clientOf(t, { access: server.access() });
    server.script(() => 'hang');
    const abort = new AbortController();
    const hanging = client.get(podA, asRecord, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error('enough')), 50);
    await t.throwsAsync(hanging, { message: 'enough' });
    await failsWith(t, client.get(podA, asRecord, { timeoutMs: 50 }), 'API_TIMEOUT');
    server.script(undefined);
    await failsWith(t, client.get(podA, asRecord), 'API_NOT_FOUND');
  });
}

test('throttled and failing answers: who asks again, and who not', async (t) => {
  const server = await serve(t);
  const client = clientOf(t, { access: server.access() });
  const answers = async (status: number, headers: Record<string, string>, call: () => Promise<unknown>) => {
    let left = 1;
    const before = server.requests.length;
    server.script(() => (left-- > 0 ? { status, body: failure(status, 'X', 'no'), headers } : undefined));
    const outcome = await call().then(
      () => 'done',
      (error: ApiError) => error.code,
    );
    return [server.requests.length - before, outcome];
  };
  server.put(podsPath, pod());
  let names = 0;
  const get = () => client.get(podA, asRecord);
  const post = () => client.create(collectionPath(pods, 'default'), pod(`n${names++}`), asRecord);
  t.deepEqual(await answers(429, { 'retry-after': '0' }, post), [2, 'done']);
  t.deepEqual(await answers(503, {}, get), [2, 'done']);
  t.deepEqual(await answers(503, {}, post), [1, 'API_SERVER']);
  t.deepEqual(await answers(500, { 'retry-after': '1' }, post), [2, 'done']);
  t.deepEqual(await answers(403, {}, get), [1, 'API_FORBIDDEN']);
  t.deepEqual(await answers(429, { 'retry-after': '3600' }, get), [1, 'API_THROTTLED']);
  server.script(() => ({ status: 502, body: '<html>Bad gateway</html>' }));
  const error = await failsWith(t, get(), 'API_SERVER');
  t.is(error.message, '<html>Bad gateway</html>');
});

test('a parse function that refuses is told with the request', async (t) => {
  const server = await serve(t);
  const client = clientOf(t, { access: server.access() });
  server.put(podsPath, pod());
  const parse = (): never => {
    throw new Error('spec is missing');
  };
  const error = await failsWith(t, client.get(podA, parse), 'API_RESPONSE');
  t.is(error.toLine(), `GET ${podA}: the answer is not what was asked for: spec is missing`);
  t.is(server.requests.length, 1);
});

test('a token is renewed after 401 without the caller seeing it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keelson-client-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'token');
  writeFileSync(file, 'old');
  const server = await serve(t, { token: 'new' });
  server.put(podsPath, pod());
  const client = clientOf(t, { access: server.access({ token: { file } }) });
  const error = await failsWith(t, client.get(podA, asRecord), 'API_UNAUTHORIZED');
  t.regex(error.toLine(), /renew the certificate or token/);
  writeFileSync(file, 'new');
  t.truthy(await client.get(podA, asRecord));
  t.is(server.connections, 1);
});

test('servers that are not to be trusted or not there are one clear line', async (t) => {
  const server = await serve(t, { certificate: { names: ['10.9.8.7'] } });
  const expired = await serve(t, { certificate: { notAfter: Date.now() - 1000 } });
  const line = async (access: Parameters<typeof server.access>[0], of = server): Promise<string> => {
    const client = clientOf(t, { access: of.access(access) });
    const error = await t.throwsAsync(client.get(podA, asRecord));
    return error instanceof ApiError ? `${error.code} ${error.toLine()}` : String(error);
  };
  const stranger = createFakeAuthority('stranger').certificate;
  t.regex(await line({ certificateAuthority: { data: stranger } }), /^API_TLS .*set certificate-authority-data/);
  t.regex(await line({}), /^API_TLS .*ERR_TLS_CERT_ALTNAME_INVALID.*set tls-server-name/);
  t.regex(await line({}, expired), /^API_TLS .*CERT_HAS_EXPIRED.*renew the certificate of the API server/);
  t.regex(
    await line({ servers: ['https://127.0.0.1:1'] }),
    /^API_UNREACHABLE API server https:\/\/127.0.0.1:1: .*ECONNREFUSED/,
  );
  const plain = createServer((socket) => socket.end('220 smtp\r\n'));
  t.teardown(() => plain.close());
  await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
  const { port } = plain.address() as { port: number };
  t.regex(await line({ servers: [`https://127.0.0.1:${port}`] }), /^API_TLS .*TLS handshake failed/);
});

test('tls-server-name and insecureSkipTlsVerify do what they say', async (t) => {
  const server = await serve(t, { certificate: { names: ['kubernetes.default'] } });
  server.put(podsPath, pod());
  t.truthy(await clientOf(t, { access: server.access({ tlsServerName: 'kubernetes.default' }) }).get(podA, asRecord));
  const { certificateAuthority: _, ...access } = server.access({ insecureSkipTlsVerify: true });
  t.truthy(await clientOf(t, { access }).get(podA, asRecord));
});

test('the next server is used when one is gone, and stays in use', async (t) => {
  const authority = createFakeAuthority();
  const [one, two] = [await serve(t, { authority, open: true }), await serve(t, { authority, open: true })];
  for (const server of [one, two]) server.put(podsPath, pod());
  const client = clientOf(t, { access: one.access({ servers: [one.url, two.url] }) });
  await client.get(podA, asRecord);
  await one.close();
  await client.create(collectionPath(pods, 'default'), pod('b'), asRecord);
  await client.get(podA, asRecord);
  t.deepEqual([one.requests.length, two.requests.length], [1, 2]);
  await two.close();
  const error = await failsWith(t, client.get(podA, asRecord), 'API_UNREACHABLE');
  t.regex(error.message, /127.0.0.1:\d+: .*127.0.0.1:\d+: /);
});

test('more requests than one connection carries open another, none waits for watches to end', async (t) => {
  const server = await serve(t, { maxStreams: 5 });
  server.put(podsPath, pod());
  const client = clientOf(t, { access: server.access() });
  const abort = new AbortController();
  for (let count = 0; count < 12; count++) {
    await client.stream(`${podsPath}?watch=true`, { signal: abort.signal });
  }
  t.truthy(await client.get(podA, asRecord));
  t.is(server.openWatches, 12);
  t.true(server.connections >= 3 && server.connections <= 4, String(server.connections));
  abort.abort();
});

test('GOAWAY: requests that run go on, new ones go to a new connection', async (t) => {
  const server = await serve(t);
  server.put(podsPath, pod());
  const client = clientOf(t, { access: server.access() });
  const abort = new AbortController();
  const watch = await client.stream(`${podsPath}?watch=true`, { signal: abort.signal });
  server.goaway();
  for (let count = 0; count < 5; count++) await client.get(podA, asRecord);
  t.is(server.connections, 2);
  server.put(podsPath, pod('late'));
  let text = '';
  for await (const chunk of chunksOf(watch, { clock: systemClock, silenceMs: 5000, signal: abort.signal })) {
    text += chunk;
    if (text.includes('late')) break;
  }
  t.true(text.includes('late'));
});

test('a rotated client certificate is shown to the server, running requests go on', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keelson-client-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'client.pem');
  const server = await serve(t);
  server.put(podsPath, pod());
  const rotate = () => {
    const issued = server.authority.issue({ commonName: 'system:node:a' });
    writeFileSync(file, issued.certificate + issued.key);
  };
  rotate();
  let now = Date.now();
  const clock = { ...systemClock, now: () => now };
  const access = server.access({ clientCertificate: { certificate: { file }, key: { file } } });
  const client = clientOf(t, { access, clock });
  const abort = new AbortController();
  await client.stream(`${podsPath}?watch=true`, { signal: abort.signal });
  await client.get(podA, asRecord);
  t.is(server.connections, 1);
  rotate();
  now += 60_000;
  await client.get(podA, asRecord);
  await client.get(podA, asRecord);
  t.is(server.connections, 2);
  t.is(server.openWatches, 1);
  abort.abort();
});

test('a peer that vanishes without a word is noticed by pings', async (t) => {
  const server = await serve(t);
  // A relay that stops forwarding, as a router that lost its way: no FIN, no RST.
  const relayed: Socket[] = [];
  let frozen = false;
  const relay = createServer((inner) => {
    const outer = tcpConnect(server.port, '127.0.0.1');
    relayed.push(inner, outer);
    for (const [from, to] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      from.on('data', (data) => frozen || to.write(data));
      from.on('error', () => {});
      from.on('close', () => frozen || to.destroy());
    }
  });
  t.teardown(() => {
    for (const socket of relayed) socket.destroy();
    relay.close();
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const { port } = relay.address() as { port: number };
  const clock = new FakeClock(Date.now());
  const client = clientOf(t, { access: server.access({ servers: [`https://127.0.0.1:${port}`] }), clock });
  server.put(podsPath, pod());
  const { signal } = new AbortController();
  const watch = await client.stream(`${podsPath}?watch=true`, { signal });
  // A connection that only waits lives through its pings: an answer to one comes before that to a later request.
  await clock.advance(15_000);
  for (const pings of [1, 2]) {
    await clock.advance(15_000);
    await client.get(podA, asRecord);
    t.is(server.pings, pings);
    await clock.advance(15_000);
  }
  t.is(server.openWatches, 1);
  frozen = true;
  const reading = t.throwsAsync(async () => {
    for await (const _ of chunksOf(watch, { clock, silenceMs: 10_000_000, signal }));
  });
  await clock.advance(45_000);
  const error = await reading;
  t.true(error instanceof ApiError);
  if (error instanceof ApiError) t.regex(error.toLine(), /pings/);
});

test('closing the client ends what runs', async (t) => {
  const server = await serve(t);
  server.script(() => 'hang');
  const client = clientOf(t, { access: server.access() });
  const hanging = client.get(podA, asRecord);
  setTimeout(() => client.close(), 50);
  await failsWith(t, hanging, 'API_UNREACHABLE');
  await failsWith(t, client.get(podA, asRecord), 'API_UNREACHABLE');
});

test('names that lead elsewhere are never sent', (t) => {
  for (const name of ['', '.', '..', 'a/b', '%2e', '\ud800']) {
    const error = t.throws(() => objectPath(pods, { namespace: 'default', name }));
    t.is((error as ApiError).code, 'API_NAME');
  }
  t.is(objectPath(pods, { namespace: 'default', name: 'a?b#c' }), '/api/v1/namespaces/default/pods/a%3Fb%23c');
  t.throws(() => objectPath(pods, { name: 'a' }), { instanceOf: ApiError });
});

test('each answer tells the time of the server, refusals as well, but not those of what stands before it', async (t) => {
  const server = await serve(t, { open: true });
  const date = 'Sat, 21 Nov 2026 12:00:00 GMT';
  const told: ServerTime[] = [];
  const client = clientOf(t, { access: server.access(), onServerTime: (time) => void told.push(time) });
  server.script(() => ({ status: 200, body: {}, headers: { date } }));
  await client.get('/version', () => undefined);
  server.script(() => ({ status: 403, body: failure(403, 'Forbidden', 'no'), headers: { date } }));
  await failsWith(
    t,
    client.get('/version', () => undefined),
    'API_FORBIDDEN',
  );
  t.deepEqual(
    told.map((time) => time.date),
    [date, date],
  );
  for (const { sentMs, answeredMs } of told) t.true(answeredMs >= sentMs);
  server.script(() => ({ status: 502, body: 'bad gateway', headers: { date } }));
  await failsWith(
    t,
    client.create('/version', {}, () => undefined),
    'API_SERVER',
  );
  t.is(told.length, 2);
});
