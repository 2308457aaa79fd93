/**
 * What a user may do with this Node's API: asked of the API server for each subresource in turn, and remembered.
 * Layer: kubelet/server. Knows no paths: the route says the subresources. Rules: pkg/kubelet/server/auth.go,
 * apiserver/plugin/pkg/authorizer/webhook/webhook.go.
 */
import { createHash } from 'node:crypto';
import type { UserInfo } from '../../api/token-review.ts';
import type { Clock } from '../../base/clock.ts';
import { ReviewCache } from './review-cache.ts';
import type { NodeSubresource } from './route.ts';

/** Throws when the API server cannot be asked: that is neither yes nor no. */
export type Authorize = (user: UserInfo, verb: string, subresource: NodeSubresource) => Promise<boolean>;

export interface AuthorizationOptions {
  review(user: UserInfo, verb: string, subresource: NodeSubresource, signal: AbortSignal): Promise<boolean>;
  allowedMs: number;
  deniedMs: number;
  clock: Clock;
  signal: AbortSignal;
}

export const alwaysAllow: Authorize = async () => true;

export function createAuthorize(options: AuthorizationOptions): Authorize {
  const { review, allowedMs, deniedMs } = options;
  const cache = new ReviewCache<boolean>(options);
  return (user, verb, subresource) => {
    const key = createHash('sha256')
      .update(JSON.stringify([user, verb, subresource]))
      .digest('base64');
    return cache.get(key, async (signal) => {
      const allowed = await review(user, verb, subresource, signal);
      return { answer: allowed, keepMs: allowed ? allowedMs : deniedMs };
    });
  };
}

/** Other methods have no verb, and nobody has a right to that. */
export function verbOf(method: string): string {
  return verbs.get(method) ?? '';
}

const verbs: ReadonlyMap<string, string> = new Map([
  ['POST', 'create'],
  ['GET', 'get'],
  ['HEAD', 'get'],
  ['PUT', 'update'],
  ['PATCH', 'patch'],
  ['DELETE', 'delete'],
]);
