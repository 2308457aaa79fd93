/**
 * What a pod's files hold of a certificate: a key and the chain of certificates for it, checked to belong together.
 * Layer: kubelet/volumes (pure). A signer's answer and files of before are looked at alike. Messages never show the key.
 * Source: pkg/kubelet/podcertificate (cleanCertificateChain).
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import * as der from '../../../base/der.ts';

export interface Credential {
  /** PEM, PKCS #8. */
  readonly key: string;
  /** The certificate first, then its intermediates; PEM without anything between. */
  readonly chain: string;
  /** Milliseconds since the epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A longer chain is nobody's. */
const maxCertificates = 32;

/** @throws Error whose message says what cannot be used */
export function credentialOf(key: string, chain: string): Credential {
  const certificates = blocksOf(chain);
  if (certificates.length > maxCertificates) throw new Error(`there are ${certificates.length} certificates in it`);
  const [leaf] = certificates.map((bytes) => {
    try {
      return new X509Certificate(bytes);
    } catch (cause) {
      throw new Error('a certificate in it is broken', { cause });
    }
  });
  if (leaf === undefined) throw new Error('there is no certificate in it');
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('the certificate is for another key');
  return {
    key,
    chain: certificates.map((bytes) => der.pem('CERTIFICATE', bytes)).join(''),
    notBeforeMs: leaf.validFromDate.getTime(),
    notAfterMs: leaf.validToDate.getTime(),
  };
}

/** The DER of each block, whatever stands between and before the bodies (headers: RFC 1421 section 4.4). */
function blocksOf(text: string): Buffer[] {
  const blocks: Buffer[] = [];
  let body: string[] | undefined;
  for (const line of text.split('\n').map((each) => each.trim())) {
    if (line === '-----BEGIN CERTIFICATE-----') body = [];
    else if (line === '-----END CERTIFICATE-----') {
      if (body !== undefined) blocks.push(Buffer.from(body.join(''), 'base64'));
      body = undefined;
    } else if (/^[A-Za-z0-9+/=]*$/.test(line)) body?.push(line);
    // A header goes; anything else spoils the block.
    else if (!line.includes(':')) body = undefined;
  }
  return blocks;
}

/** The files hold key and chain behind each other, or in two. undefined for what is none, or another's. */
export function credentialOfFiles(keyText: string, chainText: string): Credential | undefined {
  const key = /-----BEGIN PRIVATE KEY-----[A-Za-z0-9+/=\s]*-----END PRIVATE KEY-----/.exec(keyText)?.[0];
  if (key === undefined) return undefined;
  try {
    return credentialOf(`${key}\n`, chainText);
  } catch {
    return undefined;
  }
}
