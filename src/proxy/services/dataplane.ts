/**
 * The desired dataplane of one address family, and the difference that one flush makes to it: plain data for the planner.
 * Groups, frontends and changes are immutable: a model or a delta once handed out keeps its meaning.
 * Layer: proxy/services (pure). Must not know how the kernel stores any of it.
 */
import type { Protocol } from '../../api/core.ts';
import type { IpFamily, TrafficPolicy } from '../../api/service.ts';
import type { EndpointRef } from './address.ts';

/**
 * The endpoints of one Service port under one traffic policy, never empty. Index i of 0..N-1 is a dataplane element; an
 * endpoint keeps its index as long as it can. Not shared between Services even where the lists are equal, since affinity
 * belongs to the group and a change of one Service must not touch another's elements.
 */
export interface Group {
  /** 1 or more. Not given to another group before two flushes have passed. */
  id: number;
  endpoints: readonly EndpointRef[];
  /** ClientIP affinity in seconds, 0 without. With affinity no two endpoints have the same address. */
  affinitySeconds: number;
}

export type FrontendKind = 'clusterIP' | 'externalIP' | 'loadBalancer' | 'nodePort';

/**
 * balance: to a random endpoint of the group. reject: no endpoint anywhere (ICMP port unreachable or RST).
 * drop: the Local policy applies and no endpoint is on this node, though others are elsewhere; what `clusterGroup` says
 * holds all the same.
 */
export type FrontendAction = 'balance' | 'reject' | 'drop';

/** A destination that is served. */
export interface Frontend {
  kind: FrontendKind;
  /** Canonical text; empty for node ports. */
  ip: string;
  protocol: Protocol;
  port: number;
  /** Which policy chose `group`: internalTrafficPolicy for cluster IPs, externalTrafficPolicy for all others. */
  policy: TrafficPolicy;
  action: FrontendAction;
  /** 0 unless `action` is balance. */
  group: number;
  /** Endpoints in `group`, 0 unless `action` is balance. */
  size: number;
  /** As of its groups: ClientIP affinity in seconds, 0 without. */
  affinitySeconds: number;
  /**
   * externalTrafficPolicy Local only: the Cluster group, for traffic from this node's pods and the node, whatever `action`
   * says to others (the short-circuit; pods keep their address, the node's own traffic is masqueraded). 0: as others.
   */
  clusterGroup: number;
  clusterSize: number;
  /** External traffic under the Cluster policy loses its source address, so that replies come back through this node. */
  masquerade: boolean;
  /**
   * Load-balancer IPs only: canonical prefixes that may send, none inside another; empty: all. What comes from elsewhere is
   * dropped, also where `action` is reject. The address itself is among them when a prefix holds an address of the node.
   */
  sourceRanges: readonly string[];
  /** `namespace/name` and port name of the Service: for people. */
  service: string;
  portName: string;
}

/** `10.96.0.1:80/TCP`, `[fd00::1]:80/TCP`, and `30080/TCP` for node ports. */
export type FrontendKey = string;

/** What a load balancer is told at healthCheckNodePort: LoadBalancer Services whose externalTrafficPolicy is Local. */
export interface HealthCheck {
  /** `namespace/name` */
  service: string;
  /** 1..65535 */
  port: number;
  /** Distinct addresses of ready endpoints on this node, whatever the port. */
  localEndpoints: number;
}

export interface DataplaneModel {
  family: IpFamily;
  groups: ReadonlyMap<number, Group>;
  /** Cluster, external and load-balancer IPs. */
  services: ReadonlyMap<FrontendKey, Frontend>;
  nodePorts: ReadonlyMap<FrontendKey, Frontend>;
  /** Addresses of this node's endpoints: a packet from one of them to itself must be masqueraded. Canonical text. */
  hairpin: ReadonlySet<string>;
  /** By `namespace/name`. For the HTTP servers; nothing of it is in the kernel. */
  healthChecks: ReadonlyMap<string, HealthCheck>;
  /** The cluster's Service networks, canonical, none inside another: their addresses without a Service get no answer. */
  serviceCIDRs: ReadonlySet<string>;
}

/**
 * What a predecessor left in the kernel, as far as numbers matter: taken over at start, so that a packet that meets the
 * change halfway never finds another Service's endpoints under a group's number, and so that little is rewritten.
 */
export interface AdoptedDataplane {
  /** By number; an index that is missing in the kernel may hold any value that is no endpoint. */
  groups: ReadonlyMap<number, readonly EndpointRef[]>;
  /** Of services and node ports; 0 where there is none. */
  frontends: ReadonlyMap<FrontendKey, Pick<Frontend, 'group' | 'clusterGroup'>>;
}

/** Undefined `before`: new; undefined `after`: gone. Never both. */
export interface Change<Value> {
  before: Value | undefined;
  after: Value | undefined;
}

export interface GroupChange extends Change<Group> {
  id: number;
  /** The indexes below both lengths that have another endpoint now; longer or shorter ends follow from the lists. */
  replaced: readonly number[];
}

export interface FrontendChange extends Change<Frontend> {
  key: FrontendKey;
}

export interface SetChange<Value> {
  added: readonly Value[];
  removed: readonly Value[];
}

/**
 * UDP flows to one frontend that must be forgotten, by kube-proxy's rule (pkg/proxy/conntrack/cleanup.go): flows whose
 * reply source serves no longer. Also when nobody is left to serve (kubernetes/kubernetes#139629, after 1.36): a client
 * that only sends would go on to a dead pod's address, which may be another's by then.
 */
export interface ConntrackCleanup {
  /** Original destination; empty: any address (node port). */
  ip: string;
  port: number;
  /** The endpoints whose flows are to be deleted; undefined: all but those of `keep`. */
  remove: readonly EndpointRef[] | undefined;
  /** The endpoints that serve; empty only with `remove`. */
  keep: readonly EndpointRef[];
}

export interface DataplaneDelta {
  family: IpFamily;
  groups: readonly GroupChange[];
  services: readonly FrontendChange[];
  nodePorts: readonly FrontendChange[];
  hairpin: SetChange<string>;
  healthChecks: readonly Change<HealthCheck>[];
  serviceCIDRs: SetChange<string>;
  /** To be done after the change is in the kernel. */
  conntrack: readonly ConntrackCleanup[];
}

export function isEmptyDelta(delta: DataplaneDelta): boolean {
  const { groups, services, nodePorts, hairpin, healthChecks, serviceCIDRs, conntrack } = delta;
  return (
    groups.length + services.length + nodePorts.length + conntrack.length + healthChecks.length === 0 &&
    hairpin.added.length + hairpin.removed.length + serviceCIDRs.added.length + serviceCIDRs.removed.length === 0
  );
}

export interface EndpointElement {
  index: number;
  before: EndpointRef | undefined;
  after: EndpointRef | undefined;
}

/** The elements that a group's change touches: replaced ones, then the ends. */
export function* endpointElements({
  before,
  after,
  replaced,
}: GroupChange): Generator<EndpointElement, void, undefined> {
  const old = before?.endpoints ?? [];
  const now = after?.endpoints ?? [];
  for (const index of replaced) yield { index, before: old[index], after: now[index] };
  for (let index = old.length; index < now.length; index++) yield { index, before: undefined, after: now[index] };
  for (let index = now.length; index < old.length; index++) yield { index, before: old[index], after: undefined };
}

export function frontendKey(ip: string, protocol: Protocol, port: number): FrontendKey {
  if (ip === '') return `${port}/${protocol}`;
  return ip.includes(':') ? `[${ip}]:${port}/${protocol}` : `${ip}:${port}/${protocol}`;
}
