/**
 * What a pod may be told about itself, as environment or as files: fields of its metadata and resources of its containers.
 * Rules: pkg/fieldpath/fieldpath.go, pkg/api/v1/resource/helpers.go (ExtractContainerResourceValue).
 * Layer: kubelet/plan (pure). Addresses are known to environment.ts only.
 */
import type { Container, EnvVarSource, Pod } from '../../api/core.ts';
import { isHugePages, podLevel } from './pod-requests.ts';
import { bytesOf, millicoresOf } from './resource-values.ts';

/** What an unset limit means: the node's allocatable. */
export interface Allocatable {
  milliCores: number;
  memoryBytes: number;
  /** Undefined when it is not known: a limit of it that is unset then cannot be told. */
  ephemeralStorageBytes?: number | undefined;
}

export type DownwardValue = { value: string } | { fault: string };

/** Fields of metadata; whole labels and annotations as lines `key="value"`, sorted. */
export function downwardField({ metadata, spec }: Pod, path: string): DownwardValue {
  const subscript = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  if (subscript) {
    const map = subscript[1] === 'labels' ? metadata.labels : metadata.annotations;
    return { value: ownValue(map, subscript[2] ?? '') ?? '' };
  }
  switch (path) {
    case 'metadata.name':
      return { value: metadata.name };
    case 'metadata.namespace':
      return { value: metadata.namespace };
    case 'metadata.uid':
      return { value: metadata.uid };
    case 'metadata.labels':
      return { value: formatMap(metadata.labels) };
    case 'metadata.annotations':
      return { value: formatMap(metadata.annotations) };
    case 'spec.serviceAccountName':
      return { value: spec.serviceAccountName ?? '' };
    default:
      return { fault: `unsupported fieldPath: ${path}` };
  }
}

export type ResourceFieldRef = NonNullable<EnvVarSource['resourceFieldRef']>;

/** @param own the container that asks, for a reference that names none */
export function downwardResource(
  pod: Pod,
  ref: ResourceFieldRef,
  own: Container | undefined,
  allocatable: Allocatable,
): DownwardValue {
  const target = ref.containerName ? containerNamed(pod, ref.containerName) : own;
  if (!target) return { fault: `container ${ref.containerName ?? ''} not found` };
  const [, kind, resource = ''] = /^(limits|requests)\.(.+)$/.exec(ref.resource) ?? [];
  if (kind !== 'limits' && kind !== 'requests') return { fault: `unsupported container resource: ${ref.resource}` };
  const written = amountOf(ownValue(target.resources?.[kind], resource) ?? '0', resource);
  const divisor = amountOf(ref.divisor ?? '0', resource) || amountOf('1', resource);
  // A limit of 0 is no limit: that of the pod counts, else what the node has.
  const amount = kind === 'limits' && written === 0 ? unsetLimit(pod, resource, allocatable) : written;
  if (amount === undefined || !isKnown(resource)) return { fault: `unsupported container resource: ${ref.resource}` };
  return { value: String(Math.ceil(amount / divisor)) };
}

const isKnown = (resource: string): boolean =>
  resource === 'cpu' || resource === 'memory' || resource === 'ephemeral-storage' || isHugePages(resource);

/** Thousandths of CPU, whole units of everything else. */
const amountOf = (quantity: string, resource: string): number =>
  resource === 'cpu' ? millicoresOf(quantity) : bytesOf(quantity);

function unsetLimit(pod: Pod, resource: string, allocatable: Allocatable): number | undefined {
  const ofPod = podLevel(pod.spec, 'limits').find(([name]) => name === resource)?.[1];
  const amount = ofPod === undefined || isHugePages(resource) ? 0 : amountOf(ofPod, resource);
  if (amount > 0) return amount;
  if (resource === 'cpu') return allocatable.milliCores;
  if (resource === 'memory') return allocatable.memoryBytes;
  return resource === 'ephemeral-storage' ? allocatable.ephemeralStorageBytes : 0;
}

/** Main and init containers; ephemeral ones have no resources to tell. */
const containerNamed = ({ spec }: Pod, name: string): Container | undefined =>
  [...spec.containers, ...(spec.initContainers ?? [])].find((container) => container.name === name);

/** Keys come from manifests: `constructor` is a key like any other, and no object has it by itself. */
export const ownValue = (map: Record<string, string> | undefined, key: string): string | undefined =>
  map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;

/** As Go's strconv.Quote writes the value, as far as JSON does the same. */
function formatMap(map: Record<string, string> = {}): string {
  return Object.entries(map)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join('\n');
}
