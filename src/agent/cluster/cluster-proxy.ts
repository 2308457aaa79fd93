/**
 * The proxy role of a node in a cluster: Services and EndpointSlices of the API server.
 * Layer: agent/cluster (composition). Must not need the container runtime: Services do not wait for one.
 */
import { availableParallelism } from 'node:os';
import type { ApiClient } from '../../api/client.ts';
import { endpointSliceVersion } from '../../api/discovery-versions.ts';
import type { IpFamily } from '../../api/service.ts';
import { sleep, systemClock } from '../../base/clock.ts';
import type { ClusterMode, RunOptions } from '../../config/flags.ts';
import type { KubeProxyConfig } from '../../config/kube-proxy-configuration.ts';
import { kernelSysctls } from '../../kernel/sysctls.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import type { ProxyRole } from '../../proxy/proxy.ts';
import type { ServiceSource } from '../../proxy/service-source.ts';
import { cleanupModes, modeDataplane } from '../proxy-modes.ts';
import { type ServiceProxyEdges, startServiceProxy } from '../service-proxy.ts';
import { createApiServiceSource } from './api-service-source.ts';
import { type OwnNode, podCIDRsOf } from './own-node.ts';
import { applyConntrackSettings } from './proxy-conntrack-settings.ts';
import { ProxyHealthChecks } from './proxy-health-checks.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';
import { followServiceCIDRs } from './proxy-service-cidrs.ts';
import { familiesOf, healthCheckAddresses, internalIps, localTrafficOf, nodePortAddressesOf } from './proxy-traffic.ts';
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

/** Of the metrics, each of which has the family as its label; the role serves those that the node has. */
export const families: readonly IpFamily[] = ['IPv4', 'IPv6'];
const zoneLabel = 'topology.kubernetes.io/zone';
/** Of the Node only zone and addresses count: Services are not held up for long when it may not be read. */
const healthLookMs = 1_000;
const nodePatienceMs = 5_000;

/** The role, and what its source has to say. */
export interface ClusterProxy extends ProxyRole {
  /** What the API server does not tell just now, one line each. */
  troubles(): string[];
}

/** In the background: an API server need not answer. */
export function startClusterProxy(context: ClusterProxyContext): RoleStart<ClusterProxy> {
  const { options, nodeName, client, ownNode, unheard, metrics, log } = context;
  /** What of the Node the role was made with; undefined when nothing of it counts. */
  let usedPodCIDR: string | undefined;
  let usedIps: string | undefined;
  const proxy = new RoleStart<ClusterProxy>({
    name: 'proxy',
    clock: systemClock,
    log,
    async start(starting, say) {
      usedPodCIDR = undefined;
      usedIps = undefined;
      say(() => 'waits for the API server');
      const sliceVersion = await endpointSliceVersion(client, starting);
      if (sliceVersion === undefined) {
        const fix = 'use an API server of Kubernetes 1.20 or newer';
        throw new KeelsonError('API_NOT_FOUND', 'has no EndpointSlices', { object: 'API server', fix });
      }
      const source = createApiServiceSource({ client, sliceVersion, clock: systemClock, log });
      const podCIDRs = await nodePodCIDRs(options, ownNode, starting, say);
      usedPodCIDR = podCIDRs.join() || undefined;
      say(() => ['waits for Services and EndpointSlices of the API server', ...source.troubles()].join(': '));
      await Promise.race([ownNode.told, sleep(nodePatienceMs, starting)]);
      await applyConntrackSettings(options.proxy.conntrack, {
        cores: availableParallelism(),
        sysctls: kernelSysctls,
        log,
      });
      const nodeIps = internalIps(ownNode.node);
      usedIps = nodeIps.join();
      const zone = (): string => zoneOf(options, ownNode);
      const nodePortAddresses = nodePortAddressesOf(options.proxy, nodeIps);
      let role: ProxyRole | undefined;
      const health = new ProxyHealthChecks({
        addresses: (family) => healthCheckAddresses(family, nodePortAddresses),
        isHealthy: () => role?.isHealthy() ?? false,
        clock: systemClock,
        log,
      });
      const traffic = {
        localTraffic: localTrafficOf(options.proxy.detectLocal, podCIDRs),
        masqueradeAll: options.proxy.masqueradeAll,
        nodePortAddresses,
      };
      const edges = {
        source: counted(withServiceCIDRs(source, client, log), metrics),
        observer: metrics,
        onHealthChecks: (family: IpFamily, changes: Parameters<typeof health.update>[1]) =>
          health.update(family, changes),
        onForgotten: (family: IpFamily, flows: number, ms: number) => metrics.forgot(family, flows, ms),
        dataplane: modeDataplane(options.proxy, traffic, {
          onRules: (family, counts) => metrics.ofMode.rules(family, counts),
          log,
        }),
        unheard,
        log,
      };
      const served = familiesOf(options.proxy, ownNode.node);
      try {
        role = await startServiceProxy(
          { nodeName, zone: zone(), nodeIps, families: served, ...traffic },
          edges,
          starting,
        );
      } catch (error) {
        health.close();
        throw error;
      }
      const started = role;
      const ending = new AbortController();
      // Nobody waits: 100,000 chains take iptables minutes.
      void forgetOtherModes(options.proxy, started, ending.signal, log);
      // A Node that is gone for a moment, to be made anew, changes no Service.
      const follow = (): void => {
        if (ownNode.node !== undefined) started.setZone(zone());
      };
      follow();
      const unfollow = ownNode.onChange(follow);
      return {
        ...started,
        status: (limit) => ({ ...started.status(limit), mode: options.proxy.mode }),
        troubles: source.troubles,
        async stop() {
          ending.abort(new Error('the proxy role stops'));
          unfollow();
          health.close();
          await started.stop();
        },
      };
    },
  });
  ownNode.onChange(() => {
    const now = podCIDRsOf(ownNode.node).join();
    if (options.mode.podCIDRs === undefined && usedPodCIDR !== undefined && now !== '' && now !== usedPodCIDR)
      proxy.restart(`spec.podCIDRs of the Node is ${now} now, it was ${usedPodCIDR}`);
    const ips = internalIps(ownNode.node).join();
    // Else they only count for who may send to load-balancer IPs, and that at the next start.
    if (options.proxy.nodePortAddresses === 'primary' && usedIps !== undefined && ips !== '' && ips !== usedIps)
      proxy.restart(`the addresses of the Node are ${ips} now, they were ${usedIps || 'not known'}`);
  });
  return proxy;
}

/** Once the rules of this mode stand: there is no moment without any. Never rejects. */
async function forgetOtherModes(
  { mode, ipvs }: KubeProxyConfig,
  role: Pick<ProxyRole, 'isHealthy'>,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  try {
    // The role starts also when the kernel refused its rules: what others left serves until they are in.
    while (!role.isHealthy()) await sleep(healthLookMs, signal);
  } catch {
    return;
  }
  const { removed, failed } = await cleanupModes(mode, ipvs.excludeCIDRs);
  if (removed.length > 0) log.info({ removed }, 'what other modes of the proxy left is removed');
  if (failed.length > 0) log.warn({ failed, fix: 'keelson proxy cleanup' }, 'something that other modes left stays');
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

/** Service networks come whenever they come: Services do not wait for them. */
const withServiceCIDRs = (source: ServiceSource, client: ApiClient, log: Logger): ServiceSource => ({
  start(listener, signal) {
    const onChange = (prefixes: readonly string[]): void => listener([{ event: 'serviceCIDRs', prefixes }]);
    void followServiceCIDRs({ client, onChange, clock: systemClock, log }, signal);
    return source.start(listener, signal);
  },
});

/** The mode NodeCIDR takes the node's own networks for those of all pods, as kube-proxy does; none in other modes. */
async function nodePodCIDRs(
  { proxy, mode }: RunOptions<ClusterMode>,
  ownNode: OwnNode,
  signal: AbortSignal,
  say: SayWaiting,
): Promise<readonly string[]> {
  if (proxy.detectLocal.mode !== 'NodeCIDR') return [];
  if (mode.podCIDRs !== undefined) return [...mode.podCIDRs];
  say(() =>
    ['waits for spec.podCIDRs of the Node', ...(ownNode.error === undefined ? [] : [ownNode.error])].join(': '),
  );
  return ownNode.podCIDRs(signal);
}
