/**
 * The ports that others ask for health and metrics: the kubelet's 10248, kube-proxy's 10256 and 10249.
 * Layer: agent/cluster. What they say is decided by the roles.
 */
import type { RunOptions } from '../../config/flags.ts';
import type { Logger } from '../../observe/logger.ts';
import { createRegistry, Gauge } from '../../observe/metrics.ts';
import { type NodeEligibility, proxyHealth } from '../../proxy/proxy-health.ts';
import type { ProxyStatus } from '../../proxy/proxy-status.ts';
import { type Answer, type Endpoints, type Listener, plainText, serveEndpoints } from '../http/serve-endpoints.ts';

export interface HealthSources {
  version: string;
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
    listeners.push(await serveEndpoints(address, port, metricsEndpoints(sources), log));
  } catch (error) {
    for (const listener of listeners) await listener.close();
    throw error;
  }
  return listeners;
}

function healthEndpoints({ proxy, node }: HealthSources): Endpoints {
  let pendingSinceMs: number | undefined;
  const health = (eligibility: NodeEligibility | undefined): Answer => {
    const now = Date.now();
    const status = proxy(0) ?? { healthy: false, pending: true, lastSyncAt: undefined };
    pendingSinceMs = status.pending ? (pendingSinceMs ?? now) : undefined;
    const { status: code, body } = proxyHealth(status, pendingSinceMs, now, eligibility);
    return { status: code, contentType: 'application/json', body };
  };
  return new Map([
    ['/healthz', () => health(node() ?? { deleting: false, taintKeys: [] })],
    ['/livez', () => health(undefined)],
  ]);
}

function metricsEndpoints({ version, proxy }: HealthSources): Endpoints {
  const registry = createRegistry(version);
  const gauge = (name: string, help: string, read: (status: ProxyStatus) => number | undefined): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        const status = proxy(0);
        const value = status === undefined ? undefined : read(status);
        if (value !== undefined) this.set(value);
      },
    });
  };
  // The stock names where they mean the same.
  gauge(
    'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
    'When a change was last in the kernel, in seconds since the epoch.',
    ({ lastSyncAt }) => lastSyncAt && lastSyncAt / 1000,
  );
  gauge(
    'keelson_proxy_last_sync_seconds',
    'What the last change took.',
    ({ lastSyncMs }) => lastSyncMs && lastSyncMs / 1000,
  );
  gauge('keelson_proxy_syncs', 'Changes put into the kernel since the start.', ({ syncs }) => syncs);
  gauge('keelson_proxy_repairs', "Other programs' changes repaired since the start.", ({ repairs }) => repairs);
  gauge('keelson_proxy_services', 'Services with a destination.', ({ services }) => services);
  gauge('keelson_proxy_endpoints', 'Endpoints of all Service ports.', ({ endpoints }) => endpoints);
  return new Map<string, () => Answer | Promise<Answer>>([
    ['/metrics', async () => ({ status: 200, contentType: registry.contentType, body: await registry.metrics() })],
    ['/healthz', () => plainText('ok')],
    ['/proxyMode', () => plainText('nftables')],
  ]);
}
