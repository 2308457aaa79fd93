/**
 * Short ways to write pods with a status in tests.
 * Layer: agent/standalone, tests only. Must not be imported by product code.
 */
import type { ContainerPort, Pod, PodPhase } from '../../api/core.ts';
import type { PodWithStatus } from '../../kubelet/status/status-board.ts';

export interface PodFields {
  namespace?: string;
  uid?: string;
  labels?: Record<string, string>;
  ips?: string[];
  ready?: boolean;
  phase?: PodPhase;
  ending?: boolean;
  ports?: ContainerPort[];
}

/** A ready pod in namespace `default` with the label `app: web`, unless said otherwise. */
export function aPod(name: string, fields: PodFields = {}): PodWithStatus {
  const { namespace = 'default', uid = `uid-${name}`, labels = { app: 'web' }, ips = ['10.244.0.2'] } = fields;
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, uid, labels },
    spec: { containers: [{ name: 'c', image: 'busybox', ...(fields.ports ? { ports: fields.ports } : {}) }] },
  };
  const [podIP] = ips;
  return {
    pod,
    status: {
      phase: fields.phase ?? 'Running',
      conditions: [{ type: 'Ready', status: fields.ready === false ? 'False' : 'True' }],
      ...(podIP === undefined ? {} : { podIP, podIPs: ips.map((ip) => ({ ip })) }),
    },
    ...(fields.ending ? { ending: true } : {}),
  };
}
