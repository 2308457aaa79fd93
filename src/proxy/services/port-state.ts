/**
 * One port of one Service as it stands in the dataplane: its groups, and what its UDP flows may reply from.
 * Layer: proxy/services (pure). Must not know about other Services; conflicts are settled in frontends.ts.
 */

import { prefixContains } from '../../linux/ip-bytes.ts';
import type { EndpointRef } from './address.ts';
import type { Frontend, FrontendKind, Group } from './dataplane.ts';
import { disjointPrefixes, hostPrefix } from './prefixes.ts';
import type { PortSpec, ServiceSpec } from './service-spec.ts';

const none: readonly string[] = [];

export class PortState {
  /** `namespace/name` */
  readonly service: string;
  spec: PortSpec;
  cluster: Group | undefined = undefined;
  local: Group | undefined = undefined;
  /** Whether there is an endpoint anywhere: reject or drop. */
  any = false;
  /** UDP only. */
  serving: readonly EndpointRef[] | undefined = undefined;
  /** This node's endpoint addresses, in text; almost always empty. */
  hairpin: readonly string[] = none;

  constructor(service: string, spec: PortSpec) {
    this.service = service;
    this.spec = spec;
  }
}

/** Where a frontend comes from: a port of a Service, at one of its addresses. */
export interface Claim {
  kind: FrontendKind;
  ip: string;
  port: PortState;
  service: ServiceSpec;
}

/** kube-proxy's ServicePort.ExternallyAccessible, UsesClusterEndpoints and UsesLocalEndpoints (serviceport.go). */
export function policyOf(service: ServiceSpec, port: PortSpec): { usesCluster: boolean; usesLocal: boolean } {
  const external = port.nodePort !== 0 || service.loadBalancerIps.length > 0 || service.externalIps.length > 0;
  return {
    usesCluster: !service.internalLocal || external,
    usesLocal: service.internalLocal || (service.externalLocal && external),
  };
}

/** Every destination that the port is reached at. An IP given twice is claimed once: the first kind counts. */
export function claimsOf(service: ServiceSpec, port: PortState): Claim[] {
  const claims: Claim[] = [{ kind: 'clusterIP', ip: service.clusterIp, port, service }];
  const claim = (kind: FrontendKind, ip: string): void => {
    if (!claims.some((other) => other.ip === ip)) claims.push({ kind, ip, port, service });
  };
  // Load-balancer IPs first: they may carry source ranges, which an equal external IP must not open.
  for (const ip of service.loadBalancerIps) claim('loadBalancer', ip);
  for (const ip of service.externalIps) claim('externalIP', ip);
  if (port.spec.nodePort !== 0) claim('nodePort', '');
  return claims;
}

/** Whether the Local policy decides at the claim's destination. */
export function usesLocal({ kind, service }: Claim): boolean {
  return kind === 'clusterIP' ? service.internalLocal : service.externalLocal;
}

/** kube-proxy's rule: pkg/proxy/nftables/proxier.go (syncProxyRules, has{Internal,External}Endpoints). */
export function frontendOf(claim: Claim, nodeIps: readonly string[]): Frontend {
  const { kind, ip, port, service } = claim;
  const internal = kind === 'clusterIP';
  const useLocal = usesLocal(claim);
  const group = useLocal ? port.local : port.cluster;
  const shortCircuit = !internal && useLocal ? port.cluster : undefined;
  return {
    kind,
    ip,
    protocol: port.spec.protocol,
    port: internal || kind !== 'nodePort' ? port.spec.port : port.spec.nodePort,
    policy: useLocal ? 'Local' : 'Cluster',
    action: group !== undefined ? 'balance' : port.any ? 'drop' : 'reject',
    group: group?.id ?? 0,
    size: group?.endpoints.length ?? 0,
    affinitySeconds: service.affinitySeconds,
    clusterGroup: shortCircuit?.id ?? 0,
    clusterSize: shortCircuit?.endpoints.length ?? 0,
    masquerade: !internal && !useLocal,
    sourceRanges: kind === 'loadBalancer' ? rangesWithNode(service.sourceRanges, ip, nodeIps) : none,
    service: port.service,
    portName: port.spec.name,
  };
}

/**
 * Where a load-balancer IP is bound to the node, the node's own packets to it have it as their source, too: a node that may
 * send may send from there (kube-proxy's allowFromNode, pkg/proxy/nftables/proxier.go).
 */
function rangesWithNode(ranges: readonly string[], ip: string, nodeIps: readonly string[]): readonly string[] {
  if (!ranges.some((range) => nodeIps.some((nodeIp) => prefixContains(range, nodeIp)))) return ranges;
  return disjointPrefixes([...ranges, hostPrefix(ip)]);
}

export function sameFrontend(a: Frontend, b: Frontend): boolean {
  return (
    a.kind === b.kind &&
    a.policy === b.policy &&
    a.action === b.action &&
    a.group === b.group &&
    a.size === b.size &&
    a.affinitySeconds === b.affinitySeconds &&
    a.clusterGroup === b.clusterGroup &&
    a.clusterSize === b.clusterSize &&
    a.masquerade === b.masquerade &&
    a.service === b.service &&
    a.portName === b.portName &&
    a.sourceRanges.length === b.sourceRanges.length &&
    a.sourceRanges.every((range, index) => range === b.sourceRanges[index])
  );
}
