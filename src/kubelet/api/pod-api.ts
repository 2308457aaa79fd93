/**
 * What keeping pods in step asks of the API server: status, deletion, mirror pods.
 * Layer: kubelet/api (edge: types and a thin adapter over api/client.ts). fake-pod-api.ts has the rules of a real server.
 * Must not retry: status-sync.ts and mirror-pods.ts decide that. Every method throws ApiError.
 */
import type { ApiClient } from '../../api/client.ts';
import type { Pod } from '../../api/core.ts';
import { collectionPath, objectPath, pods } from '../../api/resource.ts';
import { readApiPod } from './api-pod.ts';

export interface PodName {
  namespace: string;
  name: string;
}

/** A pod as it is sent to be created: the API server gives it its uid. */
export type NewPod = Omit<Pod, 'metadata' | 'status'> & { metadata: Omit<Pod['metadata'], 'uid'> };

export interface PodApi {
  /** A strategic merge patch of the status subresource. With `metadata.uid` it is refused for a namesake (API_CONFLICT). */
  patchStatus(pod: PodName, patch: object, signal: AbortSignal): Promise<Pod>;
  /** Removes the pod at once, if it still is the one with this uid. */
  deleteNow(pod: PodName, uid: string, signal: AbortSignal): Promise<void>;
  create(pod: NewPod, signal: AbortSignal): Promise<Pod>;
}

export function createPodApi(client: ApiClient): PodApi {
  const parse = (value: unknown): Pod => readApiPod(value).pod;
  return {
    patchStatus: (pod, patch, signal) =>
      // A second time changes nothing: the patch says what the status is, not what to add.
      client.patch(objectPath(pods, pod, 'status'), 'strategic', patch, parse, { signal, idempotent: true }),
    deleteNow: (pod, uid, signal) =>
      client.delete(objectPath(pods, pod), { uid, gracePeriodSeconds: 0 }, { signal, idempotent: true }),
    create: (pod, signal) => client.create(collectionPath(pods, pod.metadata.namespace), pod, parse, { signal }),
  };
}
