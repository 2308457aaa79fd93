/**
 * What a driver is sent for one volume, and who gives its files to the pod's group.
 * Layer: kubelet/csi (pure). Source of the rules: pkg/volume/csi/{csi_client,csi_mounter,csi_util}.go.
 */

import type { Pod } from '../../api/core.ts';
import type { CsiDriverSpec, VolumeLifecycleMode } from '../../api/csi-objects.ts';
import type { MountedVolume, VolumeMode } from '../volumes/volume-driver.ts';
import type { VolumeCapability_AccessMode_Mode, VolumeCapabilityInput } from './messages.generated.ts';
import type { NodeCapability } from './node-service.ts';

export type Capabilities = ReadonlySet<NodeCapability>;

/** Of a Kubernetes access mode; a volume without one is written by one node. */
export function csiAccessMode(mode: string | undefined, capabilities: Capabilities): VolumeCapability_AccessMode_Mode {
  const finer = capabilities.has('SINGLE_NODE_MULTI_WRITER');
  switch (mode) {
    case undefined:
    case 'ReadWriteOnce':
      return finer ? 'SINGLE_NODE_MULTI_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadWriteOncePod':
      return finer ? 'SINGLE_NODE_SINGLE_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadOnlyMany':
      return 'MULTI_NODE_READER_ONLY';
    case 'ReadWriteMany':
      return 'MULTI_NODE_MULTI_WRITER';
    default:
      return 'UNKNOWN';
  }
}

export interface CapabilityFacts {
  readonly mode: VolumeMode;
  readonly accessModes: readonly string[];
  readonly fsType: string | undefined;
  readonly mountOptions: readonly string[];
  readonly fsGroup: number | undefined;
}

export function volumeCapability(facts: CapabilityFacts, capabilities: Capabilities): VolumeCapabilityInput {
  const accessMode = { mode: csiAccessMode(facts.accessModes[0], capabilities) };
  if (facts.mode === 'Block') return { block: {}, accessMode };
  const delegated = capabilities.has('VOLUME_MOUNT_GROUP') && facts.fsGroup !== undefined;
  return {
    mount: {
      fsType: facts.fsType ?? '',
      mountFlags: [...facts.mountOptions],
      ...(delegated && { volumeMountGroup: String(facts.fsGroup) }),
    },
    accessMode,
  };
}

export interface OwnershipFacts extends CapabilityFacts {
  readonly readOnly: boolean;
  readonly lifecycle: VolumeLifecycleMode;
}

/** supportsFSGroup of csi_mounter.go. */
export function ownershipOf(
  facts: OwnershipFacts,
  capabilities: Capabilities,
  { fsGroupPolicy }: Pick<CsiDriverSpec, 'fsGroupPolicy'>,
): MountedVolume['ownership'] {
  if (facts.mode === 'Block' || facts.fsGroup === undefined || facts.readOnly) return 'leave';
  if (capabilities.has('VOLUME_MOUNT_GROUP') || fsGroupPolicy === 'None') return 'leave';
  if (fsGroupPolicy === 'File') return 'fsGroup';
  if (!facts.fsType) return 'leave';
  const once = facts.accessModes.some((mode) => mode === 'ReadWriteOnce' || mode === 'ReadWriteOncePod');
  return once || facts.lifecycle === 'Ephemeral' ? 'fsGroup' : 'leave';
}

/** What podInfoOnMount adds to the volume context. */
export function podInfo({ metadata, spec }: Pod, lifecycle: VolumeLifecycleMode): Record<string, string> {
  return {
    'csi.storage.k8s.io/pod.name': metadata.name,
    'csi.storage.k8s.io/pod.namespace': metadata.namespace,
    'csi.storage.k8s.io/pod.uid': metadata.uid,
    'csi.storage.k8s.io/serviceAccount.name': spec.serviceAccountName ?? '',
    'csi.storage.k8s.io/ephemeral': String(lifecycle === 'Ephemeral'),
  };
}

export const tokensKey = 'csi.storage.k8s.io/serviceAccount.tokens';
