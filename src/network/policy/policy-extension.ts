/**
 * Policies as what a pod gets before anything passes: its link stays down until it is isolated as they demand.
 * Layer: network/policy (adapts Admission to the links' PodExtension). Remembers which addresses a link had.
 */
import type { PodExtension } from '../links/pod-extension.ts';
import type { Admission } from './admission.ts';

export function policyExtension(admission: Admission): PodExtension {
  const addresses = new Map<string, readonly string[]>();
  return {
    found(links) {
      for (const { identity, ips } of links) addresses.set(identity.key, ips);
      // Pods may have ended while no daemon ran.
      admission.found(links.flatMap(({ ips }) => ips));
    },
    async beforeUp({ identity, addresses: given, wishes }) {
      const pod: { namespace: string; name: string; uid?: string } | undefined = wishes.pod;
      // Not of Kubernetes: no policy can mean it.
      if (pod === undefined || pod.name === '') return;
      const ips = given.map(({ ip }) => ip);
      addresses.set(identity.key, ips);
      await admission.admit({ namespace: pod.namespace, name: pod.name, uid: pod.uid ?? '', ips });
    },
    async afterGone({ key }) {
      const ips = addresses.get(key);
      addresses.delete(key);
      if (ips !== undefined) admission.released(ips);
    },
  };
}
