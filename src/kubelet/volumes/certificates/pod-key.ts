/**
 * Keys of pods' certificates and the proof that the node holds them.
 * Layer: kubelet/volumes (pure but for randomness). Keeps no key. Keys are made on libuv's threads: RSA takes seconds.
 * Source: pkg/kubelet/podcertificate (generateKeyAndProof), pkg/apis/certificates/validation, RFC 2986, RFC 4055, RFC 8410.
 */
import { constants, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';
import type { KeyProof } from '../../../api/pod-certificate-request.ts';
import * as der from '../../../base/der.ts';

interface KeyType {
  make(): Promise<{ publicKey: KeyObject; privateKey: KeyObject }>;
  /** AlgorithmIdentifier of the request's signature, as Go chooses it for the key. */
  readonly algorithm: Buffer;
  /** For the request; Ed25519 has its own. */
  readonly hash: string | null;
}

const asRsa = promisify(generateKeyPair) as (type: 'rsa', options: { modulusLength: number }) => Promise<PairOfKeys>;
const asEc = promisify(generateKeyPair) as (type: 'ec', options: { namedCurve: string }) => Promise<PairOfKeys>;
const asEd25519 = promisify(generateKeyPair) as (type: 'ed25519') => Promise<PairOfKeys>;

interface PairOfKeys {
  publicKey: KeyObject;
  privateKey: KeyObject;
}

const derNull = der.tagged(0x05);
const rsa = (modulusLength: number): KeyType => ({
  make: () => asRsa('rsa', { modulusLength }),
  algorithm: der.sequence(der.oid('1.2.840.113549.1.1.11'), derNull),
  hash: 'sha256',
});
const ecdsa = (namedCurve: string, hash: string, last: number): KeyType => ({
  make: () => asEc('ec', { namedCurve }),
  algorithm: der.sequence(der.oid(`1.2.840.10045.4.3.${last}`)),
  hash,
});

const keyTypes: ReadonlyMap<string, KeyType> = new Map([
  ['RSA3072', rsa(3072)],
  ['RSA4096', rsa(4096)],
  ['ECDSAP256', ecdsa('P-256', 'sha256', 2)],
  ['ECDSAP384', ecdsa('P-384', 'sha384', 3)],
  ['ECDSAP521', ecdsa('P-521', 'sha512', 4)],
  ['ED25519', { make: () => asEd25519('ed25519'), algorithm: der.sequence(der.oid('1.3.101.112')), hash: null }],
]);

export const podKeyTypes: readonly string[] = [...keyTypes.keys()];

export interface PodKey {
  /** PEM, PKCS #8. */
  readonly pem: string;
  readonly proof: KeyProof;
}

/** undefined for a type that is none of podKeyTypes. @param podUid is signed, for servers that want that */
export async function makePodKey(keyType: string, podUid: string): Promise<PodKey | undefined> {
  const type = keyTypes.get(keyType);
  if (type === undefined) return undefined;
  const { publicKey, privateKey } = await type.make();
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  // Version 0, no subject, the key, no attributes: the signer knows from the object whom it is for.
  const asked = der.sequence(der.unsignedInteger(Buffer.from([0])), der.sequence(), spki, der.explicit(0));
  const stubPkcs10 = der.sequence(asked, type.algorithm, der.bitString(sign(type.hash, asked, privateKey)));
  return {
    pem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    proof: { stubPkcs10, publicKey: spki, signedUid: signUid(podUid, type, privateKey) },
  };
}

/** SHA-256 whatever the curve; RSA by PSS with a salt as long as it can be, as Go's rsa.SignPSS makes it without options. */
function signUid(podUid: string, { hash }: KeyType, key: KeyObject): Buffer {
  const bytes = Buffer.from(podUid, 'ascii');
  if (hash === null) return sign(null, bytes, key);
  const isRsa = key.asymmetricKeyType === 'rsa';
  return sign('sha256', bytes, {
    key,
    ...(isRsa && { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN }),
  });
}
