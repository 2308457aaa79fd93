/**
 * Asks the API server whether a user may do something with a subresource of a Node. A node may ask (role system:node).
 * Layer: api. Keeps nothing. Source: staging/src/k8s.io/api/authorization/v1/types.go.
 */
import type { ApiClient } from './client.ts';
import { RawObject } from './raw-object.ts';
import type { Resource } from './resource.ts';
import { collectionPath } from './resource.ts';
import type { UserInfo } from './token-review.ts';

export interface NodeAccess {
  readonly user: UserInfo;
  /** `get`, `create`, ... */
  readonly verb: string;
  readonly nodeName: string;
  readonly subresource: string;
}

const accessReviews: Resource = {
  prefix: '/apis/authorization.k8s.io/v1',
  name: 'subjectaccessreviews',
  namespaced: false,
};

/** Resolves to whether it is allowed; a denial outweighs. Throws ApiError or the signal's reason. */
export function reviewNodeAccess(client: ApiClient, access: NodeAccess, signal: AbortSignal): Promise<boolean> {
  const { user, verb, nodeName, subresource } = access;
  const body = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: user.name,
      groups: user.groups,
      ...(user.uid !== undefined && { uid: user.uid }),
      ...(user.extra !== undefined && { extra: user.extra }),
      resourceAttributes: { verb, version: 'v1', resource: 'nodes', subresource, name: nodeName },
    },
  };
  // A review makes no object.
  return client.create(collectionPath(accessReviews), body, parseAnswer, { idempotent: true, signal });
}

function parseAnswer(value: unknown): boolean {
  const status = new RawObject(value).object('status');
  return status?.boolean('allowed') === true && status.boolean('denied') !== true;
}
