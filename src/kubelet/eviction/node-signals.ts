/**
 * The machine as evictions see it: signals, where the images lie, what pods use.
 * Layer: kubelet/eviction (adapters to node/, CRI and stats/). Decides nothing.
 */
import { stat } from 'node:fs/promises';
import type { ImageService } from '../../cri/service.ts';
import type { Logger } from '../../observe/logger.ts';
import { type HostReader, measureSignals } from '../node/node-measurements.ts';
import type { SignalObservations } from '../node/pressure.ts';
import type { StatsCollector } from '../stats/stats-collector.ts';
import type { PodStats, Summary } from '../stats/summary-types.ts';
import type { DiskLayout } from './starved-resource.ts';

export interface NodeSignalsOptions {
  readonly host: HostReader;
  readonly rootDir: string;
  readonly images: Pick<ImageService, 'imageFsInfo'>;
  /** The number of the device that a path lies on; stat(2)'s unless given. */
  readonly device?: (path: string) => Promise<number>;
  readonly log: Logger;
}

export interface NodeSignals {
  measure(): Promise<SignalObservations>;
  /** @throws CriError until the runtime has said where its images are */
  layout(): Promise<DiskLayout>;
}

const callTimeoutMs = 10_000;

export function createNodeSignals(options: NodeSignalsOptions): NodeSignals {
  const { host, rootDir, images, log, device = async (path) => (await stat(path)).dev } = options;
  let imageFsPath: string | undefined;
  let known: DiskLayout | undefined;
  let said = '';
  const learnImageFs = async (): Promise<string | undefined> => {
    imageFsPath ??= (await images.imageFsInfo({}, { timeoutMs: callTimeoutMs })).imageFilesystems[0]?.fsId?.mountpoint;
    return imageFsPath;
  };
  return {
    async measure() {
      // Without the runtime there are still memory and the kubelet's own disk.
      const path = imageFsPath ?? (await learnImageFs().catch(() => undefined));
      const { observations, problems } = await measureSignals(host, rootDir, path);
      if (problems.join() !== said) for (const problem of problems) log.warn({ problem }, 'cannot be measured');
      said = problems.join();
      return observations;
    },
    async layout() {
      const path = await learnImageFs();
      if (path === undefined) return { dedicatedImageFs: false };
      known ??= { dedicatedImageFs: (await device(path)) !== (await device(rootDir)) };
      return known;
    },
  };
}

/** What pods use, by uid: those with a running container. */
export const podUsage =
  (collector: Pick<StatsCollector, 'summary'>) => async (): Promise<ReadonlyMap<string, PodStats>> => {
    const { pods }: Summary = await collector.summary();
    return new Map(pods.map((pod) => [pod.podRef.uid, pod]));
  };
