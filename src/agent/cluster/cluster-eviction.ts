/**
 * Evictions of a node in a cluster: what measures, what can be reclaimed, who is told.
 * Layer: agent/cluster (composition). A standalone node has none: pods of manifests are never evicted.
 */
import { systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import type { ImageService } from '../../cri/service.ts';
import type { EvictionOptions } from '../../kubelet/eviction/evict-pods.ts';
import { createNodeSignals, podUsage } from '../../kubelet/eviction/node-signals.ts';
import { type Eviction, startEviction } from '../../kubelet/eviction/start-eviction.ts';
import { hostReader } from '../../kubelet/node/host-reader.ts';
import type { NodePressure } from '../../kubelet/node/node-pressure.ts';
import type { StatsCollector } from '../../kubelet/stats/stats-collector.ts';
import type { Logger } from '../../observe/logger.ts';
import type { KubeletRole } from '../kubelet-role.ts';

export interface ClusterEvictionContext extends Pick<EvictionOptions, 'recordPodEvent' | 'recordNodeEvent'> {
  readonly options: RunOptions<ClusterMode>;
  readonly pressure: NodePressure;
  readonly kubelet: Pick<KubeletRole, 'evictable' | 'removeEndedContainers' | 'imageCollector'>;
  readonly collector: StatsCollector;
  readonly images: ImageService;
  readonly log: Logger;
}

export function startClusterEviction(context: ClusterEvictionContext, signal: AbortSignal): Eviction {
  const { options, pressure, kubelet, collector, images, recordPodEvent, recordNodeEvent } = context;
  const log = context.log.child({ component: 'eviction' });
  const { measure, layout } = createNodeSignals({ host: hostReader, rootDir: options.rootDir, images, log });
  return startEviction(
    {
      pressure,
      maxPodGraceSeconds: options.kubelet.evictionMaxPodGracePeriodSeconds,
      localStorageIsolation: options.kubelet.localStorageCapacityIsolation,
      measure,
      layout,
      usage: podUsage(collector),
      pods: kubelet.evictable,
      reclaim: {
        deadContainers: () => kubelet.removeEndedContainers(),
        unusedImages: () => kubelet.imageCollector.deleteUnused(),
      },
      recordPodEvent,
      recordNodeEvent,
      clock: systemClock,
      log,
    },
    signal,
  );
}
