/**
 * The order in which a pod's resize is carried out: room before use. The pod's cgroup is widened first and narrowed last;
 * between, memory before CPU, and of each what shrinks before what grows. Cut short at any step, the next plan goes on
 * from what the runtime then has.
 * Layer: kubelet/resize (pure). pods/apply-resize.ts carries it out. Source: pkg/kubelet/kuberuntime/kuberuntime_manager.go
 * (doPodResizeAction, validateMemoryResizeAction, IsPodResizeInProgress).
 */
import type { Container, Pod, ResourceList, ResourceRequirements } from '../../api/core.ts';
import { parseQuantity } from '../../config/quantity.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { isSidecar } from '../plan/container-kind.ts';
import { podLevel, podLimits } from '../plan/pod-requests.ts';
import { qosClass } from '../plan/qos.ts';
import { type ContainerRecord, newestContainer, type PodRuntimeState } from '../plan/runtime-state.ts';
import { type Allocation, allocationOf, sameAllocation, withAllocation } from './allocation.ts';
import { type ContainerResize, containerResize, type ResizeFacts } from './container-resize.ts';

/** Of a pod that was resized since it was admitted; others have none, and cost nothing. */
export interface ResizeState extends ResizeFacts {
  /** What the pod's cgroup was last set for; undefined when that is not known. */
  podCgroup: Allocation | undefined;
}

export type ResizeOperation = PodCgroupOperation | UpdateOperation;

export interface PodCgroupOperation {
  op: 'updatePodCgroup';
  /** The pod with the resources that its cgroup is to hold. */
  pod: Pod;
  /** Bytes, when this takes memory away: all containers together must use less. */
  lowersMemoryTo?: number;
}

export interface UpdateOperation {
  op: 'updateContainer';
  id: string;
  name: string;
  resource: 'memory' | 'cpu';
  resources: cri.LinuxContainerResourcesInput;
  /** Bytes, when this takes memory away: the container must use less. */
  lowersMemoryTo?: number;
}

export interface ContainerUpdate {
  record: ContainerRecord;
  change: ContainerResize;
}

/** @param updates of running containers that need no restart */
export function resizeOperations(
  pod: Pod,
  updates: readonly ContainerUpdate[],
  { podCgroup }: Pick<ResizeState, 'podCgroup'>,
): ResizeOperation[] {
  const wanted = allocationOf(pod);
  const memory = updates
    .filter(({ change }) => change.memory)
    .sort(by(memoryGrowth))
    .map(memoryUpdate);
  const cpu = updates
    .filter(({ change }) => change.cpu)
    .sort(by(cpuGrowth))
    .map(cpuUpdate);
  const containers = [...memory, ...cpu];
  if (podCgroup !== undefined && sameAllocation(podCgroup, wanted)) return containers;
  const before = podCgroup === undefined ? asTheyAre(pod, updates) : withAllocation(pod, podCgroup);
  const both = widest(before, pod);
  const hasRoom = podCgroup !== undefined && sameAllocation(allocationOf(both), podCgroup);
  const room: PodCgroupOperation[] = hasRoom ? [] : [{ op: 'updatePodCgroup', pod: both }];
  if (sameAllocation(allocationOf(both), wanted)) return [...room, ...containers];
  const lower = loweredMemory(before, pod);
  return [
    ...room,
    ...containers,
    { op: 'updatePodCgroup', pod, ...(lower === undefined ? {} : { lowersMemoryTo: lower }) },
  ];
}

/** The pod with what its containers have, for a cgroup of which nothing is known. */
function asTheyAre(pod: Pod, updates: readonly ContainerUpdate[]): Pod {
  const containers = new Map(
    updates.map(({ record, change }): [string, ResourceRequirements] => [record.name, asRequirements(change)]),
  );
  return withAllocation(pod, { pod: pod.spec.resources, containers });
}

function asRequirements({ actual }: ContainerResize): ResourceRequirements {
  const { cpuShares, cpuQuotaUs, cpuPeriodUs, memoryLimitBytes } = actual;
  return {
    requests: { cpu: `${Math.ceil((cpuShares * 1000) / 1024)}m` },
    limits: {
      ...(cpuQuotaUs > 0 && cpuPeriodUs > 0 ? { cpu: `${Math.ceil((cpuQuotaUs * 1000) / cpuPeriodUs)}m` } : {}),
      ...(memoryLimitBytes > 0 ? { memory: String(memoryLimitBytes) } : {}),
    },
  };
}

const by =
  (growth: (change: ContainerResize) => number) =>
  (a: ContainerUpdate, b: ContainerUpdate): number =>
    Math.sign(growth(a.change)) - Math.sign(growth(b.change));

/** No limit is the most there is. */
const memoryGrowth = ({ wanted, actual }: ContainerResize): number =>
  (wanted.memoryLimitInBytes ?? 0) - (actual.memoryLimitBytes || Number.MAX_SAFE_INTEGER);

/** By the limit, and where that stays by the request. */
function cpuGrowth({ wanted, actual }: ContainerResize): number {
  const part = (quota = 0, period = 0): number => (quota > 0 && period > 0 ? quota / period : Number.MAX_SAFE_INTEGER);
  const limit = part(wanted.cpuQuota, wanted.cpuPeriod) - part(actual.cpuQuotaUs, actual.cpuPeriodUs);
  return limit || (wanted.cpuShares ?? 0) - actual.cpuShares;
}

/** The CPU as it is: its turn comes later. */
function memoryUpdate({ record, change }: ContainerUpdate): UpdateOperation {
  const { wanted, actual } = change;
  const { cpuShares, cpuQuotaUs: cpuQuota, cpuPeriodUs: cpuPeriod } = actual;
  const lowers = memoryGrowth(change) < 0;
  return {
    op: 'updateContainer',
    id: record.id,
    name: record.name,
    resource: 'memory',
    resources: cpuShares === 0 ? wanted : { ...wanted, cpuShares, cpuQuota, cpuPeriod },
    ...(lowers ? { lowersMemoryTo: wanted.memoryLimitInBytes ?? 0 } : {}),
  };
}

/** Memory comes first, so all of it is as wanted by now. */
const cpuUpdate = ({ record, change }: ContainerUpdate): UpdateOperation => ({
  op: 'updateContainer',
  id: record.id,
  name: record.name,
  resource: 'cpu',
  resources: change.wanted,
});

/** Whether something of the pod that runs is not yet as it was given. What does not run is made right when it starts. */
export function isResizeInProgress(pod: Pod, state: PodRuntimeState, resize: ResizeState): boolean {
  if (resize.podCgroup !== undefined && !sameAllocation(resize.podCgroup, allocationOf(pod))) return true;
  const lasting = [...(pod.spec.initContainers ?? []).filter(isSidecar), ...pod.spec.containers];
  return lasting.some((container) => {
    const record = newestContainer(state, container.name);
    return record?.phase === 'running' && containerResize(pod, container, record, resize) !== undefined;
  });
}

/** Each container with the more of both: a cgroup that has room for either, and for any step between them. */
function widest(a: Pod, b: Pod): Pod {
  const before = allocationOf(a);
  const widen = (container: Container): Container => ({
    ...container,
    resources: more(before.containers.get(container.name), container.resources),
  });
  const { initContainers, containers, resources } = b.spec;
  return {
    ...b,
    // The class says where the cgroup is, and a resize never changes it.
    status: { phase: 'Pending', conditions: [], ...b.status, qosClass: qosClass(b) },
    spec: {
      ...b.spec,
      containers: containers.map(widen),
      ...(initContainers === undefined ? {} : { initContainers: initContainers.map(widen) }),
      ...(resources === undefined ? {} : { resources: more(before.pod, resources) }),
    },
  };
}

function more(a: ResourceRequirements = {}, b: ResourceRequirements = {}): ResourceRequirements {
  return { requests: most(a.requests, b.requests, 'one'), limits: most(a.limits, b.limits, 'none') };
}

/** @param missing what counts when only one has the resource: that `one`, or that there is `none` */
function most(a: ResourceList = {}, b: ResourceList = {}, missing: 'one' | 'none'): ResourceList {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  const entries = [...names].flatMap((name): [string, string][] => {
    const [one, other] = [a[name], b[name]];
    if (one !== undefined && other !== undefined) {
      return [[name, parseQuantity(one).nanos > parseQuantity(other).nanos ? one : other]];
    }
    const only = one ?? other;
    return missing === 'none' || only === undefined ? [] : [[name, only]];
  });
  return Object.fromEntries(entries);
}

function loweredMemory(before: Pod, after: Pod): number | undefined {
  const limit = memoryLimit(after);
  return limit < memoryLimit(before) ? limit : undefined;
}

/** Bytes of the pod's own memory.max; Infinity when a container may use what it likes. */
function memoryLimit(pod: Pod): number {
  const { spec } = pod;
  const limited =
    podLevel(spec, 'limits').some(([name]) => name === 'memory') ||
    [...(spec.initContainers ?? []), ...spec.containers].every(({ resources }) => resources?.limits?.memory);
  const nanos = podLimits(pod).get('memory');
  return limited && nanos !== undefined ? Number((nanos + 999_999_999n) / 1_000_000_000n) : Number.POSITIVE_INFINITY;
}
