/**
 * May this identity do something? Asked of the API server, for doctor.
 * Layer: agent (edge: asks the API server, changes nothing there).
 */
import type { ApiClient } from '../api/client.ts';
import { RawObject } from '../api/raw-object.ts';

const timeoutMs = 5_000;

/** Every identity may ask this (system:basic-user). Source: staging/src/k8s.io/api/authorization/v1/types.go. */
export function mayDo(client: ApiClient, verb: string, group: string, resource: string): Promise<boolean> {
  const review = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec: { resourceAttributes: { verb, group, resource } },
  };
  const parse = (value: unknown): boolean => new RawObject(value).object('status')?.boolean('allowed') ?? false;
  const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
  return client.create(path, review, parse, { timeoutMs, idempotent: true });
}
