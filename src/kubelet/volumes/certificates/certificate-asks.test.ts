/** How much pods that want many certificates may ask of the API server and of this node's cores, whoever else waits. */
import test, { type ExecutionContext } from 'ava';
import type { Pod } from '../../../api/core.ts';
import type { PodCertificateRequest } from '../../../api/pod-certificate-request.ts';
import type { ReflectorListener } from '../../../api/reflector.ts';
import { FakeClock, settle } from '../../../base/fake-clock.ts';
import { silentLogger } from '../../../observe/logger.ts';
import { PodCertificates } from './pod-certificates.ts';

function pod(name: string, count: number, keyType = 'ECDSAP256'): Pod {
  const sources = Array.from({ length: count }, () => ({
    podCertificate: { signerName: 'shop.example/web', keyType, credentialBundlePath: 'all' },
  }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: 'shop', name, uid: `uid-${name}` },
    spec: { serviceAccountName: name, containers: [], volumes: [{ name: 'id', projected: { sources } }] },
  };
}

/** Questions and keys wait for as long as `held` says. */
function setUp(t: ExecutionContext) {
  const held = { account: Promise.resolve(), key: Promise.resolve() };
  /** Accounts that are being asked for, by name. */
  const asking: string[] = [];
  const keys: string[] = [];
  const created: string[] = [];
  let listener: ReflectorListener<PodCertificateRequest> | undefined;
  let mostAsked = 0;
  const certificates = new PodCertificates({
    api: {
      async follow(given) {
        listener = given;
        return true;
      },
      async serviceAccountUid(_, name) {
        asking.push(name);
        mostAsked = Math.max(mostAsked, asking.length);
        await held.account;
        asking.splice(asking.indexOf(name), 1);
        return 'sa-uid';
      },
      async create(request) {
        created.push(request.pod.name);
        return { name: `req-${created.length}`, uid: `uid-${created.length}` };
      },
    },
    node: () => ({ name: 'node-1', uid: 'node-uid' }),
    kept: async () => undefined,
    onDue: () => undefined,
    recordEvent: () => undefined,
    clock: new FakeClock(),
    log: silentLogger,
    async makeKey(keyType) {
      keys.push(keyType);
      await held.key;
      return { pem: 'a key', proof: { stubPkcs10: Buffer.of(), publicKey: Buffer.of(), signedUid: Buffer.of() } };
    },
  });
  t.teardown(() => certificates.stop());
  const look = async (each: Pod): Promise<void> => {
    void certificates.prepare(each);
    await settle();
  };
  const deny = (uid: string, podUid: string): void =>
    listener?.events([{ type: 'added', uid, object: { podUid, state: { kind: 'denied', by: 'no' } } }] as never);
  return { certificates, held, asking, keys, created, look, deny, mostAsked: () => mostAsked };
}

test('four certificates are asked for at once, and in the end all', async (t) => {
  const { held, asking, created, look, mostAsked } = setUp(t);
  const answer = Promise.withResolvers<void>();
  held.account = answer.promise;
  await look(pod('many', 60));
  t.is(asking.length, 4);
  answer.resolve();
  for (let turn = 0; turn < 100 && created.length < 60; turn++) await settle();
  t.deepEqual([created.length, mostAsked()], [60, 4]);
});

test('a pod that is gone keeps no place, and what it waited for is not asked', async (t) => {
  const { certificates, held, asking, created, look } = setUp(t);
  const answer = Promise.withResolvers<void>();
  held.account = answer.promise;
  await look(pod('many', 60));
  certificates.forget('uid-many');
  await look(pod('other', 1));
  t.deepEqual(asking, ['many', 'many', 'many', 'many', 'other']);
  answer.resolve();
  await settle();
  t.deepEqual(created, ['other']);
});

test('no key is made for a pod that is gone: another one waits for the key that is being made at most', async (t) => {
  const { certificates, held, keys, created, look } = setUp(t);
  const made = Promise.withResolvers<void>();
  held.key = made.promise;
  await look(pod('many', 60, 'RSA4096'));
  certificates.forget('uid-many');
  await look(pod('other', 1));
  t.deepEqual(keys, ['RSA4096']);
  made.resolve();
  await settle();
  t.deepEqual([keys, created], [['RSA4096', 'ECDSAP256'], ['other']]);
});

test('neither a signer that thinks nor one that refuses keeps a place', async (t) => {
  const { certificates, created, look, deny } = setUp(t);
  await look(pod('thinks', 5));
  t.is(created.length, 5);
  for (let at = 1; at <= 5; at++) deny(`uid-${at}`, 'uid-thinks');
  await look(pod('thinks', 5));
  await look(pod('other', 1));
  t.deepEqual(created.slice(5), ['other']);
  t.is(certificates.states().filter(({ state }) => state === 'denied').length, 5);
});
