/**
 * What can go wrong with NetworkPolicies outside the objects themselves.
 * Layer: network/policy. Faults of policies are no errors: they are reported and the rest goes on.
 */
import { type ErrorDetails, KeelsonError } from '../../observe/keelson-error.ts';

export type PolicyErrorCode =
  /** A new pod cannot be isolated yet: policies or the pod are not known, or the kernel refuses. It must not start. */
  | 'NETWORK_POLICY_NOT_READY'
  /** `policy explain`: no such pod, address or port. */
  | 'NETWORK_POLICY_QUESTION';

export class PolicyError extends KeelsonError {
  declare readonly code: PolicyErrorCode;

  // Narrows the code to the ones documented above.
  constructor(code: PolicyErrorCode, message: string, details?: ErrorDetails) {
    super(code, message, details);
  }
}
