/**
 * The kubelet's statistics over HTTP: /stats/summary and /metrics with its siblings.
 * Layer: kubelet/server (edge: HTTP). What is measured and how it is written is kubelet/stats'; who may read is decided
 * before. Source: pkg/kubelet/server/server.go (InstallDefaultHandlers), pkg/kubelet/server/stats/handler.go.
 */
import { errorLine } from '../../../observe/keelson-error.ts';
import type { Logger } from '../../../observe/logger.ts';
import type { Registry } from '../../../observe/metrics.ts';
import type { ProbeCount } from '../../probes/probe-counts.ts';
import { cadvisorMetrics } from '../../stats/cadvisor-metrics.ts';
import { expositionType, renderFamily, renderLabels } from '../../stats/exposition.ts';
import type { MachineFacts } from '../../stats/machine-facts.ts';
import { resourceMetrics } from '../../stats/resource-metrics.ts';
import type { StatsCollector } from '../../stats/stats-collector.ts';
import { HttpStatusError } from '../http-status-error.ts';
import { send, sendJson } from '../plain-answer.ts';
import type { Route } from '../route.ts';

export interface StatsRoutesOptions {
  readonly collector: Pick<StatsCollector, 'summary' | 'usageSummary' | 'usage'>;
  /** What /metrics shows: KubeletMetrics.registry. */
  readonly registry: Pick<Registry, 'metrics' | 'contentType'>;
  /** Read for each scrape of /metrics/probes: ProbeWorkers.counts. */
  readonly probeCounts: () => Iterable<ProbeCount>;
  /** Read for each scrape of /metrics/cadvisor: machineFactsReader. */
  readonly machine: () => Promise<MachineFacts>;
  readonly log: Logger;
}

export function statsRoutes(options: StatsRoutesOptions): Route[] {
  const { collector, registry, probeCounts, log } = options;
  const metrics = (path: string, text: () => Promise<string>): Route => ({
    methods: ['GET'],
    path,
    subresources: ['metrics'],
    readOnlyPort: true,
    handle: async (_request, response) => send(response, 200, expositionType, await text()),
  });
  return [
    {
      methods: ['GET', 'POST'],
      path: '/stats/summary',
      subresources: ['stats'],
      readOnlyPort: true,
      async handle({ url }, response) {
        const only = url.searchParams.getAll('only_cpu_and_memory');
        const usageOnly = only.length === 1 && only[0] === 'true';
        const summary = await answering(() => (usageOnly ? collector.usageSummary() : collector.summary()));
        sendJson(response, summary);
      },
    },
    metrics('/metrics', () => registry.metrics()),
    metrics('/metrics/resource', async () => {
      try {
        return resourceMetrics(await collector.usage('usage'));
      } catch (error) {
        // The scrape succeeds and says that it failed, as the kubelet's does.
        log.warn({ error: errorLine(error) }, 'cannot measure for /metrics/resource');
        return resourceMetrics(undefined);
      }
    }),
    metrics('/metrics/cadvisor', () =>
      answering(async () => cadvisorMetrics(await collector.usage('details'), await options.machine())),
    ),
    metrics('/metrics/probes', async () =>
      renderFamily(
        'prober_probe_total',
        '[BETA] Results of probes by container, kind and outcome.',
        'counter',
        samples(probeCounts()),
      ),
    ),
  ];
}

function* samples(counts: Iterable<ProbeCount>): Generator<{ labels: string; value: number }> {
  for (const { labels, value } of counts) yield { labels: renderLabels(labels), value };
}

/** Trouble of the runtime's becomes the kubelet's own answer for it. */
async function answering<Value>(read: () => Promise<Value>): Promise<Value> {
  try {
    return await read();
  } catch (cause) {
    throw new HttpStatusError(500, `Internal Error: ${errorLine(cause)}`, { cause });
  }
}
