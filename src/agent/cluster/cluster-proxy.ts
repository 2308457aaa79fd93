/**
 * The proxy role of a node in a cluster: Services and EndpointSlices of the API server.
 * Layer: agent/cluster (composition). Must not need the container runtime: Services do not wait for one.
 */
import type { ApiClient } from '../../api/client.ts';
import { endpointSliceVersion } from '../../api/discovery-versions.ts';
import type { IpFamily } from '../../api/service.ts';
import { sleep, systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ProxyRole } from '../../proxy/proxy.ts';
import type { ServiceSource } from '../../proxy/service-source.ts';
import { type ServiceProxyEdges, startServiceProxy } from '../service-proxy.ts';
import { createApiServiceSource } from './api-service-source.ts';
import { type OwnNode, podCIDROf } from './own-node.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';
import { RoleStart, type SayWaiting } from './role-start.ts';

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

/** Also of the metrics, each of which has the family as its label. */
export const families: readonly IpFamily[] = ['IPv4'];
const zoneLabel = 'topology.kubernetes.io/zone';
/** The zone only chooses between endpoints: Services are not held up for long when the Node may not be read. */
const zonePatienceMs = 5_000;

/** The role, and what its source has to say. */
export interface ClusterProxy extends ProxyRole {
  /** What the API server does not tell just now, one line each. */
  troubles(): string[];
}

/** In the background: an API server need not answer. */
export function startClusterProxy(context: ClusterProxyContext): RoleStart<ClusterProxy> {
  const { options, nodeName, client, ownNode, unheard, metrics, log } = context;
  /** The node's own network that the role was made with; undefined when that is not what it takes for local. */
  let usedPodCIDR: string | undefined;
  const proxy = new RoleStart<ClusterProxy>({
    name: 'proxy',
    clock: systemClock,
    log,
    async start(starting, say) {
      usedPodCIDR = undefined;
      say(() => 'waits for the API server');
      const sliceVersion = await endpointSliceVersion(client, starting);
      if (sliceVersion === undefined) {
        const fix = 'use an API server of Kubernetes 1.20 or newer';
        throw new KeelsonError('API_NOT_FOUND', 'has no EndpointSlices', { object: 'API server', fix });
      }
      const source = createApiServiceSource({ client, sliceVersion, clock: systemClock, log });
      const podCIDRs = await localPodCIDRs(options, ownNode, starting, say);
      if (options.proxy.detectLocal.mode === 'NodeCIDR') usedPodCIDR = podCIDRs[0];
      say(() => ['waits for Services and EndpointSlices of the API server', ...source.troubles()].join(': '));
      await Promise.race([ownNode.told, sleep(zonePatienceMs, starting)]);
      const zone = (): string => zoneOf(options, ownNode);
      const edges = {
        source: counted(source, metrics),
        observer: metrics,
        onForgotten: (family: IpFamily, flows: number, ms: number) => metrics.forgot(family, flows, ms),
        unheard,
        log,
      };
      const role = await startServiceProxy({ nodeName, zone: zone(), families, podCIDRs }, edges, starting);
      // A Node that is gone for a moment, to be made anew, changes no Service.
      const follow = (): void => {
        if (ownNode.node !== undefined) role.setZone(zone());
      };
      follow();
      const unfollow = ownNode.onChange(follow);
      return {
        ...role,
        troubles: source.troubles,
        async stop() {
          unfollow();
          await role.stop();
        },
      };
    },
  });
  ownNode.onChange(() => {
    const now = podCIDROf(ownNode.node);
    if (options.mode.podCIDR === undefined && usedPodCIDR !== undefined && now !== undefined && now !== usedPodCIDR)
      proxy.restart(`spec.podCIDR of the Node is ${now} now, it was ${usedPodCIDR}`);
  });
  return proxy;
}

const zoneOf = ({ mode }: RunOptions<ClusterMode>, { node }: OwnNode): string =>
  node?.metadata.labels?.[zoneLabel] ?? mode.nodeLabels.get(zoneLabel) ?? '';

const counted = (source: ServiceSource, metrics: ProxyMetrics): ServiceSource => ({
  start: (listener, signal) =>
    source.start((events) => {
      metrics.heard(events);
      listener(events);
    }, signal),
});

/** NodeCIDR takes the node's own network for that of all pods, as kube-proxy does in that mode. */
async function localPodCIDRs(
  { proxy, mode }: RunOptions<ClusterMode>,
  ownNode: OwnNode,
  signal: AbortSignal,
  say: SayWaiting,
): Promise<readonly string[]> {
  if (proxy.detectLocal.mode === 'ClusterCIDR') return proxy.detectLocal.clusterCIDRs;
  if (mode.podCIDR !== undefined) return [mode.podCIDR];
  say(() => ['waits for spec.podCIDR of the Node', ...(ownNode.error === undefined ? [] : [ownNode.error])].join(': '));
  return [await ownNode.podCIDR(signal)];
}
