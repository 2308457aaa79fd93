/**
 * How much a pod may count on: its QoS class, and the OOM score that follows from it for each container.
 * Layer: kubelet/plan (pure). Source: pkg/apis/core/v1/helper/qos/qos.go, pkg/kubelet/qos/{policy,helpers}.go.
 */
import type { Container, Pod, QosClass, ResourceRequirements } from '../../api/core.ts';
import { isSidecar } from './container-kind.ts';
import { isNodeCriticalPod } from './critical-pod.ts';
import { aggregate, podLevel } from './pod-requests.ts';
import { bytesOf, millicoresOf } from './resource-values.ts';

/** What the API server has of the pod goes first: it decided the class once, when the pod was made. */
export function qosClass(pod: Pod): QosClass {
  if (pod.status?.qosClass !== undefined) return pod.status.qosClass;
  const { spec } = pod;
  const parts =
    spec.resources === undefined
      ? [...spec.containers, ...(spec.initContainers ?? [])]
      : [{ resources: spec.resources }];
  let guaranteed = true;
  let any = false;
  for (const { resources } of parts) {
    for (const name of ['cpu', 'memory'] as const) {
      const [request, limit] = [requestOf(resources, name), amountOf(resources?.limits?.[name], name)];
      if (request > 0 || limit > 0) any = true;
      if (limit === 0 || request !== limit) guaranteed = false;
    }
  }
  if (!any) return 'BestEffort';
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

const amountOf = (quantity: string | undefined, name: 'cpu' | 'memory'): number => {
  if (quantity === undefined) return 0;
  return name === 'cpu' ? millicoresOf(quantity) : bytesOf(quantity);
};

/** A limit without a request is the request as well; an explicit 0 stays 0. */
const requestOf = (resources: ResourceRequirements | undefined, name: 'cpu' | 'memory'): number =>
  amountOf(resources?.requests?.[name] ?? resources?.limits?.[name], name);

/** As requested: the kubelet reads no limit for the score. */
const memoryRequest = ({ resources }: Container): number => amountOf(resources?.requests?.memory, 'memory');

/** @param nodeMemoryBytes capacity of the node */
export function oomScoreAdj(pod: Pod, container: Container, nodeMemoryBytes: number): number {
  if (isNodeCriticalPod(pod)) return -997;
  switch (qosClass(pod)) {
    case 'Guaranteed':
      return -997;
    case 'BestEffort':
      return 1000;
    case 'Burstable': {
      const spare = spareMemoryPerContainer(pod);
      const score = (bytes: number): number => 1000 - Math.floor((1000 * (bytes + spare)) / nodeMemoryBytes);
      const own = score(memoryRequest(container));
      // A sidecar is not killed before the containers that it serves.
      const least = isSidecarOf(pod, container)
        ? Math.min(own, score(Math.min(...pod.spec.containers.map(memoryRequest))))
        : own;
      return Math.min(Math.max(least, 3), 999);
    }
  }
}

/** What the pod requests beyond its containers is theirs in equal parts. */
function spareMemoryPerContainer({ spec }: Pod): number {
  const own = podLevel(spec, 'requests').find(([name]) => name === 'memory');
  if (own === undefined) return 0;
  const nanos = aggregate(spec, 'requests').get('memory') ?? 0n;
  const spare = bytesOf(own[1]) - Number(nanos / 1_000_000_000n);
  return Math.floor(spare / (spec.containers.length + (spec.initContainers?.length ?? 0)));
}

const isSidecarOf = ({ spec }: Pod, container: Container): boolean =>
  isSidecar(container) && (spec.initContainers ?? []).some(({ name }) => name === container.name);
