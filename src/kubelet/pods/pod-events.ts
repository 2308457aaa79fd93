/**
 * The events that pod workers record, in the kubelet's reasons and words. Who sends them, and how often, is decided
 * elsewhere. Layer: kubelet/pods (pure but for the call). Source: pkg/kubelet/events/event.go, pkg/kubelet/kuberuntime.
 */
import type { Pod } from '../../api/core.ts';
import { findContainer } from '../plan/container-kind.ts';

export interface PodEvent {
  type: 'Normal' | 'Warning';
  /** `Started`, `BackOff`, ... */
  reason: string;
  message: string;
  /** The container that it is about. */
  container?: string;
  annotations?: Readonly<Record<string, string>>;
}

/** Must return at once and never throw: a worker waits for nothing here. */
export type RecordPodEvent = (pod: Pod, event: PodEvent) => void;

/** `involvedObject.fieldPath` of an event about one container (pkg/kubelet/container/ref.go). */
export function containerFieldPath(pod: Pod, name: string): string {
  switch (findContainer(pod, name)?.kind) {
    case 'init':
    case 'sidecar':
      return `spec.initContainers{${name}}`;
    case 'ephemeral':
      return `spec.ephemeralContainers{${name}}`;
    default:
      return `spec.containers{${name}}`;
  }
}

export const normal = (reason: string, message: string, container?: string): PodEvent => ({
  type: 'Normal',
  reason,
  message,
  ...(container === undefined ? {} : { container }),
});

export const warning = (reason: string, message: string, container?: string): PodEvent => ({
  ...normal(reason, message, container),
  type: 'Warning',
});
