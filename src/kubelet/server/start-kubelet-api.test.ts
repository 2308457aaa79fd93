/** The kubelet API over real TLS: identity, rights, routes, errors, upgrades, hostile requests. */
import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { createFakeAuthority } from '../../api/fake-pki.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import type { Logger } from '../../observe/logger.ts';
import {
  ask,
  type FakeKubeletApi,
  type FakeKubeletApiOptions,
  servedPod,
  startFakeKubeletApi,
} from './fake-kubelet-api.ts';
import { HttpStatusError } from './http-status-error.ts';
import { sendText } from './plain-answer.ts';
import type { Route, RouteRequest } from './route.ts';

async function setup(t: ExecutionContext, options: FakeKubeletApiOptions = {}): Promise<FakeKubeletApi> {
  const kubelet = await startFakeKubeletApi(options);
  t.teardown(() => kubelet.close());
  return kubelet;
}

const route = (path: string, handle: Route['handle'], more: Partial<Route> = {}): Route => ({
  path,
  methods: ['GET'],
  subresources: ['proxy'],
  handle,
  ...more,
});

const everyPath = [
  'GET /pods',
  'GET /runningpods/',
  'GET /healthz',
  'GET /healthz/ping',
  'GET /configz',
  'GET /statusz',
  'GET /flagz',
  'GET /logs/',
  'GET /logs/syslog',
  'POST /checkpoint/default/web/main',
  'GET /metrics',
  'POST /exec/default/web/main',
  'GET /nowhere',
  'DELETE /pods',
  'GET /logs/%2e%2e/passwd',
  'TRACE /pods',
];

/** As parts D to F bring them. */
const others: Route[] = [
  route('/metrics', async (_, response) => sendText(response, 200, 'x 1\n'), {
    subresources: ['metrics'],
    readOnlyPort: true,
  }),
  route('/exec/{namespace}/{pod}/{container}', async (_, response) => sendText(response, 200, 'ran'), {
    methods: ['GET', 'POST'],
  }),
];

test('no path says anything to somebody unknown, nor to a stranger, an expired one, or a bad token', async (t) => {
  const kubelet = await setup(t, { routes: others });
  const stranger = createFakeAuthority('stranger').issue({ commonName: 'admin', organization: 'system:masters' });
  const expired = kubelet.authority.issue({ commonName: 'admin', notAfter: Date.now() - 1000 });
  const early = kubelet.authority.issue({ commonName: 'admin', notBefore: Date.now() + 3600_000 });
  const server = kubelet.authority.issue({ commonName: 'admin', usages: ['serverAuth'] });
  for (const line of everyPath) {
    const [method = '', path = ''] = line.split(' ');
    for (const [who, credentials] of Object.entries({
      nobody: {},
      stranger: { as: stranger },
      expired: { as: expired },
      early: { as: early },
      'a server’s certificate': { as: server },
      'bad token': { token: 'bad' },
      'no token': { headers: { authorization: 'Bearer ' } },
      password: { headers: { authorization: 'Basic YTpi' } },
    })) {
      const { status, body } = await kubelet.ask(path, { method, ...credentials });
      t.deepEqual([status, body], [401, 'Unauthorized'], `${line} by ${who}`);
    }
  }
  t.is(kubelet.reviews('subjectaccessreviews').length, 0, 'rights are asked for known users only');
  t.is(kubelet.reviews('tokenreviews').length, 1, 'the bad token is remembered');
});

test('without rights every path is forbidden, in the words of the kubelet', async (t) => {
  const kubelet = await setup(t, { routes: others });
  kubelet.allowed.clear();
  const verbs: Record<string, string> = { GET: 'get', POST: 'create', DELETE: 'delete', TRACE: '' };
  const names: Record<string, string> = {
    '/pods': 'pods proxy',
    '/runningpods/': 'pods proxy',
    '/healthz': 'healthz proxy',
    '/healthz/ping': 'healthz proxy',
    '/configz': 'configz proxy',
    '/statusz': 'statusz',
    '/flagz': 'configz',
    '/logs/': 'log',
    '/logs/syslog': 'log',
    '/checkpoint/default/web/main': 'checkpoint',
    '/metrics': 'metrics',
  };
  for (const line of everyPath) {
    const [method = '', path = ''] = line.split(' ');
    const { status, body } = await kubelet.ask(path, { method, as: kubelet.user('jane') });
    const wanted = `Forbidden (user=jane, verb=${verbs[method]}, resource=nodes, subresource(s)=[${names[path] ?? 'proxy'}])\n`;
    t.deepEqual([status, body], [403, wanted], line);
  }
});

test('one allowed subresource suffices, and the verb is that of the method', async (t) => {
  const kubelet = await setup(t, { routes: others, pods: [servedPod('web')] });
  const as = kubelet.user('jane');
  kubelet.allowed.clear();
  for (const right of ['jane get pods', 'joe get proxy', 'jane get metrics', 'jane create proxy'])
    kubelet.allowed.add(right);
  t.is((await kubelet.ask('/pods', { as })).status, 200);
  t.is((await kubelet.ask('/pods', { token: 'joe' })).status, 200, 'the coarse name');
  t.is((await kubelet.ask('/metrics', { as })).status, 200);
  t.is((await kubelet.ask('/metrics', { token: 'joe' })).status, 403, 'metrics have only their own name');
  t.is((await kubelet.ask('/exec/a/b/c', { as, method: 'POST' })).status, 200);
  t.is((await kubelet.ask('/exec/a/b/c', { as, method: 'GET' })).status, 403);
  t.is((await kubelet.ask('/healthz', { as })).status, 403);
});

test('a certificate’s names and a token’s are the user; both are authenticated', async (t) => {
  const kubelet = await setup(t);
  await kubelet.ask('/healthz', { as: kubelet.user('jane', ['dev', 'ops']) });
  await kubelet.ask('/healthz', { token: 'joe' });
  const [certificate, token] = kubelet
    .reviews('subjectaccessreviews')
    .map(({ body }) => (body as { spec: object }).spec);
  t.like(certificate, { user: 'jane', groups: ['dev', 'ops', 'system:authenticated'] });
  t.regex(JSON.stringify(certificate), /"authentication.kubernetes.io\/credential-id":\["X509SHA256=[0-9a-f]{64}"\]/);
  t.like(token, { user: 'joe', groups: ['tokens', 'system:authenticated'] });
  t.deepEqual((token as { resourceAttributes: object }).resourceAttributes, {
    verb: 'get',
    version: 'v1',
    resource: 'nodes',
    subresource: 'healthz',
    name: 'node-1',
  });
});

test('a name cannot be forged by what stands in another', async (t) => {
  const kubelet = await setup(t);
  await kubelet.ask('/healthz', { as: kubelet.user('jane\nO=system:masters', ['a\nCN=admin', 'b, O=system:masters']) });
  const [review] = kubelet.reviews('subjectaccessreviews').map(({ body }) => (body as { spec: object }).spec);
  t.like(review, {
    user: 'jane\nO=system:masters',
    groups: ['a\nCN=admin', 'b, O=system:masters', 'system:authenticated'],
  });
});

test('a certificate by an authority between is good, one without a name is nobody', async (t) => {
  const kubelet = await setup(t);
  const between = kubelet.authority.intermediate('between');
  const leaf = between.issue({ commonName: 'jane', usages: ['clientAuth'] });
  const chain = { certificate: leaf.certificate + between.certificate, key: leaf.key };
  t.is((await kubelet.ask('/healthz', { as: chain })).status, 200);
  t.is((await kubelet.ask('/healthz', { as: leaf })).status, 401, 'the authority between is missing');
  const nameless = kubelet.authority.issue({ commonName: '', organization: 'dev' });
  t.is((await kubelet.ask('/healthz', { as: nameless })).status, 401);
  t.is((await kubelet.ask('/healthz', { as: nameless, token: 'joe' })).status, 200, 'a token may stand beside it');
  const stranger = createFakeAuthority('stranger').issue({ commonName: 'admin' });
  t.is((await kubelet.ask('/healthz', { as: stranger, token: 'joe' })).status, 200);
});

test('anonymous users are let in only where that is said, and only without credentials', async (t) => {
  const kubelet = await setup(t, { config: { anonymous: true } });
  kubelet.allowed.clear();
  kubelet.allowed.add('system:anonymous get healthz');
  t.is((await kubelet.ask('/healthz')).status, 200);
  t.like(kubelet.reviews('subjectaccessreviews')[0]?.body, {
    spec: { user: 'system:anonymous', groups: ['system:unauthenticated'] },
  });
  t.regex((await kubelet.ask('/pods')).body, /^Forbidden \(user=system:anonymous/);
  t.is((await kubelet.ask('/healthz', { token: 'bad' })).status, 401, 'a bad token is not anonymous');
  const stranger = createFakeAuthority('stranger').issue({ commonName: 'admin' });
  t.is((await kubelet.ask('/healthz', { as: stranger })).status, 401);
});

test('AlwaysAllow asks for nobody’s rights, but for an identity', async (t) => {
  const kubelet = await setup(t, { config: { accessReview: undefined, tokenReview: undefined } });
  t.is((await kubelet.ask('/healthz', { as: kubelet.user() })).status, 200);
  t.is((await kubelet.ask('/healthz', { token: 'joe' })).status, 401, 'tokens are switched off');
  t.is(kubelet.server.requests.length, 0);
});

test('without client CA no certificate is an identity', async (t) => {
  const kubelet = await setup(t, { config: { clientCAFile: undefined } });
  t.is((await kubelet.ask('/healthz', { as: kubelet.user() })).status, 401);
  t.is((await kubelet.ask('/healthz', { token: 'joe' })).status, 200);
});

test('answers of the API server are remembered for their time', async (t) => {
  const clock = new FakeClock(Date.now());
  const kubelet = await setup(t, { clock });
  kubelet.allowed.clear();
  kubelet.allowed.add('joe get healthz');
  const status = async (path: string): Promise<number> => (await kubelet.ask(path, { token: 'joe' })).status;
  const asked = (): number[] => [
    kubelet.reviews('tokenreviews').length,
    kubelet.reviews('subjectaccessreviews').length,
  ];
  t.deepEqual([await status('/healthz'), await status('/healthz')], [200, 200]);
  t.deepEqual(asked(), [1, 1]);
  t.deepEqual([await status('/pods'), await status('/pods')], [403, 403]);
  t.deepEqual(asked(), [1, 3], 'pods and proxy');
  await clock.advance(30_000);
  t.is(await status('/pods'), 403);
  t.deepEqual(asked(), [1, 5], 'a refusal holds for 30 s');
  await clock.advance(90_000);
  t.is(await status('/healthz'), 200);
  t.deepEqual(asked(), [2, 5], 'a token for 2 minutes');
  kubelet.allowed.clear();
  t.is(await status('/healthz'), 200);
  await clock.advance(180_000);
  t.is(await status('/healthz'), 403, 'a right for 5 minutes');
});

test('an API server that is away: 401 for tokens, 500 for rights, and both well again after', async (t) => {
  const kubelet = await setup(t);
  const as = kubelet.user('jane');
  kubelet.setAway(true);
  const [token, rights] = await Promise.all([
    kubelet.ask('/healthz', { token: 'joe' }),
    kubelet.ask('/healthz', { as }),
  ]);
  t.deepEqual([token.status, token.body], [401, 'Unauthorized']);
  t.deepEqual(
    [rights.status, rights.body],
    [500, 'Authorization error (user=jane, verb=get, resource=nodes, subresource=healthz)'],
  );
  kubelet.setAway(false);
  t.is((await kubelet.ask('/healthz', { token: 'joe' })).status, 200);
  t.is((await kubelet.ask('/healthz', { as })).status, 200);
});

test('many requests at once share one review each', async (t) => {
  const kubelet = await setup(t);
  const answers = await Promise.all(Array.from({ length: 30 }, () => kubelet.ask('/healthz', { token: 'joe' })));
  t.true(answers.every(({ status }) => status === 200));
  t.is(kubelet.reviews('tokenreviews').length, 1);
  t.is(kubelet.reviews('subjectaccessreviews').length, 1);
});

test('paths and methods that are not there', async (t) => {
  const kubelet = await setup(t, { routes: others });
  const as = kubelet.user();
  const status = async (path: string, method = 'GET') => (await kubelet.ask(path, { as, method })).status;
  t.is(await status('/'), 404);
  t.is(await status('/pods/x'), 404);
  t.is(await status('/debug/pprof/'), 404);
  t.is(await status('/pods', 'POST'), 405);
  t.is(await status('/pods', 'HEAD'), 405);
  t.is(await status('/checkpoint/a/b/c'), 405);
  t.is(await status('/healthz', 'HEAD'), 200);
  t.is(await status('//pods'), 404);
  for (const path of [
    '/logs/%2e%2e/%2e%2e/etc/passwd',
    '/logs/..%2f..%2fetc/passwd',
    '/logs/a%00b',
    '/pods%ff',
    'http://x/pods',
  ])
    t.is(await status(path), 400, path);
});

test('errors of a handler: its own status, or 500 without a word of it and one line in the log', async (t) => {
  const lines: object[] = [];
  const log: Logger = {
    debug() {},
    info() {},
    warn() {},
    error: (fields) => void lines.push(fields),
    child: () => log,
  };
  const kubelet = await setup(t, {
    log,
    routes: [
      route('/own', async () => {
        throw new HttpStatusError(422, 'not so\n');
      }),
      route('/broken', async () => {
        throw new Error('secret detail');
      }),
      route('/half', async (_, response) => {
        response.write('half');
        throw new Error('broke off');
      }),
    ],
  });
  const as = kubelet.user();
  t.like(await kubelet.ask('/own', { as }), { status: 422, body: 'not so\n' });
  t.deepEqual(lines, []);
  const broken = await kubelet.ask('/broken', { as });
  t.is(broken.status, 500);
  t.false(broken.body.includes('secret'));
  t.deepEqual(lines, [{ method: 'GET', path: '/broken', error: 'secret detail' }]);
  await t.throwsAsync(kubelet.ask('/half', { as }), { code: 'ECONNRESET' }, 'half an answer must not look whole');
});

test('a handler hears that its client went away, and that the server stops', async (t) => {
  const heard: Promise<unknown>[] = [];
  const began = Promise.withResolvers<void>();
  const follow = route('/follow', async ({ signal }: RouteRequest, response) => {
    response.write('begin\n');
    heard.push(once(signal, 'abort').then(() => String((signal.reason as Error).message)));
    if (heard.length === 2) began.resolve();
    await heard.at(-1);
  });
  const kubelet = await startFakeKubeletApi({ routes: [follow] });
  const socket = connect({ port: kubelet.api.port, host: '127.0.0.1', rejectUnauthorized: false, ...tlsOf(kubelet) });
  socket.write('GET /follow HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(socket, 'data');
  socket.destroy();
  t.is(await heard[0], 'the client went away');
  const other = kubelet.ask('/follow', { as: kubelet.user() }).catch(() => 'cut off');
  await began.promise;
  await kubelet.close();
  t.is(await heard[1], 'the server stops');
  t.is(await other, 'cut off');
});

const tlsOf = ({ user }: FakeKubeletApi): { cert: string; key: string } => {
  const { certificate, key } = user();
  return { cert: certificate, key };
};

async function rawSocket(kubelet: FakeKubeletApi, withCertificate = true): Promise<TLSSocket> {
  const socket = connect({
    port: kubelet.api.port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ...(withCertificate && tlsOf(kubelet)),
  });
  await once(socket, 'secureConnect');
  return socket;
}

async function reply(socket: TLSSocket, text: string): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  socket.write(text);
  await Promise.race([closed, pause(2_000, undefined, { ref: false })]);
  return Buffer.concat(chunks).toString();
}

const echo = route(
  '/exec/{namespace}/{pod}/{container}',
  async () => {
    throw new HttpStatusError(400, 'Upgrade request required');
  },
  {
    methods: ['GET', 'POST'],
    async upgrade({ request, params }, socket, head) {
      if (params.pod === 'refused') throw new HttpStatusError(404, 'pod does not exist');
      const seen = request.rawHeaders.join(' ').includes('secret') ? 'token' : 'clean';
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n${seen}:`);
      if (head.length > 0) socket.write(head);
      if (params.pod === 'broken') throw new Error('broke off');
      socket.pipe(socket);
      await once(socket, 'end');
      socket.end();
    },
  },
);

const upgradeHead = (path: string, more = ''): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n${more}\r\n`;

test('an upgrade passes the same identity and rights, and then owns the socket', async (t) => {
  const kubelet = await setup(t, { routes: [echo] });
  const anonymous = await rawSocket(kubelet, false);
  t.regex(await reply(anonymous, upgradeHead('/exec/a/b/c')), /^HTTP\/1.1 401 .*\r\n[\s\S]*\r\n\r\nUnauthorized$/);
  const byToken = await rawSocket(kubelet, false);
  const answer = reply(byToken, upgradeHead('/exec/a/b/c', 'Authorization: Bearer secret\r\n'));
  await once(byToken, 'data');
  byToken.end('hello');
  t.regex(await answer, /^HTTP\/1.1 101 [\s\S]*\r\n\r\nclean:hello$/, 'the token does not go further');
  kubelet.allowed.clear();
  const other = await rawSocket(kubelet);
  t.regex(
    await reply(other, upgradeHead('/exec/a/b/c').replace('POST', 'GET')),
    /^HTTP\/1.1 403 [\s\S]*verb=get, resource=nodes/,
  );
});

test('upgrades that are refused, break off, or are not for this path', async (t) => {
  const kubelet = await setup(t, { routes: [echo] });
  t.regex(
    await reply(await rawSocket(kubelet), upgradeHead('/exec/a/refused/c')),
    /^HTTP\/1.1 404 [\s\S]*pod does not exist$/,
  );
  t.regex(
    await reply(await rawSocket(kubelet), upgradeHead('/exec/a/broken/c')),
    /101 Switching Protocols[\s\S]*clean:$/,
  );
  const plain = await kubelet.ask('/healthz', {
    as: kubelet.user(),
    headers: { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c' },
  });
  t.is(plain.status, 200, 'an upgrade that nobody offers is ignored');
  t.is((await kubelet.ask('/exec/a/b/c', { as: kubelet.user(), method: 'POST' })).status, 400);
});

test('hostile connections neither end the server nor stay', async (t) => {
  const kubelet = await setup(t, { routes: [echo] });
  const garbage = connectPlain(kubelet.api.port, '127.0.0.1');
  garbage.on('error', () => undefined);
  garbage.write('GET /pods HTTP/1.1\r\n\r\n');
  await once(garbage, 'close');
  for (const text of [
    'GET /pods HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'GET /pods HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n',
    `GET /pods HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(300_000)}\r\n\r\n`,
    'NONSENSE\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: x\r\n\r\n',
  ]) {
    const answer = await reply(await rawSocket(kubelet), text);
    t.regex(answer, /^(HTTP\/1.1 4\d\d |$)/, text.slice(0, 40));
  }
  const upgraded = await rawSocket(kubelet);
  upgraded.write(upgradeHead('/exec/a/b/c'));
  await once(upgraded, 'data');
  upgraded.destroy();
  t.is((await kubelet.ask('/healthz', { as: kubelet.user() })).status, 200);
});

test('TLS: no version below 1.2, no resumption, HTTP/1.1 only', async (t) => {
  const kubelet = await setup(t);
  const { port } = kubelet.api;
  const old = connect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  });
  await t.throwsAsync(once(old, 'secureConnect'));
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const first = connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      maxVersion,
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    let session: Buffer | undefined;
    first.on('session', (ticket: Buffer) => {
      session = ticket;
    });
    await once(first, 'secureConnect');
    t.is(first.alpnProtocol, 'http/1.1');
    first.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    first.resume();
    await once(first, 'close');
    const again = connect({
      port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      maxVersion,
      ...(session && { session }),
    });
    await once(again, 'secureConnect');
    t.false(again.isSessionReused(), maxVersion);
    again.destroy();
  }
});

test('the read-only port shows a few paths to everybody, and the rest to nobody', async (t) => {
  const kubelet = await setup(t, {
    config: { readOnlyPort: 0 },
    routes: [...others, echo].slice(0, 2),
    pods: [servedPod('web')],
  });
  const status = async (path: string, method = 'GET') => (await kubelet.askPlain(path, { method })).status;
  for (const path of ['/pods', '/healthz', '/healthz/log', '/metrics']) t.is(await status(path), 200, path);
  for (const path of [
    '/runningpods/',
    '/logs/',
    '/logs/x',
    '/debug/pprof/',
    '/containerLogs/a/b/c',
    '/portForward/a/b',
  ])
    t.is(await status(path), 405, path);
  t.is((await kubelet.askPlain('/exec/a/b/c', { method: 'POST' })).body, 'Debug endpoints are disabled.\n');
  for (const path of ['/configz', '/checkpoint/a/b/c', '/statusz', '/flagz']) t.is(await status(path), 404, path);
  t.is(kubelet.server.requests.length, 0);
});

test('switched-off handlers say so', async (t) => {
  const handlers = { debugging: false, systemLog: true, systemLogQuery: false, profiling: false, debugFlags: false };
  const off = await setup(t, { config: { handlers }, routes: others });
  const as = off.user();
  for (const path of ['/exec/a/b/c', '/logs/x', '/runningpods/', '/run/a/b/c', '/debug/pprof/heap'])
    t.is((await off.ask(path, { as, method: 'POST' })).status, 405, path);
  for (const path of ['/configz', '/checkpoint/a/b/c', '/debug/flags/v'])
    t.is((await off.ask(path, { as })).status, 404, path);
  t.is((await off.ask('/pods', { as })).status, 200);
  const noLogs = await setup(t, { config: { handlers: { ...handlers, debugging: true, systemLog: false } } });
  t.like(await noLogs.ask('/logs/x', { as: noLogs.user() }), { status: 405, body: 'logs endpoint is disabled.\n' });
  t.is((await noLogs.ask('/debug/flags/v', { as: noLogs.user(), method: 'PUT' })).status, 405);
});

test('a port in use is one clear error, and enableServer false serves nothing', async (t) => {
  const first = await setup(t);
  const port = first.api.port;
  const error = await t.throwsAsync(startFakeKubeletApi({ config: { listen: { address: '127.0.0.1', port } } }));
  t.like(error, { code: 'HTTP_LISTEN', object: `127.0.0.1:${port}` });
  t.is((await ask(port, '/healthz', { as: first.user() })).status, 200);
});
