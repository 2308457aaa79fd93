/**
 * Why a plugin of the node cannot be used. Layer: kubelet/plugins (pure).
 */
import { type ErrorDetails, KeelsonError } from '../../observe/keelson-error.ts';

/**
 * PLUGIN_CALL: its registration socket does not answer, or not as it should. PLUGIN_REFUSED: what it says of itself is not
 * accepted (type, name, versions, endpoint).
 */
export type PluginErrorCode = 'PLUGIN_CALL' | 'PLUGIN_REFUSED';

export class PluginError extends KeelsonError {
  declare readonly code: PluginErrorCode;

  /** @param details.object `plugin socket /var/lib/kubelet/plugins_registry/x.sock` */
  constructor(code: PluginErrorCode, message: string, details: ErrorDetails & { object: string }) {
    super(code, message, details);
  }
}
