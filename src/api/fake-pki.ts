/**
 * A certificate authority for tests: real X.509 certificates, valid, expired or of a stranger, made without openssl.
 * Layer: api (test support). Must not be imported by production code.
 */
import { type ExtendedUsage, generateP256, type KeyPair, privateKeyPem, writeCertificate } from '../base/x509.ts';

export interface Certificate {
  /** PEM. */
  certificate: string;
  /** PEM, PKCS #8. */
  key: string;
}

export interface FakeAuthority extends Certificate {
  issue(options?: IssueOptions): Certificate;
  /** An authority whose certificate this one signed. */
  intermediate(commonName: string): FakeAuthority;
}

export interface IssueOptions {
  commonName?: string;
  organization?: string;
  organizations?: string[];
  /** IP addresses and DNS names. */
  names?: string[];
  /** Milliseconds since the epoch; default a day ago and a day from now. */
  notBefore?: number;
  notAfter?: number;
  /** Default: none is named, which allows all. */
  usages?: ExtendedUsage[];
}

const dayMs = 24 * 3600_000;

export function createFakeAuthority(commonName = 'test authority'): FakeAuthority {
  const keys = generateP256();
  return authorityOf(commonName, keys, authorityCertificate(commonName, keys, commonName, keys));
}

function authorityCertificate(commonName: string, keys: KeyPair, issuer: string, signer: KeyPair): string {
  return writeCertificate(
    {
      subject: { commonName },
      issuer: { commonName: issuer },
      publicKey: keys.publicKey,
      notBeforeMs: Date.now() - dayMs,
      notAfterMs: Date.now() + dayMs,
      isAuthority: true,
    },
    signer,
  );
}

function authorityOf(commonName: string, keys: KeyPair, certificate: string): FakeAuthority {
  return {
    certificate,
    key: privateKeyPem(keys),
    intermediate(name) {
      const own = generateP256();
      return authorityOf(name, own, authorityCertificate(name, own, commonName, keys));
    },
    issue(options = {}) {
      const own = generateP256();
      const { organization, organizations = organization === undefined ? [] : [organization] } = options;
      const notAfterMs = options.notAfter ?? Date.now() + dayMs;
      const fields = {
        subject: { commonName: options.commonName ?? 'localhost', organizations },
        issuer: { commonName },
        publicKey: own.publicKey,
        notBeforeMs: options.notBefore ?? Math.min(Date.now(), notAfterMs) - dayMs,
        notAfterMs,
        names: options.names ?? ['127.0.0.1', 'localhost'],
        ...(options.usages && { usages: options.usages }),
      };
      return { certificate: writeCertificate(fields, keys), key: privateKeyPem(own) };
    },
  };
}
