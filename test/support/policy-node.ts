/**
 * The product's enforcement in this process, in the namespace of a lab's node, fed with objects as in manifests.
 * Layer: test.
 */
import type { ExecutionContext } from 'ava';
import { projectNetworkPolicy } from '../../src/api/project-network-policy.ts';
import { systemClock } from '../../src/base/clock.ts';
import { kernelNftables } from '../../src/kernel/nftables.ts';
import type { Nftables } from '../../src/linux/nftables/edge.ts';
import { FakePolicySource } from '../../src/network/policy/fake-policies.ts';
import { type PolicyEnforcement, startPolicyEnforcement } from '../../src/network/policy/policy-enforcement.ts';
import { projectPolicyPod } from '../../src/network/policy/policy-pod.ts';
import type { PolicyEvent } from '../../src/network/policy/policy-source.ts';
import { silentLogger } from '../../src/observe/logger.ts';
import type { ModelPod, ModelPolicy } from './policy-model.ts';

/** A Pod as the API server has it. */
export function podManifest(pod: ModelPod, isLocal: boolean, more: object = {}): object {
  const { namespace, name, labels, ips, ports } = pod;
  return {
    metadata: { namespace, name, uid: `${namespace}.${name}`, labels },
    spec: {
      nodeName: isLocal ? 'node-a' : 'node-b',
      containers: [{ name: 'c', ports: ports.map(({ port, ...named }) => ({ ...named, containerPort: port })) }],
    },
    status: { phase: 'Running', podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) },
    ...more,
  };
}

export const podEvent = (pod: ModelPod, isLocal: boolean): PolicyEvent[] => {
  const projected = projectPolicyPod(podManifest(pod, isLocal));
  return projected === undefined ? [] : [{ event: 'podSet', pod: projected }];
};

export const policyEvent = (policy: ModelPolicy): PolicyEvent => ({
  event: 'policySet',
  policy: projectNetworkPolicy(policy),
});

export interface PolicyNode {
  source: FakePolicySource;
  enforcement: PolicyEnforcement;
  nftables: Nftables;
  tell(...events: PolicyEvent[]): Promise<void>;
  stop(): Promise<void>;
}

/** @param before what is told before it is in sync */
export async function startPolicyNode(netnsPath: string, before: readonly PolicyEvent[] = []): Promise<PolicyNode> {
  const nftables = await kernelNftables.open(netnsPath);
  const source = new FakePolicySource();
  const enforcement = await startPolicyEnforcement(
    { nodeName: 'node-a', admissionMs: 5_000 },
    { source, nftables, log: silentLogger, clock: systemClock },
  );
  source.tell(...before);
  source.synced();
  // Resolves when the first table is there.
  while (!enforcement.status().enforced) await new Promise((resolve) => setTimeout(resolve, 5));
  return {
    source,
    enforcement,
    nftables,
    async tell(...events) {
      source.tell(...events);
      await enforcement.settled();
    },
    async stop() {
      await enforcement.stop();
      nftables.close();
    },
  };
}

/** Ends with the test. */
export function endWith<Thing extends { stop(): Promise<void> } | { remove(): Promise<void> }>(
  t: ExecutionContext,
  thing: Thing,
): Thing {
  t.teardown(() => ('stop' in thing ? thing.stop() : thing.remove()));
  return thing;
}
