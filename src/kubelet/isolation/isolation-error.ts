/**
 * A pod that cannot be set apart as it asks: its sandbox is not made, event FailedCreatePodSandBox, and it is tried again.
 * Layer: kubelet/isolation.
 */
import { KeelsonError } from '../../observe/keelson-error.ts';

export type IsolationErrorCode = 'RUNTIME_CLASS' | 'USER_NAMESPACE';

export class IsolationError extends KeelsonError {
  constructor(code: IsolationErrorCode, message: string, details: { object: string; fix?: string; cause?: unknown }) {
    super(code, message, details);
  }
}
