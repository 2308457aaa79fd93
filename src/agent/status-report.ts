/**
 * What `keelson status` is told, as plain JSON: a stable shape for people's scripts and for the table of src/cli.
 * Layer: agent; reads nothing but this process's own size.
 */
import type { PodStatus } from '../api/core.ts';
import type { VersionResponse } from '../cri/messages.generated.ts';
import type { KubeletStatus } from '../kubelet/kubelet.ts';
import type { PodNetworkStatus } from '../network/pod-network.ts';
import type { PolicyDrops } from '../network/policy/policy-drops.ts';
import type { PolicyStatus } from '../network/policy/policy-enforcement.ts';
import type { ProxyStatus } from '../proxy/proxy-status.ts';
import { reportLine } from '../proxy/services/service-report.ts';
import type { MachineFacts } from './node-facts.ts';

export interface StatusReport {
  version: string;
  nodeName: string;
  nodeIPs: string[];
  startedAt: string;
  memoryBytes: number;
  /** Absent without the kubelet role, as everything about pods is empty then. */
  runtime?: { name: string; version: string; healthy: boolean; mode: string };
  /** Absent without the network role, and until it stands. */
  network?: PodNetworkStatus;
  /** NetworkPolicies; with the network role of a node in a cluster. */
  policies?: PolicyStatus & { drops?: PolicyDrops[] };
  /** Absent without the proxy role, and until it stands. */
  proxy?: ProxyReport;
  /** Roles that do not stand yet, and why. */
  waiting: { role: string; reason: string }[];
  /** What the API server does not tell just now, one line each; what was known last is used meanwhile. */
  troubles?: string[];
  /** Those that the daemon asks the cluster for. */
  certificates?: { client?: CertificateReport; serving?: CertificateReport };
  /** Of a node in a cluster, with the kubelet role, once that stands. */
  node?: NodeReport;
  pods: PodReport[];
  /** Pods on their way out. */
  ending: { namespace: string; name: string; uid: string }[];
  manifestErrors: { file: string; error: string }[];
  /** Since the previous question; only with --event-loop-lag. */
  eventLoopLag?: { p50Ms: number; p99Ms: number; maxMs: number };
}

/** Of a standalone daemon, which has all roles once it answers. */
export type StandaloneReport = StatusReport & Required<Pick<StatusReport, 'runtime' | 'network' | 'proxy'>>;

export interface NodeReport {
  /** In the API server, as far as it was seen. */
  registered: boolean;
  /** `Ready`, or the message of the condition. */
  ready: string;
  /** Pods whose status is not in the API server yet. */
  pendingStatuses: number;
  /** Why the Node or its Lease cannot be written just now, in one line. */
  error?: string;
}

export interface CertificateReport {
  /** There is one that has not expired. */
  valid: boolean;
  /** RFC 3339. */
  notAfter?: string;
  renewAt?: string;
  /** What is waited for, or why the last request failed, in one line. */
  trouble?: string;
}

/** What the daemon answers until its roles are up. */
export interface StartingReport {
  starting: true;
  version: string;
}

/** What every report begins with. */
export function daemonReport(
  version: string,
  { nodeName, hostIPs }: MachineFacts,
  startedAt: Date,
): Pick<StatusReport, 'version' | 'nodeName' | 'nodeIPs' | 'startedAt' | 'memoryBytes'> {
  return {
    version,
    nodeName,
    nodeIPs: hostIPs,
    startedAt: startedAt.toISOString(),
    memoryBytes: process.memoryUsage.rss(),
  };
}

export function runtimeReport(
  { runtimeName, runtimeVersion }: VersionResponse,
  { runtime }: KubeletStatus,
): NonNullable<StatusReport['runtime']> {
  const { healthy, mode = 'connecting' } = runtime;
  return { name: runtimeName, version: runtimeVersion, healthy, mode };
}

/** Without what only the log needs. */
export type ProxyReport = Omit<ProxyStatus, 'reports' | 'withoutLocalEndpoints'> & {
  /** What is wrong with Services and EndpointSlices, one line each. */
  problems: string[];
};

export function proxyReport({ reports, withoutLocalEndpoints: _, ...status }: ProxyStatus): ProxyReport {
  return { ...status, problems: reports.map(reportLine) };
}

export interface PodReport {
  namespace: string;
  name: string;
  uid: string;
  /** kubectl's STATUS column: phase, or the reason that matters more. */
  summary: string;
  ready: number;
  containers: number;
  restarts: number;
  error: string | undefined;
  status: PodStatus;
}

export function podReports(kubelet: KubeletStatus): PodReport[] {
  const ending = new Set(kubelet.ending.map(({ uid }) => uid));
  return kubelet.pods.map(({ pod, status, error }) => {
    const containers = status.containerStatuses ?? [];
    return {
      namespace: pod.metadata.namespace,
      name: pod.metadata.name,
      uid: pod.metadata.uid,
      summary: ending.has(pod.metadata.uid) ? 'Terminating' : podSummary(status),
      ready: containers.filter(({ ready }) => ready).length,
      containers: containers.length,
      restarts: containers.reduce((sum, { restartCount }) => sum + restartCount, 0),
      error,
      status,
    };
  });
}

/** As kubectl's printer picks it: the first container's waiting or termination reason over the phase (printers.go printPod). */
export function podSummary(status: PodStatus): string {
  let summary: string = status.reason || status.phase;
  let running = false;
  let failure: string | undefined;
  for (const { state, ready } of (status.containerStatuses ?? []).toReversed()) {
    if (state.waiting?.reason) summary = state.waiting.reason;
    else if (state.terminated) {
      summary = state.terminated.reason || endOf(state.terminated);
      if (state.terminated.exitCode !== 0) failure = summary;
    } else if (ready && state.running) running = true;
  }
  if (summary !== 'Completed') return summary;
  if (running && status.conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True')) return 'Running';
  return failure ?? (running ? 'NotReady' : summary);
}

const endOf = ({ signal, exitCode }: { signal?: number; exitCode: number }): string =>
  signal ? `Signal:${signal}` : `ExitCode:${exitCode}`;
