/**
 * From decoded JSON to the few fields of a Service that the proxy reads.
 * Layer: api (pure). What of them is refused is decided by proxy/services/service-spec.ts.
 */
import { RawObject } from './raw-object.ts';
import { type Service, type ServiceSpec, serviceTypes, type WatchedMeta } from './service.ts';

/** @throws ObjectShapeError */
export function projectService(value: unknown): Service {
  const raw = new RawObject(value);
  const ingress = raw.object('status')?.object('loadBalancer')?.objects('ingress') ?? [];
  return {
    metadata: projectMeta(raw),
    spec: projectSpec(raw.object('spec') ?? new RawObject({}, 'spec')),
    status: {
      loadBalancer: {
        ingress: ingress.map((entry) => ({ ip: entry.text('ip'), ipMode: entry.word('ipMode', ['VIP', 'Proxy']) })),
      },
    },
  };
}

/** @throws ObjectShapeError */
export function projectMeta(raw: RawObject): WatchedMeta {
  const metadata = raw.object('metadata') ?? new RawObject({}, 'metadata');
  return {
    name: metadata.requiredText('name'),
    namespace: metadata.text('namespace') || 'default',
    uid: metadata.text('uid'),
    resourceVersion: metadata.text('resourceVersion'),
    creationTimestamp: metadata.text('creationTimestamp'),
    labels: metadata.textMap('labels'),
  };
}

function projectSpec(spec: RawObject): ServiceSpec {
  const clientIP = spec.object('sessionAffinityConfig')?.object('clientIP');
  const typeText = spec.text('type');
  const type = serviceTypes.find((known) => known === typeText);
  return {
    type,
    ...(type === undefined && typeText !== undefined && typeText !== '' && { unknownType: typeText }),
    clusterIP: spec.text('clusterIP'),
    clusterIPs: spec.texts('clusterIPs'),
    ipFamilies: spec.words('ipFamilies', ['IPv4', 'IPv6']),
    ports: spec.objects('ports').map((port) => ({
      name: port.text('name'),
      protocol: port.word('protocol', ['TCP', 'UDP', 'SCTP']),
      port: port.requiredInteger('port'),
      nodePort: port.integer('nodePort'),
    })),
    externalIPs: spec.texts('externalIPs'),
    loadBalancerSourceRanges: spec.texts('loadBalancerSourceRanges'),
    internalTrafficPolicy: spec.word('internalTrafficPolicy', ['Cluster', 'Local']),
    externalTrafficPolicy: spec.word('externalTrafficPolicy', ['Cluster', 'Local']),
    healthCheckNodePort: spec.integer('healthCheckNodePort'),
    sessionAffinity: spec.word('sessionAffinity', ['None', 'ClientIP']),
    sessionAffinityConfig: { clientIP: { timeoutSeconds: clientIP?.integer('timeoutSeconds') } },
    publishNotReadyAddresses: spec.boolean('publishNotReadyAddresses'),
  };
}
