/**
 * How full the volumes are that drivers mounted, as their file systems or drivers say: asked at most once a period
 * (KubeletConfiguration volumeStatsAggPeriod) and only when somebody wants to know. Nothing is walked.
 * Layer: kubelet/stats. Who asks a volume limits the time: a server that hangs must hold up nobody else.
 */
import type { Pod } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ClaimedVolume } from '../volumes/claims/claimed-volumes.ts';
import { KeptMeasurements } from './kept-measurements.ts';

/** Bytes and counts; undefined for what nobody tells. */
export interface VolumeFigures {
  readonly capacityBytes: number | undefined;
  readonly availableBytes: number | undefined;
  readonly usedBytes: number | undefined;
  readonly inodes: number | undefined;
  readonly inodesFree: number | undefined;
  readonly inodesUsed: number | undefined;
  /** Whether its driver says that something is wrong with it; undefined where nobody watches. */
  readonly abnormal?: boolean | undefined;
}

/** undefined: there is nothing to measure, or not yet. */
export type MeasureDriverVolume = (
  podUid: string,
  specName: string,
  signal: AbortSignal,
) => Promise<VolumeFigures | undefined>;

export interface DriverVolumes {
  of(podUid: string): readonly ClaimedVolume[];
  /** By VolumeDriver.directory. */
  readonly measure: ReadonlyMap<string, MeasureDriverVolume>;
}

export interface DriverVolumeUsage {
  readonly name: string;
  readonly claim: ClaimedVolume['claim'];
  readonly timeMs: number;
  readonly figures: VolumeFigures;
}

export interface DriverVolumeMeterOptions {
  readonly volumes: DriverVolumes;
  readonly periodMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Volumes asked at a time: one that hangs keeps a place until its time is over. */
const places = 4;

export class DriverVolumeMeter {
  readonly #options: DriverVolumeMeterOptions;
  readonly #kept: KeptMeasurements<DriverVolumeUsage>;

  constructor(options: DriverVolumeMeterOptions) {
    this.#options = options;
    this.#kept = new KeptMeasurements({ ...options, places });
  }

  /** By pod UID. As VolumeMeter.read. */
  async read(pods: readonly Pod[], patienceMs: number): Promise<ReadonlyMap<string, readonly DriverVolumeUsage[]>> {
    const { volumes } = this.#options;
    const wanted = new Map<string, () => Promise<DriverVolumeUsage | undefined>>();
    const keys = new Map<string, string[]>();
    for (const { metadata } of pods) {
      const { uid } = metadata;
      const keysOfPod = volumes.of(uid).map((volume) => {
        const key = `${uid}/${volume.name}`;
        wanted.set(key, () => this.#measure(uid, volume));
        return key;
      });
      keys.set(uid, keysOfPod);
    }
    const found = await this.#kept.read(wanted, patienceMs);
    return new Map([...keys].map(([uid, ofPod]) => [uid, ofPod.flatMap((key) => found.get(key) ?? [])]));
  }

  async #measure(uid: string, volume: ClaimedVolume): Promise<DriverVolumeUsage | undefined> {
    const { volumes, clock, log, signal } = this.#options;
    const { name, claim, driver, specName } = volume;
    try {
      const figures = await volumes.measure.get(driver)?.(uid, specName, signal);
      return figures && { name, claim, timeMs: clock.now(), figures };
    } catch (error) {
      if (!signal.aborted) log.debug({ uid, volume: name, error: errorLine(error) }, 'cannot measure a volume');
      return undefined;
    }
  }
}
