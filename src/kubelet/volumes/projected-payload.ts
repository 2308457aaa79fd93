/**
 * The files of downwardAPI and projected volumes.
 * Layer: kubelet/volumes (pure). Tokens are handed in; fetching them is service-account-tokens.ts's work.
 * Source: pkg/volume/downwardapi (CollectData), pkg/volume/projected (collectData), pkg/volume/util/fs (FsUserFrom).
 */
import type {
  ClusterTrustBundleProjection,
  DownwardAPIFile,
  Pod,
  PodCertificateProjection,
  ProjectedSource,
  ServiceAccountTokenProjection,
} from '../../api/core.ts';
import { containersOf } from '../plan/container-kind.ts';
import { type Allocatable, downwardField, downwardResource } from '../plan/downward-api.ts';
import { VolumeError } from './volume-error.ts';
import {
  configMapContent,
  defaultMode,
  joinPayloads,
  type Payload,
  type PayloadFile,
  payloadPath,
  projectPayload,
  secretContent,
} from './volume-payload.ts';
import type { VolumeSources } from './volume-plan.ts';

export interface ProjectionContext {
  pod: Pod;
  /** `spec.volumes[].name`. */
  volume: string;
  /** `pod default/web: volume config`, for errors. */
  subject: string;
  sources: VolumeSources;
  allocatable: Allocatable;
  /** Permission bits of files that name none. */
  mode: number | undefined;
  /** With an fsGroup every file is readable for the group. */
  groupReadable: boolean;
}

/** Throws VolumeError VOLUME_UNSUPPORTED for a field that pods are not told, VOLUME_PAYLOAD_PATH. */
export function downwardPayload(files: readonly DownwardAPIFile[], context: ProjectionContext): Payload {
  const { pod, subject, allocatable } = context;
  const payload = new Map<string, PayloadFile>();
  for (const { path, fieldRef, resourceFieldRef, mode } of files) {
    const result =
      fieldRef !== undefined
        ? downwardField(pod, fieldRef.fieldPath)
        : resourceFieldRef !== undefined
          ? downwardResource(pod, resourceFieldRef, undefined, allocatable)
          : { fault: 'neither fieldRef nor resourceFieldRef' };
    if ('fault' in result) {
      const fix = 'name a field that the downward API has';
      throw new VolumeError('VOLUME_UNSUPPORTED', `${path}: ${result.fault}`, { object: subject, fix });
    }
    payload.set(payloadPath(path, subject), { data: Buffer.from(result.value), mode: fileMode(mode, context) });
  }
  return joinPayloads([payload], subject);
}

/** Throws VolumeError for a missing object, key or token, and for paths that cannot be. */
export function projectedPayload(sources: readonly ProjectedSource[], context: ProjectionContext): Payload {
  return joinPayloads(
    sources.map((source, index) => sourcePayload(source, index, context)),
    context.subject,
  );
}

function sourcePayload(
  { configMap, secret, downwardAPI, serviceAccountToken, clusterTrustBundle, podCertificate }: ProjectedSource,
  index: number,
  context: ProjectionContext,
): Payload {
  const { pod, subject, sources, mode, groupReadable } = context;
  const { namespace } = pod.metadata;
  if (configMap !== undefined) {
    const object = sources.configMap(namespace, configMap.name);
    const names = { subject: `configMap ${namespace}/${configMap.name}`, volume: subject };
    const projection = { ...configMap, defaultMode: mode };
    return projectPayload(object && configMapContent(object), projection, names, groupReadable);
  }
  if (secret !== undefined) {
    const object = sources.secret(namespace, secret.name);
    const names = { subject: `secret ${namespace}/${secret.name}`, volume: subject };
    return projectPayload(object && secretContent(object), { ...secret, defaultMode: mode }, names, groupReadable);
  }
  if (downwardAPI !== undefined) return downwardPayload(downwardAPI.items ?? [], context);
  if (serviceAccountToken !== undefined) return tokenPayload(serviceAccountToken, context);
  if (clusterTrustBundle !== undefined) return trustPayload(clusterTrustBundle, context);
  if (podCertificate !== undefined) return certificatePayload(podCertificate, index, context);
  throw new VolumeError('VOLUME_UNSUPPORTED', 'has a source that this version does not project', { object: subject });
}

/** A token is its user's alone: mode 0600 for the user that all containers run as, or for the fsGroup. */
function tokenPayload(projection: ServiceAccountTokenProjection, context: ProjectionContext): Payload {
  const { pod, subject, sources } = context;
  const token = sources.serviceAccountToken?.(pod, projection);
  if (token === undefined) {
    const message = 'a service account token needs an API server';
    throw new VolumeError('VOLUME_OBJECT_MISSING', message, { object: subject, fix: 'remove the source' });
  }
  return ownPayload(projection.path, token, context);
}

/** Of one user, if all containers run as the same one; else as the volume says. */
function ownPayload(path: string, text: string, context: ProjectionContext): Payload {
  const owner = commonUser(context.pod);
  const isPrivate = owner !== undefined || context.groupReadable;
  const mode = fileMode(isPrivate ? 0o600 : undefined, context);
  return new Map([[payloadPath(path, context.subject), { data: Buffer.from(text), mode, owner }]]);
}

/** Source: pkg/volume/projected (collectData), pkg/kubelet/clustertrustbundle. */
function trustPayload(projection: ClusterTrustBundleProjection, context: ProjectionContext): Payload {
  const { subject, sources } = context;
  const { name, signerName, optional, path } = projection;
  if (sources.trustAnchors === undefined) {
    const message = 'this node knows no ClusterTrustBundles';
    throw new VolumeError('VOLUME_UNSUPPORTED', message, { object: subject, fix: 'project a configMap instead' });
  }
  if (!name && !signerName) {
    throw new VolumeError('VOLUME_UNSUPPORTED', 'a clusterTrustBundle needs name or signerName', { object: subject });
  }
  const anchors = sources.trustAnchors(projection, subject);
  if (anchors !== undefined || optional) return ownPayload(path, anchors ?? '', context);
  throw new VolumeError('VOLUME_OBJECT_MISSING', `no ClusterTrustBundle ${name ?? `of ${signerName}`}`, {
    object: subject,
    fix: 'create it, or set optional: true',
  });
}

/** In one volume all files change at once; only the bundle is read at once, too. */
function certificatePayload(projection: PodCertificateProjection, index: number, context: ProjectionContext): Payload {
  const { pod, volume, subject, sources } = context;
  if (sources.podCertificate === undefined) {
    const message = 'a podCertificate needs an API server';
    throw new VolumeError('VOLUME_UNSUPPORTED', message, { object: subject, fix: 'remove the source' });
  }
  const { key, chain } = sources.podCertificate(pod, volume, index, subject);
  const { credentialBundlePath, keyPath, certificateChainPath } = projection;
  const files: [path: string | undefined, text: string][] = [
    [credentialBundlePath, key + chain],
    [keyPath, key],
    [certificateChainPath, chain],
  ];
  const payloads = files.map(([path, text]): Payload => (path ? ownPayload(path, text, context) : new Map()));
  return joinPayloads(payloads, subject);
}

const fileMode = (mode: number | undefined, context: ProjectionContext): number =>
  ((mode ?? context.mode ?? defaultMode) | (context.groupReadable ? 0o440 : 0)) & 0o777;

/** The user that every container runs as, undefined when they differ or one leaves it to its image (FsUserFrom). */
function commonUser(pod: Pod): number | undefined {
  const users = containersOf(pod).map(
    ({ container }) => container.securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser,
  );
  return users.every((user) => user === users[0]) ? users[0] : undefined;
}
