/**
 * The table without its elements: chains, sets and rules, which stay as they are whatever Services there are.
 * Layer: proxy/nftables (pure). Must not look at Services; docs/adr/0007 says why the rules are what they are.
 */
import { parseIp } from '../../linux/ip-bytes.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import type { Field } from '../../linux/nftables/fields.ts';
import type { BaseChain, NftablesOperation } from '../../linux/nftables/types.ts';
import {
  allSlots,
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

/** The whole table but its elements. It must not exist. */
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
    set(names.services, layout.serviceKey),
    set(names.nodePorts, layout.portKey),
    set(names.rejected, layout.serviceKey),
    set(names.rejectedPorts, layout.portKey),
    set(names.dropped, layout.serviceKey),
    set(names.droppedPorts, layout.portKey),
    set(names.hairpin, layout.pair),
    set(names.clusterIPs, [layout.address]),
    set(names.masqueraded, [layout.address]),
    ...protocols.map((protocol) => set(masqueradedPorts(protocol), ['inet_service'])),
    ...['services', 'node-ports', 'masquerading', 'cluster-ip-masquerading', 'refusing', 'refuse'].map((name) =>
      chain(name),
    ),
    chain('prerouting', { type: 'nat', hook: 'prerouting', priority: -100 }),
    chain('output', { type: 'nat', hook: 'output', priority: -100 }),
    chain('postrouting', { type: 'nat', hook: 'postrouting', priority: 100 }),
    // Before other people's filters, which might drop what should be refused.
    ...(['input', 'forward', 'output'] as const).map((hook) =>
      chain(`filter-${hook}`, { type: 'filter', hook, priority: -10 }),
    ),
    ...allSlots.flatMap((slots) => planSlots(layout, slots)),
    ...planDispatch(layout),
    ...planFixedRules(layout, options),
  ];
}

function planFixedRules(layout: Layout, options: PlanOptions): NftablesOperation[] {
  const { loadService, loadPort, isLocal } = layout;
  const rule = ruleIn(layout);
  return [
    ...['prerouting', 'output'].flatMap((chain) => [
      rule(chain, [...loadService, lookup(names.services), goto('services')]),
      // Looked up before the route: that costs more.
      rule(chain, [...loadPort, lookup(names.nodePorts), ...isLocal, goto('node-ports')]),
    ]),
    ...planMasquerading(layout, options),
    ...planRefusing(layout),
  ];
}

function planMasquerading(layout: Layout, options: PlanOptions): NftablesOperation[] {
  const { loadPair, originalAddress } = layout;
  const rule = ruleIn(layout);
  const prefixes = podPrefixes(options, layout);
  const masquerade: Expression = { expr: 'masq' };
  return [
    rule('postrouting', [...flagSet('status', 32), { expr: 'verdict', verdict: { jump: 'masquerading' } }]),
    rule('masquerading', [...loadPair, lookup(names.hairpin), masquerade]),
    rule('masquerading', [originalAddress, lookup(names.clusterIPs), goto('cluster-ip-masquerading')]),
    // For pods, too: one of another node asked this node, and would not know an answer of the endpoint itself.
    rule('masquerading', [originalAddress, lookup(names.masqueraded), masquerade]),
    ...protocols.map((protocol) =>
      rule('masquerading', [
        { expr: 'meta', key: 'l4proto', dreg: 1 },
        { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(protocolNumbers[protocol]) },
        { expr: 'ct', key: 'proto-dst', direction: 'original', dreg: 1 },
        lookup(masqueradedPorts(protocol)),
        masquerade,
      ]),
    ),
    ...prefixes.map((prefix) =>
      rule('cluster-ip-masquerading', [...isFrom(prefix, layout), { expr: 'verdict', verdict: 'return' }]),
    ),
    // Without the pods' prefixes nobody knows who comes from elsewhere.
    ...(prefixes.length > 0 ? [rule('cluster-ip-masquerading', [masquerade])] : []),
  ];
}

function planRefusing(layout: Layout): NftablesOperation[] {
  const { loadService, loadPort, loadAddress, isLocal, portUnreachable } = layout;
  const rule = ruleIn(layout);
  // Only new flows: a reply may well come to a local port that is also a node port.
  const isNew = flagSet('state', 8);
  return [
    ...['filter-input', 'filter-forward', 'filter-output'].map((chain) =>
      rule(chain, [...isNew, { expr: 'verdict', verdict: { jump: 'refusing' } }]),
    ),
    // A port of a cluster IP that no Service has; a packet, too, that was here before the Service had an endpoint.
    ...['filter-forward', 'filter-output'].map((chain) =>
      rule(chain, [...isNew, loadAddress, lookup(names.clusterIPs), goto('refuse')]),
    ),
    // Their destination is an endpoint, whose port may happen to be a node port.
    rule('refusing', [...flagSet('status', 32), { expr: 'verdict', verdict: 'return' }]),
    rule('refusing', [...loadService, lookup(names.rejected), goto('refuse')]),
    rule('refusing', [...loadService, lookup(names.dropped), drop]),
    rule('refusing', [...loadPort, lookup(names.rejectedPorts), ...isLocal, goto('refuse')]),
    rule('refusing', [...loadPort, lookup(names.droppedPorts), ...isLocal, drop]),
    rule('refuse', [
      { expr: 'meta', key: 'l4proto', dreg: 1 },
      { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(protocolNumbers.TCP) },
      { expr: 'reject', with: 'tcp reset' },
    ]),
    rule('refuse', [{ expr: 'reject', with: 'icmp', code: portUnreachable }]),
  ];
}

/** After so many draws, at worst one flow in 256 is left for the fallback. */
const draws = 8;

/** Sets and chains for services and node ports with more than `slots / 2` and at most `slots` endpoints. */
function planSlots(layout: Layout, slots: number): NftablesOperation[] {
  const { table } = layout;
  const rule = ruleIn(layout);
  const chains: [string, (modulus: number) => Expression[]][] = [
    [serviceChain(slots), (modulus) => serviceDnat(layout, modulus)],
    [nodePortChain(slots), (modulus) => nodePortDnat(layout, modulus)],
  ];
  // All of the lower half have an endpoint, and so has index 0 for whoever came here when the Service had more.
  const moduli = slots <= 2 ? [slots] : [...Array<number>(draws).fill(slots), slots / 2];
  if (slots > 1) moduli.push(1);
  return [
    { op: 'setAdd', set: { ...table, name: serviceSet(slots), key: layout.serviceKey } },
    { op: 'setAdd', set: { ...table, name: nodePortSet(slots), key: layout.portKey } },
    ...chains.flatMap(([name, dnat]): NftablesOperation[] => [
      { op: 'chainAdd', chain: { ...table, name } },
      ...moduli.map((modulus) => rule(name, dnat(modulus))),
      rule(name, [drop]),
    ]),
  ];
}

/** The rules that find the slots of a destination that has endpoints. */
function planDispatch(layout: Layout): NftablesOperation[] {
  const rule = ruleIn(layout);
  // A key that moves from one set to another may be missed in both by a packet that meets the commit in between.
  return [
    ...allSlots.map((slots) =>
      rule('services', [...layout.loadService, lookup(serviceSet(slots)), goto(serviceChain(slots))]),
    ),
    rule('services', serviceDnat(layout, 1)),
    rule('services', [drop]),
    ...allSlots.map((slots) =>
      rule('node-ports', [...layout.loadPort, lookup(nodePortSet(slots)), goto(nodePortChain(slots))]),
    ),
    rule('node-ports', nodePortDnat(layout, 1)),
    rule('node-ports', [drop]),
  ];
}

const drop: Expression = { expr: 'verdict', verdict: 'drop' };
const goto = (name: string): Expression => ({ expr: 'verdict', verdict: { goto: name } });
/** Of the key in register 1. */
const lookup = (set: string): Expression => ({ expr: 'lookup', set, sreg: 1 });

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

function flagSet(key: 'state' | 'status', bit: number): Expression[] {
  const zero = Uint8Array.of(0, 0, 0, 0);
  return [
    { expr: 'ct', key, dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: Uint8Array.of(bit, 0, 0, 0), xor: zero },
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
