/**
 * Where a redirect leads, for probes and hooks: on the same host it is followed, beyond it is not.
 * Layer: kubelet/probes (pure). Rule: pkg/probe/http RedirectChecker, and Go's net/http Client.
 */
import { isIPv6 } from 'node:net';
import { type HttpTarget, quoted, targetUrl } from './http-target.ts';

/** The requests that are made in all. */
export const maxRequests = 10;

export type NextRequest =
  | { next: HttpTarget }
  /** The answer itself is the last one. */
  | { stay: true }
  | { failed: string };

const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export const isRedirect = (status: number): boolean => redirects.has(status);

/** @param first what was asked for at the beginning @param made requests made so far */
export function nextRequest(
  first: HttpTarget,
  current: HttpTarget,
  answer: { status: number; location: string | undefined },
  made: number,
): NextRequest {
  if (!isRedirect(answer.status) || answer.location === undefined || answer.location === '') return { stay: true };
  const url = URL.parse(answer.location, targetUrl(current));
  if (url === null) return { failed: `failed to parse Location header ${quoted(answer.location)}` };
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (host !== hostOf(first)) return { stay: true };
  if (made >= maxRequests) return { failed: `stopped after ${maxRequests} redirects` };
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return { failed: `unsupported protocol scheme ${quoted(url.protocol.slice(0, -1))}` };
  }
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  return {
    next: {
      scheme,
      host: first.host,
      port: url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port),
      path: `${url.pathname}${url.search}`,
      // A Host header of the action's own goes along as long as the server names no address itself.
      hostHeader: URL.canParse(answer.location) ? '' : current.hostHeader,
      headers: first.headers,
    },
  };
}

/** The host as the URL parser writes it. */
function hostOf({ host }: HttpTarget): string {
  const literal = isIPv6(host) ? `[${host.replace(/%.*$/, '')}]` : host;
  return (URL.parse(`http://${literal}/`)?.hostname ?? host).replace(/^\[|\]$/g, '');
}
