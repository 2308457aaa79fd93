/**
 * The proxy role of a node in a cluster: Services and EndpointSlices of the API server.
 * Layer: agent/cluster (composition). Must not need the container runtime: Services do not wait for one.
 */
import type { ApiClient } from '../../api/client.ts';
import { endpointSliceVersion } from '../../api/discovery-versions.ts';
import { sleep, systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ProxyRole } from '../../proxy/proxy.ts';
import type { ServiceSource } from '../../proxy/service-source.ts';
import { type ServiceProxyEdges, startServiceProxy } from '../service-proxy.ts';
import { createApiServiceSource } from './api-service-source.ts';
import type { OwnNode } from './own-node.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';
import { RoleStart } from './role-start.ts';

export interface ClusterProxyContext {
  options: RunOptions<ClusterMode>;
  nodeName: string;
  /** Of the proxy's and network's identity. */
  client: ApiClient;
  ownNode: OwnNode;
  unheard: ServiceProxyEdges['unheard'];
  metrics: ProxyMetrics;
  log: Logger;
}

const zoneLabel = 'topology.kubernetes.io/zone';
/** The zone only chooses between endpoints: Services are not held up for long when the Node may not be read. */
const zonePatienceMs = 5_000;

/** In the background: an API server need not answer. */
export function startClusterProxy(context: ClusterProxyContext): RoleStart<ProxyRole> {
  const { options, nodeName, client, ownNode, unheard, metrics, log } = context;
  return new RoleStart<ProxyRole>({
    name: 'proxy',
    clock: systemClock,
    log,
    async start(starting) {
      const sliceVersion = await endpointSliceVersion(client, starting);
      if (sliceVersion === undefined) {
        const fix = 'use an API server of Kubernetes 1.20 or newer';
        throw new KeelsonError('API_NOT_FOUND', 'has no EndpointSlices', { object: 'API server', fix });
      }
      const source = createApiServiceSource({ client, sliceVersion, clock: systemClock, log });
      const podCIDRs = await clusterPodCIDRs(options, ownNode, starting);
      await Promise.race([ownNode.told, sleep(zonePatienceMs, starting)]);
      const zone = ownNode.node?.metadata.labels?.[zoneLabel] ?? options.mode.nodeLabels.get(zoneLabel);
      const edges = {
        source: counted(source, metrics),
        onSync: (ms: number) => metrics.synced(ms),
        unheard,
        log,
      };
      return startServiceProxy({ nodeName, zone, families: ['IPv4'], podCIDRs }, edges, starting);
    },
  });
}

const counted = (source: ServiceSource, metrics: ProxyMetrics): ServiceSource => ({
  start: (listener, signal) =>
    source.start((events) => {
      metrics.heard(events);
      listener(events);
    }, signal),
});

/** NodeCIDR takes the node's own network for that of all pods, as kube-proxy does in that mode. */
async function clusterPodCIDRs(
  { proxy, mode }: RunOptions<ClusterMode>,
  ownNode: OwnNode,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (proxy.detectLocal.mode === 'ClusterCIDR') return proxy.detectLocal.clusterCIDRs;
  return [mode.podCIDR ?? (await ownNode.podCIDR(signal))];
}
