/**
 * The metrics that kube-proxy has in one of its modes only: what was refused, iptables rules and what they counted.
 * Layer: agent/cluster. Counts what it is told of; packets are read when somebody scrapes.
 * Source: pkg/proxy/metrics/metrics.go (RegisterMetrics), Kubernetes 1.36.
 */
import type { IpFamily } from '../../api/service.ts';
import { Counter, Gauge, type Registry } from '../../observe/metrics.ts';
import type { RuleCounts } from '../../proxy/iptables/iptables-dataplane.ts';
import { packetCounters } from '../../proxy/iptables/packet-counters.ts';
import type { ProxyMode } from '../../proxy/mode-cleanup.ts';
import type { Attempt } from '../../proxy/sync-observer.ts';

export interface ProxyModeMetricsOptions {
  mode: ProxyMode;
  families: readonly IpFamily[];
  /** What an nfacct counter has counted; undefined when there is none. Of the mode iptables. */
  packets?: ((name: string) => Promise<number | undefined>) | undefined;
}

export class ProxyModeMetrics {
  readonly #failures: Counter;
  readonly #partialFailures: Counter | undefined;
  readonly #rules: Readonly<Record<'total' | 'last', Gauge>> | undefined;

  constructor(registry: Registry, { mode, families, packets }: ProxyModeMetricsOptions) {
    const registers = [registry];
    const counter = (name: string, help: string): Counter => {
      const made = new Counter({
        name: `kubeproxy_sync_proxy_rules_${name}`,
        help,
        labelNames: ['ip_family'],
        registers,
      });
      for (const family of families) made.inc({ ip_family: family }, 0);
      return made;
    };
    const refused = 'Times that the kernel refused a change.';
    if (mode === 'nftables') {
      this.#failures = counter('nftables_sync_failures_total', refused);
      counter('nftables_cleanup_failures_total', 'Always 0: no chain becomes stale.');
      return;
    }
    // In the mode ipvs, too, where it counts refusals of virtual servers and of the rules beside them.
    this.#failures = counter('iptables_restore_failures_total', refused);
    if (mode === 'ipvs') return;
    this.#partialFailures = counter(
      'iptables_partial_restore_failures_total',
      'Times that a change was refused, and everything was compared.',
    );
    const gauge = (name: string, help: string): Gauge =>
      new Gauge({ name: `kubeproxy_sync_proxy_rules_${name}`, help, labelNames: ['table', 'ip_family'], registers });
    this.#rules = {
      total: gauge('iptables_total', 'Rules of the proxy in iptables.'),
      last: gauge('iptables_last', 'Rules that the last change wrote.'),
    };
    if (packets === undefined) return;
    readPackets(
      registry,
      'kubeproxy_iptables_ct_state_invalid_dropped_packets_total',
      'Forwarded packets that were dropped since conntrack calls them INVALID.',
      () => packets(packetCounters.invalidDropped),
    );
    readPackets(
      registry,
      'kubeproxy_iptables_localhost_nodeports_accepted_packets_total',
      'First packets of connections to node ports on loopback.',
      () => packets(packetCounters.loopbackNodePorts),
    );
  }

  failed(family: IpFamily, during: Attempt): void {
    if (during === 'listening') return;
    this.#failures.inc({ ip_family: family });
    if (during === 'partial') this.#partialFailures?.inc({ ip_family: family });
  }

  /** Rules of the mode iptables, after a change of them. */
  rules(family: IpFamily, counts: RuleCounts): void {
    for (const table of ['nat', 'filter'] as const) {
      const labels = { table, ip_family: family };
      this.#rules?.total.set(labels, counts[table].total);
      this.#rules?.last.set(labels, counts[table].last);
    }
  }
}

/** A scrape never fails for it: what cannot be read is as it was. */
function readPackets(registry: Registry, name: string, help: string, read: () => Promise<number | undefined>): void {
  new Counter({
    name,
    help,
    registers: [registry],
    async collect() {
      const packets = await read().catch(() => undefined);
      if (packets === undefined) return;
      this.reset();
      this.inc(packets);
    },
  });
}
