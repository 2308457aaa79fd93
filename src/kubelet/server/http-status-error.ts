/**
 * An answer other than 200 that a handler of the kubelet's API decides on. The message is shown to the client as it is.
 * Layer: kubelet/server.
 */
import { KeelsonError } from '../../observe/keelson-error.ts';

export class HttpStatusError extends KeelsonError {
  readonly status: number;

  /** @param status 400 to 599 @param message one line, without what the client may not know */
  constructor(status: number, message: string, options: { cause?: unknown } = {}) {
    super('KUBELET_API', message, { object: `HTTP ${status}`, ...options });
    this.status = status;
  }
}
