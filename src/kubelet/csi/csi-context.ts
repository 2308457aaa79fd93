/**
 * What the operations on CSI volumes work with, and where one volume of one pod lies.
 * Layer: kubelet/csi (types, and paths).
 */
import type { Clock } from '../../base/clock.ts';
import type { MountInfo } from '../../linux/host.ts';
import type { Logger } from '../../observe/logger.ts';
import type { RecordPodEvent } from '../pods/pod-events.ts';
import type { VolumeMode } from '../volumes/volume-driver.ts';
import type { CsiApi } from './csi-api.ts';
import type { CsiDriverObjects } from './csi-driver-objects.ts';
import type { CsiPaths } from './csi-paths.ts';
import type { PodTokens } from './pod-tokens.ts';
import type { RegisteredDrivers } from './registered-drivers.ts';
import type { VolumeUser } from './volume-record.ts';
import type { VolumeUsers } from './volume-users.ts';

export interface MountTable {
  list(): Promise<readonly Pick<MountInfo, 'target'>[]>;
}

export interface CsiContext {
  readonly nodeName: string;
  readonly paths: CsiPaths;
  readonly mounts: MountTable;
  readonly drivers: RegisteredDrivers;
  readonly objects: Pick<CsiDriverObjects, 'find' | 'peek'>;
  readonly api: Pick<CsiApi, 'getAttachment' | 'getSecret' | 'patchClaimStatus'>;
  readonly tokens: PodTokens;
  readonly users: VolumeUsers;
  /** Keys of volumes that were staged, or found staged, since the daemon started. */
  readonly staged: Set<string>;
  readonly recordEvent: RecordPodEvent;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface VolumePlaces {
  /** Directory of the pod's record. */
  readonly record: string;
  /** What the driver publishes. */
  readonly target: string;
  readonly staging: string;
  /** Directory of the record of the staged volume. */
  readonly stagingRecord: string;
}

export function placesOf(
  paths: CsiPaths,
  mode: VolumeMode,
  { podUid, specName }: VolumeUser,
  volume: { readonly driver: string; readonly volumeHandle: string },
): VolumePlaces {
  const record = paths.volume(podUid, specName);
  if (mode === 'Block') {
    const { block } = paths;
    return {
      record,
      target: block.publish(specName, podUid),
      staging: block.staging(specName),
      stagingRecord: block.data(specName),
    };
  }
  return {
    record,
    target: paths.target(podUid, specName),
    staging: paths.globalMount(volume.driver, volume.volumeHandle),
    stagingRecord: paths.device(volume.driver, volume.volumeHandle),
  };
}

/** From the mount table: looking at a path whose server is dead would hang. */
export async function isMounted({ mounts }: Pick<CsiContext, 'mounts'>, path: string): Promise<boolean> {
  return (await mounts.list()).some(({ target }) => target === path);
}
