/**
 * The objects of storage.k8s.io/v1 that a node works with: CSINode, CSIDriver, VolumeAttachment, from decoded JSON.
 * Layer: api (pure). Source: staging/src/k8s.io/api/storage/v1/types.go.
 */
import { RawObject } from './raw-object.ts';
import type { Resource } from './resource.ts';

const storage = (name: string): Resource => ({ prefix: '/apis/storage.k8s.io/v1', name, namespaced: false });

export const csiNodes = storage('csinodes');
export const csiDrivers = storage('csidrivers');
export const volumeAttachments = storage('volumeattachments');

export type FsGroupPolicy = 'ReadWriteOnceWithFSType' | 'File' | 'None';
export type VolumeLifecycleMode = 'Persistent' | 'Ephemeral';

/** `spec` of a CSIDriver, defaults filled in. */
export interface CsiDriverSpec {
  readonly attachRequired: boolean;
  readonly podInfoOnMount: boolean;
  readonly fsGroupPolicy: FsGroupPolicy;
  readonly volumeLifecycleModes: readonly VolumeLifecycleMode[];
  readonly tokenRequests: readonly CsiTokenRequest[];
  readonly requiresRepublish: boolean;
  /** Tokens are sent among the secrets instead of the volume context (1.35). */
  readonly tokensInSecrets: boolean;
}

export interface CsiTokenRequest {
  /** Empty: the API server's own. */
  readonly audience: string;
  readonly expirationSeconds?: number | undefined;
}

/** @throws ObjectShapeError */
export function projectCsiDriver(value: unknown): CsiDriverSpec {
  const spec = new RawObject(value).object('spec') ?? new RawObject({}, 'spec');
  const modes = spec.words('volumeLifecycleModes', ['Persistent', 'Ephemeral']);
  return {
    attachRequired: spec.boolean('attachRequired') ?? true,
    podInfoOnMount: spec.boolean('podInfoOnMount') ?? false,
    // Servers before 1.20 have no such field.
    fsGroupPolicy: spec.word('fsGroupPolicy', ['ReadWriteOnceWithFSType', 'File', 'None']) ?? 'ReadWriteOnceWithFSType',
    volumeLifecycleModes: modes.length === 0 ? ['Persistent'] : modes,
    tokenRequests: spec.objects('tokenRequests').map((request) => ({
      audience: request.text('audience') ?? '',
      expirationSeconds: request.integer('expirationSeconds'),
    })),
    requiresRepublish: spec.boolean('requiresRepublish') ?? false,
    tokensInSecrets: spec.boolean('serviceAccountTokenInSecrets') ?? false,
  };
}

export interface VolumeAttachment {
  readonly name: string;
  readonly attacher: string;
  readonly nodeName: string;
  readonly deleting: boolean;
  readonly attached: boolean;
  /** publish_context of the CSI calls. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Why it cannot be attached. */
  readonly error: string | undefined;
}

/** @throws ObjectShapeError */
export function projectVolumeAttachment(value: unknown): VolumeAttachment {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec') ?? new RawObject({}, 'spec');
  const status = raw.object('status');
  const error = status?.object('attachError');
  return {
    name: metadata.requiredText('name'),
    attacher: spec.text('attacher') ?? '',
    nodeName: spec.text('nodeName') ?? '',
    deleting: metadata.text('deletionTimestamp') !== undefined,
    attached: status?.boolean('attached') ?? false,
    metadata: status?.textMap('attachmentMetadata') ?? {},
    error: error && (error.text('message') || 'the attacher gave no reason'),
  };
}

export interface CsiNode {
  readonly uid: string;
  readonly resourceVersion: string | undefined;
  readonly owners: readonly { readonly kind: string; readonly name: string; readonly uid: string }[];
  readonly drivers: readonly CsiNodeDriver[];
}

export interface CsiNodeDriver {
  readonly name: string;
  readonly nodeID: string;
  readonly topologyKeys: readonly string[];
  /** `allocatable.count` */
  readonly count: number | undefined;
  /** As the server has it: written back when another driver's entry changes. */
  readonly raw: unknown;
}

/** @throws ObjectShapeError */
export function projectCsiNode(value: unknown): CsiNode {
  const raw = new RawObject(value);
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  const spec = raw.object('spec') ?? new RawObject({}, 'spec');
  return {
    uid: metadata.text('uid') ?? '',
    resourceVersion: metadata.text('resourceVersion'),
    owners: metadata.objects('ownerReferences').map((owner) => ({
      kind: owner.text('kind') ?? '',
      name: owner.text('name') ?? '',
      uid: owner.text('uid') ?? '',
    })),
    drivers: spec.values('drivers').map((entry, index) => {
      const driver = new RawObject(entry, `spec.drivers[${index}]`);
      return {
        name: driver.requiredText('name'),
        nodeID: driver.text('nodeID') ?? '',
        topologyKeys: driver.texts('topologyKeys'),
        count: driver.object('allocatable')?.integer('count'),
        raw: entry,
      };
    }),
  };
}
