/**
 * Events of this node: one queue for all that is told about it and its pods, with the warnings that last.
 * Layer: agent/cluster (composition). There from the start, before runtime and certificate: what is told waits in the queue.
 */
import type { ApiClient } from '../../api/client.ts';
import { createEventRecorder, type EventRecorder } from '../../api/events.ts';
import { systemClock } from '../../base/clock.ts';
import type { NodeEvent } from '../../kubelet/node/node-conditions.ts';
import { NodeWarnings } from '../../kubelet/node/node-warnings.ts';
import type { Logger } from '../../observe/logger.ts';

export interface NodeEvents {
  readonly recorder: EventRecorder;
  readonly warnings: NodeWarnings;
  /** About the Node. */
  record(event: NodeEvent): void;
  stop(): void;
}

export interface NodeEventsOptions {
  client: ApiClient;
  nodeName: string;
  rateLimit: { readonly qps: number; readonly burst: number };
  log: Logger;
}

export function startNodeEvents({ client, nodeName, rateLimit, log }: NodeEventsOptions): NodeEvents {
  const scope = new AbortController();
  const recorder = createEventRecorder({
    client,
    source: { component: 'kubelet', host: nodeName },
    signal: scope.signal,
    rateLimit,
    log: log.child({ component: 'events' }),
  });
  const record: NodeEvents['record'] = ({ type, reason, message }) =>
    // The kubelet names the Node by its name in place of its uid, so that `kubectl describe node` finds the event.
    recorder.record({
      object: { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName },
      type,
      reason,
      message,
    });
  const warnings = new NodeWarnings({ record, clock: systemClock });
  return {
    recorder,
    warnings,
    record,
    stop() {
      warnings.stop();
      scope.abort(new Error('the events stop'));
    },
  };
}
