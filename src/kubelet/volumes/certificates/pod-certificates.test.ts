/**
 * Certificates of pods against a scripted API server with a signer of ours: no kube-apiserver here has the API. The rules of
 * one that matter are the fake's.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { createApiClient } from '../../../api/client.ts';
import type { Pod, PodCertificateProjection } from '../../../api/core.ts';
import { startFakeApiServer } from '../../../api/fake-api-server.ts';
import { createPodCertificateApi } from '../../../api/pod-certificate-request.ts';
import { systemClock } from '../../../base/clock.ts';
import { FakeClock } from '../../../base/fake-clock.ts';
import { generateP256 } from '../../../base/x509.ts';
import { silentLogger } from '../../../observe/logger.ts';
import type { PodEvent } from '../../pods/pod-events.ts';
import type { Credential } from './credential.ts';
import { type FakePodSignerOptions, startFakePodSigner } from './pod-certificate-signer.fake.ts';
import { PodCertificates } from './pod-certificates.ts';

const hourMs = 3600_000;

function pod(name: string, ...projections: Partial<PodCertificateProjection>[]): Pod {
  const sources = projections.map((each) => ({
    podCertificate: { signerName: 'shop.example/web', keyType: 'ECDSAP256', credentialBundlePath: 'all', ...each },
  }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'shop', name, uid: `uid-${name}` },
    spec: { serviceAccountName: 'web', containers: [], volumes: [{ name: 'id', projected: { sources } }] },
  };
}

async function until(look: () => boolean): Promise<void> {
  for (let i = 0; i < 3000 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  if (!look()) throw new Error('never');
}

async function setUp(
  t: ExecutionContext,
  { kept, ...options }: Partial<FakePodSignerOptions> & { kept?: Credential } = {},
) {
  const server = await startFakeApiServer();
  const client = createApiClient({ access: server.access(), userAgent: 'test' });
  const scope = new AbortController();
  const clock = new FakeClock();
  const signer = startFakePodSigner({ server, now: () => clock.now(), ...options });
  const due: string[] = [];
  const events: PodEvent[] = [];
  const node: { known: { name: string; uid: string } | undefined } = { known: { name: 'node-1', uid: 'node-uid' } };
  const make = (keep: Credential | undefined) =>
    new PodCertificates({
      api: createPodCertificateApi({
        client,
        nodeName: 'node-1',
        clock: systemClock,
        log: silentLogger,
        signal: scope.signal,
      }),
      node: () => node.known,
      kept: async () => keep,
      onDue: (uid) => due.push(uid),
      recordEvent: (_, event) => events.push(event),
      clock,
      log: silentLogger,
      random: () => 0,
    });
  const certificates = make(kept);
  t.teardown(async () => {
    certificates.stop();
    scope.abort();
    client.close();
    await server.close();
  });
  const of = (each: Pod, index = 0): Credential =>
    certificates.credential(each, 'id', index, `pod ${each.metadata.name}`);
  /** A look at the pod's volumes whose patience ends when the test says so. */
  const lookInVain = async (each: Pod): Promise<void> => {
    const looking = certificates.prepare(each);
    let isDone = false;
    void looking.then(() => {
      isDone = true;
    });
    await until(() => {
      if (!isDone) void clock.advance(1_000);
      return isDone;
    });
  };
  return { server, clock, signer, due, events, node, certificates, of, lookInVain, make };
}

const commonName = ({ chain }: Credential): string => new X509Certificate(chain).subject;

test('a pod without certificates asks nobody', async (t) => {
  const { server, certificates } = await setUp(t);
  await certificates.prepare(pod('web'));
  t.is(server.requests.length, 0);
});

test('a certificate is asked for as the pod, its account and the node, and handed out with its key', async (t) => {
  const { signer, certificates, of, due } = await setUp(t);
  const web = pod('web', { maxExpirationSeconds: 7200, userAnnotations: { 'shop.example/role': 'till' } });
  await certificates.prepare(web);
  const { key, chain } = of(web);
  t.true(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key)));
  const [{ spec, object } = { spec: {}, object: undefined }] = signer.created;
  t.like(spec, {
    signerName: 'shop.example/web',
    podName: 'web',
    podUID: 'uid-web',
    serviceAccountName: 'web',
    serviceAccountUID: 'sa-uid',
    nodeName: 'node-1',
    nodeUID: 'node-uid',
    maxExpirationSeconds: 7200,
    unverifiedUserAnnotations: { 'shop.example/role': 'till' },
  });
  t.deepEqual(object?.metadata.ownerReferences, [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid: 'uid-web' }]);
  t.false(JSON.stringify(spec).includes('PRIVATE'));
  t.deepEqual(due, [], 'whoever waited is not called again');
  await certificates.prepare(web);
  t.is(signer.created.length, 1);
  t.deepEqual(certificates.states(), [{ signerName: 'shop.example/web', state: 'fresh' }]);
});

test('two sources of one volume have two keys; a pod of the same name has its own', async (t) => {
  const { signer, certificates, of } = await setUp(t);
  const web = pod('web', {}, { keyType: 'ED25519' });
  const later = { ...web, metadata: { ...web.metadata, uid: 'uid-later' } };
  await certificates.prepare(web);
  await certificates.prepare(later);
  t.is(new Set([of(web), of(web, 1), of(later), of(later, 1)].map(({ key }) => key)).size, 4);
  t.is(signer.created.length, 4);
});

test('a server of 1.35 is given key and signature instead', async (t) => {
  const { signer, certificates, of } = await setUp(t, { minor: 35 });
  const [web, till] = [pod('web', {}), pod('till', { keyType: 'RSA3072' })];
  await certificates.prepare(web);
  await certificates.prepare(till);
  t.truthy(of(web).chain);
  t.truthy(of(till).chain);
  t.true(signer.created.every(({ spec }) => spec.pkixPublicKey !== undefined && spec.stubPKCS10Request === undefined));
});

test('a slow signer: the pod is told to wait, and called when the certificate is there', async (t) => {
  const { signer, certificates, of, due, lookInVain } = await setUp(t, { isQuick: false });
  const web = pod('web', {});
  await lookInVain(web);
  t.throws(() => of(web), { code: 'VOLUME_CERTIFICATE', message: /req-1 waits/ });
  t.deepEqual(certificates.states(), [{ signerName: 'shop.example/web', state: 'not_yet_issued' }]);
  signer.issue('req-1');
  await until(() => due.length === 1);
  t.is(commonName(of(web)), 'CN=leaf req-1');
  await certificates.prepare(web);
  t.is(signer.created.length, 1);
});

for (const [kind, reason, message] of [
  ['deny', 'Denied', /was denied: UnsupportedKeyType: take ED25519/],
  ['fail', 'Failed', /failed: Broken: the signer is out of ink/],
] as const) {
  test(`a signer that says ${reason} is not asked again; one event tells it`, async (t) => {
    const { clock, signer, certificates, of, due, events, lookInVain } = await setUp(t, { isQuick: false });
    const web = pod('web', {});
    await lookInVain(web);
    signer[kind]('req-1');
    await until(() => due.length === 1);
    t.throws(() => of(web), { code: 'VOLUME_CERTIFICATE', message });
    t.like(events, [{ type: 'Warning', reason }]);
    t.regex(events[0]?.message ?? '', message);
    await clock.advance(48 * hourMs);
    await certificates.prepare(web);
    t.is(signer.created.length, 1);
    t.is(events.length, 1);
  });
}

test('renewed when the signer says, with a new key; the old certificate serves meanwhile', async (t) => {
  const { clock, signer, certificates, of, due, events } = await setUp(t);
  const web = pod('web', {});
  await certificates.prepare(web);
  const first = of(web);
  signer.state.isQuick = false;
  await clock.advance(16 * hourMs - 1);
  t.is(signer.created.length, 1);
  await clock.advance(1);
  await until(() => signer.created.length === 2);
  t.is(of(web), first);
  await certificates.prepare(web);
  t.is(of(web), first);
  signer.issue('req-2');
  await until(() => due.length === 1);
  t.not(of(web).key, first.key);
  t.is(commonName(of(web)), 'CN=leaf req-2');
  t.deepEqual(events, []);
});

test('a renewal that does not come: two events, and the old certificate to its end and beyond', async (t) => {
  const { clock, signer, certificates, of, events } = await setUp(t);
  const web = pod('web', {});
  await certificates.prepare(web);
  const first = of(web);
  signer.state.isAway = true;
  await until(() => {
    void clock.advance(hourMs);
    return events.length === 2;
  });
  t.deepEqual(
    events.map(({ reason }) => reason),
    ['CertificateOverdueForRefresh', 'CertificateExpired'],
  );
  t.is(of(web), first);
  t.deepEqual(certificates.states(), [{ signerName: 'shop.example/web', state: 'expired' }]);
  signer.state.isAway = false;
  await until(() => {
    void clock.advance(60_000);
    return of(web) !== first;
  });
  t.is(events.length, 2);
});

test('after a restart what the files hold serves on, until it is due', async (t) => {
  const before = await setUp(t);
  const web = pod('web', {});
  await before.certificates.prepare(web);
  const { server, clock, signer, certificates, of, due } = await setUp(t, { kept: before.of(web) });
  await certificates.prepare(web);
  t.is(of(web), before.of(web));
  t.is(server.requests.length, 0, 'the API server is not even asked whether it has the API');
  await clock.advance(16 * hourMs);
  await until(() => due.length === 1);
  t.is(signer.created.length, 1);
});

test('files with an expired certificate are as good as none', async (t) => {
  const before = await setUp(t);
  const web = pod('web', {});
  await before.certificates.prepare(web);
  const kept = before.of(web);
  const { signer, certificates, of } = await setUp(t, { kept: { ...kept, notAfterMs: 0 } });
  await certificates.prepare(web);
  t.is(signer.created.length, 1);
  t.not(of(web).key, kept.key);
});

test('an API server without the API is said to be one, and asked again later', async (t) => {
  const { clock, signer, certificates, of } = await setUp(t, { minor: 20 });
  const web = pod('web', {});
  await certificates.prepare(web);
  const error = t.throws(() => of(web), { code: 'VOLUME_UNSUPPORTED', message: /has no PodCertificateRequests/ });
  t.is((error as { object?: string }).object, 'pod web');
  await certificates.prepare(web);
  signer.state.minor = 36;
  await clock.advance(60_000);
  await until(() => signer.created.length === 1);
  await certificates.prepare(web);
  t.truthy(of(web));
});

test('a refusal that may pass is waited for; one that stays is told', async (t) => {
  const { clock, signer, certificates, of, lookInVain } = await setUp(t);
  const web = pod('web', {});
  signer.state.isForbidden = true;
  await lookInVain(web);
  t.throws(() => of(web), { code: 'VOLUME_CERTIFICATE', message: /no certificate yet/ });
  await until(() => {
    void clock.advance(1_000);
    try {
      return Boolean(of(web));
    } catch (error) {
      return (error as Error).message.includes('not now');
    }
  });
  signer.state.isForbidden = false;
  await until(() => {
    void clock.advance(1_000);
    return signer.created.length === 1;
  });
  await certificates.prepare(web);
  t.truthy(of(web));
});

for (const [what, options, message] of [
  ['another key', { publicKey: generateP256().publicKey }, /another key/],
  ['no certificate', { chain: 'nothing' }, /no certificate in it/],
  ['a certificate without end', { chain: 'x'.repeat(300_000) }, /300000 bytes/],
] as const) {
  test(`a signer that answers with ${what} has failed`, async (t) => {
    const { signer, of, due, events, lookInVain } = await setUp(t, { isQuick: false });
    const web = pod('web', {});
    await lookInVain(web);
    signer.issue('req-1', options);
    await until(() => due.length === 1);
    t.throws(() => of(web), { code: 'VOLUME_CERTIFICATE', message });
    t.like(events, [{ reason: 'Failed' }]);
  });
}

test('a signer whose certificates are due at once is not asked in a loop', async (t) => {
  const { clock, signer, of, due, lookInVain } = await setUp(t, { isQuick: false });
  const web = pod('web', {});
  await lookInVain(web);
  signer.issue('req-1', { refreshMs: -hourMs });
  await until(() => due.length === 1);
  t.truthy(of(web));
  await clock.advance(59_000);
  t.is(signer.created.length, 1);
  await clock.advance(1_000);
  await until(() => signer.created.length === 2);
});

test('a request that somebody deletes is made again', async (t) => {
  const { clock, signer, of, due, lookInVain } = await setUp(t, { isQuick: false });
  const web = pod('web', {});
  await lookInVain(web);
  signer.remove('req-1');
  await until(() => {
    try {
      return Boolean(of(web));
    } catch (error) {
      return (error as Error).message.includes('was deleted');
    }
  });
  await clock.advance(60_000);
  await until(() => signer.created.length === 2);
  signer.issue('req-2');
  await until(() => due.length === 1);
  t.is(commonName(of(web)), 'CN=leaf req-2');
});

test('a signer that takes an hour has one request', async (t) => {
  const { clock, signer, of, due, lookInVain } = await setUp(t, { isQuick: false });
  const web = pod('web', {});
  await lookInVain(web);
  await clock.advance(hourMs);
  t.is(signer.created.length, 1);
  signer.issue('req-1');
  await until(() => due.length === 1);
  t.truthy(of(web));
});

test('a node that may not list its requests says so', async (t) => {
  const { signer, of, lookInVain } = await setUp(t, { isQuick: false });
  signer.state.forbidsList = true;
  const web = pod('web', {});
  await lookInVain(web);
  t.throws(() => of(web), { code: 'VOLUME_CERTIFICATE' });
  t.is(signer.created.length, 1);
});

test('what cannot be asked for: no such account, no such key type, no Node', async (t) => {
  const { node, certificates, of, signer } = await setUp(t);
  const stranger = pod('stranger', {});
  stranger.spec.serviceAccountName = 'nobody';
  await certificates.prepare(stranger);
  t.throws(() => of(stranger), { code: 'VOLUME_CERTIFICATE', message: /nobody/ });
  const odd = pod('odd', { keyType: 'DSA1024' });
  await certificates.prepare(odd);
  t.throws(() => of(odd), { code: 'VOLUME_UNSUPPORTED', message: /DSA1024/ });
  node.known = undefined;
  const early = pod('early', {});
  await certificates.prepare(early);
  t.throws(() => of(early), { code: 'VOLUME_CERTIFICATE', message: /not registered/ });
  t.is(signer.created.length, 0);
});

test('a pod that is gone is not asked for, nor called', async (t) => {
  const { clock, signer, certificates, of, due, events, lookInVain } = await setUp(t, { isQuick: false });
  const [web, till] = [pod('web', {}), pod('till', {})];
  await lookInVain(web);
  certificates.forget('uid-web');
  signer.issue('req-1');
  await clock.advance(48 * hourMs);
  t.throws(() => of(web), { code: 'VOLUME_CERTIFICATE' });
  await lookInVain(till);
  certificates.stop();
  signer.issue('req-2');
  await clock.advance(48 * hourMs);
  t.deepEqual([due, events, signer.created.length], [[], [], 2]);
});
