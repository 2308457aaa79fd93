/**
 * What CNI asks before a pod starts, and tells when it ended.
 * Layer: network/policy (types only).
 */

/** A pod that has its link and addresses and whose first container has not started. */
export interface AdmittedPod {
  readonly namespace: string;
  readonly name: string;
  /** K8S_POD_UID; empty when the runtime did not say. */
  readonly uid: string;
  readonly ips: readonly string[];
}

export interface Admission {
  /**
   * Resolves once the policies of the pod are in the kernel, or at once where none are enforced.
   * @throws PolicyError NETWORK_POLICY_NOT_READY: the pod must not start
   */
  admit(pod: AdmittedPod): Promise<void>;
  /** These addresses are nobody's any more. */
  released(ips: readonly string[]): void;
  /** Of those that a predecessor gave out, these are still somebody's, and no others. */
  found(ips: readonly string[]): void;
}
