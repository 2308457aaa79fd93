/**
 * What takes the chains of a Service proxy away, whoever made them: kube-proxy in iptables or ipvs mode, or Keelson.
 * Layer: proxy/iptables (pure). Chains of the kubelet (KUBE-FIREWALL, its hint and canary) and everything foreign stay.
 */
import type { IptablesOperation, IptablesTable } from '../../linux/iptables.ts';
import { chains, isServiceChain } from './chain-names.ts';
import { type Saved, targetOf } from './plan.ts';

/** Of kube-proxy's ipvs mode only (pkg/proxy/ipvs/proxier.go). */
const ipvsChains = new Set([
  'KUBE-IPVS-FILTER',
  'KUBE-IPVS-OUT-FILTER',
  'KUBE-NODE-PORT',
  'KUBE-LOAD-BALANCER',
  'KUBE-SOURCE-RANGES-FIREWALL',
]);
const fixedChains = new Set<string>(
  Object.entries(chains)
    .filter(([key]) => key !== 'kubeletFirewall')
    .map(([, name]) => name),
);

/**
 * @param what `all` chains of a Service proxy; `ipvs`: those that the iptables mode has no use for
 * @returns nothing when none is there
 */
export function planRemoval(saved: Saved, what: 'all' | 'ipvs'): IptablesOperation[] {
  const isDoomed = (name: string): boolean =>
    ipvsChains.has(name) || (what === 'all' && (fixedChains.has(name) || isServiceChain(name)));
  return (['nat', 'filter', 'mangle'] as const).flatMap((table) => removalFrom(saved, table, isDoomed));
}

function removalFrom(saved: Saved, table: IptablesTable, isDoomed: (name: string) => boolean): IptablesOperation[] {
  // Others mark by it, too (portmap's externalSetMarkChain): then it stays, and what masquerades the marked.
  const isShared = Array.from(saved[table]).some(
    ([chain, { policy, rules }]) =>
      policy === undefined && !isDoomed(chain) && rules.some((rule) => targetOf(rule) === chains.markMasq),
  );
  const stays = new Set<string>(isShared ? [chains.markMasq, chains.postrouting] : []);
  const goes = (name: string): boolean => isDoomed(name) && !stays.has(name);
  const operations: IptablesOperation[] = [];
  const doomed: string[] = [];
  for (const [chain, { policy, rules }] of saved[table]) {
    if (policy === undefined && goes(chain)) doomed.push(chain);
    else for (const rule of rules) if (goes(targetOf(rule))) operations.push({ op: 'delete', table, chain, rule });
  }
  for (const chain of doomed) operations.push({ op: 'chain', table, chain }, { op: 'chainDelete', table, chain });
  return operations;
}
