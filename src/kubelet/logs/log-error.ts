/**
 * Why a container's log cannot be read or rotated. Layer: kubelet/logs (pure).
 */
import { type ErrorDetails, KeelsonError } from '../../observe/keelson-error.ts';

export class LogError extends KeelsonError {
  constructor(path: string, message: string, details: Omit<ErrorDetails, 'object'> = {}) {
    super('CONTAINER_LOG', message, { object: `log file ${path}`, ...details });
  }
}
