/**
 * Why an image is not there: the waiting reason, and when the next attempt is allowed.
 * Layer: kubelet/images (pure). Reasons: pkg/kubelet/images/types.go.
 */
import { type ErrorDetails, KeelsonError } from '../../observe/keelson-error.ts';

export type ImageErrorReason =
  | 'ErrImagePull'
  | 'ImagePullBackOff'
  | 'ErrImageNeverPull'
  | 'InvalidImageName'
  | 'ImageInspectError'
  | 'RegistryUnavailable';

export class ImageError extends KeelsonError {
  readonly reason: ImageErrorReason;
  /** Epoch milliseconds. */
  readonly retryAtMs: number;
  /** True when nothing was tried: an earlier failure still counts. */
  readonly backingOff: boolean;

  constructor(
    reason: ImageErrorReason,
    message: string,
    retryAtMs: number,
    details: ErrorDetails & { backingOff?: boolean },
  ) {
    super('IMAGE', message, details);
    this.reason = reason;
    this.retryAtMs = retryAtMs;
    this.backingOff = details.backingOff ?? false;
  }
}
