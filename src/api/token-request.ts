/**
 * Tokens of service accounts, bound to a pod so that they die with it.
 * Layer: api. A node may ask only for its own pods (node authoriser). Keeps nothing: kubelet/volumes does, and never logs one.
 * Source: staging/src/k8s.io/api/authentication/v1/types.go.
 */
import type { ApiClient } from './client.ts';
import { RawObject } from './raw-object.ts';
import { objectPath, serviceAccounts } from './resource.ts';

export interface BoundTokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Empty: the API server's own. */
  readonly audiences: readonly string[];
  /** 600 or more; the server may give another lifetime. */
  readonly expirationSeconds: number;
  readonly pod: { readonly name: string; readonly uid: string };
}

export interface BoundToken {
  readonly token: string;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

/** Throws ApiError or the signal's reason. */
export function requestToken(client: ApiClient, request: BoundTokenRequest, signal?: AbortSignal): Promise<BoundToken> {
  const { namespace, serviceAccount, audiences, expirationSeconds, pod } = request;
  const path = objectPath(serviceAccounts, { namespace, name: serviceAccount }, 'token');
  const body = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      audiences,
      expirationSeconds,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.name, uid: pod.uid },
    },
  };
  // A second token for the same pod changes nothing.
  return client.create(path, body, parseToken, { idempotent: true, ...(signal && { signal }) });
}

// No message of the reader may show the token: the field that is wrong is named, and its value is only ever a timestamp.
function parseToken(value: unknown): BoundToken {
  const status = new RawObject(value).object('status');
  const token = status?.text('token');
  const expiresAtMs = Date.parse(status?.text('expirationTimestamp') ?? '');
  if (!token || Number.isNaN(expiresAtMs)) throw new Error('there is no token with an expirationTimestamp in it');
  return { token, expiresAtMs };
}
