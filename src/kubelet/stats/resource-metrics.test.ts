import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakeStatsNode } from './fake-stats-node.ts';
import { resourceMetrics } from './resource-metrics.ts';
import { UsageSampler } from './usage-sample.ts';

async function text(node: FakeStatsNode): Promise<string> {
  const files = node.hostFiles;
  const it = new UsageSampler({ pods: node.served, runtime: node.runtime, files, clock: new FakeClock() });
  return resourceMetrics(await it.sample('usage'));
}

const withoutComments = (lines: string): string[] =>
  lines.split('\n').filter((line) => !line.startsWith('#') && line !== '');

test('names, labels, values and times', async (t) => {
  const node = new FakeStatsNode(2);
  node.addPod();
  const [c, p] = ['container="main",namespace="default",pod="web"', 'namespace="default",pod="web"'];
  const now = Date.UTC(2026, 0, 1);
  t.deepEqual(withoutComments(await text(node)), [
    `container_cpu_usage_seconds_total{${c}} 1.5 ${now}`,
    `container_memory_working_set_bytes{${c}} 7000000 ${now}`,
    `container_start_time_seconds{${c}} ${now / 1000}`,
    `container_swap_limit_bytes{${c}} 0 ${now}`,
    `container_swap_usage_bytes{${c}} 4096 ${now}`,
    `node_cpu_usage_seconds_total 99 ${now}`,
    `node_memory_working_set_bytes ${2_510_000 * 1024} ${now}`,
    `node_swap_usage_bytes ${100_000 * 1024} ${now}`,
    `pod_cpu_usage_seconds_total{${p}} 4.5 ${now}`,
    `pod_memory_working_set_bytes{${p}} 21000000 ${now}`,
    `pod_swap_usage_bytes{${p}} 12288 ${now}`,
    'resource_scrape_error 0',
    'scrape_error 0',
  ]);
});

test('a failure is a figure, too', (t) => {
  t.deepEqual(withoutComments(resourceMetrics(undefined)), ['resource_scrape_error 1', 'scrape_error 1']);
});

test('metrics-server finds what it needs for kubectl top', async (t) => {
  const node = new FakeStatsNode(1);
  node.addPod({ name: 'web', containers: ['main', 'side'] });
  node.addPod({ name: 'db' });
  const read = asMetricsServer(await text(node));
  t.deepEqual(read.node, { cpu: 99, memory: 2_510_000 * 1024 });
  t.deepEqual([...read.containers.keys()], ['default/web/main', 'default/web/side', 'default/db/main']);
  for (const container of read.containers.values()) t.like(container, { cpu: 1.5, memory: 7_000_000 });
});

interface Read {
  node: { cpu?: number; memory?: number };
  containers: Map<string, { cpu?: number; memory?: number; start?: number; timeMs?: number }>;
}

/** The rules of metrics-server's pkg/scraper/client/resource/decode.go: labels by their text, values only with a time. */
function asMetricsServer(lines: string): Read {
  const read: Read = { node: {}, containers: new Map() };
  const after = (labels: string, tag: string): string => {
    const at = labels.indexOf(tag) + tag.length;
    return labels.slice(at, labels.indexOf('"', at));
  };
  for (const line of withoutComments(lines)) {
    const [, name = '', labels = '', value = ''] = /^(\w+)(\{.*\})? (\S+)(?: \d+)?$/.exec(line) ?? [];
    if (name === 'node_cpu_usage_seconds_total') read.node.cpu = Number(value);
    if (name === 'node_memory_working_set_bytes') read.node.memory = Number(value);
    const field = {
      container_cpu_usage_seconds_total: 'cpu' as const,
      container_memory_working_set_bytes: 'memory' as const,
      container_start_time_seconds: 'start' as const,
    }[name];
    if (field === undefined) continue;
    const key = [after(labels, 'namespace="'), after(labels, 'pod="'), after(labels, 'container="')].join('/');
    read.containers.set(key, { ...read.containers.get(key), [field]: Number(value) });
  }
  return read;
}
