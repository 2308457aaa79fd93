/**
 * From decoded JSON to the few fields of an EndpointSlice (v1 or v1beta1) that the proxy reads.
 * Layer: api (pure). What of them is refused is decided by proxy/services/slice-record.ts.
 */
import type { Endpoint, EndpointSlice } from './discovery.ts';
import { projectMeta } from './project-service.ts';
import { RawObject } from './raw-object.ts';

/** When the pod or Service changed that the slice was written for; in kube-proxy it is v1.EndpointsLastChangeTriggerTime. */
const lastChangeTriggerTime = 'endpoints.kubernetes.io/last-change-trigger-time';

/** @throws ObjectShapeError */
export function projectEndpointSlice(value: unknown): EndpointSlice {
  const raw = new RawObject(value);
  const triggeredMs = Date.parse(raw.object('metadata')?.object('annotations')?.text(lastChangeTriggerTime) ?? '');
  return {
    metadata: projectMeta(raw),
    addressType: raw.requiredWord('addressType', ['IPv4', 'IPv6', 'FQDN']),
    endpoints: raw.objects('endpoints').map(projectEndpoint),
    ports: raw.objects('ports').map((port) => ({
      name: port.text('name'),
      protocol: port.word('protocol', ['TCP', 'UDP', 'SCTP']),
      port: port.integer('port'),
    })),
    ...(!Number.isNaN(triggeredMs) && { lastChangeTriggerMs: triggeredMs }),
  };
}

function projectEndpoint(raw: RawObject): Endpoint {
  const conditions = raw.object('conditions');
  const hints = raw.object('hints');
  const named = (entry: RawObject): { name: string } => ({ name: entry.requiredText('name') });
  return {
    addresses: raw.texts('addresses'),
    conditions: conditions && {
      ready: conditions.boolean('ready'),
      serving: conditions.boolean('serving'),
      terminating: conditions.boolean('terminating'),
    },
    nodeName: raw.text('nodeName'),
    zone: raw.text('zone'),
    hints: hints && {
      forZones: hints.objects('forZones').map(named),
      forNodes: hints.objects('forNodes').map(named),
    },
    topology: raw.textMap('topology'),
  };
}
