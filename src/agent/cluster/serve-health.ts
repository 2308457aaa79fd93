/**
 * The ports that others ask for health and metrics: the kubelet's 10248, kube-proxy's 10256 and 10249.
 * Layer: agent/cluster. What they say is decided by the roles.
 */
import type { RunOptions } from '../../config/flags.ts';
import type { Logger } from '../../observe/logger.ts';
import { type NodeEligibility, proxyHealth } from '../../proxy/proxy-health.ts';
import type { ProxyStatus } from '../../proxy/proxy-status.ts';
import { type Answer, type Endpoints, type Listener, plainText, serveEndpoints } from '../http/serve-endpoints.ts';
import { proxyConfigz } from './proxy-configz.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';

export interface HealthSources {
  metrics: ProxyMetrics;
  /** Undefined when the proxy does not stand yet. `limit` as ProxyRole.status has it. */
  proxy(limit: number): ProxyStatus | undefined;
  /** Undefined while the Node is not known. */
  node(): NodeEligibility | undefined;
}

/** @throws KeelsonError HTTP_LISTEN */
export async function serveKubeletHealth(options: RunOptions, log: Logger): Promise<Listener | undefined> {
  const { healthz } = options.kubelet;
  if (healthz === undefined) return undefined;
  // The stock kubelet's checks (log, ping, syncloop) can all only fail when nobody answers.
  return serveEndpoints(healthz.address, healthz.port, new Map([['/healthz', () => plainText('ok')]]), log);
}

/** @throws KeelsonError HTTP_LISTEN */
export async function serveProxyPorts(options: RunOptions, sources: HealthSources, log: Logger): Promise<Listener[]> {
  const { healthzBindAddress, metricsBindAddress } = options.proxy;
  const listeners: Listener[] = [];
  if (healthzBindAddress !== undefined) {
    const { address, port } = healthzBindAddress;
    listeners.push(await serveEndpoints(address, port, healthEndpoints(sources), log));
  }
  if (metricsBindAddress === undefined) return listeners;
  try {
    const { address, port } = metricsBindAddress;
    listeners.push(await serveEndpoints(address, port, metricsEndpoints(sources, options), log));
  } catch (error) {
    for (const listener of listeners) await listener.close();
    throw error;
  }
  return listeners;
}

function healthEndpoints({ metrics, proxy, node }: HealthSources): Endpoints {
  let pendingSinceMs: number | undefined;
  const health = (path: '/healthz' | '/livez', eligibility?: NodeEligibility): Answer => {
    const now = Date.now();
    const status = proxy(0) ?? { healthy: false, pending: true, lastSyncAt: undefined };
    pendingSinceMs = status.pending ? (pendingSinceMs ?? now) : undefined;
    const { status: code, body } = proxyHealth(status, pendingSinceMs, now, eligibility);
    metrics.answered(path, code);
    return { status: code, contentType: 'application/json', body };
  };
  return new Map([
    ['/healthz', () => health('/healthz', node() ?? { deleting: false, taintKeys: [] })],
    ['/livez', () => health('/livez')],
  ]);
}

function metricsEndpoints({ metrics: { registry } }: HealthSources, { proxy }: RunOptions): Endpoints {
  return new Map<string, () => Answer | Promise<Answer>>([
    ['/metrics', async () => ({ status: 200, contentType: registry.contentType, body: await registry.metrics() })],
    ['/healthz', () => plainText('ok')],
    ['/proxyMode', () => plainText(proxy.mode)],
    ['/configz', () => ({ status: 200, contentType: 'application/json', body: JSON.stringify(proxyConfigz(proxy)) })],
  ]);
}
