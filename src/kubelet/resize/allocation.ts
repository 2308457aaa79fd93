/**
 * What a pod was given of each resource: the requests and limits that it was admitted with or last resized to. While a
 * resize waits, the pod's spec asks for something else, and everything on the node goes by the allocation.
 * Layer: kubelet/resize (pure). Source: pkg/kubelet/allocation/allocation_manager.go (allocationFromPod,
 * updatePodFromAllocation). Texts come from files and from sandboxes' annotations: they are read as untrusted.
 */
import type { Container, Pod, ResourceList, ResourceRequirements } from '../../api/core.ts';
import { parseQuantity, QuantityError } from '../../config/quantity.ts';
import { isRecord } from '../../config/schema-compound.ts';

/** On the sandboxes of an API server's pods: what the pod had when the sandbox was made. */
export const allocatedResourcesAnnotation = 'keelson.dev/allocated-resources';

export interface Allocation {
  /** What the pod says itself; undefined when it says nothing. */
  pod: ResourceRequirements | undefined;
  /** By name of main and init containers. */
  containers: ReadonlyMap<string, ResourceRequirements>;
}

export function allocationOf({ spec }: Pick<Pod, 'spec'>): Allocation {
  const containers = [...(spec.initContainers ?? []), ...spec.containers];
  return {
    pod: spec.resources,
    containers: new Map(containers.map(({ name, resources = {} }) => [name, resources])),
  };
}

/** The pod with what it was given in place of what it asks for; the same object when there is no difference. */
export function withAllocation(pod: Pod, allocation: Allocation): Pod {
  const { spec } = pod;
  const init = spec.initContainers && withResources(spec.initContainers, allocation);
  const containers = withResources(spec.containers, allocation);
  const samePod = sameResources(spec.resources, allocation.pod);
  if (samePod && init === spec.initContainers && containers === spec.containers) return pod;
  const { resources: _, ...rest } = spec;
  const resources = samePod ? spec.resources : allocation.pod;
  return {
    ...pod,
    spec: {
      ...rest,
      containers,
      ...(init === undefined ? {} : { initContainers: init }),
      ...(resources === undefined ? {} : { resources }),
    },
  };
}

function withResources(containers: Container[], allocation: Allocation): Container[] {
  let changed = false;
  const result = containers.map((container) => {
    const resources = allocation.containers.get(container.name);
    if (resources === undefined || sameResources(container.resources, resources)) return container;
    changed = true;
    return { ...container, resources };
  });
  return changed ? result : containers;
}

/** By value: `1` is `1000m`, and an empty list is none. */
export function sameResources(a: ResourceRequirements | undefined, b: ResourceRequirements | undefined): boolean {
  return a === b || (sameList(a?.requests, b?.requests) && sameList(a?.limits, b?.limits));
}

function sameList(a: ResourceList = {}, b: ResourceList = {}): boolean {
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => {
    const [one, other] = [a[name], Object.hasOwn(b, name) ? b[name] : undefined];
    if (one === undefined || other === undefined) return one === other;
    return one === other || parseQuantity(one).nanos === parseQuantity(other).nanos;
  });
}

export function sameAllocation(a: Allocation, b: Allocation): boolean {
  return (
    sameResources(a.pod, b.pod) &&
    a.containers.size === b.containers.size &&
    [...a.containers].every(
      ([name, resources]) => b.containers.has(name) && sameResources(resources, b.containers.get(name)),
    )
  );
}

/** Whether anything is requested or limited: a pod without can never be resized, since its QoS class is fixed. */
export function isEmptyAllocation({ pod, containers }: Allocation): boolean {
  return [pod, ...containers.values()].every((resources) => sameResources(resources, undefined));
}

export function formatAllocation({ pod, containers }: Allocation): string {
  return JSON.stringify({
    ...(pod === undefined ? {} : { pod }),
    containers: [...containers].map(([name, resources]) => ({ name, ...resources })),
  });
}

/** Undefined for anything that formatAllocation does not write. */
export function parseAllocation(text: string | undefined): Allocation | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
  return readAllocation(value);
}

/** Undefined for anything that is no allocation. */
export function readAllocation(value: unknown): Allocation | undefined {
  if (!isRecord(value) || !Array.isArray(value.containers)) return undefined;
  const pod = value.pod === undefined ? undefined : readRequirements(value.pod);
  if (value.pod !== undefined && pod === undefined) return undefined;
  const containers = new Map<string, ResourceRequirements>();
  for (const entry of value.containers as unknown[]) {
    if (!isRecord(entry) || typeof entry.name !== 'string' || containers.has(entry.name)) return undefined;
    const resources = readRequirements(entry);
    if (resources === undefined) return undefined;
    containers.set(entry.name, resources);
  }
  return { pod, containers };
}

function readRequirements(value: unknown): ResourceRequirements | undefined {
  if (!isRecord(value)) return undefined;
  const [requests, limits] = [readList(value.requests), readList(value.limits)];
  if (requests === 'wrong' || limits === 'wrong') return undefined;
  return { ...(requests === undefined ? {} : { requests }), ...(limits === undefined ? {} : { limits }) };
}

function readList(value: unknown): ResourceList | undefined | 'wrong' {
  if (value === undefined) return undefined;
  if (!isRecord(value)) return 'wrong';
  const entries: [string, string][] = [];
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== 'string' || !isAmount(text)) return 'wrong';
    entries.push([name, text]);
  }
  return Object.fromEntries(entries);
}

function isAmount(text: string): boolean {
  try {
    return parseQuantity(text).nanos >= 0n;
  } catch (error) {
    if (error instanceof QuantityError) return false;
    throw error;
  }
}
