/**
 * What the CSI part asks of the API server, as one small interface.
 * Layer: kubelet/csi (edge to the API). A node may get its own CSINode, VolumeAttachments, Secrets that its pods' volumes
 * name, and list CSIDrivers; it may patch the status of claims (node authoriser). Nothing is cached here.
 */
import { isApiError } from '../../api/api-error.ts';
import type { ApiClient } from '../../api/client.ts';
import {
  type CsiNode,
  csiNodes,
  projectCsiNode,
  projectVolumeAttachment,
  type VolumeAttachment,
  volumeAttachments,
} from '../../api/csi-objects.ts';
import type { ClusterObjectMeta } from '../../api/node.ts';
import { projectNode } from '../../api/project-node.ts';
import { projectSecret } from '../../api/project-secret.ts';
import { collectionPath, nodes, objectPath, type Resource, secrets } from '../../api/resource.ts';

/** Every method throws ApiError or the signal's reason; what is not there is undefined. */
export interface CsiApi {
  getNode(signal: AbortSignal): Promise<ClusterObjectMeta>;
  /** JSON merge patch; with a resourceVersion in it, API_CONFLICT when the Node has changed. */
  patchNode(patch: object, signal: AbortSignal): Promise<void>;
  getCsiNode(signal: AbortSignal): Promise<CsiNode | undefined>;
  createCsiNode(object: object, signal: AbortSignal): Promise<CsiNode>;
  /** As patchNode. */
  patchCsiNode(patch: object, signal: AbortSignal): Promise<CsiNode>;
  /** Only this one, not a namesake made meanwhile. */
  deleteCsiNode(uid: string, signal: AbortSignal): Promise<void>;
  getAttachment(name: string, signal: AbortSignal): Promise<VolumeAttachment | undefined>;
  /** Decoded values by key. */
  getSecret(namespace: string, name: string, signal: AbortSignal): Promise<Record<string, string> | undefined>;
  /** Strategic merge patch of the claim's status. */
  patchClaimStatus(namespace: string, name: string, status: object, signal: AbortSignal): Promise<void>;
}

const persistentVolumeClaims: Resource = { prefix: '/api/v1', name: 'persistentvolumeclaims', namespaced: true };

export function createCsiApi(client: ApiClient, nodeName: string): CsiApi {
  const nodePath = objectPath(nodes, { name: nodeName });
  const csiNodePath = objectPath(csiNodes, { name: nodeName });
  return {
    getNode: async (signal) => (await client.get(nodePath, projectNode, { signal })).metadata,
    async patchNode(patch, signal) {
      await client.patch(nodePath, 'merge', patch, projectNode, { signal });
    },
    getCsiNode: (signal) => client.get(csiNodePath, projectCsiNode, { signal }).catch(ifMissing),
    createCsiNode: (object, signal) => client.create(collectionPath(csiNodes), object, projectCsiNode, { signal }),
    patchCsiNode: (patch, signal) => client.patch(csiNodePath, 'merge', patch, projectCsiNode, { signal }),
    deleteCsiNode: (uid, signal) => client.delete(csiNodePath, { uid }, { signal }).catch(ifMissing),
    getAttachment: (name, signal) =>
      client.get(objectPath(volumeAttachments, { name }), projectVolumeAttachment, { signal }).catch(ifMissing),
    async getSecret(namespace, name, signal) {
      const secret = await client
        .get(objectPath(secrets, { namespace, name }), projectSecret, { signal })
        .catch(ifMissing);
      if (secret === undefined) return undefined;
      const data = Object.entries(secret.data ?? {});
      // CSI knows texts only; what is no UTF-8 is not meant for it.
      return Object.fromEntries(data.map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]));
    },
    async patchClaimStatus(namespace, name, status, signal) {
      const path = objectPath(persistentVolumeClaims, { namespace, name }, 'status');
      await client.patch(path, 'strategic', { status }, (value) => value, { signal, idempotent: true });
    },
  };
}

function ifMissing(error: unknown): undefined {
  if (isApiError(error, 'API_NOT_FOUND')) return undefined;
  throw error;
}
