/**
 * The text of /metrics/cadvisor, by cAdvisor's names: root cgroup, system cgroups, pods' cgroups (container=""),
 * containers, and sandboxes for what is counted by network namespace.
 * Layer: kubelet/stats (pure but for giving the event loop a turn between families).
 * Source: vendor/github.com/google/cadvisor/metrics/prometheus*.go with the metric sets that pkg/kubelet/server/server.go
 * includes; labels: containerPrometheusLabelsFunc there.
 */
import type { CgroupSample } from './cgroup-sample.ts';
import { addLabels, type ExposedSample, type MetricType, renderFamily, renderLabels } from './exposition.ts';
import { Breather, type FilesystemUsage } from './host-files.ts';
import type { DeviceNames, MachineFacts } from './machine-facts.ts';
import type { NetworkCounters, NetworkDevice } from './network-devices.ts';
import type { UsageSample } from './usage-sample.ts';

interface Row {
  readonly isRoot?: true;
  readonly labels: string;
  readonly startMs: number | undefined;
  readonly sample: CgroupSample | undefined;
  readonly network: readonly NetworkDevice[];
  readonly timeMs: number;
}

type Values = (row: Row) => number | undefined | ExposedSample[];

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly values: Values;
  /** What describes a cgroup rather than measures it has no time. */
  readonly untimed?: true;
}

/** @param usage taken with depth `details` */
export async function cadvisorMetrics(usage: UsageSample, machine: MachineFacts): Promise<string> {
  const breather = new Breather();
  const rows = rowsOf(usage);
  const texts: string[] = [];
  for (const { name, help, type, values, untimed } of families(machine)) {
    const samples: ExposedSample[] = [];
    for (const row of rows) {
      const found = values(row);
      if (found === undefined) continue;
      if (typeof found !== 'number') samples.push(...found);
      else
        samples.push(
          untimed ? { labels: row.labels, value: found } : { labels: row.labels, value: found, timeMs: row.timeMs },
        );
    }
    texts.push(renderFamily(name, help, type, samples));
    await breather.breathe();
  }
  return texts.join('') + machineMetrics(machine);
}

function rowsOf({ node, nodeNanoCores: _, system, pods, timeMs }: UsageSample): Row[] {
  const labels = (
    id: string,
    more: { name?: string; image?: string; pod?: string; namespace?: string; container?: string } = {},
  ): string =>
    renderLabels({
      container: more.container ?? '',
      id,
      image: more.image ?? '',
      name: more.name ?? '',
      namespace: more.namespace ?? '',
      pod: more.pod ?? '',
    });
  const root: CgroupSample = {
    timeMs,
    cpu: node.cpu,
    memory: node.memory && {
      usageBytes: node.memory.usageBytes,
      workingSetBytes: node.memory.workingSetBytes,
      rssBytes: node.memory.rssBytes,
      cacheBytes: node.memory.cacheBytes,
      mappedFileBytes: undefined,
      limitBytes: undefined,
      pageFaults: node.memory.pageFaults,
      majorPageFaults: node.memory.majorPageFaults,
      swapBytes: node.memory.swapUsedBytes,
      swapLimitBytes: undefined,
    },
    pressure: node.pressure,
    processes: undefined,
    details: undefined,
  };
  const rows: Row[] = [
    { isRoot: true, labels: labels('/'), startMs: node.bootMs, sample: root, network: node.network, timeMs },
  ];
  for (const { measured } of system) {
    if (measured.path === '') continue;
    const { sample, path } = measured;
    rows.push({ labels: labels(path), startMs: undefined, sample, network: [], timeMs: sample.timeMs });
  }
  for (const { name: pod, namespace, sandbox, sandboxCgroup, sandboxImage, own, containers, network } of pods) {
    if (own !== undefined) {
      const { path, sample } = own;
      const startMs = sandbox.createdAtMs;
      rows.push({ labels: labels(path, { pod, namespace }), startMs, sample, network: [], timeMs: sample.timeMs });
    }
    if (sandboxCgroup !== undefined) {
      const image = sandboxImage ?? '';
      rows.push({
        labels: labels(sandboxCgroup, { pod, namespace, image, name: sandbox.id }),
        startMs: sandbox.createdAtMs,
        sample: undefined,
        network: network ?? [],
        timeMs,
      });
    }
    for (const { record, measured } of containers) {
      if (measured === undefined) continue;
      const { id: name, name: container, image, createdAtMs } = record;
      rows.push({
        labels: labels(measured.path, { container, image, name, namespace, pod }),
        startMs: createdAtMs,
        sample: measured.sample,
        network: [],
        timeMs: measured.sample.timeMs,
      });
    }
  }
  return rows;
}

const seconds = (ns: number | undefined): number | undefined => (ns === undefined ? undefined : ns / 1e9);

function families({ devices, filesystems }: MachineFacts): Family[] {
  const gauge = (name: string, help: string, values: Values): Family => ({ name, help, values, type: 'gauge' });
  const counter = (name: string, help: string, values: Values): Family => ({ name, help, values, type: 'counter' });
  const spec = (name: string, help: string, values: Values): Family => ({
    ...gauge(name, help, values),
    untimed: true,
  });
  const network = (direction: 'receive' | 'transmit', what: string, field: keyof NetworkCounters): Family =>
    counter(
      `container_network_${direction}_${what}_total`,
      `Network ${what.replaceAll('_', ' ')}, ${direction}.`,
      (row) =>
        row.network.map((device) => ({
          labels: addLabels(row.labels, { interface: device.name }),
          value: device[direction][field],
          timeMs: row.timeMs,
        })),
    );
  const io = (name: string, help: string, field: 'readBytes' | 'writeBytes' | 'reads' | 'writes'): Family =>
    counter(name, help, (row) =>
      (row.sample?.details?.io ?? []).map((entry) => ({
        labels: addLabels(row.labels, { device: deviceName(devices, entry.device) }),
        value: entry[field],
        timeMs: row.timeMs,
      })),
    );
  // Of the machine's filesystems, in the root cgroup's row, as with every runtime but Docker.
  const filesystem = (name: string, help: string, read: (usage: FilesystemUsage) => number): Family =>
    gauge(name, help, ({ labels, isRoot, timeMs }) =>
      isRoot
        ? filesystems.map(({ device, usage }) => ({
            labels: addLabels(labels, { device }),
            value: read(usage),
            timeMs,
          }))
        : undefined,
    );
  const pressure = (resource: 'cpu' | 'memory' | 'io'): Family[] => [
    counter(
      `container_pressure_${resource}_stalled_seconds_total`,
      `Time in which all tasks waited for ${resource}.`,
      ({ sample }) => seconds(sample?.pressure[resource]?.full.totalNs),
    ),
    counter(
      `container_pressure_${resource}_waiting_seconds_total`,
      `Time in which some task waited for ${resource}.`,
      ({ sample }) => seconds(sample?.pressure[resource]?.some.totalNs),
    ),
  ];
  /** Only where a quota is set. */
  const cfs =
    (read: (cfs: { periods: number; throttledPeriods: number; throttledNs: number }) => number): Values =>
    ({ sample }) => {
      const { cfs: stat, cpuQuotaMicros } = sample?.details ?? {};
      return stat === undefined || cpuQuotaMicros === undefined ? undefined : read(stat);
    };
  const faults = ({ labels, sample, timeMs }: Row): ExposedSample[] =>
    [
      ['pgfault', sample?.memory?.pageFaults] as const,
      ['pgmajfault', sample?.memory?.majorPageFaults] as const,
    ].flatMap(([type, value]) =>
      value === undefined
        ? []
        : [{ labels: addLabels(labels, { failure_type: type, scope: 'hierarchy' }), value, timeMs }],
    );
  return [
    counter(
      'container_cpu_cfs_periods_total',
      'Enforcement periods that passed.',
      cfs(({ periods }) => periods),
    ),
    counter(
      'container_cpu_cfs_throttled_periods_total',
      'Enforcement periods in which it was held back.',
      cfs(({ throttledPeriods }) => throttledPeriods),
    ),
    counter(
      'container_cpu_cfs_throttled_seconds_total',
      'Time that it was held back.',
      cfs(({ throttledNs }) => throttledNs / 1e9),
    ),
    counter('container_cpu_system_seconds_total', 'CPU time in the kernel.', ({ sample }) =>
      seconds(sample?.cpu?.systemNs),
    ),
    counter(
      'container_cpu_usage_seconds_total',
      'CPU time.',
      ({ labels, sample, timeMs }) =>
        sample?.cpu && [{ labels: addLabels(labels, { cpu: 'total' }), value: sample.cpu.usageNs / 1e9, timeMs }],
    ),
    counter('container_cpu_user_seconds_total', 'CPU time in user mode.', ({ sample }) => seconds(sample?.cpu?.userNs)),
    filesystem('container_fs_inodes_free', 'Inodes that are free.', ({ inodesFree }) => inodesFree),
    filesystem('container_fs_inodes_total', 'Inodes.', ({ inodes }) => inodes),
    filesystem('container_fs_limit_bytes', 'Size of the filesystem in bytes.', ({ capacityBytes }) => capacityBytes),
    filesystem('container_fs_usage_bytes', 'Bytes in use.', ({ usedBytes }) => usedBytes),
    io('container_fs_reads_bytes_total', 'Bytes read from devices.', 'readBytes'),
    io('container_fs_reads_total', 'Reads of devices.', 'reads'),
    io('container_fs_writes_bytes_total', 'Bytes written to devices.', 'writeBytes'),
    io('container_fs_writes_total', 'Writes to devices.', 'writes'),
    gauge('container_last_seen', 'When it was last measured, in seconds since the epoch.', ({ timeMs }) =>
      Math.floor(timeMs / 1000),
    ),
    gauge('container_memory_cache', 'Page cache in bytes.', ({ sample }) => sample?.memory?.cacheBytes),
    counter(
      'container_memory_failcnt',
      'How often the memory limit was met.',
      ({ sample }) => sample?.details?.memoryFailures,
    ),
    counter('container_memory_failures_total', 'Page faults.', faults),
    gauge('container_memory_mapped_file', 'Mapped files in bytes.', ({ sample }) => sample?.memory?.mappedFileBytes),
    gauge('container_memory_rss', 'Anonymous memory in bytes.', ({ sample }) => sample?.memory?.rssBytes),
    gauge('container_memory_swap', 'Swap in use in bytes.', ({ sample }) => sample?.memory?.swapBytes),
    gauge('container_memory_usage_bytes', 'All memory in bytes.', ({ sample }) => sample?.memory?.usageBytes),
    gauge(
      'container_memory_working_set_bytes',
      'Working set in bytes.',
      ({ sample }) => sample?.memory?.workingSetBytes,
    ),
    network('receive', 'bytes', 'bytes'),
    network('receive', 'errors', 'errors'),
    network('receive', 'packets_dropped', 'dropped'),
    network('receive', 'packets', 'packets'),
    network('transmit', 'bytes', 'bytes'),
    network('transmit', 'errors', 'errors'),
    network('transmit', 'packets_dropped', 'dropped'),
    network('transmit', 'packets', 'packets'),
    counter(
      'container_oom_events_total',
      'Tasks that the kernel killed for want of memory.',
      ({ sample }) => sample?.details?.oomKills,
    ),
    ...(['cpu', 'io', 'memory'] as const).flatMap(pressure),
    gauge('container_processes', 'Processes.', ({ sample }) => sample?.processes),
    spec('container_spec_cpu_period', 'CPU period in microseconds.', ({ sample }) => sample?.details?.cpuPeriodMicros),
    spec('container_spec_cpu_quota', 'CPU quota in microseconds.', ({ sample }) => sample?.details?.cpuQuotaMicros),
    spec('container_spec_cpu_shares', 'CPU shares.', ({ sample }) => sample?.details?.cpuShares),
    // 0 says that there is none.
    spec(
      'container_spec_memory_limit_bytes',
      'Memory limit in bytes.',
      ({ sample }) => sample?.memory && (sample.memory.limitBytes ?? 0),
    ),
    spec(
      'container_spec_memory_swap_limit_bytes',
      'Swap limit in bytes.',
      ({ sample }) => sample?.memory && (sample.memory.swapLimitBytes ?? 0),
    ),
    spec('container_start_time_seconds', 'When it was made, in seconds since the epoch.', ({ startMs }) =>
      startMs === undefined ? undefined : Math.floor(startMs / 1000),
    ),
    gauge('container_threads', 'Threads.', ({ sample }) => sample?.details?.threads),
    gauge(
      'container_threads_max',
      'Threads that it may have; 0 for no limit.',
      ({ sample }) => sample?.details && (sample.details.threadsMax ?? 0),
    ),
  ];
}

function machineMetrics({ cores, memoryBytes, swapBytes, identity }: MachineFacts): string {
  const { machineID, systemUUID, bootID } = identity;
  const labels = renderLabels({ boot_id: bootID, machine_id: machineID, system_uuid: systemUUID });
  const one = (value: number | undefined): ExposedSample[] => (value === undefined ? [] : [{ labels, value }]);
  return [
    renderFamily('container_scrape_error', '1 when the figures could not be measured, else 0.', 'gauge', [
      { labels: '', value: 0 },
    ]),
    renderFamily('machine_cpu_cores', 'Logical CPUs.', 'gauge', one(cores)),
    renderFamily('machine_memory_bytes', 'Memory of the machine in bytes.', 'gauge', one(memoryBytes)),
    renderFamily('machine_swap_bytes', 'Swap of the machine in bytes.', 'gauge', one(swapBytes)),
  ].join('');
}

const deviceName = (devices: DeviceNames, number: string): string => {
  const name = devices.get(number);
  return name === undefined ? number : `/dev/${name}`;
};
