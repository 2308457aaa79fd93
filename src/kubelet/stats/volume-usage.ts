/**
 * What the volumes of pods take, measured by walking them at most once a period (KubeletConfiguration
 * volumeStatsAggPeriod) and only when somebody asks. One walk at a time on the whole node.
 * Layer: kubelet/stats. Kept figures only; which volumes there are is the pods' spec.
 */
import { join } from 'node:path';
import type { Pod, Volume } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type MountedType, podDirectory, volumeDirectory } from '../volumes/volume-paths.ts';
import type { DiskUsage } from './disk-usage.ts';
import type { FilesystemUsage, HostFiles } from './host-files.ts';
import { KeptMeasurements } from './kept-measurements.ts';

export interface VolumeUsage {
  readonly name: string;
  readonly timeMs: number;
  readonly used: DiskUsage;
  readonly filesystem: FilesystemUsage;
  /** On the node's disk and gone with the pod: counts as the pod's ephemeral storage. */
  readonly ephemeral: boolean;
}

export interface VolumeMeterOptions {
  readonly rootDir: string;
  readonly periodMs: number;
  readonly files: Pick<HostFiles, 'filesystem'>;
  readonly usage: (path: string, signal: AbortSignal) => Promise<DiskUsage | undefined>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

export class VolumeMeter {
  readonly #options: VolumeMeterOptions;
  readonly #walks: KeptMeasurements<VolumeUsage>;

  constructor(options: VolumeMeterOptions) {
    this.#options = options;
    this.#walks = new KeptMeasurements({ ...options, places: 1 });
  }

  /**
   * The latest figures of each volume that has any; starts what is due. Resolves when all due walks ended or after
   * `patienceMs`, with what there is then. Forgets the volumes of all other pods.
   */
  async read(pods: readonly Pod[], patienceMs: number): Promise<ReadonlyMap<string, readonly VolumeUsage[]>> {
    const wanted = new Map(
      pods.flatMap((pod) =>
        measurable(pod).map((volume) => [keyOf(pod, volume), () => this.#measure(pod, volume)] as const),
      ),
    );
    const found = await this.#walks.read(wanted, patienceMs);
    return new Map(
      pods.map((pod) => [pod.metadata.uid, measurable(pod).flatMap((volume) => found.get(keyOf(pod, volume)) ?? [])]),
    );
  }

  async #measure(pod: Pod, volume: MeasurableVolume): Promise<VolumeUsage | undefined> {
    const { rootDir, usage, files, clock, log, signal } = this.#options;
    const { namespace, name, uid } = pod.metadata;
    try {
      const path = join(rootDir, ...podDirectory(uid), ...volumeDirectory(volume.type, volume.name));
      const used = await usage(path, signal);
      const filesystem = used && (await files.filesystem(path));
      if (used === undefined || filesystem === undefined) return undefined;
      return { name: volume.name, timeMs: clock.now(), used, filesystem, ephemeral: volume.ephemeral };
    } catch (error) {
      if (!signal.aborted) {
        const fields = { pod: `${namespace}/${name}`, volume: volume.name, error: errorLine(error) };
        log.debug(fields, 'cannot measure a volume');
      }
      return undefined;
    }
  }
}

interface MeasurableVolume {
  readonly name: string;
  readonly type: MountedType;
  readonly ephemeral: boolean;
}

/** What the kubelet measures: all that it fills itself, but no hostPath. */
function measurable(pod: Pod): MeasurableVolume[] {
  return (pod.spec.volumes ?? []).flatMap((volume) => {
    const type = typeOf(volume);
    if (type === undefined) return [];
    // IsLocalEphemeralVolume of pkg/volume/util: the others lie in memory.
    const ephemeral = type === 'configMap' || (type === 'emptyDir' && (volume.emptyDir?.medium ?? '') === '');
    return [{ name: volume.name, type, ephemeral }];
  });
}

function typeOf(volume: Volume): MountedType | undefined {
  if (volume.emptyDir !== undefined) return 'emptyDir';
  if (volume.configMap !== undefined) return 'configMap';
  if (volume.secret !== undefined) return 'secret';
  if (volume.downwardAPI !== undefined) return 'downwardAPI';
  return volume.projected === undefined ? undefined : 'projected';
}

const keyOf = (pod: Pod, volume: { name: string }): string => `${pod.metadata.uid}/${volume.name}`;
