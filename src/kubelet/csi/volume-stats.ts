/**
 * How full a CSI volume is, as its driver says, and whether it is well.
 * Layer: kubelet/csi (over the driver). One question at a time for each volume: a driver that hangs is not asked twice.
 * Source: NodeGetVolumeStats in pkg/volume/csi/csi_client.go.
 */
import type { RecordPodEvent } from '../pods/pod-events.ts';
import { warning } from '../pods/pod-events.ts';
import type { HeldVolume } from './csi-volume-driver.ts';
import type { NodeGetVolumeStatsResponse } from './messages.generated.ts';
import type { RegisteredDrivers } from './registered-drivers.ts';

/** Bytes and counts; undefined for what the driver does not tell. */
export interface CsiVolumeStats {
  readonly capacityBytes: number | undefined;
  readonly availableBytes: number | undefined;
  readonly usedBytes: number | undefined;
  readonly inodes: number | undefined;
  readonly inodesFree: number | undefined;
  readonly inodesUsed: number | undefined;
  /** Whether anything is wrong with the volume; undefined when the driver does not watch. */
  readonly abnormal: boolean | undefined;
  /** What is wrong. */
  readonly trouble: string | undefined;
}

export interface CsiStatsOptions {
  readonly held: (podUid: string, specName: string) => HeldVolume | undefined;
  readonly drivers: RegisteredDrivers;
  readonly recordEvent: RecordPodEvent;
}

/** undefined: not mounted here (yet), or the driver has no numbers. @throws CsiError, or the signal's reason */
export type ReadCsiVolumeStats = (
  podUid: string,
  specName: string,
  signal: AbortSignal,
) => Promise<CsiVolumeStats | undefined>;

export function csiVolumeStats({ held, drivers, recordEvent }: CsiStatsOptions): ReadCsiVolumeStats {
  const asked = new WeakMap<HeldVolume, Promise<CsiVolumeStats | undefined>>();
  /** What was told last, so that each trouble is one event. */
  const told = new WeakMap<HeldVolume, string>();

  const ask = async (volume: HeldVolume, signal: AbortSignal): Promise<CsiVolumeStats | undefined> => {
    const { service } = drivers.required(volume.driver);
    const capabilities = await service.capabilities(signal);
    if (!capabilities.has('GET_VOLUME_STATS')) return undefined;
    const stagingTargetPath = capabilities.has('STAGE_UNSTAGE_VOLUME') ? volume.staging : '';
    const { volumeHandle: volumeId, target: volumePath } = volume;
    const answer = await service.volumeStats({ volumeId, volumePath, stagingTargetPath }, signal);
    const stats = readStats(answer, capabilities.has('VOLUME_CONDITION'));
    const { trouble } = stats;
    if (trouble !== undefined && told.get(volume) !== trouble) {
      const message = `Volume ${volume.volume.name}: ${trouble}`;
      recordEvent(volume.volume.pod, warning('VolumeConditionAbnormal', message));
    }
    if (trouble === undefined) told.delete(volume);
    else told.set(volume, trouble);
    return stats;
  };

  return async (podUid, specName, signal) => {
    const volume = held(podUid, specName);
    if (volume === undefined) return undefined;
    const underWay = asked.get(volume);
    if (underWay !== undefined) return underWay;
    const question = ask(volume, signal).finally(() => asked.delete(volume));
    asked.set(volume, question);
    return question;
  };
}

const maxMessage = 500;

/** Numbers below zero make no sense and count as not told. */
export function readStats(
  { usage, volumeCondition }: NodeGetVolumeStatsResponse,
  watchesCondition: boolean,
): CsiVolumeStats {
  const amount = (value: number | undefined): number | undefined =>
    value !== undefined && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  const bytes = usage.find(({ unit }) => unit === 'BYTES');
  const inodes = usage.find(({ unit }) => unit === 'INODES');
  const abnormal = watchesCondition ? volumeCondition?.abnormal : undefined;
  return {
    capacityBytes: amount(bytes?.total),
    availableBytes: amount(bytes?.available),
    usedBytes: amount(bytes?.used),
    inodes: amount(inodes?.total),
    inodesFree: amount(inodes?.available),
    inodesUsed: amount(inodes?.used),
    abnormal,
    trouble: abnormal ? (volumeCondition?.message || 'its driver gave no reason').slice(0, maxMessage) : undefined,
  };
}
