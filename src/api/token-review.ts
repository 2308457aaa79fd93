/**
 * Asks the API server whose a bearer token is. A node may (role system:node).
 * Layer: api. Keeps nothing and never logs a token. Source: staging/src/k8s.io/api/authentication/v1/types.go.
 */
import { isRecord } from '../config/schema-compound.ts';
import type { ApiClient } from './client.ts';
import { RawObject } from './raw-object.ts';
import type { Resource } from './resource.ts';
import { collectionPath } from './resource.ts';

/** Who makes a request, as the API server knows users. */
export interface UserInfo {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** `error` is the API server's, for the log: it could not judge the token. */
export type TokenReviewAnswer = { readonly user: UserInfo } | { readonly user: undefined; readonly error?: string };

const tokenReviews: Resource = { prefix: '/apis/authentication.k8s.io/v1', name: 'tokenreviews', namespaced: false };

/** Throws ApiError or the signal's reason. */
export function reviewToken(client: ApiClient, token: string, signal: AbortSignal): Promise<TokenReviewAnswer> {
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token } };
  // A review makes no object.
  return client.create(collectionPath(tokenReviews), body, parseAnswer, { idempotent: true, signal });
}

// The answer carries the token, too: only its status is looked at, so that no message of the reader shows it.
function parseAnswer(value: unknown): TokenReviewAnswer {
  const status = new RawObject(value).object('status');
  if (status?.boolean('authenticated') !== true) {
    const error = status?.text('error');
    return error ? { user: undefined, error } : { user: undefined };
  }
  const user = status.object('user');
  const name = user?.text('username');
  // Who has no name has no rights either, and must not become one that has.
  if (!user || !name) return { user: undefined, error: 'the API server knows the token and names no user' };
  const uid = user.text('uid');
  const extra = extraOf(value);
  return { user: { name, groups: user.texts('groups'), ...(uid && { uid }), ...(extra && { extra }) } };
}

/** Any names, each with a list of texts. */
function extraOf(review: unknown): Record<string, string[]> | undefined {
  const status = isRecord(review) ? review.status : undefined;
  const user = isRecord(status) ? status.user : undefined;
  const extra = isRecord(user) ? user.extra : undefined;
  if (!isRecord(extra)) return undefined;
  const fields = new RawObject(extra, 'status.user.extra');
  return Object.fromEntries(Object.keys(extra).map((key) => [key, fields.texts(key)]));
}
