/**
 * What a pod holds while it is being resized: the most of what it was given, what it is being given, and what its
 * containers have. Others are admitted beside that.
 * Layer: kubelet/resize (pure). Source: component-helpers/resource/helpers.go (determineEffectiveRequests).
 */
import type { Container, Pod, PodStatus, ResourceList } from '../../api/core.ts';
import { parseQuantity, QuantityError } from '../../config/quantity.ts';
import { type Amounts, podRequests } from '../plan/pod-requests.ts';

/** The pod with requests no less than those of `other`, which is the same pod with other resources. */
export function withRequestsOf(pod: Pod, other: Pod): Pod {
  const requests = new Map(
    [...other.spec.containers, ...(other.spec.initContainers ?? [])].map(({ name, resources }) => [
      name,
      resources?.requests,
    ]),
  );
  return raised(pod, (name) => requests.get(name), other.spec.resources?.requests);
}

/** The pod with requests no less than what its containers were last seen to have. */
export function withActualRequests(pod: Pod, status: PodStatus | undefined): Pod {
  const statuses = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])];
  const requests = new Map(statuses.map(({ name, state, resources }) => [name, state.running && resources?.requests]));
  return raised(pod, (name) => requests.get(name), undefined);
}

function raised(
  pod: Pod,
  requestsOf: (name: string) => ResourceList | undefined,
  ofPod: ResourceList | undefined,
): Pod {
  const raise = (container: Container): Container => {
    const { resources } = container;
    const requests = most(resources?.requests, requestsOf(container.name));
    return requests === resources?.requests ? container : { ...container, resources: { ...resources, requests } };
  };
  const { spec } = pod;
  return {
    ...pod,
    spec: {
      ...spec,
      containers: spec.containers.map(raise),
      ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(raise) }),
      // Only what the pod says itself replaces the sum of its containers.
      ...(spec.resources?.requests === undefined || ofPod === undefined
        ? {}
        : { resources: { ...spec.resources, requests: most(spec.resources.requests, ofPod) ?? {} } }),
    },
  };
}

function most<L extends ResourceList | undefined>(requests: L, other: ResourceList | undefined): L | ResourceList {
  let result: ResourceList | undefined;
  for (const [name, text] of Object.entries(other ?? {})) {
    const nanos = nanosOf(text);
    if (nanos === undefined || nanos <= (nanosOf(requests?.[name]) ?? 0n)) continue;
    result = { ...(result ?? requests), [name]: text };
  }
  return result ?? requests;
}

/** Statuses may have come from an API server. */
function nanosOf(text: string | undefined): bigint | undefined {
  try {
    return text === undefined ? undefined : parseQuantity(text).nanos;
  } catch (error) {
    if (error instanceof QuantityError) return undefined;
    throw error;
  }
}

export function sumOfRequests(pods: readonly Pod[]): Amounts {
  const sum: Amounts = new Map();
  for (const pod of pods) for (const [name, nanos] of podRequests(pod)) sum.set(name, (sum.get(name) ?? 0n) + nanos);
  return sum;
}

export const sameAmounts = (a: Amounts, b: Amounts): boolean =>
  a.size === b.size && [...a].every(([name, nanos]) => b.get(name) === nanos);
