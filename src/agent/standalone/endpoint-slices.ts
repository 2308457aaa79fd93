/**
 * The EndpointSlices of one Service from the pods that it selects, as the endpoint slice controller writes them.
 * Rules: staging/src/k8s.io/endpointslice (podToEndpoint, getEndpointPorts, FindPort, ShouldPodBeInEndpoints,
 * setEndpointSliceLabels). Different from it: a Service without endpoints has no empty slice, names are not random, and a
 * pod that leaves moves those behind it up, since no API server is spared here.
 * Layer: agent/standalone (pure). Must not select pods (endpoint-table.ts) or know the proxy.
 */
import type { Pod } from '../../api/core.ts';
import { type Endpoint, type EndpointPort, type EndpointSlice, serviceNameLabel } from '../../api/discovery.ts';
import { headlessLabel, type IpFamily, type Service, type ServicePort } from '../../api/service.ts';
import { fnv128a } from '../../kubelet/static/fnv.ts';
import type { PodWithStatus } from '../../kubelet/status/status-board.ts';

/** The controller's default --max-endpoints-per-slice. */
export const maxEndpointsPerSlice = 100;

/**
 * @param service with defaults and addresses set
 * @param pods those that its selector selects, in any order
 * @returns slices in a stable order: the same input, however ordered, gives equal slices with equal names. The names hold
 *   an underscore, so no document's slice can have one.
 */
export function endpointSlicesOf(service: Service, pods: Iterable<PodWithStatus>, nodeName: string): EndpointSlice[] {
  const candidates = [...pods].filter(canBeEndpoint).sort((a, b) => (podKey(a.pod) < podKey(b.pod) ? -1 : 1));
  return familiesOf(service).flatMap((family) => {
    const groups = new Map<string, { ports: EndpointPort[]; endpoints: Endpoint[] }>();
    for (const entry of candidates) {
      const addresses = (entry.status.podIPs ?? []).map(({ ip }) => ip).filter((ip) => familyOf(ip) === family);
      if (addresses.length === 0) continue;
      const ports = endpointPorts(service, entry.pod);
      const key = JSON.stringify(ports);
      const group = groups.get(key) ?? { ports, endpoints: [] };
      groups.set(key, group);
      group.endpoints.push({ addresses, conditions: conditionsOf(service, entry), nodeName });
    }
    return [...groups].flatMap(([key, group]) => packed(service, family, key, group));
  });
}

/** What of a pod endpoints are made from, as a text to compare: another one may mean other slices, the same never does. */
export function endpointFingerprint({ pod, status, ending }: PodWithStatus): string {
  const addresses = (status.podIPs ?? []).map(({ ip }) => ip);
  return JSON.stringify([canBeEndpoint({ pod, status }), addresses, isReady({ pod, status }), ending === true]);
}

/** A pod that ended, or has no address yet, is no endpoint; one that is being ended still is. */
function canBeEndpoint({ status }: PodWithStatus): boolean {
  return status.phase !== 'Succeeded' && status.phase !== 'Failed' && (status.podIPs ?? []).length > 0;
}

function isReady({ status }: PodWithStatus): boolean {
  return status.conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True');
}

function conditionsOf({ spec }: Service, entry: PodWithStatus): NonNullable<Endpoint['conditions']> {
  const serving = isReady(entry);
  const terminating = entry.ending === true;
  return { ready: spec.publishNotReadyAddresses === true || (serving && !terminating), serving, terminating };
}

/** A port whose name the pod does not have is left out, for this pod. */
function endpointPorts({ spec }: Service, pod: Pod): EndpointPort[] {
  return (spec.ports ?? []).flatMap((port) => {
    const number = targetPortOf(port, pod);
    return number === undefined ? [] : [{ name: port.name ?? '', protocol: port.protocol ?? 'TCP', port: number }];
  });
}

function targetPortOf({ targetPort, port, protocol = 'TCP' }: ServicePort, pod: Pod): number | undefined {
  if (typeof targetPort !== 'string') return targetPort ?? port;
  for (const container of pod.spec.containers) {
    for (const candidate of container.ports ?? []) {
      if (candidate.name === targetPort && (candidate.protocol ?? 'TCP') === protocol) return candidate.containerPort;
    }
  }
  return undefined;
}

function packed(
  { metadata, spec }: Service,
  family: IpFamily,
  portsKey: string,
  { ports, endpoints }: { ports: EndpointPort[]; endpoints: Endpoint[] },
): EndpointSlice[] {
  const { [serviceNameLabel]: _name, [headlessLabel]: _headless, ...own } = metadata.labels ?? {};
  const labels = {
    ...own,
    ...(spec.clusterIP === 'None' ? { [headlessLabel]: '' } : {}),
    [serviceNameLabel]: metadata.name,
  };
  const slices: EndpointSlice[] = [];
  for (let from = 0; from < endpoints.length; from += maxEndpointsPerSlice) {
    const name = `${metadata.name}_${family}_${fnv128a(portsKey).slice(0, 16)}_${slices.length}`.toLowerCase();
    slices.push({
      metadata: { name, namespace: metadata.namespace, labels },
      addressType: family,
      endpoints: endpoints.slice(from, from + maxEndpointsPerSlice),
      ports,
    });
  }
  return slices;
}

const familiesOf = ({ spec }: Service): readonly IpFamily[] => {
  if (spec.ipFamilies && spec.ipFamilies.length > 0) return spec.ipFamilies;
  return spec.clusterIP === undefined || spec.clusterIP === 'None' ? ['IPv4', 'IPv6'] : [familyOf(spec.clusterIP)];
};

const familyOf = (ip: string): IpFamily => (ip.includes(':') ? 'IPv6' : 'IPv4');

const podKey = ({ metadata }: Pod): string => `${metadata.name}\n${metadata.uid}`;
