/**
 * Short ways to write Services and EndpointSlices in tests and benches.
 * Layer: proxy/services, tests only. Must not be imported by product code.
 */
import type { Endpoint, EndpointPort, EndpointSlice } from '../../api/discovery.ts';
import type { Service, ServicePort, ServiceSpec, WatchedMeta } from '../../api/service.ts';

export type ServiceFields = Omit<ServiceSpec, 'ports'> & {
  ports?: ServicePort[];
  meta?: Partial<WatchedMeta>;
  status?: Service['status'];
};

/** A Service in namespace `default`; one TCP port 80 unless said otherwise. */
export function aService(name: string, { meta, status, ports = [{ port: 80 }], ...spec }: ServiceFields): Service {
  return {
    metadata: { name, namespace: 'default', uid: `uid-${name}`, ...meta },
    spec: { ...spec, ports },
    ...(status === undefined ? {} : { status }),
  };
}

export interface SliceFields {
  /** Addresses, or whole endpoints. */
  endpoints: (string | Endpoint)[];
  ports?: EndpointPort[];
  meta?: Partial<WatchedMeta>;
  addressType?: EndpointSlice['addressType'];
}

/** A slice of Service `service` in namespace `default`; one TCP port 8080 unless said otherwise. */
export function aSlice(name: string, service: string, fields: SliceFields): EndpointSlice {
  return {
    metadata: {
      name,
      namespace: 'default',
      uid: `uid-${name}`,
      labels: { 'kubernetes.io/service-name': service },
      ...fields.meta,
    },
    addressType: fields.addressType ?? 'IPv4',
    endpoints: fields.endpoints.map((endpoint) =>
      typeof endpoint === 'string' ? { addresses: [endpoint] } : endpoint,
    ),
    ports: fields.ports ?? [{ name: '', port: 8080 }],
  };
}
