/**
 * Writes X.509 v3 certificates signed with ECDSA P-256 (the kubelet's self-signed serving certificate, and the authorities
 * of tests) and requests for certificates (PKCS #10).
 * Layer: base (pure but for randomness). Reads none: node:crypto does. Source of the layouts: RFC 5280 section 4.1,
 * RFC 2986 section 4, RFC 2985 section 5.4.2 (extensionRequest), RFC 5758.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import * as der from './der.ts';

export interface KeyPair {
  publicKey: KeyObject;
  privateKey: KeyObject;
}

export interface CertificateFields {
  subject: DistinguishedName;
  issuer: DistinguishedName;
  publicKey: KeyObject;
  /** Milliseconds since the epoch. */
  notBeforeMs: number;
  notAfterMs: number;
  /** IP addresses and DNS names (ASCII). */
  names?: readonly string[];
  isAuthority?: boolean;
  usages?: readonly ExtendedUsage[];
}

export interface DistinguishedName {
  commonName?: string;
  organizations?: readonly string[];
}

export type ExtendedUsage = 'serverAuth' | 'clientAuth';

const usageOids: Readonly<Record<ExtendedUsage, string>> = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
};

export const generateP256 = (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** PEM, PKCS #8. */
export const privateKeyPem = ({ privateKey }: KeyPair): string =>
  privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

/** ecdsa-with-SHA256 */
const signatureAlgorithm = der.sequence(der.oid('1.2.840.10045.4.3.2'));

/** What an authority is asked to sign; usages are said beside it, in Kubernetes' object. */
export interface RequestFields {
  subject: DistinguishedName;
  /** IP addresses and DNS names (ASCII). */
  names?: readonly string[];
}

/** PEM of a PKCS #10 request, signed with the key for which the certificate shall be. */
export function writeCertificateRequest({ subject, names = [] }: RequestFields, keys: KeyPair): string {
  const extensionRequest = (): Buffer =>
    der.sequence(der.oid('1.2.840.113549.1.9.14'), der.set(der.sequence(alternativeNames(names))));
  const toBeSigned = der.sequence(
    der.unsignedInteger(Buffer.from([0])),
    distinguishedName(subject),
    spki(keys.publicKey),
    // An implicit set, whose members stand directly below the tag.
    der.explicit(0, ...(names.length > 0 ? [extensionRequest()] : [])),
  );
  return der.pem('CERTIFICATE REQUEST', signed(toBeSigned, keys));
}

/** The part that is signed, with algorithm and signature behind it: of certificates and of requests alike. */
function signed(toBeSigned: Buffer, { privateKey }: KeyPair): Buffer {
  return der.sequence(toBeSigned, signatureAlgorithm, der.bitString(sign('sha256', toBeSigned, privateKey)));
}

/** PEM. The signer is the issuer's; for a self-signed certificate the subject's own. */
export function writeCertificate(fields: CertificateFields, signer: KeyPair): string {
  const toBeSigned = der.sequence(
    der.explicit(0, der.unsignedInteger(Buffer.from([2]))),
    // At most 20 octets, positive, and unlike that of any other certificate of the issuer.
    der.unsignedInteger(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    signatureAlgorithm,
    distinguishedName(fields.issuer),
    der.sequence(der.time(fields.notBeforeMs), der.time(fields.notAfterMs)),
    distinguishedName(fields.subject),
    spki(fields.publicKey),
    der.explicit(3, der.sequence(...extensions(fields, signer))),
  );
  return der.pem('CERTIFICATE', signed(toBeSigned, signer));
}

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });

/** Any name that is the same for the same key will do. */
const keyIdentifier = (key: KeyObject): Buffer => createHash('sha1').update(spki(key)).digest();

function extensions(
  { publicKey, names = [], isAuthority = false, usages = [] }: CertificateFields,
  signer: KeyPair,
): Buffer[] {
  const digitalSignature = 0;
  const keyCertSign = 5;
  return [
    extension('2.5.29.19', true, isAuthority ? der.sequence(der.boolean(true)) : der.sequence()),
    extension(
      '2.5.29.15',
      true,
      der.namedBits(...(isAuthority ? [digitalSignature, keyCertSign] : [digitalSignature])),
    ),
    ...(usages.length > 0
      ? [extension('2.5.29.37', false, der.sequence(...usages.map((usage) => der.oid(usageOids[usage]))))]
      : []),
    extension('2.5.29.14', false, der.octetString(keyIdentifier(publicKey))),
    extension('2.5.29.35', false, der.sequence(der.implicit(0, keyIdentifier(signer.publicKey)))),
    ...(names.length > 0 ? [alternativeNames(names)] : []),
  ];
}

const alternativeNames = (names: readonly string[]): Buffer =>
  extension('2.5.29.17', false, der.sequence(...names.map(generalName)));

const extension = (id: string, critical: boolean, value: Buffer): Buffer =>
  der.sequence(der.oid(id), ...(critical ? [der.boolean(true)] : []), der.octetString(value));

function distinguishedName({ commonName, organizations = [] }: DistinguishedName): Buffer {
  const attribute = (type: string, value: string): Buffer =>
    der.set(der.sequence(der.oid(type), der.utf8String(value)));
  return der.sequence(
    ...organizations.map((organization) => attribute('2.5.4.10', organization)),
    ...(commonName === undefined ? [] : [attribute('2.5.4.3', commonName)]),
  );
}

function generalName(name: string): Buffer {
  return isIP(name) === 0 ? der.implicit(2, Buffer.from(name, 'ascii')) : der.implicit(7, addressBytes(name));
}

/** 4 or 16 bytes. */
function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  // WHATWG URLs write IPv6 in one form: lower case, one `::` at most, and no dotted quad.
  const canonical = new URL(`http://[${address.replace(/%.*/, '')}]`).hostname.slice(1, -1);
  const [head = '', tail] = canonical.split('::');
  const groups = (text: string | undefined): number[] =>
    text ? text.split(':').map((group) => Number.parseInt(group, 16)) : [];
  const [before, after] = [groups(head), groups(tail)];
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
