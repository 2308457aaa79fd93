/** Which metrics each mode has: those of kube-proxy 1.36 (pkg/proxy/metrics, RegisterMetrics). */
import test from 'ava';
import { createRegistry } from '../../observe/metrics.ts';
import { ProxyModeMetrics } from './proxy-mode-metrics.ts';

const names = {
  nftables: ['nftables_cleanup_failures_total', 'nftables_sync_failures_total'],
  iptables: [
    'iptables_last',
    'iptables_partial_restore_failures_total',
    'iptables_restore_failures_total',
    'iptables_total',
  ],
  ipvs: ['iptables_restore_failures_total'],
} as const;

for (const mode of ['nftables', 'iptables', 'ipvs'] as const)
  test(mode, async (t) => {
    const registry = createRegistry('1.2.3');
    let packets: number | undefined = 3;
    const metrics = new ProxyModeMetrics(registry, {
      mode,
      families: ['IPv4'],
      packets: async (name) => {
        if (packets === -1) throw new Error('no kernel');
        return packets === undefined ? undefined : packets + name.length;
      },
    });
    metrics.failed('IPv4', 'partial');
    metrics.failed('IPv4', 'full');
    metrics.failed('IPv4', 'listening');
    metrics.rules('IPv4', { nat: { total: 30, last: 4 }, filter: { total: 9, last: 0 } });
    const scrape = async (): Promise<Map<string, number>> =>
      new Map(
        [...(await registry.metrics()).matchAll(/^kubeproxy_(\S+) (\S+)$/gm)].map(([, series = '', value]) => [
          series,
          Number(value),
        ]),
      );
    const found = await scrape();
    const rules = [...found.keys()].filter((series) => series.startsWith('sync_proxy_rules_'));
    const prefix = 'sync_proxy_rules_';
    t.deepEqual(
      [...new Set(rules.map((series) => series.slice(prefix.length).replace(/\{.*/, '')))].sort(),
      names[mode].toSorted(),
    );
    const refused = mode === 'nftables' ? 'nftables_sync' : 'iptables_restore';
    t.is(found.get(`${prefix}${refused}_failures_total{ip_family="IPv4"}`), 2);
    const dropped = 'iptables_ct_state_invalid_dropped_packets_total';
    if (mode !== 'iptables') {
      t.false(found.has(dropped));
      return;
    }
    t.is(found.get(`${prefix}iptables_partial_restore_failures_total{ip_family="IPv4"}`), 1);
    t.is(found.get(`${prefix}iptables_total{table="nat",ip_family="IPv4"}`), 30);
    t.is(found.get(`${prefix}iptables_last{table="nat",ip_family="IPv4"}`), 4);
    t.is(found.get(`${prefix}iptables_total{table="filter",ip_family="IPv4"}`), 9);
    t.is(found.get(dropped), 3 + 'ct_state_invalid_dropped_pkts'.length);
    t.is(found.get('iptables_localhost_nodeports_accepted_packets_total'), 3 + 'localhost_nps_accepted_pkts'.length);
    // Neither a counter that is gone nor a kernel that does not answer fails a scrape.
    for (const now of [undefined, -1]) {
      packets = now;
      t.is((await scrape()).get(dropped), found.get(dropped));
    }
  });
