/**
 * Pod workers' events as the API's event recorder takes them.
 * Layer: kubelet/api (adapter).
 */
import type { EventRecorder } from '../../api/events.ts';
import { containerFieldPath, type RecordPodEvent } from '../pods/pod-events.ts';

export function createRecordPodEvent(recorder: Pick<EventRecorder, 'record'>): RecordPodEvent {
  return (pod, { type, reason, message, container, annotations }) => {
    const { namespace, name, uid, resourceVersion } = pod.metadata;
    recorder.record({
      object: {
        apiVersion: 'v1',
        kind: 'Pod',
        namespace,
        name,
        uid,
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
        ...(container === undefined ? {} : { fieldPath: containerFieldPath(pod, container) }),
      },
      type,
      reason,
      message,
      ...(annotations === undefined ? {} : { annotations }),
    });
  };
}
