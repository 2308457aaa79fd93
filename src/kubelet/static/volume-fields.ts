/**
 * Fields of spec.volumes[] and what is refused there. Layer: kubelet/static (pure data).
 * Source: VolumeSource in staging/src/k8s.io/api/core/v1/types.go; rules that compare fields are in volume-rules.ts.
 */
import { checkConfigMapKey, checkDns1123Label, checkDns1123Subdomain } from '../../config/names.ts';
import { checkAbsolutePath, checkLocalNonReservedPath } from '../../config/paths.ts';
import type { FieldSpec, ObjectSpec } from './field-spec.ts';
import { boolean, integer, list, object, oneOf, quantity, read, refused, required, text } from './field-spec.ts';

/** Permission bits of a projected file; setuid, setgid and sticky are not allowed. */
const fileMode = integer(0, 0o777);

const items = list(
  object({
    key: required(text(checkConfigMapKey)),
    path: required(text(checkLocalNonReservedPath)),
    mode: read(fileMode),
  }),
);

const downwardItems = list(
  object({
    path: required(text(checkLocalNonReservedPath)),
    fieldRef: read(object({ apiVersion: read(oneOf('v1')), fieldPath: required(text()) })),
    resourceFieldRef: read(
      object({ containerName: read(text()), resource: required(text()), divisor: read(quantity) }),
    ),
    mode: read(fileMode),
  }),
);

const projectedObject = object({
  name: required(text(checkDns1123Subdomain)),
  items: read(items),
  optional: read(boolean),
});

const needsControlPlane = 'it needs an API server';
const networkDisk = 'it needs an API server and a CSI driver';
const removed = 'Kubernetes replaced it by CSI';

const otherTypes: Readonly<Record<string, string>> = {
  csi: needsControlPlane,
  persistentVolumeClaim: needsControlPlane,
  ephemeral: needsControlPlane,
  iscsi: networkDisk,
  fc: networkDisk,
  flexVolume: removed,
  gitRepo: removed,
  glusterfs: removed,
  cephfs: removed,
  rbd: removed,
  cinder: removed,
  quobyte: removed,
  flocker: removed,
  scaleIO: removed,
  storageos: removed,
  azureFile: removed,
  azureDisk: removed,
  awsElasticBlockStore: removed,
  gcePersistentDisk: removed,
  vsphereVolume: removed,
  photonPersistentDisk: removed,
  portworxVolume: removed,
};

/** Volume types of the API that this version does not mount. */
export const refusedVolumeTypes: readonly string[] = Object.keys(otherTypes);

/** Volume types that it does; a volume has exactly one, none means emptyDir. */
export const volumeTypes = [
  'emptyDir',
  'hostPath',
  'configMap',
  'secret',
  'downwardAPI',
  'projected',
  'image',
  'nfs',
] as const;

function checkMedium(medium: string): string[] {
  if (medium === 'Memory' || medium === 'HugePages' || /^HugePages-[1-9][0-9]*[KMG]i$/.test(medium)) return [];
  return ['must be Memory, HugePages or HugePages-<size>, such as HugePages-2Mi'];
}

export const volumeFields: ObjectSpec = {
  name: required(text(checkDns1123Label)),
  emptyDir: read(object({ medium: read(text(checkMedium)), sizeLimit: read(quantity) })),
  hostPath: read(
    object({
      path: required(text(checkAbsolutePath)),
      type: read(
        oneOf('DirectoryOrCreate', 'Directory', 'FileOrCreate', 'File', 'Socket', 'CharDevice', 'BlockDevice'),
      ),
    }),
  ),
  configMap: read(
    object({
      name: required(text(checkDns1123Subdomain)),
      items: read(items),
      defaultMode: read(fileMode),
      optional: read(boolean),
    }),
  ),
  secret: read(
    object({
      secretName: required(text(checkDns1123Subdomain)),
      items: read(items),
      defaultMode: read(fileMode),
      optional: read(boolean),
    }),
  ),
  downwardAPI: read(object({ items: read(downwardItems), defaultMode: read(fileMode) })),
  projected: read(
    object({
      sources: read(
        list(
          object({
            configMap: read(projectedObject),
            secret: read(projectedObject),
            downwardAPI: read(object({ items: read(downwardItems) })),
            serviceAccountToken: refused(needsControlPlane),
            clusterTrustBundle: refused(needsControlPlane),
            podCertificate: refused(needsControlPlane),
          }),
        ),
      ),
      defaultMode: read(fileMode),
    }),
  ),
  image: read(object({ reference: required(text()), pullPolicy: read(oneOf('Always', 'IfNotPresent', 'Never')) })),
  nfs: read(object({ server: required(text()), path: required(text(checkAbsolutePath)), readOnly: read(boolean) })),
  ...Object.fromEntries(
    Object.entries(otherTypes).map(([type, because]): [string, FieldSpec] => [type, refused(because)]),
  ),
};
