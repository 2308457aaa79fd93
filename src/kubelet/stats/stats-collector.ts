/**
 * The figures of the node and its pods, for whoever asks: /stats/summary, /metrics/*, eviction. Measures on request only;
 * requests that come together share a measurement.
 * Layer: kubelet/stats (composition). Figures of CPU, memory and network are up to 2 s old, those of disks up to 10 s
 * (cAdvisor's are up to 15), volumes up to volumeStatsAggPeriod.
 */
import type { Clock } from '../../base/clock.ts';
import type { ImageService, RuntimeService } from '../../cri/service.ts';
import type { Logger } from '../../observe/logger.ts';
import { type HostReader, measureNode } from '../node/node-measurements.ts';
import type { ServedPods } from '../server/served-pods.ts';
import type { SampleDepth } from './cgroup-sample.ts';
import { directoryUsage } from './disk-usage.ts';
import { DriverVolumeMeter, type DriverVolumes, type DriverVolumeUsage } from './driver-volume-usage.ts';
import { type HostFiles, hostFiles } from './host-files.ts';
import { SharedSample } from './shared-sample.ts';
import { type StorageSample, sampleStorage, shownPods, volumePatienceMs } from './storage-sample.ts';
import { type ProcessLimits, summary, usageSummary } from './summary.ts';
import type { Summary } from './summary-types.ts';
import { type UsageSample, UsageSampler } from './usage-sample.ts';
import { VolumeMeter } from './volume-usage.ts';

export interface StatsCollectorOptions {
  readonly nodeName: string;
  readonly rootDir: string;
  readonly podLogDir: string;
  /** KubeletConfiguration volumeStatsAggPeriod; 0 or less: volumes are not measured. */
  readonly volumePeriodMs: number;
  /** Flag --runtime-cgroups, KubeletConfiguration has no such field. */
  readonly runtimeCgroup?: string | undefined;
  readonly pods: ServedPods;
  /** Volumes that drivers mounted; none unless given. */
  readonly driverVolumes?: DriverVolumes | undefined;
  readonly runtime: Pick<RuntimeService, 'containerStatus' | 'podSandboxStatus' | 'listContainerStats'>;
  readonly images: Pick<ImageService, 'imageFsInfo'>;
  readonly host: HostReader;
  readonly clock: Clock;
  readonly log: Logger;
  /** The kernel's files; the machine's own unless given. */
  readonly files?: HostFiles;
  /** Ends walks of volumes. */
  readonly signal: AbortSignal;
}

const usageFreshMs = 2_000;
const storageFreshMs = 10_000;
const depths: readonly SampleDepth[] = ['usage', 'pressure', 'details'];

export class StatsCollector {
  readonly #options: StatsCollectorOptions;
  readonly #usage: SharedSample<UsageSample>;
  readonly #storage: SharedSample<StorageSample>;
  readonly #driverVolumes: DriverVolumeMeter | undefined;
  readonly #startedMs: number;
  #problems = '';

  constructor(options: StatsCollectorOptions) {
    const { clock, log, signal, rootDir, volumePeriodMs, files = hostFiles } = options;
    this.#options = options;
    this.#startedMs = clock.now();
    const sampler = new UsageSampler({ ...options, files });
    const meter = new VolumeMeter({
      rootDir,
      periodMs: volumePeriodMs,
      files,
      usage: directoryUsage,
      clock,
      log,
      signal,
    });
    this.#usage = new SharedSample((depth) => sampler.sample(depths[depth] ?? 'details'), clock, usageFreshMs);
    const measured = volumePeriodMs > 0;
    if (measured && options.driverVolumes !== undefined) {
      const about = { volumes: options.driverVolumes, periodMs: volumePeriodMs, clock, log, signal };
      this.#driverVolumes = new DriverVolumeMeter(about);
    }
    const storage = {
      ...options,
      files,
      volumes: measured ? meter : undefined,
      driverVolumes: this.#driverVolumes,
    };
    this.#storage = new SharedSample(() => sampleStorage(storage), clock, storageFreshMs);
  }

  get nodeName(): string {
    return this.#options.nodeName;
  }

  /** @throws CriError when the runtime does not say where new containers are */
  usage(depth: SampleDepth): Promise<UsageSample> {
    return this.#usage.get(depths.indexOf(depth));
  }

  /** A part that cannot be read is missing and logged, once for each kind of trouble. */
  async storage(): Promise<StorageSample> {
    const sample = await this.#storage.get();
    const problems = sample.problems.join('; ');
    if (problems !== this.#problems && problems !== '') {
      this.#options.log.warn({ error: problems }, 'a part of the node statistics cannot be read');
    }
    this.#problems = problems;
    return sample;
  }

  /** Volumes that drivers mounted, by pod UID. */
  async driverVolumes(): Promise<ReadonlyMap<string, readonly DriverVolumeUsage[]>> {
    const pods = shownPods(this.#options.pods).map(({ pod }) => pod);
    return (await this.#driverVolumes?.read(pods, volumePatienceMs)) ?? new Map();
  }

  /** The whole of /stats/summary. @throws CriError */
  async summary(): Promise<Summary> {
    const { host, rootDir, nodeName } = this.#options;
    const [usage, storage, { observations }] = await Promise.all([
      this.usage('pressure'),
      this.storage(),
      measureNode(host, rootDir, undefined),
    ]);
    const pids = observations['pid.available'];
    const limits: ProcessLimits | undefined = pids && {
      maxPid: pids.capacity,
      running: pids.capacity - pids.available,
    };
    return summary({ nodeName, startedMs: this.#startedMs, usage, storage, limits });
  }

  /** Only CPU and memory: no disk is touched. @throws CriError */
  async usageSummary(): Promise<Summary> {
    const { nodeName } = this.#options;
    return usageSummary({ nodeName, startedMs: this.#startedMs, usage: await this.usage('usage') });
  }
}
