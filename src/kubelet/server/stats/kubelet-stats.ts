/**
 * The statistics of a node as the agent is handed them: the collector, which eviction asks too, and its routes.
 * Layer: kubelet/server (composition). Nothing runs until somebody asks.
 */

import { hostFiles } from '../../stats/host-files.ts';
import { machineFactsReader } from '../../stats/machine-facts.ts';
import { StatsCollector, type StatsCollectorOptions } from '../../stats/stats-collector.ts';
import type { Route } from '../route.ts';
import { type StatsRoutesOptions, statsRoutes } from './stats-routes.ts';

export type KubeletStatsOptions = StatsCollectorOptions & Pick<StatsRoutesOptions, 'registry' | 'probeCounts'>;

export interface KubeletStats {
  collector: StatsCollector;
  routes: Route[];
}

export function kubeletStats(options: KubeletStatsOptions): KubeletStats {
  const { host, rootDir, registry, probeCounts, log, files = hostFiles } = options;
  const collector = new StatsCollector(options);
  const machine = machineFactsReader(host, files, rootDir);
  return { collector, routes: statsRoutes({ collector, registry, probeCounts, machine, log }) };
}
