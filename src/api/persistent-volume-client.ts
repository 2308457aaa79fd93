/**
 * PersistentVolumeClaims and PersistentVolumes in the API server, one at a time.
 * Layer: api. The Node authoriser lets a node GET those that its pods name, and neither list nor watch them
 * (plugin/pkg/auth/authorizer/node: authorizeGet).
 */
import { isApiError } from './api-error.ts';
import type { ApiClient } from './client.ts';
import {
  type PersistentVolume,
  type PersistentVolumeClaim,
  projectPersistentVolume,
  projectPersistentVolumeClaim,
} from './persistent-volume.ts';
import { objectPath, persistentVolumeClaims, persistentVolumes } from './resource.ts';

/** undefined: there is none. All throw ApiError, or the signal's reason. */
export interface PersistentVolumeClient {
  claim(namespace: string, name: string, signal: AbortSignal): Promise<PersistentVolumeClaim | undefined>;
  volume(name: string, signal: AbortSignal): Promise<PersistentVolume | undefined>;
  /** Strategic merge patch of a claim's status. Throws ApiError. */
  patchClaimStatus(namespace: string, name: string, status: object): Promise<void>;
}

export function createPersistentVolumeClient(client: Pick<ApiClient, 'get' | 'patch'>): PersistentVolumeClient {
  return {
    claim: (namespace, name, signal) =>
      unlessMissing(
        client.get(objectPath(persistentVolumeClaims, { namespace, name }), projectPersistentVolumeClaim, { signal }),
      ),
    volume: (name, signal) =>
      unlessMissing(client.get(objectPath(persistentVolumes, { name }), projectPersistentVolume, { signal })),
    async patchClaimStatus(namespace, name, status) {
      const path = objectPath(persistentVolumeClaims, { namespace, name }, 'status');
      await client.patch(path, 'strategic', { status }, () => undefined, { idempotent: true });
    },
  };
}

async function unlessMissing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isApiError(error, 'API_NOT_FOUND')) return undefined;
    throw error;
  }
}
