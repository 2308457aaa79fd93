/**
 * The table without its elements: chains, sets and rules, and what a size that comes or goes changes in them.
 * Layer: proxy/nftables (pure). Must not look at Services; docs/adr/0007 says why the rules are what they are.
 */
import { parseIp } from '../../linux/ip-bytes.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import type { Field } from '../../linux/nftables/fields.ts';
import type { BaseChain, NftablesOperation } from '../../linux/nftables/types.ts';
import {
  type Layout,
  masqueradedPorts,
  names,
  nodePortChain,
  nodePortSet,
  protocolNumbers,
  protocols,
  serviceChain,
  serviceSet,
  tableComment,
} from './layout.ts';

export interface PlanOptions {
  /**
   * Prefixes of all pods of the cluster. Traffic from them keeps its source address (but for hairpin); with any, traffic
   * from elsewhere to cluster IPs is masqueraded. Those of the other family are left out. Empty: unknown.
   */
  podCIDRs: readonly string[];
}

/** The options' prefixes of the layout's family, canonical enough for a comparison under a mask. */
export function podPrefixes({ podCIDRs }: PlanOptions, layout: Layout): { address: Uint8Array; length: number }[] {
  return podCIDRs
    .map((cidr) => {
      const [text = '', length = ''] = cidr.split('/');
      const address = parseIp(text);
      return { address, length: length === '' ? address.length * 8 : Number(length) };
    })
    .filter(({ address }) => address.length === layout.addressBytes);
}

/** Everything but sizes and elements. The table must not exist. */
export function planSkeleton(layout: Layout, options: PlanOptions): NftablesOperation[] {
  const { table } = layout;
  const chain = (name: string, base?: BaseChain): NftablesOperation => ({
    op: 'chainAdd',
    chain: { ...table, name, ...(base === undefined ? {} : { base: { policy: 'accept', ...base } }) },
  });
  const set = (name: string, key: readonly Field[], data?: readonly Field[]): NftablesOperation => ({
    op: 'setAdd',
    set: { ...table, name, key, ...(data === undefined ? {} : { data }) },
  });
  return [
    { op: 'tableAdd', table: { family: table.family, name: table.table, comment: tableComment } },
    set(names.endpoints, layout.endpointKey, layout.target),
    set(names.nodePortEndpoints, layout.portEndpointKey, layout.target),
    set(names.rejected, layout.serviceKey),
    set(names.rejectedPorts, layout.portKey),
    set(names.dropped, layout.serviceKey),
    set(names.droppedPorts, layout.portKey),
    set(names.hairpin, layout.pair),
    set(names.masqueraded, [layout.address]),
    ...protocols.map((protocol) => set(masqueradedPorts(protocol), ['inet_service'])),
    ...['services', 'node-ports', 'masquerading', 'refusing', 'refuse'].map((name) => chain(name)),
    chain('prerouting', { type: 'nat', hook: 'prerouting', priority: -100 }),
    chain('output', { type: 'nat', hook: 'output', priority: -100 }),
    chain('postrouting', { type: 'nat', hook: 'postrouting', priority: 100 }),
    // Before other people's filters, which might drop what should be refused.
    ...(['input', 'forward', 'output'] as const).map((hook) =>
      chain(`filter-${hook}`, { type: 'filter', hook, priority: -10 }),
    ),
    ...planFixedRules(layout, options),
  ];
}

function planFixedRules(layout: Layout, options: PlanOptions): NftablesOperation[] {
  const { loadService, loadPort, loadPair, originalAddress, isLocal, portUnreachable } = layout;
  const rule = ruleIn(layout);
  const lookup = (set: string): Expression => ({ expr: 'lookup', set, sreg: 1 });
  const refuse: Expression = { expr: 'verdict', verdict: { goto: 'refuse' } };
  const drop: Expression = { expr: 'verdict', verdict: 'drop' };
  const isDnat = flagSet('status', 32);
  return [
    ...['prerouting', 'output'].map((chain) => rule(chain, [{ expr: 'verdict', verdict: { jump: 'services' } }])),
    rule('postrouting', [...isDnat, { expr: 'verdict', verdict: { jump: 'masquerading' } }]),
    rule('masquerading', [...loadPair, lookup(names.hairpin), { expr: 'masq' }]),
    ...podPrefixes(options, layout).map((prefix) =>
      rule('masquerading', [...isFrom(prefix, layout), { expr: 'verdict', verdict: 'return' }]),
    ),
    rule('masquerading', [originalAddress, lookup(names.masqueraded), { expr: 'masq' }]),
    ...protocols.map((protocol) =>
      rule('masquerading', [
        { expr: 'meta', key: 'l4proto', dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(protocolNumbers[protocol]) },
        { expr: 'ct', key: 'proto-dst', direction: 'original', dreg: 1 },
        lookup(masqueradedPorts(protocol)),
        { expr: 'masq' },
      ]),
    ),
    // Only new flows: a reply may well come to a local port that is also a node port.
    ...['filter-input', 'filter-forward', 'filter-output'].map((chain) =>
      rule(chain, [...flagSet('state', 8), { expr: 'verdict', verdict: { jump: 'refusing' } }]),
    ),
    rule('refusing', [...loadService, lookup(names.rejected), refuse]),
    rule('refusing', [...loadService, lookup(names.dropped), drop]),
    rule('refusing', [...isLocal, ...loadPort, lookup(names.rejectedPorts), refuse]),
    rule('refusing', [...isLocal, ...loadPort, lookup(names.droppedPorts), drop]),
    rule('refuse', [
      { expr: 'meta', key: 'l4proto', dreg: 1 },
      { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(protocolNumbers.TCP) },
      { expr: 'reject', with: 'tcp reset' },
    ]),
    rule('refuse', [{ expr: 'reject', with: 'icmp', code: portUnreachable }]),
  ];
}

/** Sets and chains for services and node ports with `size` endpoints. */
export function planSizeAdded(layout: Layout, size: number): NftablesOperation[] {
  const { table } = layout;
  const rule = ruleIn(layout);
  const drop: Expression = { expr: 'verdict', verdict: 'drop' };
  const chains: [string, (modulus: number) => Expression[]][] = [
    [serviceChain(size), (modulus) => serviceDnat(layout, modulus)],
    [nodePortChain(size), (modulus) => nodePortDnat(layout, modulus)],
  ];
  return [
    { op: 'setAdd', set: { ...table, name: serviceSet(size), key: layout.serviceKey } },
    { op: 'setAdd', set: { ...table, name: nodePortSet(size), key: layout.portKey } },
    ...chains.flatMap(([name, dnat]): NftablesOperation[] => [
      { op: 'chainAdd', chain: { ...table, name } },
      rule(name, dnat(size)),
      // A packet may have seen the old size and meet the new endpoints; index 0 is there as long as there is any.
      ...(size === 1 ? [] : [rule(name, dnat(1))]),
      rule(name, [drop]),
    ]),
  ];
}

/** To be done when nothing goes to the chains any more and no element is left. */
export function planSizeRemoved({ table }: Layout, size: number): NftablesOperation[] {
  return [
    { op: 'chainDelete', ...table, name: serviceChain(size) },
    { op: 'chainDelete', ...table, name: nodePortChain(size) },
    { op: 'setDelete', ...table, name: serviceSet(size) },
    { op: 'setDelete', ...table, name: nodePortSet(size) },
  ];
}

/** The rules that find the size of a destination, for empty chains. */
export function planDispatch(layout: Layout, sizes: Iterable<number>): NftablesOperation[] {
  const rule = ruleIn(layout);
  const ordered = [...sizes].sort((a, b) => a - b);
  const goto = (name: string): Expression => ({ expr: 'verdict', verdict: { goto: name } });
  const lookup = (set: string): Expression => ({ expr: 'lookup', set, sreg: 1 });
  return [
    ...ordered.map((size) =>
      rule('services', [...layout.loadService, lookup(serviceSet(size)), goto(serviceChain(size))]),
    ),
    // A key that moves from one set to another may be missed in both by a packet that meets the commit in between.
    rule('services', serviceDnat(layout, 1)),
    rule('services', [...layout.isLocal, goto('node-ports')]),
    ...ordered.map((size) =>
      rule('node-ports', [...layout.loadPort, lookup(nodePortSet(size)), goto(nodePortChain(size))]),
    ),
    rule('node-ports', nodePortDnat(layout, 1)),
  ];
}

/** Empties the chains that planDispatch fills: deleting single rules would need their handles. */
export function planDispatchFlush({ table }: Layout): NftablesOperation[] {
  return [
    { op: 'ruleFlush', ...table, chain: 'services' },
    { op: 'ruleFlush', ...table, chain: 'node-ports' },
  ];
}

const serviceDnat = (layout: Layout, modulus: number): Expression[] => [
  ...layout.loadService,
  { expr: 'numgen', mode: 'random', modulus, dreg: layout.serviceIndex },
  ...dnatBy(layout, names.endpoints),
];

const nodePortDnat = (layout: Layout, modulus: number): Expression[] => [
  ...layout.loadPort,
  { expr: 'numgen', mode: 'random', modulus, dreg: layout.portIndex },
  ...dnatBy(layout, names.nodePortEndpoints),
];

const dnatBy = ({ table, targetPort }: Layout, set: string): Expression[] => [
  { expr: 'lookup', set, sreg: 1, dreg: 1 },
  { expr: 'nat', type: 'dnat', family: table.family, addressMin: 1, protoMin: targetPort },
];

const ruleIn =
  ({ table }: Layout) =>
  (chain: string, expressions: Expression[]): NftablesOperation => ({
    op: 'ruleAdd',
    rule: { ...table, chain, expressions },
  });

function flagSet(key: 'state' | 'status', flag: number): Expression[] {
  const zero = Uint8Array.of(0, 0, 0, 0);
  return [
    { expr: 'ct', key, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: Uint8Array.of(flag, 0, 0, 0), xor: zero },
    { expr: 'cmp', sreg: 1, op: '!=', data: zero },
  ];
}

function isFrom({ address, length }: { address: Uint8Array; length: number }, layout: Layout): Expression[] {
  const mask = address.map((_, index) => (0xff00 >> Math.max(0, Math.min(8, length - index * 8))) & 0xff);
  const offset = layout.addressBytes === 4 ? 12 : 8;
  return [
    { expr: 'payload', base: 'network', offset, length: layout.addressBytes, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask, xor: new Uint8Array(address.length) },
    { expr: 'cmp', sreg: 1, op: '==', data: address.map((byte, index) => byte & (mask[index] ?? 0)) },
  ];
}
