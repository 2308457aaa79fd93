/**
 * Why an image is not there: the waiting reason, and when the next attempt is allowed.
 * Layer: kubelet/images (pure). Reasons: pkg/kubelet/images/types.go.
 */
import { CriError } from '../../cri/cri-error.ts';
import { type ErrorDetails, errorLine, KeelsonError } from '../../observe/keelson-error.ts';

export type ImageErrorReason =
  | 'ErrImagePull'
  | 'ImagePullBackOff'
  | 'ErrImageNeverPull'
  | 'InvalidImageName'
  | 'ImageInspectError'
  | 'RegistryUnavailable'
  | 'SignatureValidationFailed';

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

/**
 * Runtimes tell two causes by the first word of their message: CRI has no code for them (cri-api's pkg/errors).
 * evalCRIPullErr in image_manager.go has the same words.
 */
const toldCauses = [
  { reason: 'RegistryUnavailable', words: 'the registry is unavailable' },
  { reason: 'SignatureValidationFailed', words: 'the signature validation failed' },
] as const;

/** What a failed pull of `image` is called. */
export function pullErrorOf(image: string, error: unknown): { reason: ImageErrorReason; message: string } {
  const text = error instanceof CriError ? error.message : '';
  const told = toldCauses.find(({ reason }) => text.startsWith(reason));
  if (told === undefined) {
    return { reason: 'ErrImagePull', message: `failed to pull image "${image}": ${errorLine(error)}` };
  }
  const { reason, words } = told;
  return { reason, message: `image pull failed for ${image} because ${words}${text.slice(reason.length)}` };
}
