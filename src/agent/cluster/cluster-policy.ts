/**
 * NetworkPolicies of a node in a cluster: the source by the API server, the table by this kernel, the numbers for people.
 * Layer: agent/cluster (composition). Must be there before the network role serves CNI, which asks it about each pod.
 */
import type { ApiClient } from '../../api/client.ts';
import { systemClock } from '../../base/clock.ts';
import { kernelNftables } from '../../kernel/nftables.ts';
import type { Explanation } from '../../network/policy/explain.ts';
import { dropsByPolicy } from '../../network/policy/policy-drops.ts';
import { type PolicyEnforcement, startPolicyEnforcement } from '../../network/policy/policy-enforcement.ts';
import { PolicyError } from '../../network/policy/policy-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { Counter, Gauge, type Registry } from '../../observe/metrics.ts';
import type { StartingReport, StatusReport } from '../status-report.ts';
import { createApiPolicySource } from './api-policy-source.ts';

export interface ClusterPolicyContext {
  nodeName: string;
  /** Of the network's identity. */
  client: ApiClient;
  log: Logger;
}

/** Answers at once; an API server need not. @throws KernelError when nf_tables cannot be listed */
export async function startClusterPolicy({ nodeName, client, log }: ClusterPolicyContext): Promise<PolicyEnforcement> {
  const nftables = await kernelNftables.open();
  try {
    const source = createApiPolicySource({ client, clock: systemClock, log });
    const enforcement = await startPolicyEnforcement({ nodeName }, { source, nftables, log, clock: systemClock });
    const stop = enforcement.stop.bind(enforcement);
    enforcement.stop = async () => {
      await stop();
      nftables.close();
    };
    return enforcement;
  } catch (error) {
    nftables.close();
    throw error;
  }
}

/** `keelson policy explain`. @throws PolicyError NETWORK_POLICY_QUESTION */
export function explainPolicy(policies: PolicyEnforcement | undefined, query: URLSearchParams): Explanation {
  if (policies === undefined) {
    const fix = 'ask a daemon that has it';
    throw new PolicyError('NETWORK_POLICY_QUESTION', 'it has no network role, or is starting', {
      object: 'daemon',
      fix,
    });
  }
  const [from = '', to = '', port = ''] = ['from', 'to', 'port'].map((name) => query.get(name) ?? '');
  const protocol = query.get('protocol');
  return policies.explain({ from, to, port, ...(protocol !== null && { protocol }) });
}

/** Dropped packets are read from the kernel when somebody asks; a report without them is better than none. */
export async function withDrops(
  report: StatusReport | StartingReport,
  policies: PolicyEnforcement | undefined,
): Promise<StatusReport | StartingReport> {
  if ('starting' in report || report.policies === undefined) return report;
  const drops = await policies?.drops().catch(() => undefined);
  return { ...report, policies: { ...report.policies, ...(drops && { drops }) } };
}

/** Numbers of a scrape; dropped packets are read from the kernel then. @param read undefined while there is no role */
export function registerPolicyMetrics(registry: Registry, read: () => PolicyEnforcement | undefined): void {
  const registers = [registry];
  new Gauge({
    name: 'keelson_network_policy_enforced',
    help: 'Whether NetworkPolicies are enforced on this node.',
    registers,
    collect() {
      this.set(read()?.status().enforced ? 1 : 0);
    },
  });
  new Gauge({
    name: 'keelson_network_policy_isolated_pods',
    help: 'Pods of this node that some NetworkPolicy isolates.',
    labelNames: ['direction'],
    registers,
    collect() {
      for (const [direction, count] of Object.entries(read()?.status().isolated ?? {})) this.set({ direction }, count);
    },
  });
  for (const unit of ['packets', 'bytes'] as const)
    new Counter({
      name: `keelson_network_policy_dropped_${unit}_total`,
      help: `First ${unit} of connections that no NetworkPolicy allowed, at pods that this one isolates.`,
      labelNames: ['namespace', 'policy', 'direction'],
      registers,
      async collect() {
        // A scrape is answered without them rather than not at all.
        const drops = await read()
          ?.drops()
          .catch(() => undefined);
        // After the wait: scrapes may overlap.
        this.reset();
        for (const { direction, policy: key, ...counts } of dropsByPolicy(drops ?? []).values()) {
          const [namespace = '', policy = ''] = key.split('/');
          this.inc({ namespace, policy, direction }, counts[unit]);
        }
      },
    });
}
