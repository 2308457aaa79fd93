/**
 * What a pod may be told about itself, as environment or as files: fields of its metadata and resources of its containers.
 * Rules: pkg/fieldpath/fieldpath.go, pkg/api/v1/resource/helpers.go (ExtractContainerResourceValue).
 * Layer: kubelet/plan (pure). Addresses are known to environment.ts only.
 */
import type { Container, EnvVarSource, Pod } from '../../api/core.ts';
import { bytesOf, millicoresOf } from './resource-values.ts';

/** What an unset limit means: the node's allocatable. */
export interface Allocatable {
  milliCores: number;
  memoryBytes: number;
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
  const target = ref.containerName ? pod.spec.containers.find(({ name }) => name === ref.containerName) : own;
  if (!target) return { fault: `container ${ref.containerName ?? ''} not found` };
  const [kind, resource = ''] = ref.resource.split('.', 2);
  const list =
    kind === 'limits' ? target.resources?.limits : kind === 'requests' ? target.resources?.requests : undefined;
  const written = ownValue(list, resource) ?? '0';
  const divisor = ref.divisor ?? '1';
  // A limit of 0 is no limit, and a divisor of 0 stands for 1.
  const orNode = (amount: number, ofNode: number): number => (amount === 0 && kind === 'limits' ? ofNode : amount);
  if (resource === 'cpu') {
    const milliCores = orNode(millicoresOf(written), allocatable.milliCores);
    return { value: String(Math.ceil(milliCores / (millicoresOf(divisor) || 1000))) };
  }
  if (resource === 'memory') {
    const bytes = orNode(bytesOf(written), allocatable.memoryBytes);
    return { value: String(Math.ceil(bytes / (bytesOf(divisor) || 1))) };
  }
  if (resource === 'ephemeral-storage' && (kind === 'requests' || bytesOf(written) > 0)) {
    return { value: String(Math.ceil(bytesOf(written) / (bytesOf(divisor) || 1))) };
  }
  return { fault: `unsupported container resource: ${ref.resource}` };
}

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
