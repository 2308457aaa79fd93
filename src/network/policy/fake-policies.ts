/**
 * Objects for tests of network policies, with what a test does not care for filled in; and a source that a test drives.
 * Layer: network/policy (test support).
 */
import type { LabelSelector, Labels, NetworkPolicy } from '../../api/network-policy.ts';
import { projectNetworkPolicy } from '../../api/project-network-policy.ts';
import type { PolicyPod } from './policy-pod.ts';
import type { PolicyEvent, PolicySource } from './policy-source.ts';

export const selector = (matchLabels: Labels = {}): LabelSelector => ({ matchLabels, matchExpressions: [] });

/** @param spec as in a manifest */
export const fakePolicy = (key: string, spec: unknown): NetworkPolicy => {
  const [namespace = '', name = ''] = key.split('/');
  return projectNetworkPolicy({ metadata: { namespace, name }, spec });
};

/** The uid is `uid-` and the name. */
export function fakePod(key: string, ips: string | readonly string[], more: Partial<PolicyPod> = {}): PolicyPod {
  const [namespace = '', name = ''] = key.split('/');
  const list = typeof ips === 'string' ? [ips] : ips;
  return { namespace, name, uid: `uid-${name}`, labels: {}, ips: list, ports: [], nodeName: 'node-a', ...more };
}

export class FakePolicySource implements PolicySource {
  #listener: ((events: readonly PolicyEvent[]) => void) | undefined;
  #sync = Promise.withResolvers<void>();
  reason: string | undefined;

  start(listener: (events: readonly PolicyEvent[]) => void, signal: AbortSignal): Promise<void> {
    this.#listener = listener;
    signal.addEventListener('abort', () => this.#sync.reject(signal.reason), { once: true });
    return this.#sync.promise;
  }

  tell(...events: PolicyEvent[]): void {
    this.#listener?.(events);
  }

  synced(): void {
    this.#sync.resolve();
  }

  troubles(): string[] {
    return this.reason === undefined ? [] : [this.reason];
  }

  forbidden(): string | undefined {
    return this.reason;
  }
}
