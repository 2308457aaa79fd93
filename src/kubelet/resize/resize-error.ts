/**
 * The error of a resize that cannot be carried out as the pod is now. Layer: kubelet/resize.
 */
import type { Pod } from '../../api/core.ts';
import { KeelsonError } from '../../observe/keelson-error.ts';

/** Memory would be taken from processes that use it. Code POD_RESIZE. */
export class ResizeError extends KeelsonError {
  constructor(message: string, { metadata }: Pod) {
    super('POD_RESIZE', message, {
      object: `pod ${metadata.namespace}/${metadata.name}`,
      fix: 'give the container more memory, or have it use less',
    });
  }
}
