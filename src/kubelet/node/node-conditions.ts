/**
 * The four conditions that a node writes - MemoryPressure, DiskPressure, PIDPressure, Ready -, NetworkUnavailable where its
 * pod network is this daemon's too, and the events that their changes are worth. Conditions of others stay where and as
 * they are.
 * Layer: kubelet/node (pure; time is handed in). Rules: pkg/kubelet/nodestatus/setters.go.
 */
import type { NodeCondition } from '../../api/node.ts';
import { timestamp } from '../status/container-status.ts';
import { joinReasons } from './node-readiness.ts';
import type { PressureCondition } from './pressure.ts';

/** An event about the Node, to be recorded once the API server knows of the change. */
export interface NodeEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

export interface ConditionFacts {
  readonly nodeName: string;
  readonly pressure: Readonly<Record<PressureCondition, boolean>>;
  /** Why the node is not ready; none when it is. */
  readonly notReady: readonly string[];
  /** Undefined: another's affair, or not known yet. */
  readonly network?: NetworkCondition | undefined;
}

/** The way to the pods of other nodes. From NetworkUnavailable the node lifecycle controller makes a taint. */
export interface NetworkCondition {
  readonly isUp: boolean;
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

interface Wording {
  readonly reason: string;
  readonly message: string;
  readonly event: string;
}

const pressureWording: Readonly<Record<PressureCondition, { readonly under: Wording; readonly clear: Wording }>> = {
  MemoryPressure: {
    under: {
      reason: 'KubeletHasInsufficientMemory',
      message: 'kubelet has insufficient memory available',
      event: 'NodeHasInsufficientMemory',
    },
    clear: {
      reason: 'KubeletHasSufficientMemory',
      message: 'kubelet has sufficient memory available',
      event: 'NodeHasSufficientMemory',
    },
  },
  DiskPressure: {
    under: { reason: 'KubeletHasDiskPressure', message: 'kubelet has disk pressure', event: 'NodeHasDiskPressure' },
    clear: {
      reason: 'KubeletHasNoDiskPressure',
      message: 'kubelet has no disk pressure',
      event: 'NodeHasNoDiskPressure',
    },
  },
  PIDPressure: {
    under: {
      reason: 'KubeletHasInsufficientPID',
      message: 'kubelet has insufficient PID available',
      event: 'NodeHasInsufficientPID',
    },
    clear: {
      reason: 'KubeletHasSufficientPID',
      message: 'kubelet has sufficient PID available',
      event: 'NodeHasSufficientPID',
    },
  },
};

/**
 * Conditions for the status, in the order of `previous` with new ones at the end, Ready last. lastHeartbeatTime is now
 * for those of the node; lastTransitionTime, and the reason of a pressure condition, move only with the status.
 */
export function nodeConditions(
  previous: readonly NodeCondition[],
  facts: ConditionFacts,
  nowMs: number,
): { conditions: NodeCondition[]; events: NodeEvent[] } {
  const now = timestamp(nowMs);
  const events: NodeEvent[] = [];
  const record = (reason: string): void =>
    void events.push({ type: 'Normal', reason, message: `Node ${facts.nodeName} status is now: ${reason}` });

  const pressureOf = (type: PressureCondition): NodeCondition => {
    const before = previous.find((condition) => condition.type === type);
    const status = facts.pressure[type] ? 'True' : 'False';
    if (before?.status === status) return { ...before, lastHeartbeatTime: now };
    const { reason, message, event } = pressureWording[type][facts.pressure[type] ? 'under' : 'clear'];
    record(event);
    return { type, status, lastHeartbeatTime: now, lastTransitionTime: now, reason, message };
  };

  const readyOf = (): NodeCondition => {
    const before = previous.find((condition) => condition.type === 'Ready');
    const ready = facts.notReady.length === 0;
    const status = ready ? 'True' : 'False';
    const kept = before?.status === status ? before.lastTransitionTime : undefined;
    if (before !== undefined && before.status !== status) record(ready ? 'NodeReady' : 'NodeNotReady');
    return {
      type: 'Ready',
      status,
      lastHeartbeatTime: now,
      lastTransitionTime: kept ?? now,
      reason: ready ? 'KubeletReady' : 'KubeletNotReady',
      message: ready ? 'kubelet is posting ready status' : joinReasons(facts.notReady),
    };
  };

  const networkOf = ({ isUp, reason, message }: NetworkCondition): NodeCondition => {
    const type = 'NetworkUnavailable';
    const before = previous.find((condition) => condition.type === type);
    const status = isUp ? 'False' : 'True';
    const kept = before?.status === status ? before.lastTransitionTime : undefined;
    return { type, status, lastHeartbeatTime: now, lastTransitionTime: kept ?? now, reason, message };
  };

  const own = new Map<string, NodeCondition>([
    ...(facts.network === undefined ? [] : [['NetworkUnavailable', networkOf(facts.network)] as const]),
    ['MemoryPressure', pressureOf('MemoryPressure')],
    ['DiskPressure', pressureOf('DiskPressure')],
    ['PIDPressure', pressureOf('PIDPressure')],
    ['Ready', readyOf()],
  ]);
  const conditions: NodeCondition[] = [];
  for (const before of previous) {
    conditions.push(own.get(before.type) ?? before);
    own.delete(before.type);
  }
  return { conditions: [...conditions, ...own.values()], events };
}
