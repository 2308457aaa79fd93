/**
 * What is told of a container that did not start: the reason it waits, its events, a log line, and when to try again.
 * Rule: pkg/kubelet/kuberuntime/kuberuntime_container.go, pkg/kubelet/images/image_manager.go.
 * Layer: kubelet/pods.
 */
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { ImageError } from '../images/image-error.ts';
import type { WaitingReason } from '../status/container-status.ts';
import { ContainerStartError } from './container-start.ts';
import type { PodContext, PodMemory } from './pod-context.ts';
import { normal, warning } from './pod-events.ts';

/** The kubelet's backOffPeriod: how soon a pod whose start failed is tried again when no backoff says otherwise. */
const retryMs = 10_000;

/** @returns when to try again. Throws an error that is not about this one container */
export function reportStartFailure(
  pod: Pod,
  name: string,
  error: unknown,
  memory: PodMemory,
  context: PodContext,
): number {
  if (!(error instanceof ImageError) && !(error instanceof ContainerStartError)) throw error;
  memory.waiting.set(name, { reason: error.reason, message: withPullFailure(error, memory.waiting.get(name)) });
  recordStartFailure(pod, name, error, context);
  const quiet = error instanceof ImageError && error.backingOff;
  const fields = { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, container: name, reason: error.reason };
  if (!quiet) context.log.warn({ ...fields, error: errorLine(error) }, 'container did not start');
  if (error instanceof ImageError) return error.retryAtMs;
  // Its end is known; whether and when it starts again is planned as after any end.
  return context.clock.now() + (error.reason === 'PostStartHookError' ? 0 : retryMs);
}

function recordStartFailure(
  pod: Pod,
  name: string,
  error: ImageError | ContainerStartError,
  context: PodContext,
): void {
  const message = errorLine(error);
  const record = (event: ReturnType<typeof normal>): void => context.recordEvent(pod, event);
  if (error instanceof ContainerStartError) {
    if (error.reason !== 'PostStartHookError') record(warning('Failed', `Error: ${message}`, name));
    return;
  }
  switch (error.reason) {
    case 'ImagePullBackOff':
      record(normal('BackOff', message, name));
      break;
    case 'ErrImageNeverPull':
      record(warning('ErrImageNeverPull', message, name));
      break;
    case 'ImageInspectError':
    case 'InvalidImageName':
      record(warning('InspectFailed', message, name));
      break;
    default:
      record(warning('Failed', message, name));
  }
  record(warning('Failed', `Error: ${error.reason}`, name));
}

/** A pull that is put off also says what the attempt before it failed with (image_manager.go's prevPullErrMsg). */
function withPullFailure(error: ImageError | ContainerStartError, before: WaitingReason | undefined): string {
  const message = errorLine(error);
  if (error.reason !== 'ImagePullBackOff' || before === undefined) return message;
  if (before.reason === 'ErrImagePull') return `${message}: ErrImagePull: ${before.message}`;
  return before.reason === 'ImagePullBackOff' ? before.message : message;
}
