/**
 * The certificates and the token with which requests are made, read from where the kubeconfig says and read again when a
 * file was replaced (kubelet-client-current.pem rotates, projected tokens expire) or the server said 401.
 * Layer: api (edge: reads files). No timer: files are looked at when a request is made, at most every few seconds.
 * Must not log or put into a message what is secret.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { getCACertificates } from 'node:tls';
import { readFileBounded } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { systemClock } from '../base/clock.ts';
import type { ClusterAccess, SecretSource } from '../config/kubeconfig.ts';
import { errorLine } from '../observe/keelson-error.ts';
import type { Logger } from '../observe/logger.ts';
import { silentLogger } from '../observe/logger.ts';
import { ApiError } from './api-error.ts';

/** What node:tls needs; a new object whenever one of the files changed. */
export interface TlsMaterial {
  readonly ca: readonly string[];
  readonly cert?: string;
  readonly key?: string;
  readonly servername?: string;
  readonly rejectUnauthorized: boolean;
}

export interface Credentials {
  readonly tls: TlsMaterial;
  /** The Authorization header. */
  readonly authorization?: string;
}

export interface CredentialSource {
  /**
   * The credentials of now. Throws ApiError API_CREDENTIALS while there are none; after a first success, files that have
   * become unreadable or broken are told in the log and the last good ones are returned.
   */
  current(): Promise<Credentials>;
  /** The server refused these: the next current() looks at the files whatever the time. */
  refused(credentials: Credentials): void;
}

/** How often files are looked at, milliseconds. Rotation replaces them long before the old ones expire. */
const lookEveryMs = 10_000;
const maxFileBytes = 1024 * 1024;

export function createCredentialSource(
  access: ClusterAccess,
  { clock = systemClock, log = silentLogger }: { clock?: Clock; log?: Logger } = {},
): CredentialSource {
  let known: { credentials: Credentials; texts: string } | undefined;
  let lookedAtMs = 0;
  let told = '';
  let looking: Promise<Credentials> | undefined;

  const look = async (): Promise<Credentials> => {
    try {
      const loaded = await load(access);
      told = '';
      // The same texts give the same object, so that connections stay.
      const texts = JSON.stringify(loaded);
      if (known === undefined || known.texts !== texts) {
        const sameTls = known && JSON.stringify(known.credentials.tls) === JSON.stringify(loaded.tls);
        const tls = (sameTls && known?.credentials.tls) || loaded.tls;
        checkCertificates(access, tls, clock.now());
        if (known !== undefined) log.info({ kubeconfig: access.file }, 'credentials have changed');
        known = { credentials: { ...loaded, tls }, texts };
      }
    } catch (error) {
      if (known === undefined) throw error;
      const line = errorLine(error);
      if (line !== told) log.warn({ error: line }, 'credentials cannot be read again, the old ones stay in use');
      told = line;
    } finally {
      lookedAtMs = clock.now();
      looking = undefined;
    }
    return known.credentials;
  };

  return {
    async current() {
      if (known !== undefined && clock.now() - lookedAtMs < lookEveryMs) return known.credentials;
      looking ??= look();
      return looking;
    },
    refused(credentials) {
      // A refusal of what has been replaced meanwhile says nothing about what is used now.
      if (known?.credentials === credentials) lookedAtMs = -lookEveryMs;
    },
  };
}

async function load(access: ClusterAccess): Promise<Credentials> {
  const { certificateAuthority, clientCertificate, token, tlsServerName } = access;
  const ca = certificateAuthority && (await read(access, 'certificate-authority', certificateAuthority));
  const cert = clientCertificate && (await read(access, 'client-certificate', clientCertificate.certificate));
  const key = clientCertificate && (await read(access, 'client-key', clientCertificate.key));
  const bearer = token && (await read(access, 'tokenFile', token)).trim();
  if (bearer !== undefined && !/^[\x21-\x7e]+$/.test(bearer)) {
    throw unusable(access, 'tokenFile', 'the file holds no token', 'write a token into it');
  }
  return {
    tls: {
      ca: ca === undefined ? getCACertificates('system') : [ca],
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(tlsServerName !== undefined && { servername: tlsServerName }),
      rejectUnauthorized: !access.insecureSkipTlsVerify,
    },
    ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
  };
}

async function read(access: ClusterAccess, field: string, source: SecretSource): Promise<string> {
  if ('data' in source) return source.data;
  try {
    return (await readFileBounded(source.file, maxFileBytes)).data.toString();
  } catch (cause) {
    throw unusable(access, field, errorLine(cause), 'make the file readable, or name another', cause);
  }
}

/** OpenSSL's own messages name neither file nor field. */
function checkCertificates(access: ClusterAccess, tls: TlsMaterial, nowMs: number): void {
  if (access.certificateAuthority !== undefined) {
    for (const text of tls.ca) certificateOf(access, 'certificate-authority', text);
  }
  if (tls.cert === undefined || tls.key === undefined) return;
  const certificate = certificateOf(access, 'client-certificate', tls.cert);
  if (certificate.validToDate.getTime() < nowMs) {
    const message = `the certificate expired at ${certificate.validToDate.toISOString()}`;
    throw unusable(access, 'client-certificate', message, 'renew it, or check the clock of this machine');
  }
  let matches: boolean;
  try {
    matches = certificate.checkPrivateKey(createPrivateKey(tls.key));
  } catch (cause) {
    throw unusable(access, 'client-key', 'holds no private key', 'copy the key in PEM again', cause);
  }
  // Seen while a rotation replaces two files one after the other.
  if (!matches) throw unusable(access, 'client-key', 'is not the key of the certificate', 'copy both again');
}

function certificateOf(access: ClusterAccess, field: string, text: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (cause) {
    throw unusable(access, field, 'holds no certificate', 'copy the certificate in PEM again', cause);
  }
}

function unusable(access: ClusterAccess, field: string, message: string, fix: string, cause?: unknown): ApiError {
  const object = `kubeconfig ${access.file} ${field}`;
  return new ApiError('API_CREDENTIALS', message, {
    object,
    fix,
    sent: false,
    ...(cause !== undefined && { cause }),
  });
}
