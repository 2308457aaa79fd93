/** What a scraper reads of the proxy. */
import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import type { ProxyStatus } from '../../proxy/proxy-status.ts';
import type { ServiceEvent } from '../../proxy/service-source.ts';
import { ProxyMetrics } from './proxy-metrics.ts';

const name = { namespace: 'shop', name: 'web' };
const slice = (fields: { triggeredMs?: number; addressType?: 'IPv4' | 'IPv6'; name?: string }): ServiceEvent => ({
  event: 'sliceSet',
  slice: {
    metadata: { ...name, name: fields.name ?? 'web-1' },
    addressType: fields.addressType ?? 'IPv4',
    ...(fields.triggeredMs !== undefined && { lastChangeTriggerMs: fields.triggeredMs }),
  },
});

function setUp() {
  const clock = new FakeClock();
  const metrics = new ProxyMetrics({ version: '1.2.3', families: ['IPv4'], clock });
  const sample = async (series: string): Promise<number | undefined> => {
    const line = (await metrics.registry.metrics()).split('\n').find((one) => one.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  };
  return { clock, metrics, sample };
}

test('counts by the stock names, and what the proxy says now', async (t) => {
  const { metrics, sample } = setUp();
  metrics.read(() => undefined);
  metrics.synced('IPv4', 3, 'partial');
  metrics.synced('IPv4', 5, 'full');
  metrics.heard([
    { event: 'serviceDeleted', service: name },
    { event: 'sliceDeleted', slice: name },
    { event: 'sliceDeleted', slice: name },
  ]);
  metrics.answered('/healthz', 503);
  metrics.answered('/livez', 200);
  metrics.failed('IPv4', 'full');
  metrics.forgot('IPv4', 7, 2);
  const expected: Record<string, number> = {
    'kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.002",ip_family="IPv4"}': 0,
    'kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="0.004",ip_family="IPv4"}': 1,
    'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}': 2,
    'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}': 1,
    'kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"}': 1,
    kubeproxy_sync_proxy_rules_service_changes_total: 1,
    kubeproxy_sync_proxy_rules_endpoint_changes_total: 2,
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"}': 1,
    'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family="IPv4"}': 0,
    'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"}': 7,
    'kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"}': 1,
    'kubeproxy_proxy_healthz_total{code="503"}': 1,
    'kubeproxy_proxy_livez_total{code="200"}': 1,
  };
  for (const [series, value] of Object.entries(expected)) t.is(await sample(series), value, series);
  t.is(await sample('keelson_proxy_services'), 0);
});

test('what the proxy says is asked for once a scrape', async (t) => {
  const { clock, metrics, sample } = setUp();
  let asked = 0;
  const status: Partial<ProxyStatus> = {
    families: ['IPv4'],
    lastSyncAt: 4_000,
    services: 3,
    withoutLocalEndpoints: [{ family: 'IPv4', internal: 1, external: 2 }],
  };
  metrics.read(() => {
    asked++;
    return status as ProxyStatus;
  });
  t.is(await sample('keelson_proxy_services'), 3);
  t.is(asked, 1);
  t.is(await sample('kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}'), 4);
  const local = 'kubeproxy_sync_proxy_rules_no_local_endpoints_total';
  t.is(await sample(`${local}{traffic_policy="internal",ip_family="IPv4"}`), 1);
  t.is(await sample(`${local}{traffic_policy="external",ip_family="IPv4"}`), 2);
  await clock.advance(1_000);
  status.services = 4;
  t.is(await sample('keelson_proxy_services'), 4);
});

test('from the change of a pod to the kernel: each change once, when the batch that has it is there', async (t) => {
  const { clock, metrics, sample } = setUp();
  const count = 'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}';
  const within = (le: string) => `kubeproxy_network_programming_duration_seconds_bucket{le="${le}",ip_family="IPv4"}`;
  const pending = 'kubeproxy_sync_proxy_rules_endpoint_changes_pending';
  const startMs = clock.now();
  await clock.advance(10_000);
  metrics.heard([
    slice({ triggeredMs: startMs - 1, name: 'before-us' }),
    slice({ triggeredMs: startMs + 8_000 }),
    slice({ triggeredMs: startMs + 9_800 }),
    slice({ triggeredMs: startMs + 99_000, name: 'other-clock' }),
    slice({ triggeredMs: startMs + 9_000, addressType: 'IPv6', name: 'six' }),
    slice({ name: 'untold' }),
  ]);
  t.is(await sample(pending), 5);
  metrics.applied('IPv4');
  t.is(await sample(count), undefined, 'no batch has them yet');
  metrics.taken('IPv4');
  metrics.heard([slice({ triggeredMs: startMs + 9_990, name: 'next' })]);
  t.is(await sample(pending), 6);
  metrics.applied('IPv4');
  t.is(await sample(count), 3);
  t.is(await sample(within('0.25')), 2);
  t.is(await sample(within('2')), 3);
  t.is(await sample(pending), 1);
  // Refused by the kernel, then written with the whole table: they took as long as that.
  metrics.taken('IPv4');
  metrics.failed('IPv4', 'full');
  await clock.advance(60_000);
  metrics.taken('IPv4');
  metrics.applied('IPv4');
  t.is(await sample(count), 4);
  t.is(await sample(within('59')), 3);
  t.is(await sample(pending), 0);
});

test('a slice that is deleted has no time, and an endless wait no endless memory', async (t) => {
  const { clock, metrics, sample } = setUp();
  const triggeredMs = clock.now() + 1;
  metrics.heard([slice({ triggeredMs }), { event: 'sliceDeleted', slice: { ...name, name: 'web-1' } }]);
  metrics.taken('IPv4');
  metrics.applied('IPv4');
  const count = 'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}';
  t.is(await sample(count), undefined);
  for (let round = 0; round < 3; round++) {
    metrics.heard(Array.from({ length: 9_000 }, (_, index) => slice({ triggeredMs, name: `s${index}` })));
    metrics.taken('IPv4');
  }
  metrics.applied('IPv4');
  t.is(await sample(count), 9_000);
});
