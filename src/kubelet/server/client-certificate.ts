/**
 * Who a client certificate says that its holder is: CN the name, O the groups.
 * Layer: kubelet/server. OpenSSL has verified the chain in the handshake (the listener asks for a certificate and refuses
 * none); here its verdict is read, with what may have changed since: the time and the authorities.
 * Rules: apiserver/pkg/authentication/request/x509/x509.go.
 */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { UserInfo } from '../../api/token-review.ts';

/** What the certificate of a connection says; `refused` is why it says nothing, for the log. */
export type CertificateIdentity = { user: UserInfo } | { refused: string };

/** The authorities whose certificates are identities; replaced as a whole when their file changes. */
export interface ClientAuthorities {
  /** PEM. */
  readonly bundle: string;
  readonly certificates: readonly X509Certificate[];
}

/** @throws Error when a certificate of the bundle is broken, or there is none */
export function parseAuthorities(bundle: string): ClientAuthorities {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error('holds no certificate in PEM');
  return { bundle, certificates: blocks.map((block) => new X509Certificate(block)) };
}

interface SeenConnection {
  authorities: ClientAuthorities;
  certificate: X509Certificate;
  identity: CertificateIdentity;
}

export class ClientCertificates {
  readonly #seen = new WeakMap<TLSSocket, SeenConnection>();
  #authorities: ClientAuthorities;

  constructor(authorities: ClientAuthorities) {
    this.#authorities = authorities;
  }

  get authorities(): ClientAuthorities {
    return this.#authorities;
  }

  /** For connections from now on and, as far as that can be told, for those that there are. */
  replace(authorities: ClientAuthorities): void {
    this.#authorities = authorities;
  }

  /** To be called once, when the handshake of the connection is done. */
  connected(socket: TLSSocket): void {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return;
    const identity: CertificateIdentity = socket.authorized
      ? nameOf(socket, certificate)
      : { refused: `client certificate: ${String(socket.authorizationError)}` };
    this.#seen.set(socket, { authorities: this.#authorities, certificate, identity });
  }

  /** Undefined when the connection shows no certificate, or one that names nobody. */
  identify(socket: TLSSocket, nowMs: number): CertificateIdentity | undefined {
    const seen = this.#seen.get(socket);
    if (seen === undefined) return undefined;
    const { certificate, identity } = seen;
    if ('refused' in identity) return identity;
    if (identity.user.name === '') return undefined;
    // Connections outlive certificates.
    if (nowMs > certificate.validToDate.getTime()) return { refused: 'client certificate: expired since' };
    if (seen.authorities !== this.#authorities) {
      const issued = this.#authorities.certificates.some((authority) => isIssuedBy(certificate, authority, nowMs));
      // One that came with intermediates cannot be judged anew: its next connection is.
      if (!issued) return { refused: 'client certificate: its authority is not trusted any more' };
      seen.authorities = this.#authorities;
    }
    return identity;
  }
}

function isIssuedBy(certificate: X509Certificate, authority: X509Certificate, nowMs: number): boolean {
  return (
    authority.ca &&
    nowMs <= authority.validToDate.getTime() &&
    certificate.checkIssued(authority) &&
    certificate.verify(authority.publicKey)
  );
}

/** Attributes as OpenSSL has parsed them: a text form of the name could be forged by a line break in it. */
function nameOf(socket: TLSSocket, { fingerprint256 }: X509Certificate): CertificateIdentity {
  const subject: unknown = socket.getPeerCertificate(false).subject;
  const names = attribute(subject, 'CN');
  const credential = `X509SHA256=${fingerprint256.replaceAll(':', '').toLowerCase()}`;
  return {
    user: {
      // The last one counts, as Go has it.
      name: names.at(-1) ?? '',
      groups: attribute(subject, 'O'),
      extra: { 'authentication.kubernetes.io/credential-id': [credential] },
    },
  };
}

function attribute(subject: unknown, type: 'CN' | 'O'): string[] {
  if (typeof subject !== 'object' || subject === null || !Object.hasOwn(subject, type)) return [];
  const value: unknown = (subject as Record<string, unknown>)[type];
  return (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string');
}
