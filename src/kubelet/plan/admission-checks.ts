/**
 * The single reasons for which a node refuses a pod, in the kubelet's order and words.
 * Layer: kubelet/plan (pure). Source: pkg/kubelet/lifecycle/predicate.go, pkg/scheduler (AdmissionCheck) and its
 * plugins noderesources, nodeaffinity, nodename, nodeports, tainttoleration; pkg/kubelet/sysctl/allowlist.go.
 */
import type { ContainerPort, Pod, ResourceList } from '../../api/core.ts';
import type { Taint } from '../../api/node.ts';
import { parseQuantity, QuantityError } from '../../config/quantity.ts';
import { matchesNode, untoleratedTaint } from './node-selector.ts';
import { isApiPod } from './pod-origin.ts';

/** The Node as the API server has it; absent when there is none. */
export interface AdmittingNode {
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly allocatable: ResourceList;
}

export interface Refusal {
  readonly reason: string;
  /** Without the `Pod was rejected: ` that the status begins with. */
  readonly message: string;
}

export interface CheckContext {
  readonly nodeName: string;
  readonly node: AdmittingNode | undefined;
  readonly maxPods: number;
  /** Fields of the pod without which it must not run. */
  unsupported(uid: string): readonly string[];
  /** KubeletConfiguration allowedUnsafeSysctls: names, or prefixes that end in `*`. */
  readonly allowedUnsafeSysctls: readonly string[];
}

/** What the pods that were taken already use. */
export class NodeUsage {
  pods = 0;
  /** Billionths, by resource. */
  readonly requests = new Map<string, bigint>();
  readonly #ports = new Map<string, Set<string>>();

  add(pod: Pod): void {
    this.pods++;
    for (const [name, nanos] of requestsOf(pod)) this.requests.set(name, (this.requests.get(name) ?? 0n) + nanos);
    for (const port of hostPortsOf(pod)) {
      const key = portKey(port);
      this.#ports.set(key, (this.#ports.get(key) ?? new Set()).add(port.hostIP || anyAddress));
    }
  }

  /** An address that is not given means all of them. */
  isTaken(port: ContainerPort): boolean {
    const addresses = this.#ports.get(portKey(port));
    if (addresses === undefined) return false;
    const wanted = port.hostIP || anyAddress;
    return wanted === anyAddress || addresses.has(anyAddress) || addresses.has(wanted);
  }
}

const anyAddress = '0.0.0.0';
const portKey = ({ protocol, hostPort }: ContainerPort): string => `${protocol ?? 'TCP'}/${hostPort}`;
const hostPortsOf = (pod: Pod): ContainerPort[] =>
  pod.spec.containers.flatMap(({ ports = [] }) => ports.filter(({ hostPort = 0 }) => hostPort > 0));

function requestsOf(pod: Pod): Map<string, bigint> {
  const sum = new Map<string, bigint>();
  for (const { resources } of pod.spec.containers) {
    for (const [name, text] of Object.entries(resources?.requests ?? {})) {
      sum.set(name, (sum.get(name) ?? 0n) + parseQuantity(text).nanos);
    }
  }
  return sum;
}

/** The first reason against the pod, or undefined when the node takes it. */
export function refusalOf(pod: Pod, used: NodeUsage, context: CheckContext): Refusal | undefined {
  return (
    checkFeatures(pod, context) ??
    checkSysctls(pod, context) ??
    checkOs(pod) ??
    checkResources(pod, used, context) ??
    checkNode(pod, context) ??
    checkPorts(pod, used) ??
    checkTaints(pod, context)
  );
}

function checkFeatures(pod: Pod, context: CheckContext): Refusal | undefined {
  const fields = context.unsupported(pod.metadata.uid);
  if (fields.length === 0) return undefined;
  const message = `this version of Keelson does not run pods with ${fields.join(', ')}`;
  return { reason: 'PodFeatureUnsupported', message };
}

/** Those that a pod has to itself, and that cannot harm the node or its neighbours. */
const safeSysctls = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
]);

/** A manifest on the node's own disk was put there by its administrator. */
function checkSysctls(pod: Pod, { allowedUnsafeSysctls }: CheckContext): Refusal | undefined {
  if (!isApiPod(pod)) return undefined;
  const allowed = (name: string): boolean =>
    safeSysctls.has(name) ||
    allowedUnsafeSysctls.some((rule) => (rule.endsWith('*') ? name.startsWith(rule.slice(0, -1)) : name === rule));
  // Either spelling is the same sysctl.
  const names = (pod.spec.securityContext?.sysctls ?? []).map(({ name }) => name.replaceAll('/', '.'));
  const forbidden = names.find((name) => !allowed(name));
  if (forbidden === undefined) return undefined;
  return { reason: 'SysctlForbidden', message: `forbidden sysctl: ${JSON.stringify(forbidden)} not allowlisted` };
}

const osLabel = 'kubernetes.io/os';

function checkOs(pod: Pod): Refusal | undefined {
  const label = pod.metadata.labels?.[osLabel];
  if (label !== undefined && label !== 'linux') {
    const message = `Failed to admit pod as the \`${osLabel}\` label doesn't match node label`;
    return { reason: 'PodOSSelectorNodeLabelDoesNotMatch', message };
  }
  if (pod.spec.os !== undefined && pod.spec.os.name !== 'linux') {
    return { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" };
  }
  return undefined;
}

const nano = 1_000_000_000n;

function checkResources(pod: Pod, used: NodeUsage, { node, maxPods }: CheckContext): Refusal | undefined {
  if (used.pods + 1 > maxPods) return outOf('pods', 1n, BigInt(used.pods), BigInt(maxPods));
  // Static pods are critical: the stock kubelet makes room for them, and this version takes them as they are.
  if (node === undefined || !isApiPod(pod)) return undefined;
  for (const [name, nanos] of requestsOf(pod)) {
    const limit = amountOf(node.allocatable, name);
    // A resource that the node does not know is the cluster's affair (removeMissingExtendedResources).
    if (nanos === 0n || limit === undefined) continue;
    const inUse = used.requests.get(name) ?? 0n;
    // CPU counts in thousandths, everything else in whole units.
    const unit = name === 'cpu' ? nano / 1000n : nano;
    if (inUse + nanos > limit) return outOf(name, roundUp(nanos, unit), roundUp(inUse, unit), roundUp(limit, unit));
  }
  return undefined;
}

function amountOf(list: ResourceList, name: string): bigint | undefined {
  const text = Object.hasOwn(list, name) ? list[name] : undefined;
  try {
    return text === undefined ? undefined : parseQuantity(text).nanos;
  } catch (error) {
    // No API server stores such a text.
    if (error instanceof QuantityError) return undefined;
    throw error;
  }
}

const roundUp = (nanos: bigint, unit: bigint): bigint => (nanos + unit - 1n) / unit;

const outOf = (name: string, requested: bigint, used: bigint, capacity: bigint): Refusal => ({
  reason: `OutOf${name}`,
  message: `Node didn't have enough resource: ${name}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
});

const predicate = (name: string, why: string): Refusal => ({
  reason: name,
  message: `Predicate ${name} failed: ${why}`,
});

function checkNode(pod: Pod, { node, nodeName }: CheckContext): Refusal | undefined {
  if (node !== undefined && !matchesNode(pod, nodeName, node.labels)) {
    return predicate('NodeAffinity', "node(s) didn't match Pod's node affinity/selector");
  }
  if (isApiPod(pod) && pod.spec.nodeName !== nodeName) {
    return predicate('NodeName', "node(s) didn't match the requested node name");
  }
  return undefined;
}

function checkPorts(pod: Pod, used: NodeUsage): Refusal | undefined {
  if (!hostPortsOf(pod).some((port) => used.isTaken(port))) return undefined;
  return predicate('NodePorts', "node(s) didn't have free ports for the requested pod ports");
}

/** Pods of manifests are not driven off their node by taints. */
function checkTaints(pod: Pod, { node }: CheckContext): Refusal | undefined {
  if (!isApiPod(pod) || node === undefined) return undefined;
  if (untoleratedTaint(pod, node.taints, 'NoExecute') === undefined) return undefined;
  return predicate('TaintToleration', 'node(s) had untolerated taint(s)');
}
