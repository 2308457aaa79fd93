/**
 * Whether a claim and its PersistentVolume are for this pod on this node, and what is then to be mounted.
 * Layer: kubelet/volumes/claims (pure). Every refusal is a VolumeError in the words of the kubelet's events.
 * Source: pkg/kubelet/volumemanager/populator (getPVCExtractPV, getPVSpec, createVolumeSpec), operation_generator.go.
 */
import type { Pod, Volume } from '../../../api/core.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../api/persistent-volume.ts';
import { matchesNodeSelector } from '../../plan/node-selector.ts';
import { driverDirectory } from '../driver-paths.ts';
import type { LocalGrowth } from '../local/grow-volume.ts';
import type { ResolvedVolume } from '../volume-driver.ts';
import { VolumeError } from '../volume-error.ts';
import type { CsiSource } from './csi-source.ts';
import { unsupportedSource } from './unsupported-source.ts';
import { volumeUse } from './volume-use.ts';

/** The claim that a volume names: its own, or the one that a controller makes for a generic ephemeral volume. */
export interface ClaimReference {
  readonly namespace: string;
  readonly name: string;
  readonly readOnly: boolean;
  /** Made for this pod alone. */
  readonly ephemeral: boolean;
}

/** IsValidGroupID. */
const maxGroup = 2 ** 31 - 1;
/** Set by the controller that keeps a claim in use from vanishing. */
const protectionFinalizer = 'kubernetes.io/pvc-protection';

/** undefined for a volume without a claim. */
export function claimReference(volume: Volume, { metadata }: Pod): ClaimReference | undefined {
  const { namespace } = metadata;
  const { persistentVolumeClaim: claim, ephemeral } = volume;
  if (claim !== undefined) {
    return { namespace, name: claim.claimName, readOnly: claim.readOnly ?? false, ephemeral: false };
  }
  if (ephemeral === undefined) return undefined;
  return { namespace, name: `${metadata.name}-${volume.name}`, readOnly: false, ephemeral: true };
}

/** A claim, and the name of the PersistentVolume that it says it is bound to. */
export interface BoundClaim {
  readonly claim: PersistentVolumeClaim;
  readonly volumeName: string;
}

/** @throws VolumeError VOLUME_CLAIM for a claim that is missing, not this pod's, being deleted or not bound */
export function checkBound(
  claim: PersistentVolumeClaim | undefined,
  reference: ClaimReference,
  pod: Pod,
  subject: string,
): BoundClaim {
  const refuse = (message: string, fix?: string): VolumeError => claimError(reference, subject, message, fix);
  if (claim === undefined) {
    const missing = `persistentvolumeclaim "${reference.name}" not found`;
    const fix = reference.ephemeral ? 'see whether the controller manager makes it' : 'create the claim';
    throw refuse(`failed to fetch PVC from API server: ${missing}`, fix);
  }
  const { metadata, spec, status } = claim;
  if (reference.ephemeral) {
    const owner = metadata.ownerReferences.find(({ controller }) => controller === true);
    if (owner?.uid !== pod.metadata.uid) {
      const names = `PVC ${reference.namespace}/${reference.name} was not created for pod ${pod.metadata.namespace}/${pod.metadata.name}`;
      throw refuse(`${names} (pod is not owner)`, 'rename the claim that is in the way');
    }
  }
  if (metadata.deletionTimestamp !== undefined && !metadata.finalizers.includes(protectionFinalizer)) {
    throw refuse('PVC is being deleted');
  }
  if (status.phase !== 'Bound') {
    const fix =
      status.phase === 'Lost'
        ? 'its PersistentVolume is gone: restore it'
        : 'see `kubectl describe pvc` for the reason';
    throw refuse('PVC is not bound', fix);
  }
  if (spec.volumeName === undefined) throw refuse('PVC has empty pvc.Spec.VolumeName');
  return { claim, volumeName: spec.volumeName };
}

export interface NodeIdentity {
  readonly name: string;
  /** undefined while the Node is not known: then nothing is refused for its sake. */
  readonly labels: Readonly<Record<string, string>> | undefined;
}

/** @throws VolumeError VOLUME_CLAIM, or VOLUME_UNSUPPORTED for a source that nothing on this node mounts */
export function boundVolume(
  volume: Volume,
  pod: Pod,
  bound: {
    readonly reference: ClaimReference;
    readonly claim: PersistentVolumeClaim;
    readonly volume: PersistentVolume | undefined;
  },
  node: NodeIdentity,
  subject: string,
): { readonly resolved: ResolvedVolume; readonly persistentVolume: PersistentVolume } {
  const { reference, claim, volume: persistentVolume } = bound;
  const refuse = (message: string, fix?: string): VolumeError => claimError(reference, subject, message, fix);
  if (persistentVolume === undefined) {
    const name = claim.spec.volumeName ?? '';
    throw refuse(`failed to fetch PV ${name} from API server: persistentvolumes "${name}" not found`);
  }
  const { metadata, spec } = persistentVolume;
  const { claimRef, volumeMode } = spec;
  if (claimRef === undefined) {
    const message = `found PV object ${metadata.name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`;
    throw refuse(message);
  }
  if (claimRef.uid !== claim.metadata.uid) {
    const message = `found PV object ${metadata.name} but its pv.Spec.ClaimRef.UID ${claimRef.uid} does not point to claim.UID ${claim.metadata.uid}`;
    throw refuse(message);
  }
  const use = volumeUse(pod, volume.name);
  if (use.mounted && volumeMode !== 'Filesystem') {
    throw refuse(`volume ${volume.name} has volumeMode ${volumeMode}, but is specified in volumeMounts`);
  }
  if (use.asDevice && volumeMode !== 'Block') {
    throw refuse(`volume ${volume.name} has volumeMode ${volumeMode}, but is specified in volumeDevices`);
  }
  if (spec.requiredNodes && node.labels && !matchesNodeSelector(spec.requiredNodes, node.name, node.labels)) {
    const message = `MountVolume.NodeAffinity check failed for volume "${metadata.name}" : no matching NodeSelectorTerms`;
    throw new VolumeError('VOLUME_CLAIM', message, { object: subject, fix: 'the volume is of another node' });
  }
  const readOnly = reference.readOnly;
  if (spec.hostPath !== undefined) {
    if (volumeMode === 'Block') throw refuse('a hostPath volume has no device: volumeMode Block is not for it');
    if (spec.mountOptions.length > 0) {
      const message = `MountVolume.MountOptionSupport check failed for volume "${metadata.name}" : Mount options are not supported for this volume type`;
      throw new VolumeError('VOLUME_CLAIM', message, { object: subject });
    }
    const { path, type } = spec.hostPath;
    return { resolved: { kind: 'hostPath', path, type, readOnly, gid: groupOf(persistentVolume) }, persistentVolume };
  }
  const driver = driverSource(persistentVolume, claim);
  if (driver === undefined) throw unsupportedSource(spec.otherSource, `volume "${metadata.name}"`, subject);
  const resolved: ResolvedVolume = {
    kind: 'driver',
    driver: driver.directory,
    gid: groupOf(persistentVolume),
    volume: {
      subject,
      pod,
      name: volume.name,
      specName: metadata.name,
      source: driver.source,
      mode: volumeMode,
      readOnly: readOnly || driver.readOnly,
      mountOptions: spec.mountOptions,
      accessModes: spec.accessModes,
      fsGroup: pod.spec.securityContext?.fsGroup,
    },
  };
  return { resolved, persistentVolume };
}

/** Of the annotation; what is no group is passed over, as the kubelet does. */
function groupOf({ metadata }: PersistentVolume): number | undefined {
  const text = metadata.annotations['pv.beta.kubernetes.io/gid'] ?? '';
  const gid = /^\d{1,10}$/.test(text) ? Number(text) : undefined;
  return gid !== undefined && gid <= maxGroup ? gid : undefined;
}

function driverSource(
  { spec }: PersistentVolume,
  claim: PersistentVolumeClaim,
): { directory: string; source: unknown; readOnly: boolean } | undefined {
  const { local, nfs, csi } = spec;
  const { namespace, name, uid } = claim.metadata;
  const capacity = { volume: spec.capacityStorage, claimStatus: claim.status.capacityStorage };
  if (local !== undefined) {
    const growth: LocalGrowth = { claim: { namespace, name }, capacity };
    return { directory: driverDirectory.local, source: { ...local, growth }, readOnly: false };
  }
  // The kubelet takes nfs.readOnly of a PersistentVolume for nothing; a volume that says so is not written to here.
  if (nfs !== undefined) return { directory: driverDirectory.nfs, source: nfs, readOnly: nfs.readOnly };
  if (csi === undefined) return undefined;
  const source: CsiSource = {
    type: 'persistent',
    csi,
    claim: { namespace, name, uid },
    capacity,
  };
  // csi.readOnly is for the controller that attaches it.
  return { directory: driverDirectory.csi, source, readOnly: false };
}

function claimError(
  { namespace, name }: ClaimReference,
  subject: string,
  message: string,
  fix?: string,
  cause?: unknown,
): VolumeError {
  return new VolumeError('VOLUME_CLAIM', `error processing PVC ${namespace}/${name}: ${message}`, {
    object: subject,
    fix,
    cause,
  });
}

/** The API server did not say. */
export const claimUnknown = (reference: ClaimReference, subject: string, what: string, cause: unknown): VolumeError =>
  claimError(
    reference,
    subject,
    `failed to fetch ${what} from API server: ${cause instanceof Error ? cause.message : String(cause)}`,
    undefined,
    cause,
  );
