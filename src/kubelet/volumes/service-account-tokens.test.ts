/** Tokens are asked for once, renewed in time, and outlive an API server that is away. */
import test from 'ava';
import { pino } from 'pino';
import { errorOfStatus } from '../../api/api-error.ts';
import type { Pod, ServiceAccountTokenProjection } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { ServiceAccountTokens, type TokenRequest } from './service-account-tokens.ts';

const projection: ServiceAccountTokenProjection = { path: 'token', expirationSeconds: 3600 };

const pod = (tokens: ServiceAccountTokenProjection[] = [projection]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop', uid: 'u1' },
  spec: {
    containers: [],
    serviceAccountName: 'builder',
    volumes: [{ name: 'api', projected: { sources: tokens.map((token) => ({ serviceAccountToken: token })) } }],
  },
});

function setup() {
  const clock = new FakeClock();
  const requests: TokenRequest[] = [];
  const due: string[] = [];
  const server = { isAway: false, forbids: 0 };
  const tokens = new ServiceAccountTokens({
    request: async (request) => {
      if (server.isAway) throw new Error('connection refused');
      if (server.forbids-- > 0) throw errorOfStatus('POST token', 403, { reason: 'Forbidden' }, undefined);
      requests.push(request);
      return { token: `t${requests.length}`, expiresAtMs: clock.now() + request.expirationSeconds * 1000 };
    },
    onDue: (uid) => due.push(uid),
    clock,
    log: pino({ level: 'silent' }),
    random: () => 0,
  });
  return { clock, requests, due, server, tokens };
}

test('one request for each audience and lifetime, bound to the pod', async (t) => {
  const { tokens, requests } = setup();
  const vault = { path: 'vault', audience: 'vault' };
  const asking = pod([projection, vault, { ...projection, path: 'again' }]);
  await tokens.prepare(asking);
  await tokens.prepare(asking);
  t.deepEqual(requests, [
    {
      namespace: 'shop',
      serviceAccount: 'builder',
      audiences: [],
      expirationSeconds: 3600,
      pod: { name: 'web', uid: 'u1' },
    },
    {
      namespace: 'shop',
      serviceAccount: 'builder',
      audiences: ['vault'],
      expirationSeconds: 3600,
      pod: { name: 'web', uid: 'u1' },
    },
  ]);
  t.is(tokens.token(asking, vault), 't2');
});

test('a timer tells at 80 % of the life, and the next look renews', async (t) => {
  const { tokens, clock, due, requests } = setup();
  await tokens.prepare(pod());
  await clock.advance(0.8 * 3600_000 - 1);
  await tokens.prepare(pod());
  t.is(requests.length, 1);
  await clock.advance(1);
  t.deepEqual(due, ['u1']);
  await tokens.prepare(pod());
  t.is(tokens.token(pod(), projection), 't2');
});

test('a long token is renewed after a day', async (t) => {
  const { tokens, clock, requests } = setup();
  const long = pod([{ path: 'token', expirationSeconds: 7 * 86400 }]);
  await tokens.prepare(long);
  await clock.advance(86400_000);
  await tokens.prepare(long);
  t.is(requests.length, 2);
});

test('while the API server is away the old token serves, even past its end, and renewal is tried again', async (t) => {
  const { tokens, clock, server, due } = setup();
  await tokens.prepare(pod());
  server.isAway = true;
  await clock.advance(3000_000);
  await tokens.prepare(pod());
  t.is(tokens.token(pod(), projection), 't1');
  due.length = 0;
  await clock.advance(60_000);
  t.deepEqual(due, ['u1']);
  await clock.advance(3600_000);
  await tokens.prepare(pod());
  t.is(tokens.token(pod(), projection), 't1');
  server.isAway = false;
  await tokens.prepare(pod());
  t.is(tokens.token(pod(), projection), 't2');
});

test('a pod that never had a token is told why, and is looked at again when the API server may be back', async (t) => {
  const { tokens, clock, server, due } = setup();
  server.isAway = true;
  const error = await t.throwsAsync(() => tokens.prepare(pod()));
  t.like(error, { code: 'VOLUME_TOKEN', object: 'pod shop/web' });
  await clock.advance(60_000);
  t.deepEqual(due, ['u1']);
  tokens.stop();
  await t.throwsAsync(() => tokens.prepare(pod()));
  due.length = 0;
  await clock.advance(60_000);
  t.deepEqual(due, []);
});

test('a pod that is gone leaves no timer and no token', async (t) => {
  const { tokens, clock, due } = setup();
  await tokens.prepare(pod());
  tokens.forget('u1');
  await clock.advance(86400_000);
  t.deepEqual(due, []);
  t.throws(() => tokens.token(pod(), projection), { message: 'has no token yet' });
});

test('a pod without tokens costs nothing', async (t) => {
  const { tokens, requests } = setup();
  await tokens.prepare(pod([]));
  t.is(requests.length, 0);
});

test('a refusal that passes is not told: the pod waits for moments and has its token', async (t) => {
  const { tokens, clock, server } = setup();
  server.forbids = 3;
  const preparing = tokens.prepare(pod());
  await clock.advance(2_000);
  await preparing;
  t.is(tokens.token(pod(), projection), 't1');
});

test('a refusal that stays is the error of the volume after ten seconds; the end of the daemon ends the wait', async (t) => {
  const { tokens, clock, server } = setup();
  server.forbids = 1_000;
  const refused = t.throwsAsync(() => tokens.prepare(pod()), { message: /no service account token/ });
  await clock.advance(15_000);
  await refused;
  t.true(server.forbids > 970);
  const ended = t.throwsAsync(() => tokens.prepare(pod()));
  tokens.stop();
  await ended;
});
