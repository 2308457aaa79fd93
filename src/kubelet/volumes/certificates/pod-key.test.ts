/** Keys of pods' certificates: each type is what it says, and a server believes both proofs. */
import { createPrivateKey } from 'node:crypto';
import test from 'ava';
import { provenKey } from './pod-certificate-signer.fake.ts';
import { makePodKey, podKeyTypes } from './pod-key.ts';

const details = {
  RSA3072: ['rsa', 3072],
  RSA4096: ['rsa', 4096],
  ECDSAP256: ['ec', 'prime256v1'],
  ECDSAP384: ['ec', 'secp384r1'],
  ECDSAP521: ['ec', 'secp521r1'],
  ED25519: ['ed25519', undefined],
} as const;

test('the types are those of Kubernetes', (t) => t.deepEqual(podKeyTypes, Object.keys(details)));

for (const [type, [kind, size]] of Object.entries(details)) {
  test(`a key of type ${type} and its proofs`, async (t) => {
    const made = await makePodKey(type, 'uid-1');
    if (made === undefined) return t.fail();
    t.regex(made.pem, /^-----BEGIN PRIVATE KEY-----\n/);
    const key = createPrivateKey(made.pem);
    t.is(key.asymmetricKeyType, kind);
    const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
    t.is(modulusLength ?? namedCurve, size);
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    const { stubPkcs10, publicKey, signedUid } = made.proof;
    const byStub = provenKey({ stubPKCS10Request: base64(stubPkcs10) });
    const parts = { pkixPublicKey: base64(publicKey), proofOfPossession: base64(signedUid) };
    t.true(byStub.equals(provenKey({ ...parts, podUID: 'uid-1' })));
    t.throws(() => provenKey({ ...parts, podUID: 'uid-2' }), { message: /could not verify/ });
    const spoiled = Buffer.from(stubPkcs10);
    spoiled[spoiled.length - 1]! ^= 1;
    t.throws(() => provenKey({ stubPKCS10Request: base64(spoiled) }));
  });
}

test('another type is none', async (t) => {
  for (const type of ['', 'RSA2048', 'ecdsap256', '__proto__']) t.is(await makePodKey(type, 'uid-1'), undefined);
});
