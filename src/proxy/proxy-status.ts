/**
 * What `keelson status` says of the proxy, made when somebody asks.
 * Layer: proxy (pure). Must not keep anything between two questions.
 */
import type { IpFamily } from '../api/service.ts';
import type { FamilyProxyStatus } from './family-proxy.ts';
import type { DataplaneModel, Frontend, FrontendKind } from './services/dataplane.ts';
import { reportLine, type ServiceReport } from './services/service-report.ts';

export interface ProxyStatus extends FamilyProxyStatus {
  mode: 'nftables' | 'iptables' | 'ipvs';
  families: readonly IpFamily[];
  /** Services with any destination. */
  services: number;
  /** Destinations: cluster, external and load-balancer IPs with their ports, and node ports. */
  frontends: number;
  /** Of all Service ports together. */
  endpoints: number;
  /** What is wrong with objects; the first ones. */
  reports: readonly ServiceReport[];
  reportCount: number;
  /** Service ports under a Local policy that have endpoints, but none on this node, by where the traffic comes from. */
  withoutLocalEndpoints: readonly { family: IpFamily; internal: number; external: number }[];
  /** The first ones that the tracker has, by name; `services` counts all. */
  serviceList: readonly ServiceStatus[];
}

export interface ServiceStatus {
  namespace: string;
  name: string;
  type: 'ClusterIP' | 'NodePort' | 'LoadBalancer';
  clusterIPs: readonly string[];
  /** External and load-balancer IPs. */
  externalIPs: readonly string[];
  /** `80/TCP`, with a node port `80:30080/TCP`. */
  ports: readonly string[];
  /** Distinct destinations behind the port that has most of them. */
  endpoints: number;
}

export interface FamilyReport {
  family: IpFamily;
  model: DataplaneModel;
  status: FamilyProxyStatus;
  reports: readonly ServiceReport[];
}

/** @param limit of Services and of reports in the lists */
export function proxyStatus(families: readonly FamilyReport[], limit: number): ProxyStatus {
  const reports = new Map(families.flatMap((family) => family.reports.map((report) => [reportLine(report), report])));
  const summaries = new Map<string, Summary>();
  let frontends = 0;
  let endpoints = 0;
  for (const { model } of families) {
    frontends += model.services.size + model.nodePorts.size;
    for (const group of model.groups.values()) endpoints += group.endpoints.length;
    for (const list of [model.services, model.nodePorts])
      for (const frontend of list.values()) summarize(frontend, summaries, limit);
  }
  return {
    mode: 'nftables',
    families: families.map(({ family }) => family),
    services: summaries.size,
    frontends,
    endpoints,
    ...joined(families.map(({ status }) => status)),
    reports: [...reports.values()].slice(0, limit),
    reportCount: reports.size,
    withoutLocalEndpoints: families.map(({ family, model }) => ({ family, ...countDropped(model) })),
    serviceList: [...summaries]
      .slice(0, limit)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([service, summary]) => serviceStatus(service, summary)),
  };
}

/** A port counts once for each policy, whatever the number of its addresses. */
function countDropped({ services, nodePorts }: DataplaneModel): { internal: number; external: number } {
  const internal = new Set<string>();
  const external = new Set<string>();
  for (const list of [services, nodePorts])
    for (const { action, kind, service, portName, protocol } of list.values())
      if (action === 'drop') (kind === 'clusterIP' ? internal : external).add(`${service} ${portName} ${protocol}`);
  return { internal: internal.size, external: external.size };
}

function joined(statuses: readonly FamilyProxyStatus[]): FamilyProxyStatus {
  const latest = statuses.toSorted((a, b) => (b.lastSyncAt ?? 0) - (a.lastSyncAt ?? 0))[0];
  return {
    lastSyncAt: latest?.lastSyncAt,
    lastSyncMs: latest?.lastSyncMs,
    syncs: statuses.reduce((sum, { syncs }) => sum + syncs, 0),
    repairs: statuses.reduce((sum, { repairs }) => sum + repairs, 0),
    pending: statuses.some(({ pending }) => pending),
    healthy: statuses.every(({ healthy }) => healthy),
    lastError: statuses.find(({ lastError }) => lastError !== undefined)?.lastError,
  };
}

interface Summary {
  kinds: Set<FrontendKind>;
  clusterIPs: Set<string>;
  externalIPs: Set<string>;
  /** Port name and protocol to port and node port. */
  ports: Map<string, { protocol: string; port: number; nodePort: number }>;
  endpoints: number;
}

/** Beyond the limit Services are only counted. */
const counted: Summary = emptySummary();

function summarize(frontend: Frontend, summaries: Map<string, Summary>, limit: number): void {
  const { kind, ip, protocol, port, service, portName, size, clusterSize } = frontend;
  let summary = summaries.get(service);
  if (summary === undefined) {
    summary = summaries.size < limit ? emptySummary() : counted;
    summaries.set(service, summary);
  }
  if (summary === counted) return;
  summary.kinds.add(kind);
  if (kind === 'clusterIP') summary.clusterIPs.add(ip);
  else if (ip !== '') summary.externalIPs.add(ip);
  const name = `${portName}/${protocol}`;
  const known = summary.ports.get(name) ?? { protocol, port: 0, nodePort: 0 };
  summary.ports.set(name, kind === 'nodePort' ? { ...known, nodePort: port } : { ...known, port });
  summary.endpoints = Math.max(summary.endpoints, size, clusterSize);
}

function emptySummary(): Summary {
  return { kinds: new Set(), clusterIPs: new Set(), externalIPs: new Set(), ports: new Map(), endpoints: 0 };
}

function serviceStatus(service: string, { kinds, clusterIPs, externalIPs, ports, endpoints }: Summary): ServiceStatus {
  const [namespace = '', name = ''] = service.split('/');
  return {
    namespace,
    name,
    type: kinds.has('loadBalancer') ? 'LoadBalancer' : kinds.has('nodePort') ? 'NodePort' : 'ClusterIP',
    clusterIPs: [...clusterIPs],
    externalIPs: [...externalIPs],
    ports: [...ports.values()].map(({ protocol, port, nodePort }) =>
      nodePort === 0 ? `${port}/${protocol}` : `${port}:${nodePort}/${protocol}`,
    ),
    endpoints,
  };
}
