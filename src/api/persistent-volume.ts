/**
 * PersistentVolumes and PersistentVolumeClaims: what a node reads of them, and from decoded JSON to that.
 * Names that end in a path are checked here once more: an object may come from a hostile or broken server.
 * Layer: api (pure). What this node can mount of it, and how, is kubelet/volumes' own.
 * Source: staging/src/k8s.io/api/core/v1/types.go.
 */
import { checkDns1123Label, checkDns1123Subdomain } from '../config/names.ts';
import type { HostPathType, NodeSelector, OwnerReference } from './core.ts';
import { projectNodeSelector } from './project-node-selector.ts';
import { projectObjectMeta } from './project-pod.ts';
import { checkedText, quantityText } from './project-values.ts';
import { hostPathTypes } from './project-volume.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

export type VolumeMode = 'Filesystem' | 'Block';

/** Kept as text: a mode of a newer API is none that this version asks for. */
export type AccessMode = 'ReadWriteOnce' | 'ReadOnlyMany' | 'ReadWriteMany' | 'ReadWriteOncePod' | (string & {});

export interface PersistentVolumeClaim {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly resourceVersion?: string | undefined;
    readonly deletionTimestamp?: string | undefined;
    readonly finalizers: readonly string[];
    readonly ownerReferences: readonly OwnerReference[];
  };
  readonly spec: {
    readonly accessModes: readonly AccessMode[];
    /** The PersistentVolume; absent until one is found. */
    readonly volumeName?: string | undefined;
    readonly volumeMode: VolumeMode;
    /** `resources.requests.storage`, a quantity. */
    readonly requestedStorage?: string | undefined;
  };
  readonly status: {
    /** `Pending`, `Bound`, `Lost`. */
    readonly phase: string;
    /** `capacity.storage`, a quantity: as large as the file system is known to be. */
    readonly capacityStorage?: string | undefined;
  };
}

export interface PersistentVolume {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion?: string | undefined;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: PersistentVolumeSpec;
}

export interface PersistentVolumeSpec extends PersistentVolumeSource {
  /** `capacity.storage`, a quantity. */
  readonly capacityStorage?: string | undefined;
  readonly accessModes: readonly AccessMode[];
  readonly claimRef?: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
  readonly volumeMode: VolumeMode;
  /** As for `mount -o`; unchecked. */
  readonly mountOptions: readonly string[];
  /** `nodeAffinity.required` */
  readonly requiredNodes?: NodeSelector | undefined;
}

/** One of them is set. */
export interface PersistentVolumeSource {
  readonly hostPath?: { readonly path: string; readonly type: HostPathType } | undefined;
  readonly local?: { readonly path: string; readonly fsType?: string | undefined } | undefined;
  readonly nfs?: NfsVolumeSource | undefined;
  readonly csi?: CsiPersistentVolumeSource | undefined;
  /** The field of a source that this version does not know or no longer mounts, e.g. `iscsi`. */
  readonly otherSource?: string | undefined;
}

export interface NfsVolumeSource {
  readonly server: string;
  readonly path: string;
  readonly readOnly: boolean;
}

export interface SecretReference {
  readonly namespace: string;
  readonly name: string;
}

export interface CsiPersistentVolumeSource {
  /** A checked name: it is a directory's. */
  readonly driver: string;
  /** Any text. */
  readonly volumeHandle: string;
  readonly readOnly: boolean;
  readonly fsType?: string | undefined;
  readonly volumeAttributes: Readonly<Record<string, string>>;
  readonly nodeStageSecretRef?: SecretReference | undefined;
  readonly nodePublishSecretRef?: SecretReference | undefined;
  readonly nodeExpandSecretRef?: SecretReference | undefined;
}

const volumeModes = ['Filesystem', 'Block'] as const;
/** Every member of PersistentVolumeSource that has no reader here. */
const otherSources = [
  'iscsi',
  'fc',
  'rbd',
  'cephfs',
  'glusterfs',
  'flexVolume',
  'cinder',
  'flocker',
  'quobyte',
  'scaleIO',
  'storageos',
  'azureFile',
  'azureDisk',
  'awsElasticBlockStore',
  'gcePersistentDisk',
  'vsphereVolume',
  'photonPersistentDisk',
  'portworxVolume',
];

/** @throws ObjectShapeError, which names the field */
export function projectPersistentVolumeClaim(value: unknown): PersistentVolumeClaim {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec') ?? new RawObject({}, 'spec');
  const status = raw.object('status');
  const {
    name,
    namespace,
    uid,
    resourceVersion,
    ownerReferences = [],
  } = projectObjectMeta(metadata, checkDns1123Subdomain);
  return {
    metadata: {
      name,
      namespace,
      uid,
      resourceVersion,
      deletionTimestamp: metadata.text('deletionTimestamp'),
      finalizers: metadata.texts('finalizers'),
      ownerReferences,
    },
    spec: {
      accessModes: spec.texts('accessModes'),
      volumeName: spec.text('volumeName') ? checkedText(spec, 'volumeName', checkDns1123Subdomain, 'spec') : undefined,
      volumeMode: spec.word('volumeMode', volumeModes) ?? 'Filesystem',
      requestedStorage: storage(spec.object('resources')?.object('requests'), 'spec.resources.requests'),
    },
    status: {
      phase: status?.text('phase') ?? '',
      capacityStorage: storage(status?.object('capacity'), 'status.capacity'),
    },
  };
}

/** @throws ObjectShapeError, which names the field */
export function projectPersistentVolume(value: unknown): PersistentVolume {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec');
  if (spec === undefined) throw new ObjectShapeError('spec', 'an object', undefined);
  const claimRef = spec.object('claimRef');
  const required = spec.object('nodeAffinity')?.object('required');
  return {
    metadata: {
      name: checkedText(metadata, 'name', checkDns1123Subdomain, 'metadata'),
      uid: metadata.text('uid') ?? '',
      resourceVersion: metadata.text('resourceVersion'),
      annotations: metadata.textMap('annotations') ?? {},
    },
    spec: {
      ...projectSource(spec),
      capacityStorage: storage(spec.object('capacity'), 'spec.capacity'),
      accessModes: spec.texts('accessModes'),
      claimRef: claimRef && {
        namespace: claimRef.text('namespace') ?? '',
        name: claimRef.text('name') ?? '',
        uid: claimRef.text('uid') ?? '',
      },
      volumeMode: spec.word('volumeMode', volumeModes) ?? 'Filesystem',
      mountOptions: spec.texts('mountOptions'),
      requiredNodes: required && projectNodeSelector(required),
    },
  };
}

function projectSource(spec: RawObject): PersistentVolumeSource {
  const [hostPath, local, nfs, csi] = [
    spec.object('hostPath'),
    spec.object('local'),
    spec.object('nfs'),
    spec.object('csi'),
  ];
  return {
    hostPath: hostPath && { path: hostPath.requiredText('path'), type: hostPath.word('type', hostPathTypes) ?? '' },
    local: local && { path: local.requiredText('path'), fsType: local.text('fsType') || undefined },
    nfs: nfs && projectNfsSource(nfs),
    csi: csi && projectCsiSource(csi),
    otherSource: otherSources.find((name) => spec.object(name) !== undefined),
  };
}

/** Also that of a pod's own `nfs` volume. @throws ObjectShapeError */
export function projectNfsSource(raw: RawObject): NfsVolumeSource {
  return {
    server: raw.requiredText('server'),
    path: raw.requiredText('path'),
    readOnly: raw.boolean('readOnly') ?? false,
  };
}

function projectCsiSource(raw: RawObject): CsiPersistentVolumeSource {
  const secret = (field: string): SecretReference | undefined => {
    const reference = raw.object(field);
    return (
      reference && {
        namespace: checkedText(reference, 'namespace', checkDns1123Label, `spec.csi.${field}`),
        name: checkedText(reference, 'name', checkDns1123Subdomain, `spec.csi.${field}`),
      }
    );
  };
  return {
    driver: checkedText(raw, 'driver', checkCsiDriverName, 'spec.csi'),
    volumeHandle: raw.requiredText('volumeHandle'),
    readOnly: raw.boolean('readOnly') ?? false,
    fsType: raw.text('fsType') || undefined,
    volumeAttributes: raw.textMap('volumeAttributes') ?? {},
    nodeStageSecretRef: secret('nodeStageSecretRef'),
    nodePublishSecretRef: secret('nodePublishSecretRef'),
    nodeExpandSecretRef: secret('nodeExpandSecretRef'),
  };
}

/** Source: pkg/apis/core/validation (ValidateCSIDriverName): a subdomain of at most 63 characters, whatever its case. */
export function checkCsiDriverName(name: string): string[] {
  return name.length > 63 ? ['must be no more than 63 characters'] : checkDns1123Subdomain(name.toLowerCase());
}

const storage = (amounts: RawObject | undefined, path: string): string | undefined =>
  amounts && quantityText(amounts, 'storage', path);
