/**
 * The text of /metrics/resource, which metrics-server reads for `kubectl top` and autoscaling: CPU and working set of
 * the node, its pods and containers, each with the time it was measured.
 * Layer: kubelet/stats (pure). Names, labels and types: pkg/kubelet/metrics/collectors/resource_metrics.go.
 */
import { type ExposedSample, type MetricType, renderFamily, renderLabels } from './exposition.ts';
import type { ContainerUsage, PodUsage, UsageSample } from './usage-sample.ts';

/** @param usage undefined when nothing could be measured: the text then says so */
export function resourceMetrics(usage: UsageSample | undefined): string {
  const families: string[] = [];
  const family = (
    name: string,
    help: string,
    type: MetricType,
    samples: readonly (ExposedSample | undefined)[],
  ): void => {
    families.push(
      renderFamily(
        name,
        help,
        type,
        samples.filter((sample) => sample !== undefined),
      ),
    );
  };
  if (usage !== undefined) {
    const { node, pods } = usage;
    const rows = pods.flatMap((pod) => pod.containers.map((container) => containerRow(pod, container)));
    const podRows = pods.map(podRow);
    const { timeMs } = node;
    family(
      'container_cpu_usage_seconds_total',
      '[STABLE] CPU time of the container in core-seconds.',
      'counter',
      rows.map(({ cpu }) => cpu),
    );
    family(
      'container_memory_working_set_bytes',
      '[STABLE] Working set of the container in bytes.',
      'gauge',
      rows.map(({ memory }) => memory),
    );
    family(
      'container_start_time_seconds',
      '[STABLE] When the container was made, in seconds since the epoch.',
      'gauge',
      rows.map(({ start }) => start),
    );
    family(
      'container_swap_limit_bytes',
      '[ALPHA] Swap that the container may use in bytes.',
      'gauge',
      rows.map(({ swapLimit }) => swapLimit),
    );
    family(
      'container_swap_usage_bytes',
      '[ALPHA] Swap that the container uses in bytes.',
      'gauge',
      rows.map(({ swap }) => swap),
    );
    family('node_cpu_usage_seconds_total', '[STABLE] CPU time of the node in core-seconds.', 'counter', [
      node.cpu && { labels: '', value: node.cpu.usageNs / 1e9, timeMs },
    ]);
    family('node_memory_working_set_bytes', '[STABLE] Working set of the node in bytes.', 'gauge', [
      node.memory && { labels: '', value: node.memory.workingSetBytes, timeMs },
    ]);
    family('node_swap_usage_bytes', '[ALPHA] Swap that the node uses in bytes.', 'gauge', [
      node.memory && { labels: '', value: node.memory.swapUsedBytes, timeMs },
    ]);
    family(
      'pod_cpu_usage_seconds_total',
      '[STABLE] CPU time of the pod in core-seconds.',
      'counter',
      podRows.map(({ cpu }) => cpu),
    );
    family(
      'pod_memory_working_set_bytes',
      '[STABLE] Working set of the pod in bytes.',
      'gauge',
      podRows.map(({ memory }) => memory),
    );
    family(
      'pod_swap_usage_bytes',
      '[ALPHA] Swap that the pod uses in bytes.',
      'gauge',
      podRows.map(({ swap }) => swap),
    );
  }
  const failed = [{ labels: '', value: usage === undefined ? 1 : 0 }];
  family('resource_scrape_error', '[STABLE] 1 when the figures could not be measured, else 0.', 'gauge', failed);
  family('scrape_error', '[ALPHA] As resource_scrape_error, by its older name.', 'gauge', failed);
  return families.join('');
}

interface ContainerRow {
  readonly cpu: ExposedSample | undefined;
  readonly memory: ExposedSample | undefined;
  readonly start: ExposedSample | undefined;
  readonly swap: ExposedSample | undefined;
  readonly swapLimit: ExposedSample | undefined;
}

function containerRow(pod: PodUsage, { record, measured }: ContainerUsage): ContainerRow {
  // metrics-server finds `container`, `namespace` and `pod` by text: these three, and no others that end so.
  const labels = renderLabels({ container: record.name, namespace: pod.namespace, pod: pod.name });
  const { cpu, memory, timeMs } = measured?.sample ?? {};
  const sample = (value: number | undefined): ExposedSample | undefined =>
    value === undefined || timeMs === undefined ? undefined : { labels, value, timeMs };
  return {
    cpu: sample(cpu && cpu.usageNs / 1e9),
    memory: sample(memory?.workingSetBytes),
    start: { labels, value: record.createdAtMs / 1000 },
    swap: sample(memory?.swapBytes),
    swapLimit: sample(memory?.swapLimitBytes),
  };
}

function podRow(pod: PodUsage): Pick<ContainerRow, 'cpu' | 'memory' | 'swap'> {
  const labels = renderLabels({ namespace: pod.namespace, pod: pod.name });
  const parts = pod.own ? [pod.own] : pod.containers.flatMap(({ measured }) => measured ?? []);
  const timeMs = parts.at(-1)?.sample.timeMs;
  const sum = (values: (number | undefined)[]): ExposedSample | undefined => {
    const known = values.filter((value) => value !== undefined);
    if (known.length === 0 || timeMs === undefined) return undefined;
    return { labels, value: known.reduce((total, value) => total + value, 0), timeMs };
  };
  return {
    cpu: sum(parts.map(({ sample }) => sample.cpu && sample.cpu.usageNs / 1e9)),
    memory: sum(parts.map(({ sample }) => sample.memory?.workingSetBytes)),
    swap: sum(parts.map(({ sample }) => sample.memory?.swapBytes)),
  };
}
