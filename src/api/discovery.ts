/**
 * The EndpointSlice object of discovery.k8s.io/v1, with what v1beta1 said otherwise: only the fields that the proxy reads.
 * Lists may be null, as Go writes empty ones. Source: staging/src/k8s.io/api/discovery/{v1,v1beta1}/types.go.
 * Layer: api (pure types, no I/O). What of it is refused is decided by proxy/services/slice-record.ts.
 */
import type { Protocol } from './core.ts';
import type { WatchedMeta } from './service.ts';

export type AddressType = 'IPv4' | 'IPv6' | 'FQDN';

export interface EndpointSlice {
  metadata: WatchedMeta;
  addressType: AddressType;
  /** At most 1000 by API validation. */
  endpoints?: Endpoint[] | null;
  /** At most 100 by API validation; each holds for every endpoint of the slice. */
  ports?: EndpointPort[] | null;
  /** What the annotation endpoints.kubernetes.io/last-change-trigger-time says, epoch milliseconds. */
  lastChangeTriggerMs?: number;
}

export interface Endpoint {
  /** Interchangeable addresses of which consumers take the first. */
  addresses: string[];
  conditions?: EndpointConditions;
  nodeName?: string;
  zone?: string;
  hints?: { forZones?: { name: string }[] | null; forNodes?: { name: string }[] | null };
  /** v1beta1 only: `kubernetes.io/hostname` there is what `nodeName` is in v1. */
  topology?: Record<string, string>;
}

/** Absent means: ready and serving true, terminating false. */
export interface EndpointConditions {
  ready?: boolean | null;
  serving?: boolean | null;
  terminating?: boolean | null;
}

export interface EndpointPort {
  /** The Service port's name; the API server writes the empty string for unnamed ones. */
  name?: string | null;
  /** Default TCP. */
  protocol?: Protocol | null;
  /** The resolved target port; null means all ports, which no Service uses. */
  port?: number | null;
}

/** Names the Service of a slice, in the slice's namespace. */
export const serviceNameLabel = 'kubernetes.io/service-name';
/** The node's name in v1beta1's `topology`. */
export const hostnameLabel = 'kubernetes.io/hostname';
