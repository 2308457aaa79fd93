/**
 * What a pass does for a pod, as plain data that prints well: planned in pod-actions.ts, applied in pods/sync-pod.ts.
 * Layer: kubelet/plan (pure).
 */
import type { ResizeOperation } from '../resize/plan-resize.ts';
import type { ContainerKind } from './container-kind.ts';

export type PodOperation =
  | KillOperation
  /** The record of an instance that does not run; its log stays. */
  | { op: 'removeContainer'; id: string; name: string }
  | { op: 'stopSandbox'; id: string; reason: string }
  | ResizeOperation
  | { op: 'createSandbox'; attempt: number }
  | StartOperation;

export interface KillOperation {
  op: 'killContainer';
  id: string;
  name: string;
  reason: string;
  /** Of the event Killing; default: `Stopping container <name>`. */
  message?: string;
  /** Seconds, instead of the pod's. */
  graceSeconds?: number;
}

export interface StartOperation {
  op: 'startContainer';
  kind: ContainerKind;
  name: string;
  attempt: number;
  backoffMs: number;
  /** An instance that was created but not started before a predecessor died. */
  existingId?: string;
}

const kindNames: Record<ContainerKind, string> = {
  init: 'init container',
  sidecar: 'sidecar',
  container: 'container',
  ephemeral: 'ephemeral container',
};

/** One line an operation, for logs and tests. */
export function describeOperation(operation: PodOperation): string {
  switch (operation.op) {
    case 'killContainer':
      return `kill container ${operation.name} (${operation.id.slice(0, 12)}): ${operation.reason}`;
    case 'removeContainer':
      return `remove container ${operation.name} (${operation.id.slice(0, 12)})`;
    case 'stopSandbox':
      return `stop sandbox ${operation.id.slice(0, 12)}: ${operation.reason}`;
    case 'updatePodCgroup':
      return 'update the cgroup of the pod';
    case 'updateContainer': {
      const { memoryLimitInBytes, cpuShares, cpuQuota, cpuPeriod } = operation.resources;
      const to = operation.resource === 'memory' ? memoryLimitInBytes : `${cpuShares} shares, ${cpuQuota}/${cpuPeriod}`;
      return `update ${operation.resource} of ${operation.name} (${operation.id.slice(0, 12)}): ${to}`;
    }
    case 'createSandbox':
      return `create sandbox, attempt ${operation.attempt}`;
    case 'startContainer': {
      const how = operation.existingId ? 'start created' : 'create and start';
      return `${how} ${kindNames[operation.kind]} ${operation.name}, attempt ${operation.attempt}`;
    }
  }
}
