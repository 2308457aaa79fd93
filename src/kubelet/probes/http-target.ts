/**
 * What an httpGet action asks for, as the bytes of a request: address, request target and headers.
 * Layer: kubelet/probes (pure), shared with kubelet/lifecycle. Everything in an action is untrusted: what could end a
 * header line or name another host never reaches the wire. Rule: pkg/probe/http/request.go, and Go's net/http below it.
 */
import { isIP, isIPv6 } from 'node:net';
import type { Container, HTTPGetAction } from '../../api/core.ts';
import { resolvePort } from './resolve-port.ts';

export interface HttpTarget {
  scheme: 'http' | 'https';
  /** An IP address without brackets, or a name. */
  host: string;
  port: number;
  /** Path and query, `/healthz?full=1`: visible ASCII only. */
  path: string;
  /** The Host header that the action gives; '' for the address itself. */
  hostHeader: string;
  /** Without Host and Connection. Values are bytes as latin1. */
  headers: readonly (readonly [name: string, value: string])[];
}

/** `probe` or `lifecycle`: the middle of the User-Agent. */
export type HttpPurpose = 'probe' | 'lifecycle';

/** The Kubernetes release whose behaviour this is; servers' logs are searched for it. */
export const kubeUserAgent = (purpose: HttpPurpose): string => `kube-${purpose}/1.36`;

/**
 * @param podIP where the request goes without a host of its own
 * @returns a sentence when no request can be made of it
 */
export function httpTarget(
  action: HTTPGetAction,
  container: Container,
  podIP: string | undefined,
  purpose: HttpPurpose,
): HttpTarget | string {
  const port = resolvePort(action.port, container);
  if (port === undefined) return `invalid port ${quoted(String(action.port))}`;
  const host = action.host || podIP;
  if (host === undefined || host === '') return 'the pod has no IP address';
  if (!isHost(host)) return `invalid host ${quoted(host)}`;
  const headers = requestHeaders(action, purpose);
  if (typeof headers === 'string') return headers;
  return {
    scheme: action.scheme === 'HTTPS' ? 'https' : 'http',
    host,
    port,
    path: requestPath(action.path ?? ''),
    ...headers,
  };
}

/** `http://10.0.0.1:8080/healthz`, as messages show it. */
export function targetUrl({ scheme, host, port, path }: HttpTarget): string {
  return `${scheme}://${joinHostPort(host, port)}${path}`;
}

/** An IPv6 address gets brackets, as in Go's net.JoinHostPort. */
export const joinHostPort = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/** The whole request. */
export function requestBytes({ host, port, path, hostHeader, headers }: HttpTarget): Buffer {
  // The zone of a link-local address means something on this node only.
  const own = joinHostPort(isIPv6(host) ? host.replace(/%.*$/, '') : host, port);
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${hostHeader || own}`];
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  return Buffer.from(`${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`, 'latin1');
}

/** Printable in one line of a message. */
export const quoted = (text: string): string => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);

const isHost = (host: string): boolean => isIP(host) !== 0 || /^[A-Za-z0-9._-]{1,253}$/.test(host);

/** Of RFC 9110, as golang.org/x/net/http/httpguts has them. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const hostText = /^[A-Za-z0-9!$%&'()*+,\-.:;=@[\]_~]*$/;
/** Set by whoever writes the request, never by its headers (net/http reqWriteExcludeHeader; Connection is ours). */
const notOurs = new Set(['host', 'content-length', 'transfer-encoding', 'trailer', 'connection']);

function requestHeaders(
  action: HTTPGetAction,
  purpose: HttpPurpose,
): Pick<HttpTarget, 'hostHeader' | 'headers'> | string {
  const given = (action.httpHeaders ?? []).map(({ name, value }) => [name, bytesOf(value)] as const);
  for (const [name, value] of given) {
    if (!token.test(name)) return `invalid header field name ${quoted(name)}`;
    if (hasControl(value)) return `invalid header field value for ${quoted(name)}`;
  }
  const first = (wanted: string): string | undefined => given.find(([name]) => name.toLowerCase() === wanted)?.[1];
  const hostHeader = first('host') ?? '';
  if (!hostText.test(hostHeader)) return 'invalid Host header';
  const agent = first('user-agent') ?? kubeUserAgent(purpose);
  const accept = first('accept');
  const headers: (readonly [string, string])[] = [];
  // An empty value takes away what would be sent by itself.
  if (agent !== '') headers.push(['User-Agent', agent]);
  if (accept === undefined) headers.push(['Accept', '*/*']);
  for (const [name, value] of given) {
    const lower = name.toLowerCase();
    if (notOurs.has(lower) || lower === 'user-agent' || (lower === 'accept' && accept === '')) continue;
    headers.push([name, value]);
  }
  return { hostHeader, headers };
}

/** UTF-8, a character a byte. Blanks around a value belong to no value. */
const bytesOf = (value: string): string =>
  Buffer.from(value, 'utf8')
    .toString('latin1')
    .replace(/^[ \t]+|[ \t]+$/g, '');

function hasControl(value: string): boolean {
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f) return true;
  }
  return false;
}

/**
 * The path with its query. A whole URL counts only from its path on, a fragment is not sent, `..` stays as it is; what
 * no request line can hold is percent-encoded.
 */
export function requestPath(text: string): string {
  const [, rest = ''] = /^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?\/\/[^/?#]*)?([^#]*)/.exec(text) ?? [];
  const query = rest.indexOf('?');
  const path = query < 0 ? rest : rest.slice(0, query);
  const rooted = path.startsWith('/') ? path : `/${path}`;
  return encoded(rooted, pathText) + (query < 0 ? '' : encoded(rest.slice(query), queryText));
}

const pathText = /[A-Za-z0-9\-._~!$&'()*+,;=:@/[\]]/;
const queryText = /[!-~]/;

function encoded(text: string, allowed: RegExp): string {
  // One escape that is none, and every percent sign is meant as one.
  const escaped = !/%(?![0-9A-Fa-f]{2})/.test(text);
  let result = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const char = String.fromCharCode(byte);
    const keep = char === '%' ? escaped || allowed === queryText : byte < 0x80 && allowed.test(char);
    result += keep ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return result;
}
