/**
 * Whether one running container has what its pod was given, and what to do when not: tell the runtime, or, where the
 * container's resizePolicy says so, restart it. No record of what was told is needed: the runtime says what it has, and
 * for a resource whose change means a restart every instance carries what it was made with.
 * Layer: kubelet/resize (pure). Source: pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodResizeAction).
 */
import type { Container, Pod } from '../../api/core.ts';
import type * as cri from '../../cri/messages.generated.ts';
import { podLevel } from '../plan/pod-requests.ts';
import { bytesOf, millicoresOf } from '../plan/resource-values.ts';
import { containerResources, type NodeResources } from '../plan/resources.ts';
import type { ActualResources, ContainerRecord } from '../plan/runtime-state.ts';

/** On containers with a resizePolicy RestartContainer: what they were made with, see createdWith. */
export const createdWithAnnotation = 'keelson.dev/created-with';

export interface ContainerResize {
  /** Nothing is told to the runtime: the next instance will have it. */
  restart: boolean;
  memory: boolean;
  cpu: boolean;
  wanted: cri.LinuxContainerResourcesInput;
  actual: ActualResources;
}

export interface ResizeFacts {
  node: NodeResources;
  /** By container id, what the runtime took last in this process: it may be slow to say so itself. */
  told: ReadonlyMap<string, ActualResources>;
}

const nothing: ActualResources = { cpuShares: 0, cpuQuotaUs: 0, cpuPeriodUs: 0, memoryLimitBytes: 0 };

/** @param record the running instance. @returns undefined when it has what it should */
export function containerResize(
  pod: Pod,
  container: Container,
  record: ContainerRecord,
  { node, told }: ResizeFacts,
): ContainerResize | undefined {
  const wanted = containerResources(pod, container, node);
  // A runtime that tells nothing is told once in each process: it takes the same again.
  const known = told.get(record.id) ?? record.resources;
  const actual = known ?? nothing;
  const { memoryLimitInBytes = 0, cpuShares = 0, cpuQuota = 0, cpuPeriod = 0 } = wanted;
  // CRI has no words to take a limit away, and the API does not allow it.
  const memory = memoryLimitInBytes > 0 && memoryLimitInBytes !== actual.memoryLimitBytes;
  const limit = cpuQuota > 0 && (cpuQuota !== actual.cpuQuotaUs || cpuPeriod !== actual.cpuPeriodUs);
  const cpu = limit || cpuShares !== actual.cpuShares;
  const restart = asksForRestart(
    pod,
    container,
    record,
    known === undefined ? { memory: false, cpu: false } : { memory, cpu },
  );
  return memory || cpu || restart ? { restart, memory, cpu, wanted, actual } : undefined;
}

/** @param differs from what the runtime says: for instances that do not say what they were made with */
function asksForRestart(
  pod: Pod,
  container: Container,
  { annotations }: ContainerRecord,
  differs: { memory: boolean; cpu: boolean },
): boolean {
  const made = parseCreatedWith(annotations[createdWithAnnotation]);
  const now = amounts(pod, container);
  return (['cpu', 'memory'] as const).some((name) => {
    if (!restartsFor(container, name)) return false;
    return made === undefined ? differs[name] : made[name].some((amount, index) => amount !== now[name][index]);
  });
}

const restartsFor = ({ resizePolicy = [] }: Container, name: string): boolean =>
  resizePolicy.find(({ resourceName }) => resourceName === name)?.restartPolicy === 'RestartContainer';

interface Amounts {
  /** Request and limit, millicores. */
  cpu: number[];
  /** Request and limit, bytes. */
  memory: number[];
}

function amounts({ spec }: Pod, { resources: { requests = {}, limits = {} } = {} }: Container): Amounts {
  const ofPod = Object.fromEntries(podLevel(spec, 'limits'));
  const milli = (text: string | undefined): number => (text === undefined ? 0 : millicoresOf(text));
  const bytes = (text: string | undefined): number => (text === undefined ? 0 : bytesOf(text));
  return {
    cpu: [milli(requests.cpu), milli(limits.cpu) || milli(ofPod.cpu)],
    memory: [bytes(requests.memory), bytes(limits.memory) || bytes(ofPod.memory)],
  };
}

/** The annotation's value; undefined for a container that no resize restarts. */
export function createdWith(pod: Pod, container: Container): string | undefined {
  const restarts = restartsFor(container, 'cpu') || restartsFor(container, 'memory');
  return restarts ? JSON.stringify(amounts(pod, container)) : undefined;
}

/** Undefined for what createdWith does not write. */
function parseCreatedWith(text: string | undefined): Amounts | undefined {
  try {
    const { cpu, memory } = JSON.parse(text ?? 'null') as Partial<Record<keyof Amounts, unknown>>;
    return isPair(cpu) && isPair(memory) ? { cpu, memory } : undefined;
  } catch {
    return undefined;
  }
}

const isPair = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length === 2 && value.every((amount) => typeof amount === 'number');
