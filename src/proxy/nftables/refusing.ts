/**
 * What gets no endpoint: refused at once, or dropped. nat chains cannot refuse, so filter chains do, before others'.
 * Layer: proxy/nftables (pure). Must not look at Services.
 */
import type { Expression } from '../../linux/nftables/expression.ts';
import type { NftablesOperation } from '../../linux/nftables/types.ts';
import type { TrafficOptions } from '../services/traffic-options.ts';
import { type Layout, names, protocolNumbers } from './layout.ts';
import { isForbiddenSource, isNew, isNodePortAddress } from './matches.ts';
import { drop, flagSet, goto, isIn, jump, lookup, ruleIn } from './operations.ts';

export function planRefusing(layout: Layout, options: TrafficOptions): NftablesOperation[] {
  const { service, nodePort, loadAddress, portUnreachable } = layout;
  const rule = ruleIn(layout);
  const toNodePort = (set: string): Expression[] => [...nodePort.load, lookup(set)];
  return [
    ...['filter-input', 'filter-forward', 'filter-output'].map((chain) => rule(chain, [...isNew, jump('refusing')])),
    // A port of a cluster IP that no Service has; a packet, too, that was here before the Service had an endpoint. Then
    // the addresses that no Service has.
    ...['filter-forward', 'filter-output'].flatMap((chain) => [
      rule(chain, [...isNew, loadAddress, lookup(names.clusterIPs), goto('refuse')]),
      rule(chain, [...isNew, jump(names.unallocated)]),
    ]),
    // Their destination is an endpoint, whose port may happen to be a node port.
    rule('refusing', [...flagSet('status', 32), { expr: 'verdict', verdict: 'return' }]),
    rule('refusing', [...isForbiddenSource(layout), drop]),
    rule('refusing', [...service.load, lookup(names.rejected), goto('refuse')]),
    rule('refusing', [...service.load, lookup(names.dropped), drop]),
    rule('refusing', [...toNodePort(names.rejectedPorts), jump('refuse-node-port')]),
    ...isNodePortAddress(layout, options).flatMap((matches) => [
      rule('refusing', [...toNodePort(names.droppedPorts), ...matches, drop]),
      rule('refuse-node-port', [...matches, goto('refuse')]),
    ]),
    rule('refuse', [
      { expr: 'meta', key: 'l4proto', dreg: 1 },
      { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(protocolNumbers.TCP) },
      { expr: 'reject', with: 'tcp reset' },
    ]),
    rule('refuse', [{ expr: 'reject', with: 'icmp', code: portUnreachable }]),
  ];
}

/** A rule for each Service network. */
export const planUnallocated = (layout: Layout, serviceCIDRs: Iterable<string>): NftablesOperation[] =>
  [...serviceCIDRs]
    .sort()
    .map((prefix) => ruleIn(layout)(names.unallocated, [...isIn(prefix, layout.loadAddress), drop]));
