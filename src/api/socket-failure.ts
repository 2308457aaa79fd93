/**
 * What Node says of sockets and certificates, as one ApiError that a person can act on.
 * Layer: api (pure). The only place that knows Node's and OpenSSL's codes.
 */
import { ApiError } from './api-error.ts';

/** Codes of X509_verify_cert_error_string as Node names them, and Node's own, with what to do. */
const certificateFixes: ReadonlyMap<string, string> = new Map([
  ['CERT_HAS_EXPIRED', 'renew the certificate of the API server, or check the clock of this machine'],
  ['CERT_NOT_YET_VALID', 'check the clocks of this machine and of the API server'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'use an address that its certificate names, or set tls-server-name'],
]);
const wrongAuthorityFix = 'set certificate-authority-data of the kubeconfig to the authority of this cluster';
const wrongAuthority = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'INVALID_CA',
]);

/**
 * @param server its URL
 * @param sent whether the request may have reached the server
 */
export function connectionError(server: string, error: unknown, sent: boolean): ApiError {
  if (error instanceof ApiError) return error;
  const code = codeOf(error);
  const details = { object: `API server ${server}`, cause: error, sent };
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') {
    const fix = 'check that the address is that of an API server and that the client certificate is of its cluster';
    return new ApiError('API_TLS', `the TLS handshake failed (${code})`, { ...details, fix });
  }
  const fix = certificateFixes.get(code) ?? (wrongAuthority.has(code) ? wrongAuthorityFix : undefined);
  if (fix !== undefined) {
    return new ApiError('API_TLS', `its certificate is not to be trusted (${code})`, { ...details, fix });
  }
  return new ApiError('API_UNREACHABLE', `is not reachable (${code})`, {
    ...details,
    fix: 'check the address in the kubeconfig and the network to it',
  });
}

// Node wraps what ended an HTTP/2 session, and tries several addresses of one name.
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  if (error.cause !== undefined) return codeOf(error.cause);
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
