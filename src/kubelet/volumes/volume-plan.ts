/**
 * What one volume of a pod needs on the host, decided without touching it.
 * Layer: kubelet/volumes (pure). mount-volumes.ts carries it out.
 */
import type { ConfigMap, Pod, Secret, ServiceAccountTokenProjection, Volume } from '../../api/core.ts';
import { parseQuantity, quantityToBytes } from '../../config/quantity.ts';
import type { Allocatable } from '../plan/downward-api.ts';
import { downwardPayload, projectedPayload } from './projected-payload.ts';
import { VolumeError } from './volume-error.ts';
import type { Payload } from './volume-payload.ts';
import { configMapContent, projectPayload, secretContent } from './volume-payload.ts';

/** The objects that volumes may name; undefined when there is none. */
export interface VolumeSources {
  configMap(namespace: string, name: string): ConfigMap | undefined;
  secret(namespace: string, name: string): Secret | undefined;
  /** A token that is valid now; absent without an API server. Throws VolumeError when `prepare` could get none. */
  serviceAccountToken?(pod: Pod, projection: ServiceAccountTokenProjection): string;
  /** Fetches what planning will ask for and what is not at hand. Called before each look at the pod's volumes. */
  prepare?(pod: Pod): Promise<void>;
}

export type VolumePlan = {
  readonly name: string;
  /** `pod default/web: volume config`, for errors. */
  readonly subject: string;
} & (
  | { readonly type: 'hostPath'; readonly path: string; readonly check: string }
  | {
      readonly type: 'emptyDir';
      /** Size of the tmpfs in bytes; undefined for a directory on disk. */
      readonly memoryBytes: number | undefined;
      readonly group: number | undefined;
    }
  | {
      readonly type: 'configMap' | 'secret' | 'downwardAPI' | 'projected';
      readonly payload: Payload;
      /** All but configMaps live in memory only. */
      readonly memoryBytes: number | undefined;
      readonly group: number | undefined;
    }
);

/** Throws VolumeError when an object or a key is missing, or the type is none that this version mounts. */
export function planVolume(volume: Volume, pod: Pod, sources: VolumeSources, allocatable: Allocatable): VolumePlan {
  const { namespace, name: podName } = pod.metadata;
  const { name } = volume;
  const subject = `pod ${namespace}/${podName}: volume ${name}`;
  const group = pod.spec.securityContext?.fsGroup;
  const { emptyDir, hostPath, configMap, secret, downwardAPI, projected } = volume;
  if (hostPath !== undefined)
    return { name, subject, type: 'hostPath', path: hostPath.path, check: hostPath.type ?? '' };
  if (configMap !== undefined) {
    const object = sources.configMap(namespace, configMap.name);
    const names = { subject: `configMap ${namespace}/${configMap.name}`, volume: subject };
    const payload = projectPayload(object && configMapContent(object), configMap, names, group !== undefined);
    return { name, subject, type: 'configMap', payload, memoryBytes: undefined, group };
  }
  if (secret !== undefined) {
    const object = sources.secret(namespace, secret.secretName);
    const names = { subject: `secret ${namespace}/${secret.secretName}`, volume: subject };
    const payload = projectPayload(object && secretContent(object), secret, names, group !== undefined);
    const memoryBytes = memoryVolumeBytes(pod, undefined, allocatable.memoryBytes);
    return { name, subject, type: 'secret', payload, memoryBytes, group };
  }
  const own = downwardAPI ?? projected;
  if (own !== undefined) {
    const groupReadable = group !== undefined;
    const context = { pod, subject, sources, allocatable, mode: own.defaultMode, groupReadable };
    const memoryBytes = memoryVolumeBytes(pod, undefined, allocatable.memoryBytes);
    return downwardAPI !== undefined
      ? {
          name,
          subject,
          type: 'downwardAPI',
          payload: downwardPayload(downwardAPI.items ?? [], context),
          memoryBytes,
          group,
        }
      : {
          name,
          subject,
          type: 'projected',
          payload: projectedPayload(projected?.sources ?? [], context),
          memoryBytes,
          group,
        };
  }
  if (emptyDir !== undefined) {
    const memoryBytes =
      emptyDir.medium === 'Memory' ? memoryVolumeBytes(pod, emptyDir.sizeLimit, allocatable.memoryBytes) : undefined;
    return { name, subject, type: 'emptyDir', memoryBytes, group };
  }
  throw new VolumeError('VOLUME_UNSUPPORTED', 'has no type that this version mounts', { object: subject });
}

/**
 * Size of a tmpfs: the least of the volume's limit, the pod's memory limit (when every container has one) and the node's
 * allocatable memory. Pages of a tmpfs are charged to the pod, so more could never be used.
 * Source: pkg/volume/emptydir/empty_dir.go (calculateEmptyDirMemorySize).
 */
export function memoryVolumeBytes(pod: Pod, sizeLimit: string | undefined, allocatableMemoryBytes: number): number {
  const sizes = [allocatableMemoryBytes];
  if (sizeLimit !== undefined) sizes.push(bytesOf(sizeLimit));
  const limits = pod.spec.containers.map((container) => container.resources?.limits?.memory);
  if (limits.every((limit) => limit !== undefined)) sizes.push(limits.reduce((sum, limit) => sum + bytesOf(limit), 0));
  // Zero means "no limit" in each of them.
  return Math.min(...sizes.filter((size) => size > 0));
}

function bytesOf(quantity: string): number {
  return Number(quantityToBytes(parseQuantity(quantity)));
}
