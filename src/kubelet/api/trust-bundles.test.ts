/** ClusterTrustBundles for pods: read when the first pod names one, told again when they change, and asked for where there are none. */
import test, { type ExecutionContext } from 'ava';
import { createApiClient } from '../../api/client.ts';
import { anchorsToPem, clusterTrustBundles, parseAnchors } from '../../api/cluster-trust-bundle.ts';
import type { ClusterTrustBundleProjection, Pod } from '../../api/core.ts';
import { startFakeApiServer } from '../../api/fake-api-server.ts';
import { systemClock } from '../../base/clock.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { followTrustBundles, TrustBundles } from './trust-bundles.ts';

const signal = new AbortController().signal;
const beta = '/apis/certificates.k8s.io/v1beta1';
const pem = (...texts: string[]): string => anchorsToPem(texts.map((text) => Buffer.from(text).toString('base64')));

const pod = (name: string, ...bundles: Partial<ClusterTrustBundleProjection>[]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'default', name, uid: `uid-${name}` },
  spec: {
    containers: [],
    volumes: [
      { name: 'v', projected: { sources: bundles.map((each) => ({ clusterTrustBundle: { path: 'ca', ...each } })) } },
    ],
  },
});

async function until(look: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  if (!look()) throw new Error('never');
}

async function setUp(t: ExecutionContext, { hasBundles = true } = {}) {
  const server = await startFakeApiServer();
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  const scope = new AbortController();
  const api = { hasBundles, isAway: false };
  server.script(({ path }) => {
    if (api.isAway) return 'reset';
    if (!/^\/apis\/certificates\.k8s\.io\/v\w+$/.test(path)) return undefined;
    const resources = [{ name: 'certificatesigningrequests' }];
    if (path === beta && api.hasBundles) resources.push({ name: 'clustertrustbundles' });
    return path.endsWith('v1alpha1') ? { status: 404 } : { status: 200, body: { resources } };
  });
  const due: string[] = [];
  const clock = new FakeClock();
  const bundles = new TrustBundles({
    follow: followTrustBundles({ client, clock: systemClock, log: silentLogger, signal: scope.signal }),
    onDue: (uid) => due.push(uid),
    clock,
    log: silentLogger,
  });
  t.teardown(async () => {
    scope.abort();
    client.close();
    await server.close();
  });
  const put = (name: string, trustBundle: string, signerName?: string, labels = {}): void => {
    server.put(`${beta}/clustertrustbundles`, { metadata: { name, labels }, spec: { signerName, trustBundle } });
  };
  return { server, client, api, due, clock, bundles, put };
}

test('a pod without bundles asks nobody', async (t) => {
  const { server, bundles } = await setUp(t);
  await bundles.prepare(pod('web'));
  t.is(server.requests.length, 0);
});

test('by name, and by signer and labels; each certificate once, in an order that stays', async (t) => {
  const { bundles, put } = await setUp(t);
  put('one', `text\n${pem('b', 'a')}rest${pem('a')}`);
  put('x:s:live', pem('c'), 'x/s', { use: 'live' });
  put('x:s:test', pem('d'), 'x/s', { use: 'test' });
  put('y:s:live', pem('e'), 'y/s', { use: 'live' });
  await bundles.prepare(pod('web', { name: 'one' }));
  const of = (projection: Partial<ClusterTrustBundleProjection>) => bundles.anchors({ path: 'p', ...projection }, 'v');
  t.is(of({ name: 'one' }), pem('a', 'b'));
  t.is(of({ name: 'none' }), undefined);
  t.is(of({ signerName: 'x/s', labelSelector: {} }), pem('c', 'd'));
  t.is(of({ signerName: 'x/s', labelSelector: { matchLabels: { use: 'test' } } }), pem('d'));
  t.is(of({ signerName: 'x/s' }), undefined, 'no selector takes none');
  t.is(of({ signerName: 'z/s', labelSelector: {} }), undefined);
});

test('the pods whose bundles changed are looked at again, and no others', async (t) => {
  const { server, bundles, due, put } = await setUp(t);
  put('one', pem('a'));
  const signed = pod('signed', { signerName: 'x/s', labelSelector: {} });
  for (const each of [pod('named', { name: 'one' }), signed, pod('other', { name: 'two' })])
    await bundles.prepare(each);
  t.deepEqual(due, []);
  put('one', pem('z'));
  await until(() => due.length === 1);
  t.is(bundles.anchors({ path: 'p', name: 'one' }, 'v'), pem('z'));
  put('x:s:new', pem('c'), 'x/s');
  await until(() => due.length === 2);
  bundles.forget('uid-named');
  server.remove(`${beta}/clustertrustbundles`, 'one');
  server.remove(`${beta}/clustertrustbundles`, 'x:s:new');
  await until(() => due.length === 3);
  t.deepEqual(due, ['uid-named', 'uid-signed', 'uid-signed']);
});

test('an API server without bundles is said to be one, and asked again later', async (t) => {
  const { api, clock, bundles, due, put } = await setUp(t, { hasBundles: false });
  const web = pod('web', { name: 'one' });
  await bundles.prepare(web);
  t.throws(() => bundles.anchors({ path: 'p', name: 'one' }, 'v'), { code: 'VOLUME_UNSUPPORTED' });
  api.hasBundles = true;
  put('one', pem('a'));
  await clock.advance(60_000);
  t.deepEqual(due, ['uid-web']);
  await bundles.prepare(web);
  t.is(bundles.anchors({ path: 'p', name: 'one' }, 'v'), pem('a'));
});

test('an API server that does not answer is asked again; what was read before stays', async (t) => {
  const { api, clock, bundles, due, put } = await setUp(t);
  put('one', pem('a'));
  api.isAway = true;
  const web = pod('web', { name: 'one' });
  const preparing = bundles.prepare(web);
  await until(() => {
    void clock.advance(1_000);
    return due.length > 0;
  });
  await preparing;
  t.throws(() => bundles.anchors({ path: 'p', name: 'one' }, 'v'), { code: 'VOLUME_OBJECT_MISSING' });
  api.isAway = false;
  await bundles.prepare(web);
  t.is(bundles.anchors({ path: 'p', name: 'one' }, 'v'), pem('a'));
  api.isAway = true;
  await bundles.prepare(web);
  t.is(bundles.anchors({ path: 'p', name: 'one' }, 'v'), pem('a'));
});

test('the newest version that the API server has is read', async (t) => {
  const { client } = await setUp(t);
  t.deepEqual(await clusterTrustBundles(client, signal), {
    prefix: beta,
    name: 'clustertrustbundles',
    namespaced: false,
  });
});

test('only certificates count', (t) => {
  const key = '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n';
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA';
  const empty = '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----';
  t.deepEqual(parseAnchors(`${key}${broken}\n${empty}\n${pem('a')}`), [Buffer.from('a').toString('base64')]);
  const long = Buffer.alloc(96, 1).toString('base64');
  t.deepEqual(parseAnchors(anchorsToPem([long])), [long]);
  t.true(
    anchorsToPem([long])
      .split('\n')
      .every((line) => line.length <= 64),
  );
});
