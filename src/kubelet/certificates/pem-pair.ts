/**
 * A certificate chain with its key, as one PEM text: what kubelet-client-*.pem and kubelet-server-*.pem hold.
 * Layer: kubelet/certificates (pure). Knows no files. Messages never show the key.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';

export interface PemPair {
  /** The certificate itself first, then its intermediates; PEM. */
  readonly certificate: string;
  /** PEM. */
  readonly key: string;
  readonly leaf: LeafFacts;
}

/** What is looked at of a certificate. */
export interface LeafFacts {
  readonly commonName: string | undefined;
  readonly organizations: readonly string[];
  /** DNS names and IP addresses, these as URLs write them. */
  readonly names: readonly string[];
  /** Milliseconds since the epoch. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const certificateBlock = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;
const keyBlock = /-----BEGIN ((?:EC |RSA )?PRIVATE KEY)-----[^-]*-----END \1-----/;

/**
 * @param certificates text with one or more certificates, the first of which is the key's
 * @param key text with the key; may be the same
 * @throws Error whose message says which part cannot be used
 */
export function parsePemPair(certificates: string, key: string): PemPair {
  const chain = certificates.match(certificateBlock) ?? [];
  const [first] = chain;
  if (first === undefined) throw new Error('there is no certificate in it');
  const parsed = chain.map((block) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      throw new Error('a certificate in it is broken', { cause });
    }
  });
  const block = keyBlock.exec(key)?.[0];
  if (block === undefined) throw new Error('there is no private key in it');
  const [leaf] = parsed;
  if (leaf === undefined || !isKeyOf(leaf, block)) throw new Error('the key is not that of the certificate');
  return { certificate: `${chain.join('\n')}\n`, key: `${block}\n`, leaf: leafFacts(leaf) };
}

function isKeyOf(leaf: X509Certificate, key: string): boolean {
  try {
    return leaf.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw new Error('the private key in it is broken', { cause });
  }
}

export function leafFacts(certificate: X509Certificate): LeafFacts {
  const { subject, subjectaltname } = certificate.toLegacyObject();
  return {
    commonName: attributeValues(subject, 'CN').at(-1),
    organizations: attributeValues(subject, 'O'),
    names: alternativeNames(subjectaltname ?? ''),
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
  };
}

/** Attributes as OpenSSL has parsed them: the text form of a name could be forged by a line break in it. */
function attributeValues(subject: unknown, type: 'CN' | 'O'): string[] {
  if (typeof subject !== 'object' || subject === null || !Object.hasOwn(subject, type)) return [];
  const value: unknown = (subject as Record<string, unknown>)[type];
  return (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string');
}

/** Node quotes a name that could be taken for two; such a one is nobody's here. */
function alternativeNames(text: string): string[] {
  return text.split(', ').flatMap((entry) => {
    if (entry.startsWith('DNS:')) return [entry.slice('DNS:'.length)];
    if (entry.startsWith('IP Address:')) return [canonicalAddress(entry.slice('IP Address:'.length))];
    return [];
  });
}

/** One form of each address, whoever wrote it. */
export function canonicalAddress(address: string): string {
  if (!address.includes(':')) return address;
  try {
    return new URL(`http://[${address}]`).hostname.replace(/^\[|\]$/g, '');
  } catch {
    return address;
  }
}
