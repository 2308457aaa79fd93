/**
 * The proxy's metrics, by kube-proxy's names where they mean the same.
 * Layer: agent/cluster. Counts what it is told of, reads the rest when somebody scrapes.
 * Source: pkg/proxy/metrics/metrics.go; those of one mode are proxy-mode-metrics.ts'.
 */
import type { IpFamily } from '../../api/service.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { Counter, createRegistry, Gauge, Histogram, type Registry } from '../../observe/metrics.ts';
import type { ProxyStatus } from '../../proxy/proxy-status.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';
import type { Attempt, SyncObserver } from '../../proxy/sync-observer.ts';
import { ProgrammingLatency } from './programming-latency.ts';
import { ProxyModeMetrics, type ProxyModeMetricsOptions } from './proxy-mode-metrics.ts';

/** prometheus.ExponentialBuckets(0.001, 2, 15) */
const durationBuckets = Array.from({ length: 15 }, (_, power) => 0.001 * 2 ** power);
/** 0.25 and 0.5 s, then whole seconds to a minute, every 5 s to two minutes, every 30 s to five. */
const programmingBuckets = [
  0.25,
  0.5,
  ...Array.from({ length: 59 }, (_, index) => 1 + index),
  ...Array.from({ length: 12 }, (_, index) => 60 + 5 * index),
  ...Array.from({ length: 7 }, (_, index) => 120 + 30 * index),
];
const byFamily = ['ip_family'];
/** The gauges of one scrape share one look at the proxy, which costs time with tens of thousands of Services. */
const lookMs = 1_000;

export interface ProxyMetricsOptions {
  version: string;
  mode?: ProxyModeMetricsOptions['mode'];
  families: readonly IpFamily[];
  packets?: ProxyModeMetricsOptions['packets'];
  clock?: Clock;
}

export class ProxyMetrics implements SyncObserver {
  readonly registry: Registry;
  readonly ofMode: ProxyModeMetrics;
  readonly #clock: Clock;
  readonly #latencies: ReadonlyMap<IpFamily, ProgrammingLatency>;
  readonly #duration: Histogram;
  readonly #durations: Readonly<Record<'partial' | 'full', Histogram>>;
  readonly #programming: Histogram;
  readonly #conntrackDuration: Histogram;
  readonly #conntrackDeleted: Counter;
  readonly #endpointChanges: Counter;
  readonly #serviceChanges: Counter;
  readonly #lastQueued: Gauge;
  readonly #answers: Readonly<Record<'/healthz' | '/livez', Counter>>;

  constructor({ version, mode = 'nftables', families, packets, clock = systemClock }: ProxyMetricsOptions) {
    const registry = createRegistry(version);
    const registers = [registry];
    const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
      new Counter({ name: `kubeproxy_${name}`, help, labelNames, registers });
    const histogram = (name: string, help: string, buckets = durationBuckets): Histogram =>
      new Histogram({ name: `kubeproxy_${name}`, help, labelNames: byFamily, buckets, registers });
    this.registry = registry;
    this.#clock = clock;
    this.#latencies = new Map(families.map((family) => [family, new ProgrammingLatency(family, clock.now())]));
    this.#duration = histogram(
      'sync_proxy_rules_duration_seconds',
      'What putting changes into the kernel took, in seconds.',
    );
    this.#durations = {
      full: histogram(
        'sync_full_proxy_rules_duration_seconds',
        'What comparing and correcting the whole table took, in seconds.',
      ),
      partial: histogram(
        'sync_partial_proxy_rules_duration_seconds',
        'What putting only the changes into the kernel took, in seconds.',
      ),
    };
    this.#programming = histogram(
      'network_programming_duration_seconds',
      'From the change of a pod or Service to the kernel, in seconds; as exact as the clocks of the machines agree.',
      programmingBuckets,
    );
    this.#conntrackDuration = histogram(
      'conntrack_reconciler_sync_duration_seconds',
      'What forgetting UDP flows to former endpoints took, in seconds.',
    );
    this.#conntrackDeleted = counter(
      'conntrack_reconciler_deleted_entries_total',
      'UDP flows to former endpoints that were forgotten.',
      byFamily,
    );
    this.#endpointChanges = counter(
      'sync_proxy_rules_endpoint_changes_total',
      'Changes of EndpointSlices since the start.',
    );
    this.#serviceChanges = counter('sync_proxy_rules_service_changes_total', 'Changes of Services since the start.');
    for (const family of families) this.#conntrackDeleted.inc({ ip_family: family }, 0);
    this.ofMode = new ProxyModeMetrics(registry, { mode, families, packets });
    this.#lastQueued = new Gauge({
      name: 'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds',
      help: 'When a change was last heard of, in seconds since the epoch.',
      labelNames: byFamily,
      registers,
    });
    const pending = (name: string, help: string, of: 'services' | 'endpoints'): void => {
      const latencies = this.#latencies;
      new Gauge({
        name: `kubeproxy_${name}`,
        help,
        registers,
        collect() {
          this.set(Math.max(0, ...[...latencies.values()].map((latency) => latency.pending[of])));
        },
      });
    };
    pending(
      'sync_proxy_rules_endpoint_changes_pending',
      'Changes of EndpointSlices that are not in the kernel yet.',
      'endpoints',
    );
    pending(
      'sync_proxy_rules_service_changes_pending',
      'Changes of Services that are not in the kernel yet.',
      'services',
    );
    this.#answers = {
      '/healthz': counter('proxy_healthz_total', 'Answers of /healthz by HTTP status.', ['code']),
      '/livez': counter('proxy_livez_total', 'Answers of /livez by HTTP status.', ['code']),
    };
  }

  /** Events on their way to the proxy. */
  heard(events: readonly ServiceEvent[]): void {
    const count = (...kinds: ServiceEvent['event'][]): number =>
      events.filter(({ event }) => kinds.includes(event)).length;
    this.#serviceChanges.inc(count('serviceSet', 'serviceDeleted'));
    this.#endpointChanges.inc(count('sliceSet', 'sliceDeleted'));
    for (const [family, latency] of this.#latencies) {
      latency.heard(events);
      this.#lastQueued.set({ ip_family: family }, this.#clock.now() / 1000);
    }
  }

  taken(family: IpFamily): void {
    this.#latencies.get(family)?.taken();
  }

  applied(family: IpFamily): void {
    for (const ms of this.#latencies.get(family)?.applied(this.#clock.now()) ?? [])
      this.#programming.observe({ ip_family: family }, ms / 1000);
  }

  synced(family: IpFamily, ms: number, kind: 'partial' | 'full'): void {
    this.#duration.observe({ ip_family: family }, ms / 1000);
    this.#durations[kind].observe({ ip_family: family }, ms / 1000);
  }

  failed(family: IpFamily, during: Attempt): void {
    this.ofMode.failed(family, during);
  }

  /** A round of forgetting UDP flows is over; milliseconds. */
  forgot(family: IpFamily, flows: number, ms: number): void {
    this.#conntrackDuration.observe({ ip_family: family }, ms / 1000);
    this.#conntrackDeleted.inc({ ip_family: family }, flows);
  }

  answered(path: '/healthz' | '/livez', code: number): void {
    this.#answers[path].inc({ code: String(code) });
  }

  /** To be called once. @param status undefined when the proxy does not stand yet */
  read(status: () => ProxyStatus | undefined): void {
    let looked: { atMs: number; status: ProxyStatus | undefined } | undefined;
    const look = (): ProxyStatus | undefined => {
      const nowMs = this.#clock.now();
      if (looked === undefined || nowMs - looked.atMs >= lookMs) looked = { atMs: nowMs, status: status() };
      return looked.status;
    };
    const gauge = (
      name: string,
      help: string,
      labelNames: string[],
      values: (now: ProxyStatus) => readonly { labels: Record<string, string>; value: number | undefined }[],
    ): void => {
      new Gauge({
        name,
        help,
        labelNames,
        registers: [this.registry],
        collect() {
          const now = look();
          if (now === undefined) return;
          for (const { labels, value } of values(now)) if (value !== undefined) this.set(labels, value);
        },
      });
    };
    const plain = (name: string, help: string, value: (now: ProxyStatus) => number): void =>
      gauge(name, help, [], (now) => [{ labels: {}, value: value(now) }]);
    gauge(
      'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
      'When a change was last in the kernel, in seconds since the epoch.',
      byFamily,
      ({ families, lastSyncAt }) =>
        families.map((family) => ({ labels: { ip_family: family }, value: lastSyncAt && lastSyncAt / 1000 })),
    );
    gauge(
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
      'Service ports whose traffic policy is Local and that have endpoints, but none on this node.',
      ['traffic_policy', ...byFamily],
      ({ withoutLocalEndpoints }) =>
        withoutLocalEndpoints.flatMap(({ family, internal, external }) => [
          { labels: { traffic_policy: 'internal', ip_family: family }, value: internal },
          { labels: { traffic_policy: 'external', ip_family: family }, value: external },
        ]),
    );
    plain('keelson_proxy_repairs', "Other programs' changes repaired since the start.", ({ repairs }) => repairs);
    plain('keelson_proxy_services', 'Services with a destination.', ({ services }) => services);
    plain('keelson_proxy_endpoints', 'Endpoints of all Service ports.', ({ endpoints }) => endpoints);
  }
}
