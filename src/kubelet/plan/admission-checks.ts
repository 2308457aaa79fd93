/**
 * The single reasons for which a node refuses a pod, in the kubelet's order and words.
 * Layer: kubelet/plan (pure). Source: pkg/kubelet/lifecycle/predicate.go, pkg/scheduler (AdmissionCheck) and its
 * plugins noderesources, nodeaffinity, nodename, nodeports, tainttoleration; pkg/kubelet/sysctl/allowlist.go.
 */
import type { ContainerPort, Pod, ResourceList } from '../../api/core.ts';
import type { Taint } from '../../api/node.ts';
import { parseQuantity, QuantityError } from '../../config/quantity.ts';
import { appArmorFault } from './app-armor.ts';
import { isSidecar } from './container-kind.ts';
import { isCriticalPod } from './critical-pod.ts';
import { matchesNode, untoleratedTaint } from './node-selector.ts';
import { isApiPod } from './pod-origin.ts';
import { podRequests } from './pod-requests.ts';
import type { Shortfall } from './preemption.ts';
import { qosClass } from './qos.ts';
import { sysctlFault } from './sysctls.ts';

/** The Node as the API server has it; absent when there is none. */
export interface AdmittingNode {
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly allocatable: ResourceList;
  /** status.features.supplementalGroupsPolicy */
  readonly supplementalGroupsPolicy?: boolean | undefined;
}

export type PressureCondition = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';

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
  /** Conditions of the node that are True. Default: none. */
  readonly pressures?: readonly PressureCondition[] | undefined;
  /** Whether the kernel confines processes by AppArmor. Default: it does not. */
  readonly appArmor?: boolean | undefined;
  /** What the runtime says where there is no Node to ask. */
  readonly supplementalGroupsPolicy?: boolean | undefined;
  readonly shuttingDown?: boolean | undefined;
}

/** What the pods that were taken already use. */
export class NodeUsage {
  pods = 0;
  /** Billionths, by resource. */
  readonly requests = new Map<string, bigint>();
  readonly #ports = new Map<string, Set<string>>();

  add(pod: Pod): void {
    this.pods++;
    for (const [name, nanos] of podRequests(pod)) this.requests.set(name, (this.requests.get(name) ?? 0n) + nanos);
    for (const port of hostPortsOf(pod)) {
      const key = portKey(port);
      this.#ports.set(key, (this.#ports.get(key) ?? new Set()).add(port.hostIP || anyAddress));
    }
  }

  /** Its ports stay taken until its containers have ended. */
  remove(pod: Pod): void {
    this.pods--;
    for (const [name, nanos] of podRequests(pod)) this.requests.set(name, (this.requests.get(name) ?? 0n) - nanos);
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
/** Of what runs as long as the pod does. Source: GetHostPorts in pkg/scheduler/util/utils.go. */
const hostPortsOf = ({ spec }: Pod): ContainerPort[] =>
  [...spec.containers, ...(spec.initContainers ?? []).filter(isSidecar)].flatMap(({ ports = [] }) =>
    ports.filter(({ hostPort = 0 }) => hostPort > 0),
  );

/**
 * The first reason against the pod, or undefined when the node takes it.
 * @param room false: as if the node had enough of every resource
 */
export function refusalOf(pod: Pod, used: NodeUsage, context: CheckContext, room = true): Refusal | undefined {
  return (
    checkFeatures(pod, context) ??
    pressureRefusal(pod, context) ??
    checkSysctls(pod, context) ??
    checkOs(pod) ??
    checkSupplementalGroups(pod, context) ??
    (room ? checkResources(pod, used, context) : undefined) ??
    checkNode(pod, context) ??
    checkPorts(pod, used) ??
    checkTaints(pod, context) ??
    checkAppArmor(pod, context) ??
    checkShutdown(context)
  );
}

function checkFeatures(pod: Pod, context: CheckContext): Refusal | undefined {
  const fields = context.unsupported(pod.metadata.uid);
  if (fields.length === 0) return undefined;
  const message = `this version of Keelson does not run pods with ${fields.join(', ')}`;
  return { reason: 'PodFeatureUnsupported', message };
}

const memoryPressureTaint: Taint = { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' };

/** Source: Admit in pkg/kubelet/eviction/eviction_manager.go. */
export function pressureRefusal(pod: Pod, { pressures = [] }: Pick<CheckContext, 'pressures'>): Refusal | undefined {
  if (pressures.length === 0 || isCriticalPod(pod)) return undefined;
  if (pressures.every((condition) => condition === 'MemoryPressure')) {
    if (qosClass(pod) !== 'BestEffort') return undefined;
    if (untoleratedTaint(pod, [memoryPressureTaint], 'NoSchedule') === undefined) return undefined;
  }
  return { reason: 'Evicted', message: `The node had condition: [${pressures.join(' ')}]. ` };
}

/** A manifest on the node's own disk was put there by its administrator. */
function checkSysctls(pod: Pod, { allowedUnsafeSysctls }: CheckContext): Refusal | undefined {
  const message = isApiPod(pod) ? sysctlFault(pod.spec, allowedUnsafeSysctls) : undefined;
  return message === undefined ? undefined : { reason: 'SysctlForbidden', message };
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

function checkSupplementalGroups(pod: Pod, context: CheckContext): Refusal | undefined {
  if (pod.spec.securityContext?.supplementalGroupsPolicy !== 'Strict') return undefined;
  const supported = context.node?.supplementalGroupsPolicy ?? context.supplementalGroupsPolicy ?? false;
  if (supported) return undefined;
  const message = 'SupplementalGroupsPolicy=Strict is not supported in this node';
  return { reason: 'SupplementalGroupsPolicyNotSupported', message };
}

const nano = 1_000_000_000n;

function checkResources(pod: Pod, used: NodeUsage, { node, maxPods }: CheckContext): Refusal | undefined {
  if (used.pods + 1 > maxPods) return outOf('pods', 1n, BigInt(used.pods), BigInt(maxPods));
  // Static pods are critical: the stock kubelet makes room for them, and this version takes them as they are.
  if (node === undefined || !isApiPod(pod)) return undefined;
  return shortage(podRequests(pod), used.requests, node.allocatable);
}

/** How much of each resource the node has too little for the pod. */
export function shortfallOf(pod: Pod, used: NodeUsage, { node, maxPods }: CheckContext): Shortfall {
  const missing = new Map<string, bigint>();
  if (used.pods + 1 > maxPods) missing.set('pods', BigInt(used.pods + 1 - maxPods) * nano);
  for (const [name, nanos] of podRequests(pod)) {
    const limit = node && amountOf(node.allocatable, name);
    const rest = limit === undefined ? 0n : (used.requests.get(name) ?? 0n) + nanos - limit;
    if (nanos > 0n && rest > 0n) missing.set(name, rest);
  }
  return missing;
}

export interface Shortage extends Refusal {
  readonly requested: bigint;
  readonly capacity: bigint;
}

/** The first resource of which the node has too little. Amounts are billionths, by resource. */
export function shortage(
  requests: ReadonlyMap<string, bigint>,
  used: ReadonlyMap<string, bigint>,
  allocatable: ResourceList,
): Shortage | undefined {
  for (const [name, nanos] of requests) {
    const limit = amountOf(allocatable, name);
    // A resource that the node does not know is the cluster's affair (removeMissingExtendedResources).
    if (nanos === 0n || limit === undefined) continue;
    const inUse = used.get(name) ?? 0n;
    // CPU counts in thousandths, everything else in whole units.
    const unit = name === 'cpu' ? nano / 1000n : nano;
    if (inUse + nanos <= limit) continue;
    const [requested, capacity] = [roundUp(nanos, unit), roundUp(limit, unit)];
    return { ...outOf(name, requested, roundUp(inUse, unit), capacity), requested, capacity };
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

function checkAppArmor(pod: Pod, { appArmor = false }: CheckContext): Refusal | undefined {
  const fault = appArmorFault(pod, appArmor);
  return fault === undefined ? undefined : { reason: 'AppArmor', message: `Cannot enforce AppArmor: ${fault}` };
}

function checkShutdown({ shuttingDown = false }: CheckContext): Refusal | undefined {
  return shuttingDown
    ? { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' }
    : undefined;
}
