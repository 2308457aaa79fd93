/**
 * What `keelson status` is told of a node in a cluster.
 * Layer: agent/cluster. Made when somebody asks; keeps nothing.
 */
import type { RotationStatus } from '../../kubelet/certificates/certificate-rotation.ts';
import type { PodNetwork } from '../../network/pod-network.ts';
import type { PolicyEnforcement } from '../../network/policy/policy-enforcement.ts';
import type { EventLoopLag } from '../../observe/event-loop-lag.ts';
import type { MachineFacts } from '../node-facts.ts';
import {
  type CertificateReport,
  daemonReport,
  type NodeReport,
  podReports,
  proxyReport,
  runtimeReport,
  type StatusReport,
} from '../status-report.ts';
import type { ClockSkew } from './clock-skew.ts';
import type { ClusterKubelet } from './cluster-kubelet.ts';
import type { ClusterProxy } from './cluster-proxy.ts';
import type { OwnNode } from './own-node.ts';
import type { PeerNodes } from './peer-nodes.ts';
import type { RoleStart } from './role-start.ts';
import type { RuntimeRole } from './runtime-start.ts';

export interface ClusterParts {
  version: string;
  startedAt: Date;
  machine: MachineFacts;
  runtime: RoleStart<RuntimeRole> | undefined;
  kubelet: RoleStart<ClusterKubelet> | undefined;
  network: RoleStart<PodNetwork> | undefined;
  /** With the network role. */
  policies: Pick<PolicyEnforcement, 'status'> | undefined;
  proxy: RoleStart<ClusterProxy> | undefined;
  ownNode: Pick<OwnNode, 'error'> | undefined;
  peers: Pick<PeerNodes, 'error'> | undefined;
  /** How far the clock is from the API server's, where that is worth a word. */
  clockSkew: ClockSkew | undefined;
  /** Of the node as a client, where we see to it. */
  certificate: RotationStatus | undefined;
  eventLoopLag: EventLoopLag | undefined;
}

export function clusterReport(parts: ClusterParts): StatusReport {
  const { version, startedAt, machine, runtime, kubelet, network, proxy, ownNode, peers, certificate, eventLoopLag } =
    parts;
  const now = kubelet?.role?.kubelet.status();
  const serving = kubelet?.role?.servingCertificate();
  const troubles = [
    ...(proxy?.role?.troubles() ?? []),
    ...(ownNode?.error === undefined ? [] : [`its Node: ${ownNode.error}`]),
    ...(peers?.error === undefined ? [] : [`other Nodes: ${peers.error}`]),
    ...(parts.clockSkew === undefined ? [] : [parts.clockSkew.text]),
  ];
  return {
    ...daemonReport(version, machine, startedAt),
    ...(runtime?.role && now && { runtime: runtimeReport(runtime.role.version, now) }),
    ...(network?.role && { network: network.role.status() }),
    ...(parts.policies && { policies: parts.policies.status() }),
    ...(proxy?.role && { proxy: proxyReport(proxy.role.status()) }),
    waiting: [...waitingOf('kubelet', kubelet), ...waitingOf('network', network), ...waitingOf('proxy', proxy)],
    ...(troubles.length > 0 && { troubles }),
    ...((certificate ?? serving) && {
      certificates: {
        ...(certificate && { client: certificateReport(certificate) }),
        ...(serving && { serving: certificateReport(serving) }),
      },
    }),
    ...(kubelet?.role && { node: nodeReport(kubelet.role) }),
    pods: now === undefined ? [] : podReports(now),
    ending: (now?.ending ?? []).map(({ namespace, name, uid }) => ({ namespace, name, uid })),
    manifestErrors: now?.manifestErrors ?? [],
    ...(eventLoopLag && { eventLoopLag: eventLoopLag.read() }),
  };
}

type RoleState = Pick<RoleStart<never>, 'error' | 'waiting'> & { readonly role: object | undefined };

/** What a try waits for says more than how the one before it ended. */
function waitingOf(role: string, start: RoleState | undefined): StatusReport['waiting'] {
  if (start === undefined || start.role !== undefined) return [];
  return [{ role, reason: start.waiting ?? start.error ?? 'is being set up' }];
}

function certificateReport({ notAfterMs, isValid, renewAtMs, trouble }: RotationStatus): CertificateReport {
  const dateOf = (ms: number): string => new Date(ms).toISOString();
  return {
    valid: isValid,
    ...(notAfterMs !== undefined && { notAfter: dateOf(notAfterMs) }),
    ...(renewAtMs !== undefined && { renewAt: dateOf(renewAtMs) }),
    ...(trouble !== undefined && { trouble }),
  };
}

function nodeReport({ node, pendingStatuses }: ClusterKubelet): NodeReport {
  const known = node.known.node;
  const condition = known?.status?.conditions?.find(({ type }) => type === 'Ready');
  const ready = condition?.status === 'True' ? 'Ready' : (condition?.message ?? 'not Ready');
  const { trouble } = node;
  return {
    registered: known !== undefined,
    ready,
    pendingStatuses: pendingStatuses(),
    ...(trouble !== undefined && { error: trouble }),
  };
}
