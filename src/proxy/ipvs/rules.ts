/**
 * The nf_tables table beside the virtual servers: who may reach them, whose source is masqueraded, and that nothing else
 * of the node answers at addresses of Services. IPVS itself knows none of this.
 * Layer: proxy/ipvs (pure). A table of our own instead of kube-proxy's iptables chains and ipsets: a change is a few
 * elements. IPVS takes packets in the hook input, and those of the node itself in output, behind our chains there; the mark
 * that they set comes back in postrouting, when the destination is an endpoint already.
 */
import type { IpFamily } from '../../api/service.ts';
import { parseIp, parsePrefix } from '../../linux/ip-bytes.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import type { NftablesOperation, TableRef } from '../../linux/nftables/types.ts';
import { ElementLists } from '../nftables/element-lists.ts';
import { type Layout, layoutOf, protocolNumbers } from '../nftables/layout.ts';
import { isFromPod, isNew } from '../nftables/matches.ts';
import { chainAdd, drop, goto, jump, lookup, ruleIn, setAdd } from '../nftables/operations.ts';
import { detectsLocal } from '../services/traffic-options.ts';
import type { IpvsOptions } from './options.ts';
import type { DesiredServer, DesiredServers } from './virtual-servers.ts';

export const tableName = 'keelson-proxy-ipvs';
const tableComment = 'keelson-proxy-ipvs schema 2';

const names = {
  /** Every virtual server: (address, protocol, port). */
  served: 'served',
  /** Those of them that drop everything, and those that only this node and its pods may reach. */
  dropped: 'dropped',
  localOnly: 'local-only',
  restricted: 'restricted',
  /** (address, protocol, port, source) of who may send to restricted ones. */
  sourceRanges: 'source-ranges',
  clusterIPs: 'cluster-ips',
  masqueraded: 'masqueraded',
  /** On the device kube-ipvs0. */
  addresses: 'addresses',
  /** (address, same address) of the endpoints of this node. */
  hairpin: 'hairpin',
} as const;

const layoutFor = (family: IpFamily): Layout => {
  const layout = layoutOf(family);
  return { ...layout, table: { ...layout.table, table: tableName } };
};

export function ipvsTableRef(family: IpFamily): TableRef {
  return { family: layoutFor(family).table.family, name: tableName };
}

/** Elements that are in sets now; both are replaced as a whole by what is given. */
export interface RuleState {
  servers: DesiredServers;
  /** Canonical addresses on the device. */
  addresses: Iterable<string>;
  hairpin: Iterable<string>;
}

/** The whole table, which must not exist. */
export function planRules(state: RuleState, options: IpvsOptions): NftablesOperation[] {
  const layout = layoutFor(options.family);
  const lists = new ElementLists(layout.table);
  for (const server of state.servers.values()) change(lists, layout, undefined, server);
  for (const address of state.addresses) lists.add(names.addresses, parseIp(address));
  for (const address of state.hairpin) lists.add(names.hairpin, twice(address));
  return [...planSkeleton(layout, options), ...lists.operations()];
}

export interface RuleChange {
  before: DesiredServers;
  after: DesiredServers;
  addresses: { added: readonly string[]; removed: readonly string[] };
  hairpin: { added: readonly string[]; removed: readonly string[] };
}

/** What leads from one state of some ports to the next. */
export function planRuleChange(
  { before, after, addresses, hairpin }: RuleChange,
  family: IpFamily,
): NftablesOperation[] {
  const layout = layoutFor(family);
  const lists = new ElementLists(layout.table);
  for (const [key, server] of before) if (!after.has(key)) change(lists, layout, server, undefined);
  for (const [key, server] of after) change(lists, layout, before.get(key), server);
  for (const address of addresses.removed) lists.delete(names.addresses, parseIp(address));
  for (const address of addresses.added) lists.add(names.addresses, parseIp(address));
  for (const address of hairpin.removed) lists.delete(names.hairpin, twice(address));
  for (const address of hairpin.added) lists.add(names.hairpin, twice(address));
  return lists.operations();
}

function change(
  lists: ElementLists,
  layout: Layout,
  before: DesiredServer | undefined,
  after: DesiredServer | undefined,
): void {
  const server = after ?? before;
  if (server === undefined) return;
  const key = keyOf(server, layout);
  const [from, to] = [setsOf(before), setsOf(after)];
  for (const set of from) if (!to.includes(set)) lists.delete(set, key);
  for (const set of to) if (!from.includes(set)) lists.add(set, key);
  const [old, now] = [before?.frontend.sourceRanges ?? [], after?.frontend.sourceRanges ?? []];
  for (const range of old) if (!now.includes(range)) lists.deleteRange(names.sourceRanges, ...rangeOf(key, range));
  for (const range of now) if (!old.includes(range)) lists.addRange(names.sourceRanges, ...rangeOf(key, range));
}

function setsOf(server: DesiredServer | undefined): string[] {
  if (server === undefined) return [];
  const { kind, action, clusterGroup, masquerade, sourceRanges } = server.frontend;
  const sets: string[] = [names.served];
  if (action === 'drop') sets.push(clusterGroup === 0 ? names.dropped : names.localOnly);
  if (sourceRanges.length > 0) sets.push(names.restricted);
  if (kind === 'clusterIP') sets.push(names.clusterIPs);
  else if (masquerade) sets.push(names.masqueraded);
  return sets;
}

/** Address, protocol, port; each in words of four bytes. */
function keyOf({ service }: DesiredServer, { addressBytes }: Layout): Uint8Array {
  const key = new Uint8Array(addressBytes + 8);
  key.set(parseIp(service.address));
  key[addressBytes] = protocolNumbers[service.protocol];
  key[addressBytes + 4] = service.port >>> 8;
  key[addressBytes + 5] = service.port;
  return key;
}

/** First and last key of a range of sources behind the destination. */
function rangeOf(key: Uint8Array, range: string): [Uint8Array, Uint8Array] {
  const { bytes, length } = parsePrefix(range);
  const last = bytes.map((byte, index) => byte | (0xff >> Math.max(0, Math.min(8, length - index * 8))));
  return [Buffer.concat([key, bytes]), Buffer.concat([key, last])];
}

function twice(address: string): Uint8Array {
  const bytes = parseIp(address);
  return Buffer.concat([bytes, bytes]);
}

function planSkeleton(layout: Layout, options: IpvsOptions): NftablesOperation[] {
  const { service, sourceKey, address, pair } = layout;
  return [
    { op: 'tableAdd', table: { family: layout.table.family, name: tableName, comment: tableComment } },
    ...[names.served, names.dropped, names.localOnly, names.restricted, names.clusterIPs, names.masqueraded].map(
      (set) => setAdd(layout, set, service.key),
    ),
    setAdd(layout, names.sourceRanges, sourceKey, undefined, { interval: true }),
    setAdd(layout, names.addresses, [address]),
    setAdd(layout, names.hairpin, pair),
    ...['arriving', 'from-vip', 'cluster-ip', 'marking', 'refuse'].map((name) => chainAdd(layout, name)),
    // Before other people's filters; IPVS itself is at 98 and 99 in input, at -99 and -98 in output.
    chainAdd(layout, 'input', { type: 'filter', hook: 'input', priority: -10 }),
    chainAdd(layout, 'output', { type: 'filter', hook: 'output', priority: -110 }),
    chainAdd(layout, 'postrouting', { type: 'nat', hook: 'postrouting', priority: 100 }),
    ...planArriving(layout, options),
    ...planPostrouting(layout, options),
  ];
}

function planArriving(layout: Layout, options: IpvsOptions): NftablesOperation[] {
  const { service, loadAddress, source, portUnreachable } = layout;
  const rule = ruleIn(layout);
  const to = (set: string): Expression[] => [...service.load, lookup(set)];
  const fromPods = isFromPod(layout, options);
  const isForbidden: Expression[] = [
    ...to(names.restricted),
    ...service.load,
    source(service.behind),
    { expr: 'lookup', set: names.sourceRanges, sreg: 1, inverted: true },
  ];
  const bit = markBytes(options);
  const mark: Expression[] = [
    { expr: 'meta', key: 'mark', dreg: 1 },
    { expr: 'bitwise', sreg: 1, dreg: 1, mask: bit.map((byte) => ~byte & 255), xor: bit },
    { expr: 'metaSet', key: 'mark', sreg: 1 },
  ];
  const accept: Expression = { expr: 'verdict', verdict: 'return' };
  return [
    rule('input', [...isNew, loadAddress, lookup(names.addresses), goto('arriving')]),
    // Node ports, which are at the node's own addresses.
    rule('input', [...isNew, ...to(names.served), goto('arriving')]),
    rule('output', [...isNew, ...to(names.served), jump('from-vip')]),
    // The address asked for is on this node, so the kernel takes it for the source, too.
    rule('from-vip', [...isForbidden, drop]),
    rule('from-vip', [...to(names.dropped), drop]),
    rule('from-vip', [source(1), lookup(names.addresses), jump('marking')]),
    rule('from-vip', [...to(names.masqueraded), jump('marking')]),
    rule('from-vip', [...to(names.clusterIPs), jump('cluster-ip')]),
    rule('arriving', [...isForbidden, drop]),
    rule('arriving', [...to(names.dropped), drop]),
    ...fromPods.map((matches) => rule('arriving', [...to(names.localOnly), ...matches, accept])),
    rule('arriving', [...to(names.localOnly), ...layout.isFromNode, accept]),
    rule('arriving', [...to(names.localOnly), drop]),
    rule('arriving', [...to(names.masqueraded), goto('marking')]),
    rule('arriving', [...to(names.clusterIPs), goto('cluster-ip')]),
    rule('arriving', [...to(names.served), accept]),
    // Whatever listens on all addresses of this node would answer as if it were the Service (kubernetes/kubernetes#72236).
    rule('arriving', [goto('refuse')]),
    rule('refuse', [
      { expr: 'meta', key: 'l4proto', dreg: 1 },
      { expr: 'cmp', sreg: 1, op: '==', data: Uint8Array.of(protocolNumbers.TCP) },
      { expr: 'reject', with: 'tcp reset' },
    ]),
    rule('refuse', [{ expr: 'reject', with: 'icmp', code: portUnreachable }]),
    ...(options.masqueradeAll ? [] : fromPods).map((matches) => rule('cluster-ip', [...matches, accept])),
    ...(options.masqueradeAll || detectsLocal(options, options.family) ? [rule('cluster-ip', [jump('marking')])] : []),
    rule('marking', mark),
  ];
}

function planPostrouting(layout: Layout, options: IpvsOptions): NftablesOperation[] {
  const rule = ruleIn(layout);
  const bit = markBytes(options);
  const zero = new Uint8Array(4);
  return [
    rule('postrouting', [...layout.loadPair, lookup(names.hairpin), { expr: 'masq' }]),
    rule('postrouting', [
      { expr: 'meta', key: 'mark', dreg: 1 },
      { expr: 'bitwise', sreg: 1, dreg: 1, mask: bit, xor: zero },
      { expr: 'cmp', sreg: 1, op: '!=', data: zero },
      // A tunnel's outer packet has the mark of the inner one: it must not be masqueraded, too, which breaks its checksum.
      { expr: 'meta', key: 'mark', dreg: 1 },
      { expr: 'bitwise', sreg: 1, dreg: 1, mask: bit.map((byte) => ~byte & 255), xor: zero },
      { expr: 'metaSet', key: 'mark', sreg: 1 },
      { expr: 'masq', flags: ['fully-random'] },
    ]),
  ];
}

/** In the host's order. */
function markBytes({ masqueradeBit }: IpvsOptions): Uint8Array {
  const bytes = new Uint8Array(4);
  bytes[masqueradeBit >>> 3] = 1 << (masqueradeBit & 7);
  return bytes;
}
