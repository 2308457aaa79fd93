/** Health as load balancers and supervisors ask for it. */
import test from 'ava';
import { proxyHealth } from './proxy-health.ts';

const now = Date.UTC(2026, 0, 1);
const synced = { healthy: true, pending: false, lastSyncAt: now - 1000 };
const node = { deleting: false, taintKeys: [] };
const parsed = ({ status, body }: { status: number; body: string }) => ({ code: status, ...JSON.parse(body) });

test('healthy: kube-proxy answers 200 with these fields', (t) => {
  t.deepEqual(parsed(proxyHealth(synced, undefined, now, node)), {
    code: 200,
    lastUpdated: '2025-12-31T23:59:59.000Z',
    currentTime: '2026-01-01T00:00:00.000Z',
    nodeEligible: true,
    healthy: true,
    status: 'healthy',
  });
});

test('a node on its way out gets no new traffic, but the proxy lives', (t) => {
  for (const leaving of [
    { deleting: true, taintKeys: [] },
    { deleting: false, taintKeys: ['ToBeDeletedByClusterAutoscaler'] },
  ]) {
    t.like(parsed(proxyHealth(synced, undefined, now, leaving)), { code: 503, nodeEligible: false });
    t.like(parsed(proxyHealth(synced, undefined, now)), { code: 200, nodeEligible: undefined });
  }
});

test('what waits for a minute, or failed, is not served', (t) => {
  t.is(proxyHealth({ ...synced, pending: true }, now - 60_000, now, node).status, 200);
  t.is(proxyHealth({ ...synced, pending: true }, now - 60_001, now, node).status, 503);
  t.like(parsed(proxyHealth({ ...synced, healthy: false }, undefined, now)), { code: 503, healthy: false });
});

test('never synced', (t) => {
  const answer = parsed(proxyHealth({ healthy: false, pending: true, lastSyncAt: undefined }, now, now, node));
  t.like(answer, { code: 503, lastUpdated: '1970-01-01T00:00:00.000Z' });
});
