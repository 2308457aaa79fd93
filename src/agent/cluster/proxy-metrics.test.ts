/** What a scraper reads of the proxy. */
import test from 'ava';
import { ProxyMetrics } from './proxy-metrics.ts';

test('counts by the stock names, and what the proxy says now', async (t) => {
  const metrics = new ProxyMetrics('1.2.3');
  metrics.read(() => undefined);
  metrics.synced(3);
  const name = { namespace: 'shop', name: 'web' };
  metrics.heard([
    { event: 'serviceDeleted', service: name },
    { event: 'sliceDeleted', slice: name },
    { event: 'sliceDeleted', slice: name },
  ]);
  metrics.answered('/healthz', 503);
  metrics.answered('/livez', 200);
  const text = await metrics.registry.metrics();
  for (const line of [
    'kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.002"} 0',
    'kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.004"} 1',
    'kubeproxy_sync_proxy_rules_service_changes_total 1',
    'kubeproxy_sync_proxy_rules_endpoint_changes_total 2',
    'kubeproxy_proxy_healthz_total{code="503"} 1',
    'kubeproxy_proxy_livez_total{code="200"} 1',
  ])
    t.true(text.includes(`\n${line}\n`), `${line}\n${text}`);
  t.notRegex(text, /^keelson_proxy_services [1-9]/m);
});
