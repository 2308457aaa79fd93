/**
 * A checked Service or EndpointSlice document as an API server would keep it, of the fields that the node reads.
 * Layer: kubelet/static (pure): takes checked objects, touches nothing of them. Addresses and node ports that are not
 * written are given out in agent/standalone. Source: pkg/apis/core/v1/defaults.go (SetDefaults_Service),
 * pkg/apis/discovery/v1/defaults.go, pkg/registry/core/service/storage.
 */
import type { EndpointSlice } from '../../api/discovery.ts';
import type { Service, ServicePort, ServiceSpec, WatchedMeta } from '../../api/service.ts';

/** v1.DefaultClientIPServiceAffinitySeconds */
const defaultAffinitySeconds = 10800;

/** `clusterIP` is set when the document asks for one or is headless, `nodePort` 0 when none is asked for. */
export function applyServiceDefaults({ metadata, spec }: Service): Service {
  const { type = 'ClusterIP', selector, externalIPs, sessionAffinity = 'None', sessionAffinityConfig } = spec;
  const clusterIP = spec.clusterIP || spec.clusterIPs?.[0];
  const external = type !== 'ClusterIP' || (externalIPs ?? []).length > 0;
  const timeoutSeconds = sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds;
  const defaulted: ServiceSpec = {
    type,
    ...(clusterIP === undefined ? {} : { clusterIP, clusterIPs: [clusterIP] }),
    ipFamilies: ['IPv4'],
    ports: (spec.ports ?? []).map(defaultPort),
    ...(selector === undefined ? {} : { selector }),
    ...(externalIPs === undefined ? {} : { externalIPs }),
    sessionAffinity,
    ...(sessionAffinity === 'ClientIP' ? { sessionAffinityConfig: { clientIP: { timeoutSeconds } } } : {}),
    internalTrafficPolicy: spec.internalTrafficPolicy ?? 'Cluster',
    ...(external ? { externalTrafficPolicy: spec.externalTrafficPolicy ?? 'Cluster' } : {}),
    publishNotReadyAddresses: spec.publishNotReadyAddresses ?? false,
    ...(type === 'LoadBalancer' ? { allocateLoadBalancerNodePorts: spec.allocateLoadBalancerNodePorts ?? true } : {}),
  };
  return { metadata: watchedMeta(metadata), spec: defaulted };
}

function defaultPort({ name = '', protocol = 'TCP', port, targetPort, nodePort = 0 }: ServicePort): ServicePort {
  return { name, protocol, port, targetPort: targetPort || port, nodePort };
}

export function applyEndpointSliceDefaults({ metadata, addressType, endpoints, ports }: EndpointSlice): EndpointSlice {
  return {
    metadata: watchedMeta(metadata),
    addressType,
    endpoints: endpoints ?? [],
    ports: (ports ?? []).map(({ name, protocol, port }) => ({
      name: name ?? '',
      protocol: protocol ?? 'TCP',
      ...(port === undefined ? {} : { port }),
    })),
  };
}

function watchedMeta({ name, namespace, uid, labels }: WatchedMeta): WatchedMeta {
  return { name, namespace, ...(uid ? { uid } : {}), ...(labels === undefined ? {} : { labels }) };
}
