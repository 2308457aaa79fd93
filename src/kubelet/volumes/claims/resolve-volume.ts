/**
 * What a pod's persistentVolumeClaim, ephemeral, nfs or csi volume is, as mountVolumes asks it.
 * Layer: kubelet/volumes/claims (composition over the API and the disk). Remembers who has which PersistentVolume; mounts
 * nothing. Decisions are bound-volume.ts's.
 */
import type { Pod, Volume } from '../../../api/core.ts';
import type { PersistentVolumeClient } from '../../../api/persistent-volume-client.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Logger } from '../../../observe/logger.ts';
import { driverDirectory } from '../driver-paths.ts';
import type { ResolvedVolume, ResolveVolume } from '../volume-driver.ts';
import { VolumeError } from '../volume-error.ts';
import { boundVolume, type ClaimReference, claimReference, type NodeIdentity } from './bound-volume.ts';
import { ClaimReader } from './claim-reader.ts';
import type { ClaimedVolumes } from './claimed-volumes.ts';
import type { CsiSource } from './csi-source.ts';
import { volumesOnDisk } from './volumes-on-disk.ts';

export interface VolumeResolverOptions {
  /** undefined: there is no API server, so no claims either. */
  readonly client: PersistentVolumeClient | undefined;
  readonly claimed: ClaimedVolumes;
  readonly node: () => NodeIdentity;
  readonly rootDir: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export function createVolumeResolver(options: VolumeResolverOptions): ResolveVolume {
  const { client, claimed } = options;
  const reader = client && new ClaimReader({ ...options, client });

  const resolveClaim = async (
    volume: Volume,
    pod: Pod,
    reference: ClaimReference,
    subject: string,
    signal: AbortSignal,
  ): Promise<ResolvedVolume> => {
    if (reader === undefined) {
      const message = 'a claim is kept by an API server, and this node has none';
      throw new VolumeError('VOLUME_UNSUPPORTED', message, { object: subject, fix: 'use hostPath' });
    }
    const { uid } = pod.metadata;
    const read = await reader.read(volume, pod, reference, subject, signal);
    const { resolved, persistentVolume } = boundVolume(volume, pod, { reference, ...read }, options.node(), subject);
    const { accessModes } = persistentVolume.spec;
    if (accessModes.length === 1 && accessModes[0] === 'ReadWriteOncePod') {
      await refuseSecondPod(uid, resolved, persistentVolume.metadata.name, subject);
    }
    claimed.setClaim(uid, volume.name, { ...read, volume: persistentVolume });
    if (resolved.kind === 'driver') {
      const { namespace, name } = reference;
      const { specName } = resolved.volume;
      claimed.setVolume(uid, { name: volume.name, claim: { namespace, name }, driver: resolved.driver, specName });
    }
    return resolved;
  };

  /** Also a pod that a killed predecessor mounted it for counts. */
  const refuseSecondPod = async (
    uid: string,
    resolved: ResolvedVolume,
    specName: string,
    subject: string,
  ): Promise<void> => {
    const onDisk = resolved.kind === 'driver' ? await volumesOnDisk(options.rootDir, [resolved.driver]) : [];
    const other =
      claimed.otherHolder(uid, specName) ??
      onDisk.find((found) => found.specName === specName && found.podUid !== uid)?.podUid;
    if (other === undefined) return;
    const reason = 'volume uses the ReadWriteOncePod access mode and is already in use by another pod';
    throw new VolumeError('VOLUME_CLAIM', `MountVolume.SetUp failed for volume "${specName}" : ${reason}`, {
      object: subject,
      fix: `end the pod with the uid ${other}`,
    });
  };

  const resolveInline = (volume: Volume, pod: Pod, subject: string): ResolvedVolume => {
    const { name, nfs, csi } = volume;
    const inline = (driver: string, source: unknown, readOnly = false): ResolvedVolume => {
      claimed.setVolume(pod.metadata.uid, { name, claim: undefined, driver, specName: name });
      return {
        kind: 'driver',
        driver,
        volume: {
          subject,
          pod,
          name,
          specName: name,
          source,
          mode: 'Filesystem',
          readOnly,
          mountOptions: [],
          accessModes: [],
          fsGroup: pod.spec.securityContext?.fsGroup,
        },
      };
    };
    if (nfs !== undefined) return inline(driverDirectory.nfs, { server: nfs.server, path: nfs.path }, nfs.readOnly);
    if (csi !== undefined)
      return inline(driverDirectory.csi, { type: 'inline', csi } satisfies CsiSource, csi.readOnly);
    throw new VolumeError('VOLUME_UNSUPPORTED', 'has no type that this version mounts', { object: subject });
  };

  return async (volume, pod, signal) => {
    const { namespace, name } = pod.metadata;
    const subject = `pod ${namespace}/${name}: volume ${volume.name}`;
    const reference = claimReference(volume, pod);
    if (reference === undefined) return resolveInline(volume, pod, subject);
    return resolveClaim(volume, pod, reference, subject, signal);
  };
}
