/**
 * Where policies, namespaces and pods come from.
 * Layer: network/policy (types only).
 */
import type { Namespace, NetworkPolicy } from '../../api/network-policy.ts';
import type { PolicyPod } from './policy-pod.ts';

/** `key` is `namespace/name`. */
export type PolicyEvent =
  | { event: 'policySet'; policy: NetworkPolicy }
  | { event: 'policyDeleted'; key: string }
  | { event: 'namespaceSet'; namespace: Namespace }
  | { event: 'namespaceDeleted'; name: string }
  | { event: 'podSet'; pod: PolicyPod }
  | { event: 'podDeleted'; key: string };

export interface PolicySource {
  /**
   * Tells every object and then every change, until `signal` is aborted. Resolves when all were told once; rejects with the
   * signal's reason. An empty list says that `troubles` or `forbidden` tell something else now.
   */
  start(listener: (events: readonly PolicyEvent[]) => void, signal: AbortSignal): Promise<void>;
  /** What cannot be read just now, one line each. */
  troubles(): string[];
  /** Why this identity may not read what is needed, where that is so. */
  forbidden(): string | undefined;
}
