/**
 * What `keelson status` is told of a node in a cluster.
 * Layer: agent/cluster. Made when somebody asks; keeps nothing.
 */
import type { ClusterMode } from '../../config/flags.ts';
import type { KnownNode } from '../../kubelet/node/node-api.ts';
import type { PodNetwork } from '../../network/pod-network.ts';
import type { EventLoopLag } from '../../observe/event-loop-lag.ts';
import type { ProxyRole } from '../../proxy/proxy.ts';
import type { MachineFacts } from '../node-facts.ts';
import type { Runtime } from '../node-start.ts';
import {
  daemonReport,
  type NodeReport,
  podReports,
  proxyReport,
  runtimeReport,
  type StatusReport,
} from '../status-report.ts';
import type { ClusterKubelet } from './cluster-kubelet.ts';
import type { RoleStart } from './role-start.ts';

export interface ClusterParts {
  version: string;
  startedAt: Date;
  machine: MachineFacts;
  mode: ClusterMode;
  connection: Runtime | undefined;
  kubelet: ClusterKubelet | undefined;
  network: RoleStart<PodNetwork> | undefined;
  proxy: RoleStart<ProxyRole> | undefined;
  eventLoopLag: EventLoopLag | undefined;
}

export function clusterReport(parts: ClusterParts): StatusReport {
  const { version, startedAt, machine, mode, connection, kubelet, network, proxy, eventLoopLag } = parts;
  const now = kubelet?.kubelet.status();
  const waitsForNetwork =
    mode.podCIDR === undefined ? 'waits for the API server and for spec.podCIDR of the Node' : 'is being set up';
  return {
    ...daemonReport(version, machine, startedAt),
    ...(connection && now && { runtime: runtimeReport(connection.version, now) }),
    ...(network?.role && { network: network.role.status() }),
    ...(proxy?.role && { proxy: proxyReport(proxy.role.status()) }),
    waiting: [
      ...waitingOf('network', network, waitsForNetwork),
      ...waitingOf('proxy', proxy, 'waits for Services and EndpointSlices of the API server'),
    ],
    ...(kubelet && { node: nodeReport(kubelet.node.known, kubelet.pendingStatuses()) }),
    pods: now === undefined ? [] : podReports(now),
    ending: (now?.ending ?? []).map(({ namespace, name, uid }) => ({ namespace, name, uid })),
    manifestErrors: now?.manifestErrors ?? [],
    ...(eventLoopLag && { eventLoopLag: eventLoopLag.read() }),
  };
}

type Waiting = StatusReport['waiting'];

function waitingOf(
  role: string,
  start: { role: unknown; error: string | undefined } | undefined,
  reason: string,
): Waiting {
  return start === undefined || start.role !== undefined ? [] : [{ role, reason: start.error ?? reason }];
}

function nodeReport({ node }: KnownNode, pendingStatuses: number): NodeReport {
  const condition = node?.status?.conditions?.find(({ type }) => type === 'Ready');
  const ready = condition?.status === 'True' ? 'Ready' : (condition?.message ?? 'not Ready');
  return { registered: node !== undefined, ready, pendingStatuses };
}
