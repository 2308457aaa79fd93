/**
 * What the volumes of pods take, measured by walking them at most once a period (KubeletConfiguration
 * volumeStatsAggPeriod) and only when somebody asks. One walk at a time on the whole node, and a volume whose walk was
 * long waits longer for the next, so that walking never takes more than a tenth of the time.
 * Layer: kubelet/stats. Kept figures only; which volumes there are is the pods' spec.
 */
import { join } from 'node:path';
import type { Pod, Volume } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import { createSemaphore } from '../../base/semaphore.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type MountedType, podDirectory, volumeDirectory } from '../volumes/volume-paths.ts';
import type { DiskUsage } from './disk-usage.ts';
import type { FilesystemUsage, HostFiles } from './host-files.ts';

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

interface Measured {
  /** undefined until the first walk ended, and after one that failed. */
  usage: VolumeUsage | undefined;
  dueMs: number;
  running: Promise<void> | undefined;
}

/** A walk that took long is repeated only after this many times as long. */
const restFactor = 10;

export class VolumeMeter {
  readonly #options: VolumeMeterOptions;
  readonly #volumes = new Map<string, Measured>();
  readonly #walks = createSemaphore(1);

  constructor(options: VolumeMeterOptions) {
    this.#options = options;
  }

  /**
   * The latest figures of each volume that has any; starts what is due. Resolves when all due walks ended or after
   * `patienceMs`, with what there is then. Forgets the volumes of all other pods.
   */
  async read(pods: readonly Pod[], patienceMs: number): Promise<ReadonlyMap<string, readonly VolumeUsage[]>> {
    const wanted = new Map(
      pods.flatMap((pod) => measurable(pod).map((volume) => [keyOf(pod, volume), { pod, volume }])),
    );
    for (const key of this.#volumes.keys()) if (!wanted.has(key)) this.#volumes.delete(key);
    const running = [...wanted].flatMap(([key, { pod, volume }]) => this.#start(key, pod, volume) ?? []);
    if (running.length > 0) await this.#atMost(patienceMs, Promise.all(running));
    return new Map(
      pods.map((pod) => [
        pod.metadata.uid,
        measurable(pod).flatMap((volume) => this.#volumes.get(keyOf(pod, volume))?.usage ?? []),
      ]),
    );
  }

  #start(key: string, pod: Pod, volume: MeasurableVolume): Promise<void> | undefined {
    const { clock, periodMs } = this.#options;
    const entry = this.#volumes.get(key) ?? { usage: undefined, dueMs: 0, running: undefined };
    this.#volumes.set(key, entry);
    if (entry.running !== undefined || entry.dueMs > clock.now()) return entry.running;
    entry.running = this.#walks
      .run(async () => {
        const startedMs = clock.now();
        entry.usage = await this.#measure(pod, volume);
        entry.dueMs = clock.now() + Math.max(periodMs, restFactor * (clock.now() - startedMs));
      })
      .finally(() => {
        entry.running = undefined;
      });
    return entry.running;
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

  async #atMost(patienceMs: number, work: Promise<unknown>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.after(patienceMs, resolve);
    await Promise.race([work, promise]);
    cancel();
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
