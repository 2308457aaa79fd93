/**
 * The proxy's metrics, by kube-proxy's names where they mean the same.
 * Layer: agent/cluster. Counts what it is told of, reads the rest when somebody scrapes.
 * Source: pkg/proxy/metrics/metrics.go.
 */
import { Counter, createRegistry, Gauge, Histogram, type Registry } from '../../observe/metrics.ts';
import type { ProxyStatus } from '../../proxy/proxy-status.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';

/** prometheus.ExponentialBuckets(0.001, 2, 15) */
const durationBuckets = Array.from({ length: 15 }, (_, power) => 0.001 * 2 ** power);

export class ProxyMetrics {
  readonly registry: Registry;
  readonly #duration: Histogram;
  readonly #endpointChanges: Counter;
  readonly #serviceChanges: Counter;
  readonly #answers: Readonly<Record<'/healthz' | '/livez', Counter>>;

  constructor(version: string) {
    const registry = createRegistry(version);
    const registers = [registry];
    const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
      new Counter({ name, help, labelNames, registers });
    this.registry = registry;
    this.#duration = new Histogram({
      name: 'kubeproxy_sync_proxy_rules_duration_seconds',
      help: 'What putting a change into the kernel took, in seconds.',
      buckets: durationBuckets,
      registers,
    });
    this.#endpointChanges = counter(
      'kubeproxy_sync_proxy_rules_endpoint_changes_total',
      'Changes of EndpointSlices since the start.',
    );
    this.#serviceChanges = counter(
      'kubeproxy_sync_proxy_rules_service_changes_total',
      'Changes of Services since the start.',
    );
    this.#answers = {
      '/healthz': counter('kubeproxy_proxy_healthz_total', 'Answers of /healthz by HTTP status.', ['code']),
      '/livez': counter('kubeproxy_proxy_livez_total', 'Answers of /livez by HTTP status.', ['code']),
    };
  }

  /** A batch is in the kernel; milliseconds. */
  synced(ms: number): void {
    this.#duration.observe(ms / 1000);
  }

  /** Events on their way to the proxy. */
  heard(events: readonly ServiceEvent[]): void {
    const ofServices = events.filter(({ event }) => event === 'serviceSet' || event === 'serviceDeleted').length;
    this.#serviceChanges.inc(ofServices);
    this.#endpointChanges.inc(events.length - ofServices);
  }

  answered(path: '/healthz' | '/livez', code: number): void {
    this.#answers[path].inc({ code: String(code) });
  }

  /** @param status undefined when the proxy does not stand yet */
  read(status: () => ProxyStatus | undefined): void {
    const gauge = (name: string, help: string, value: (now: ProxyStatus) => number | undefined): void => {
      new Gauge({
        name,
        help,
        registers: [this.registry],
        collect() {
          const now = status();
          const found = now === undefined ? undefined : value(now);
          if (found !== undefined) this.set(found);
        },
      });
    };
    gauge(
      'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
      'When a change was last in the kernel, in seconds since the epoch.',
      ({ lastSyncAt }) => lastSyncAt && lastSyncAt / 1000,
    );
    gauge('keelson_proxy_repairs', "Other programs' changes repaired since the start.", ({ repairs }) => repairs);
    gauge('keelson_proxy_services', 'Services with a destination.', ({ services }) => services);
    gauge('keelson_proxy_endpoints', 'Endpoints of all Service ports.', ({ endpoints }) => endpoints);
  }
}
