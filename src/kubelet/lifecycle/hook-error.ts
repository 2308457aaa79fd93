/**
 * A postStart or preStop hook that did not succeed. Its message may repeat what the container printed: it belongs into the
 * container's status, not into an event, which more people read (the kubelet does the same).
 * Layer: kubelet/lifecycle (pure).
 */
import { KeelsonError } from '../../observe/keelson-error.ts';

export class HookError extends KeelsonError {
  /** @param message names hook, container and pod, so that no object is needed beside it */
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('HOOK_FAILED', message, options);
  }
}
