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

const later = 'this version mounts emptyDir, hostPath, configMap and secret';
const needsControlPlane = 'it needs an API server';
const removed = 'Kubernetes replaced it by CSI';

const otherTypes: Readonly<Record<string, string>> = {
  projected: later,
  downwardAPI: later,
  image: later,
  csi: later,
  persistentVolumeClaim: needsControlPlane,
  ephemeral: needsControlPlane,
  nfs: later,
  iscsi: later,
  fc: later,
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
export const volumeTypes = ['emptyDir', 'hostPath', 'configMap', 'secret'] as const;

export const volumeFields: ObjectSpec = {
  name: required(text(checkDns1123Label)),
  emptyDir: read(object({ medium: read(oneOf('Memory')), sizeLimit: read(quantity) })),
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
  ...Object.fromEntries(
    Object.entries(otherTypes).map(([type, because]): [string, FieldSpec] => [type, refused(because)]),
  ),
};
