/**
 * Failures of connections in the words of Go's net package: what people search events for.
 * Layer: kubelet/probes (pure). Decides by error codes, never by text.
 */
import { joinHostPort } from './http-target.ts';

const causes: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
  EADDRNOTAVAIL: 'cannot assign requested address',
  EACCES: 'permission denied',
  EINVAL: 'invalid argument',
  EMFILE: 'too many open files',
  EPERM: 'operation not permitted',
  EPIPE: 'broken pipe',
  ETIMEDOUT: 'connection timed out',
};

/** `dial tcp 10.0.0.1:80: connect: connection refused` */
export function dialFailure(error: unknown, host: string, port: number): string {
  const code = codeOf(error);
  if (code === 'ENOTFOUND') return `dial tcp: lookup ${host}: no such host`;
  if (code === 'EAI_AGAIN') return `dial tcp: lookup ${host}: server misbehaving`;
  return `dial tcp ${joinHostPort(host, port)}: connect: ${causes[code] ?? textOf(error)}`;
}

/** `dial tcp 10.0.0.1:80: i/o timeout` */
export const dialTimeout = (host: string, port: number): string => `dial tcp ${joinHostPort(host, port)}: i/o timeout`;

/** `read tcp 10.0.0.1:80: connection reset by peer`; for what happens on a connection that stood. */
export function readFailure(error: unknown, host: string, port: number): string {
  return `read tcp ${joinHostPort(host, port)}: ${causes[codeOf(error)] ?? textOf(error)}`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** The first line: OpenSSL's messages go on for several. */
const textOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? '';
