/**
 * What the proxy's health checks and metrics say, in kube-proxy's words.
 * Layer: proxy (pure; time is handed in). Source: pkg/proxy/healthcheck/proxy_health.go, pkg/proxy/metrics/metrics.go.
 */
import type { FamilyProxyStatus } from './family-proxy.ts';

/** What counts of the Node; undefined while it is not known. */
export interface NodeEligibility {
  deleting: boolean;
  taintKeys: readonly string[];
}

export interface HealthAnswer {
  /** 200 or 503. */
  status: number;
  /** JSON */
  body: string;
}

type Synced = Pick<FamilyProxyStatus, 'healthy' | 'pending' | 'lastSyncAt'>;

/** The cluster autoscaler is about to remove the node: load balancers should send nothing new. */
const toBeDeletedTaint = 'ToBeDeletedByClusterAutoscaler';
/** Twice kube-proxy's syncPeriod: what waits longer for the kernel does not get there. */
const staleMs = 60_000;

/**
 * `/healthz` (for load balancers) with `node`, `/livez` (for those who restart the proxy) without.
 * @param pendingSinceMs when what is pending began to wait; undefined when nothing is
 */
export function proxyHealth(
  { healthy, lastSyncAt }: Synced,
  pendingSinceMs: number | undefined,
  nowMs: number,
  node?: NodeEligibility,
): HealthAnswer {
  const isStale = pendingSinceMs !== undefined && nowMs - pendingSinceMs > staleMs;
  const isServing = healthy && !isStale;
  const nodeEligible = node === undefined || !(node.deleting || node.taintKeys.includes(toBeDeletedTaint));
  const isHealthy = isServing && nodeEligible;
  const body = {
    lastUpdated: new Date(lastSyncAt ?? 0).toISOString(),
    currentTime: new Date(nowMs).toISOString(),
    ...(node === undefined ? {} : { nodeEligible }),
    healthy: isHealthy,
    status: isHealthy ? 'healthy' : isServing ? 'node not eligible' : 'rules are not in the kernel',
  };
  return { status: isHealthy ? 200 : 503, body: `${JSON.stringify(body)}\n` };
}
