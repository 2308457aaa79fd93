/**
 * What one volume of a pod needs on the host, decided without touching it.
 * Layer: kubelet/volumes (pure). mount-volumes.ts carries it out.
 */
import type {
  ClusterTrustBundleProjection,
  ConfigMap,
  Pod,
  PullPolicy,
  Secret,
  ServiceAccountTokenProjection,
  StorageMedium,
  Volume,
} from '../../api/core.ts';
import { parseQuantity, QuantityError, quantityToBytes } from '../../config/quantity.ts';
import { containersOf } from '../plan/container-kind.ts';
import type { Allocatable } from '../plan/downward-api.ts';
import { isHugePages } from '../plan/pod-requests.ts';
import { unsupportedSource } from './claims/unsupported-source.ts';
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
  /**
   * Certificates in PEM, normalised; undefined when no bundle is selected. Absent without an API server.
   * Throws VolumeError. @param subject for errors
   */
  trustAnchors?(projection: ClusterTrustBundleProjection, subject: string): string | undefined;
  /**
   * A key and its certificates in PEM, for `projected.sources[index]` of the volume. Absent without an API server.
   * Throws VolumeError. @param subject for errors
   */
  podCertificate?(pod: Pod, volume: string, index: number, subject: string): { key: string; chain: string };
  /** Fetches what planning will ask for and what is not at hand. Called before each look at the pod's volumes. */
  prepare?(pod: Pod): Promise<void>;
}

/** What is mounted on the volume's directory; nothing for one on disk. */
export type MemoryFilesystem =
  | { readonly fsType: 'tmpfs'; readonly sizeBytes: number }
  | { readonly fsType: 'hugetlbfs'; readonly pageSizeBytes: number; readonly sizeBytes: number | undefined };

export type VolumePlan = {
  readonly name: string;
  /** `pod default/web: volume config`, for errors. */
  readonly subject: string;
} & (
  | { readonly type: 'hostPath'; readonly path: string; readonly check: string }
  | {
      readonly type: 'emptyDir';
      readonly memory: MemoryFilesystem | undefined;
      readonly group: number | undefined;
    }
  | {
      readonly type: 'configMap' | 'secret' | 'downwardAPI' | 'projected';
      readonly payload: Payload;
      /** All but configMaps live in memory only. */
      readonly memory: MemoryFilesystem | undefined;
      readonly group: number | undefined;
    }
  | { readonly type: 'image'; readonly reference: string; readonly pullPolicy: PullPolicy | undefined }
  /** Others say what and where it is: see volume-driver.ts. */
  | { readonly type: 'resolved' }
);

/** Throws VolumeError when an object or a key is missing, or the type is none that this version mounts. */
export function planVolume(volume: Volume, pod: Pod, sources: VolumeSources, allocatable: Allocatable): VolumePlan {
  const { namespace, name: podName } = pod.metadata;
  const { name } = volume;
  const subject = `pod ${namespace}/${podName}: volume ${name}`;
  const group = pod.spec.securityContext?.fsGroup;
  const { emptyDir, hostPath, configMap, secret, downwardAPI, projected, image } = volume;
  if (hostPath !== undefined)
    return { name, subject, type: 'hostPath', path: hostPath.path, check: hostPath.type ?? '' };
  if (configMap !== undefined) {
    const object = sources.configMap(namespace, configMap.name);
    const names = { subject: `configMap ${namespace}/${configMap.name}`, volume: subject };
    const payload = projectPayload(object && configMapContent(object), configMap, names, group !== undefined);
    return { name, subject, type: 'configMap', payload, memory: undefined, group };
  }
  if (secret !== undefined) {
    const object = sources.secret(namespace, secret.secretName);
    const names = { subject: `secret ${namespace}/${secret.secretName}`, volume: subject };
    const payload = projectPayload(object && secretContent(object), secret, names, group !== undefined);
    return { name, subject, type: 'secret', payload, memory: tmpfs(pod, undefined, allocatable), group };
  }
  const own = downwardAPI ?? projected;
  if (own !== undefined) {
    const groupReadable = group !== undefined;
    const context = { pod, volume: name, subject, sources, allocatable, mode: own.defaultMode, groupReadable };
    const memory = tmpfs(pod, undefined, allocatable);
    return downwardAPI !== undefined
      ? {
          name,
          subject,
          type: 'downwardAPI',
          payload: downwardPayload(downwardAPI.items ?? [], context),
          memory,
          group,
        }
      : {
          name,
          subject,
          type: 'projected',
          payload: projectedPayload(projected?.sources ?? [], context),
          memory,
          group,
        };
  }
  if (emptyDir !== undefined) {
    const { medium = '', sizeLimit } = emptyDir;
    return { name, subject, type: 'emptyDir', memory: memoryOf(pod, medium, sizeLimit, allocatable, subject), group };
  }
  if (image !== undefined) return planImage(image, name, subject);
  const { persistentVolumeClaim, ephemeral, csi, nfs, otherType } = volume;
  if (persistentVolumeClaim ?? ephemeral ?? csi ?? nfs) return { name, subject, type: 'resolved' };
  if (otherType !== undefined) throw unsupportedSource(otherType, `volume "${name}"`, subject);
  throw new VolumeError('VOLUME_UNSUPPORTED', 'has no type that this version mounts', { object: subject });
}

function planImage({ reference, pullPolicy }: NonNullable<Volume['image']>, name: string, subject: string): VolumePlan {
  if (reference) return { name, subject, type: 'image', reference, pullPolicy };
  throw new VolumeError('VOLUME_UNSUPPORTED', 'an image volume needs a reference', { object: subject });
}

function tmpfs(pod: Pod, sizeLimit: string | undefined, { memoryBytes }: Allocatable): MemoryFilesystem {
  return { fsType: 'tmpfs', sizeBytes: memoryVolumeBytes(pod, sizeLimit, memoryBytes) };
}

function memoryOf(
  pod: Pod,
  medium: StorageMedium,
  sizeLimit: string | undefined,
  allocatable: Allocatable,
  subject: string,
): MemoryFilesystem | undefined {
  if (medium === '') return undefined;
  if (medium === 'Memory') return tmpfs(pod, sizeLimit, allocatable);
  const sizeBytes = sizeLimit === undefined ? undefined : bytesOf(sizeLimit) || undefined;
  return { fsType: 'hugetlbfs', pageSizeBytes: hugePageBytes(pod, medium, subject), sizeBytes };
}

/**
 * The page size of a hugetlbfs: one that the pod requests, the medium's own or the only one that there is.
 * Source: getPageSizeMountOption in pkg/volume/emptydir.
 */
function hugePageBytes(pod: Pod, medium: StorageMedium, subject: string): number {
  const requests = [pod.spec.resources, ...containersOf(pod).map(({ container }) => container.resources)];
  const names = requests.flatMap((list) => Object.keys(list?.requests ?? {})).filter(isHugePages);
  const requested = new Set(names.map((name) => pageBytes(name.slice('hugepages-'.length), subject)));
  const refuse = (why: string): VolumeError =>
    new VolumeError('VOLUME_UNSUPPORTED', `medium ${medium}: ${why}`, {
      object: subject,
      fix: 'request hugepages-<size> in a container and name that size in the medium',
    });
  if (medium !== 'HugePages') {
    const wanted = pageBytes(medium.slice('HugePages-'.length), subject);
    if (requested.has(wanted)) return wanted;
    throw refuse('no container requests huge pages of this size');
  }
  const [only] = requested;
  if (only === undefined) throw refuse('no container requests huge pages');
  if (requested.size > 1) throw refuse('the containers request huge pages of several sizes');
  return only;
}

function pageBytes(size: string, subject: string): number {
  try {
    const bytes = bytesOf(size);
    if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  } catch (error) {
    if (!(error instanceof QuantityError)) throw error;
  }
  throw new VolumeError('VOLUME_UNSUPPORTED', `${JSON.stringify(size)} is no size of huge pages`, { object: subject });
}

/**
 * Size of a tmpfs: the least of the volume's limit, the pod's memory limit (when every container has one) and the node's
 * allocatable memory. Pages of a tmpfs are charged to the pod, so more could never be used.
 * Source: pkg/volume/emptydir/empty_dir.go (calculateEmptyDirMemorySize).
 */
export function memoryVolumeBytes(pod: Pod, sizeLimit: string | undefined, allocatableMemoryBytes: number): number {
  const sizes = [allocatableMemoryBytes];
  if (sizeLimit !== undefined) sizes.push(bytesOf(sizeLimit));
  const podLimit = pod.spec.resources?.limits?.memory;
  const limits = pod.spec.containers.map((container) => container.resources?.limits?.memory);
  if (podLimit !== undefined) sizes.push(bytesOf(podLimit));
  else if (limits.every((limit) => limit !== undefined))
    sizes.push(limits.reduce((sum, limit) => sum + bytesOf(limit), 0));
  // Zero means "no limit" in each of them.
  return Math.min(...sizes.filter((size) => size > 0));
}

function bytesOf(quantity: string): number {
  return Number(quantityToBytes(parseQuantity(quantity)));
}
