/**
 * A container that cannot be made from what its pod says: the waiting reason CreateContainerConfigError.
 * Layer: kubelet/plan (pure).
 */
import { KeelsonError } from '../../observe/keelson-error.ts';

export class ContainerConfigError extends KeelsonError {
  constructor(message: string, object: string, fix?: string) {
    super('CONTAINER_CONFIG', message, { object, ...(fix === undefined ? {} : { fix }) });
  }
}
