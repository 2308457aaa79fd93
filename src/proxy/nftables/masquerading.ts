/**
 * Which translated flows get this node's address as their source.
 * Layer: proxy/nftables (pure). Must not look at Services. Rules of kube-proxy: pkg/proxy/nftables/proxier.go
 * (syncProxyRules).
 */
import type { Expression } from '../../linux/nftables/expression.ts';
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import { detectsLocal, type TrafficOptions } from '../services/traffic-options.ts';
import { type Layout, masqueradedPorts, names, protocolNumbers, protocols, shortCircuitedPorts } from './layout.ts';
import { isFromPod } from './matches.ts';
import { flagSet, goto, jump, lookup, ruleIn } from './operations.ts';

export function planMasquerading(layout: Layout, options: TrafficOptions): NftablesOperation[] {
  const { loadPair, originalAddress, isFromNode } = layout;
  const rule = ruleIn(layout);
  const masquerade: Expression = { expr: 'masq' };
  const isPortOf = (protocol: (typeof protocols)[number], set: string): Expression[] => [
    { expr: 'meta', key: 'l4proto', dreg: 1 },
    { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(protocolNumbers[protocol]) },
    { expr: 'ct', key: 'proto-dst', direction: 'original', dreg: 1 },
    lookup(set),
  ];
  const { masqueradeAll } = options;
  return [
    rule('postrouting', [...flagSet('status', 32), jump('masquerading')]),
    rule('masquerading', [...loadPair, lookup(names.hairpin), masquerade]),
    rule('masquerading', [originalAddress, lookup(names.clusterIPs), goto('cluster-ip-masquerading')]),
    // For pods, too: one of another node asked this node, and would not know an answer of the endpoint itself.
    rule('masquerading', [originalAddress, lookup(names.masqueraded), masquerade]),
    // The node's own address may be one that others do not answer to, as when a load-balancer IP is bound to it.
    rule('masquerading', [originalAddress, lookup(names.shortCircuited), ...isFromNode, masquerade]),
    ...protocols.flatMap((protocol) => [
      rule('masquerading', [...isPortOf(protocol, masqueradedPorts(protocol)), masquerade]),
      rule('masquerading', [...isPortOf(protocol, shortCircuitedPorts(protocol)), ...isFromNode, masquerade]),
    ]),
    ...(masqueradeAll ? [] : isFromPod(layout, options)).map((matches) =>
      rule('cluster-ip-masquerading', [...matches, { expr: 'verdict', verdict: 'return' }]),
    ),
    // Where nothing tells pods from others nobody knows who comes from elsewhere.
    ...(masqueradeAll || detectsLocal(options, layout.family) ? [rule('cluster-ip-masquerading', [masquerade])] : []),
  ];
}
