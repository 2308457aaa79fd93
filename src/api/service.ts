/**
 * The Service object of core/v1 as the proxy reads it: only the fields that decide where packets go.
 * Lists may be null, as Go writes empty ones. Source: staging/src/k8s.io/api/core/v1/types.go (ServiceSpec, ServiceStatus).
 * Layer: api (pure types, no I/O). What of it is refused is decided by proxy/services/service-spec.ts.
 */
import type { Protocol } from './core.ts';

/** The part of ObjectMeta that a watch keeps for Services and EndpointSlices. */
export interface WatchedMeta {
  name: string;
  namespace: string;
  uid?: string;
  /** Decimal; later versions of one object are greater. Absent in documents that no API server stored. */
  resourceVersion?: string;
  /** RFC 3339. */
  creationTimestamp?: string;
  labels?: Record<string, string>;
}

export type IpFamily = 'IPv4' | 'IPv6';
export type TrafficPolicy = 'Cluster' | 'Local';

export const serviceTypes = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'] as const;
export type ServiceType = (typeof serviceTypes)[number];

export interface Service {
  metadata: WatchedMeta;
  spec: ServiceSpec;
  status?: { loadBalancer?: { ingress?: LoadBalancerIngress[] | null } };
}

export interface ServiceSpec {
  /** Default ClusterIP. */
  type?: ServiceType;
  /** What stands there when it is none of these, as a newer API server may have it; `type` is absent then. */
  unknownType?: string;
  /** `None` for headless Services. */
  clusterIP?: string;
  /** One for each of `ipFamilies`, the first equal to `clusterIP`. */
  clusterIPs?: string[] | null;
  ipFamilies?: IpFamily[] | null;
  ports?: ServicePort[] | null;
  selector?: Record<string, string> | null;
  /** Of either family. */
  externalIPs?: string[] | null;
  loadBalancerSourceRanges?: string[] | null;
  internalTrafficPolicy?: TrafficPolicy;
  externalTrafficPolicy?: TrafficPolicy;
  healthCheckNodePort?: number;
  sessionAffinity?: 'None' | 'ClientIP';
  /** Seconds, 1..86400, default 10800. */
  sessionAffinityConfig?: { clientIP?: { timeoutSeconds?: number } };
  publishNotReadyAddresses?: boolean;
  /** Of LoadBalancer Services: whether ports without a node port are given one. Default true. */
  allocateLoadBalancerNodePorts?: boolean;
}

export interface ServicePort {
  /** Empty or absent only when there is one port. */
  name?: string;
  /** Default TCP. */
  protocol?: Protocol;
  /** 1..65535 */
  port: number;
  /** A port number or a container port's name; the EndpointSlices carry what it resolves to. */
  targetPort?: number | string;
  /** 0 or absent when there is none. */
  nodePort?: number;
}

export interface LoadBalancerIngress {
  ip?: string;
  hostname?: string;
  /** Default VIP: packets arrive with `ip` as their destination. */
  ipMode?: 'VIP' | 'Proxy';
}

/** Services and slices with this label, of whatever value, belong to another proxy. */
export const serviceProxyNameLabel = 'service.kubernetes.io/service-proxy-name';
/** Slices with this label belong to a headless Service. */
export const headlessLabel = 'service.kubernetes.io/headless';
