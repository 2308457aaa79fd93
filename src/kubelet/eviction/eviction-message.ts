/**
 * What is said of a pod that goes because the node is short of something.
 * Layer: kubelet/eviction (pure). Words and keys: pkg/kubelet/eviction/helpers.go (evictionMessage).
 */
import type { Container, Pod } from '../../api/core.ts';
import { type EvictionThreshold, thresholdUnits } from '../node/eviction-thresholds.ts';
import type { SignalObservations } from '../node/pressure.ts';
import { hasPodLevelResources } from '../plan/pod-requests.ts';
import type { ContainerStats, PodStats } from '../stats/summary-types.ts';
import { amountText, canonical, memoryUsage, unitsOf } from './pod-usage.ts';
import { resourceOfSignal, type StarvedResource } from './starved-resource.ts';

export interface EvictionText {
  /** Ends with a blank, as the kubelet's does. */
  readonly message: string;
  /** Of the event. */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Starvation {
  readonly resource: StarvedResource;
  /** All that are met, the one that is acted upon among them. */
  readonly thresholds: readonly EvictionThreshold[];
  readonly observations: SignalObservations;
}

export function evictionText(pod: Pod, stats: PodStats | undefined, starvation: Starvation): EvictionText {
  const { resource } = starvation;
  const annotations: Record<string, string> = {};
  let message = `The node was low on resource: ${resource}. ${thresholdText(starvation)}`;
  if (stats === undefined) return { message, annotations };
  const podRequest = pod.spec.resources?.requests?.[resource];
  if (resource === 'memory' && hasPodLevelResources(pod.spec) && podRequest !== undefined && stats.memory) {
    const used = amountText(memoryUsage(stats), 'BinarySI');
    message += larger(`Pod ${pod.metadata.name}`, used, canonical(podRequest), resource);
    annotations.offending_pod = pod.metadata.name;
    annotations.offending_pod_usage = used;
  }
  const names: string[] = [];
  const usages: string[] = [];
  // Ephemeral containers cannot ask for anything, so they are not blamed.
  const containers = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  for (const figures of stats.containers) {
    const container = containers.find(({ name }) => name === figures.name);
    const used = container && excessOf(container, figures, resource);
    if (container === undefined || used === undefined) continue;
    const request = canonical(container.resources?.requests?.[resource]);
    message += larger(`Container ${container.name}`, used, request, resource);
    names.push(container.name);
    usages.push(used);
  }
  annotations.offending_containers = names.join(',');
  annotations.offending_containers_usage = usages.join(',');
  annotations.starved_resource = resource;
  return { message, annotations };
}

const larger = (who: string, used: string, request: string, resource: StarvedResource): string =>
  `${who} was using ${used}, request is ${request}, has larger consumption of ${resource}. `;

/** Of the first threshold about the resource. */
function thresholdText({ resource, thresholds, observations }: Starvation): string {
  for (const { signal, value } of thresholds) {
    const observed = observations[signal];
    if (resourceOfSignal[signal] !== resource || observed === undefined) continue;
    const counts = resource === 'inodes' || resource === 'pids';
    // A share of a number of inodes prints as bytes do (GetThresholdQuantity).
    const quantity = 'text' in value ? value.text : amountText(thresholdUnits(value, observed.capacity), 'BinarySI');
    const available = amountText(observed.available, counts ? 'DecimalSI' : 'BinarySI');
    return `Threshold quantity: ${quantity}, available: ${available}. `;
  }
  return '';
}

/** What the container uses, when that is more than it asked for and was measured. */
function excessOf(container: Container, figures: ContainerStats, resource: StarvedResource): string | undefined {
  const used = usedBytes(figures, resource);
  if (used === undefined) return undefined;
  const asked = unitsOf(container.resources?.requests?.[resource] ?? '0');
  return used > asked ? amountText(used, 'BinarySI') : undefined;
}

function usedBytes({ rootfs, logs, memory }: ContainerStats, resource: StarvedResource): number | undefined {
  if (resource === 'memory') return memory?.workingSetBytes;
  if (resource !== 'ephemeral-storage') return undefined;
  return rootfs?.usedBytes === undefined || logs?.usedBytes === undefined
    ? undefined
    : rootfs.usedBytes + logs.usedBytes;
}
