/**
 * Who makes a request: by client certificate, else by bearer token, else nobody or, where that is allowed, the anonymous user.
 * Layer: kubelet/server. Decides no rights. Tokens are asked of the API server and remembered by a keyed hash only.
 * Rules: cmd/kubelet/app/auth.go, apiserver/pkg/authentication/{authenticatorfactory/delegating.go,request/bearertoken}.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { TokenReviewAnswer, UserInfo } from '../../api/token-review.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { CertificateIdentity, ClientCertificates } from './client-certificate.ts';
import { ReviewCache } from './review-cache.ts';

/** `refused`: why a credential that was shown is none, for the log; absent when none was shown. */
export type Authentication = { user: UserInfo } | { user: undefined; refused?: string };

export type Authenticate = (request: IncomingMessage) => Promise<Authentication>;

export interface AuthenticationOptions {
  /** undefined: no certificate is an identity. */
  certificates: ClientCertificates | undefined;
  /** undefined: no token is an identity. */
  tokens: { review(token: string, signal: AbortSignal): Promise<TokenReviewAnswer>; cacheMs: number } | undefined;
  anonymous: boolean;
  clock: Clock;
  signal: AbortSignal;
}

const authenticatedGroup = 'system:authenticated';
const anonymousUser: UserInfo = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

export function createAuthenticate(options: AuthenticationOptions): Authenticate {
  const { certificates, tokens, anonymous, clock } = options;
  const cache = new ReviewCache<TokenReviewAnswer>(options);
  const secret = randomBytes(32);

  const byToken = async (token: string): Promise<TokenReviewAnswer> => {
    if (tokens === undefined) return { user: undefined };
    const key = createHmac('sha256', secret).update(token).digest('base64');
    return cache.get(key, async (signal) => {
      const answer = await tokens.review(token, signal);
      // The API server could not judge: that is not remembered.
      const isJudged = answer.user !== undefined || answer.error === undefined;
      return { answer, keepMs: isJudged ? tokens.cacheMs : 0 };
    });
  };

  return async (request) => {
    const certificate = identityOf(certificates, request, clock.now());
    if (certificate !== undefined && 'user' in certificate) return { user: withGroup(certificate.user) };
    const refusals = certificate === undefined ? [] : [certificate.refused];
    const token = tokens === undefined ? undefined : bearerToken(request.headers.authorization);
    if (token !== undefined) {
      try {
        const { user, ...rest } = await byToken(token);
        if (user !== undefined) {
          forgetToken(request);
          return { user: withGroup(user) };
        }
        refusals.push(`bearer token: ${('error' in rest ? rest.error : undefined) ?? 'not known to the API server'}`);
      } catch (error) {
        refusals.push(`bearer token: ${errorLine(error)}`);
      }
    }
    // Whoever shows a bad credential is not taken for one who shows none.
    if (refusals.length > 0) return { user: undefined, refused: refusals.join('; ') };
    return { user: anonymous ? anonymousUser : undefined };
  };
}

function identityOf(
  certificates: ClientCertificates | undefined,
  { socket }: IncomingMessage,
  nowMs: number,
): CertificateIdentity | undefined {
  return socket instanceof TLSSocket ? certificates?.identify(socket, nowMs) : undefined;
}

function withGroup(user: UserInfo): UserInfo {
  if (user.name === anonymousUser.name || user.groups.includes(authenticatedGroup)) return user;
  if (user.groups.includes('system:unauthenticated')) return user;
  return { ...user, groups: [...user.groups, authenticatedGroup] };
}

/** The second word of the header where the first is `Bearer`; longer ones than any issuer makes are none. */
function bearerToken(header: string | undefined): string | undefined {
  const [scheme = '', token = ''] = (header ?? '').trim().split(' ', 2);
  return scheme.toLowerCase() === 'bearer' && token !== '' && token.length <= 64 * 1024 ? token : undefined;
}

/** What stands behind a handler (the runtime's streaming server) must not see it. */
function forgetToken(request: IncomingMessage): void {
  delete request.headers.authorization;
  for (let at = request.rawHeaders.length - 2; at >= 0; at -= 2) {
    if (request.rawHeaders[at]?.toLowerCase() === 'authorization') request.rawHeaders.splice(at, 2);
  }
}
