/**
 * Names in the table, and the keys of its sets: how one address family loads them from a packet and writes their bytes.
 * Layer: proxy/nftables (pure). Must not decide which element is where: placement.ts does.
 */
import type { Protocol } from '../../api/core.ts';
import type { IpFamily } from '../../api/service.ts';
import type { Expression, Register } from '../../linux/nftables/expression.ts';
import type { Field } from '../../linux/nftables/fields.ts';
import type { InTable, TableRef } from '../../linux/nftables/types.ts';

/** Changes whenever the skeleton below the elements does: a table with another one is replaced, not compared. */
export const schemaVersion = 3;
export const tableComment = `keelson-proxy schema ${schemaVersion}`;
export const tableName = 'keelson-proxy';

export const names = {
  /** Every destination that has endpoints: flows to others pay one look-up each and are done. */
  services: 'services',
  nodePorts: 'node-ports',
  /** Of those, the ones that need more than a draw: source ranges, the short-circuit, affinity. */
  specialServices: 'special-services',
  specialNodePorts: 'special-node-ports',
  /** Of those, the ones where a Local policy sends the traffic of pods and the node elsewhere. */
  shortCircuitServices: 'short-circuit-services',
  shortCircuitNodePorts: 'short-circuit-node-ports',
  /** Chains: from there on. */
  fromHereServices: 'from-here-services',
  fromHereNodePorts: 'from-here-node-ports',
  /** Destinations with source ranges, and (destination, source) of who may send. */
  restricted: 'restricted-services',
  sourceRanges: 'source-ranges',
  /** Destinations that are refused, and that are silently dropped. */
  rejected: 'no-endpoints',
  rejectedPorts: 'no-endpoint-ports',
  dropped: 'no-local-endpoints',
  droppedPorts: 'no-local-endpoint-ports',
  /** (address, same address) of the endpoints of this node. */
  hairpin: 'hairpin',
  /** Cluster IPs that any Service port has, with endpoints or without. */
  clusterIPs: 'cluster-ips',
  /** External addresses of Services whose traffic gets this node's address as its source. */
  masqueraded: 'masqueraded',
  /** Those with the external policy Local, of which only the node's own traffic does. */
  shortCircuited: 'short-circuited',
  /** Chain, of Service networks, whose addresses without a Service get no answer. */
  unallocated: 'unallocated',
} as const;

export const protocols = ['TCP', 'UDP', 'SCTP'] as const;
/** IPPROTO_* */
export const protocolNumbers: Record<Protocol, number> = { TCP: 6, UDP: 17, SCTP: 132 };
/**
 * Node ports that are masqueraded, a set for each protocol: nft reads no concatenation with `ct original proto-dst` (its
 * type depends on the protocol), so a listing with one could not be loaded again.
 */
export const masqueradedPorts = (protocol: Protocol): string => `masqueraded-${protocol.toLowerCase()}-ports`;
/** The same for the node's own traffic only. */
export const shortCircuitedPorts = (protocol: Protocol): string => `short-circuited-${protocol.toLowerCase()}-ports`;

/** An index takes all of a 32-bit word in a key; nft has no other name for a plain integer. */
const indexField: Field = 'numgen random mod 65536';

/** How one kind of destination is looked up: cluster, external and load-balancer IPs, or node ports. */
export interface KeyLayout {
  /** Address, protocol, port; without the address for node ports. */
  key: readonly Field[];
  /** With the index behind, and with an endpoint's address behind. */
  indexKey: readonly Field[];
  addressKey: readonly Field[];
  /** With the client's address before. */
  clientKey: readonly Field[];
  load: readonly Expression[];
  /** The same when the packet's destination is rewritten already: its address comes from conntrack. */
  loadOriginal: readonly Expression[];
  loadClient: readonly Expression[];
  loadOriginalClient: readonly Expression[];
  /** Registers behind a loaded key, and behind one with the client's address. */
  behind: Register;
  behindClient: Register;
}

export interface Layout {
  family: IpFamily;
  table: InTable & { family: 'ip' | 'ip6' };
  addressBytes: 4 | 16;
  service: KeyLayout;
  nodePort: KeyLayout;
  /** Destination and the client's address behind. */
  sourceKey: readonly Field[];
  /** What the maps of endpoints give. */
  target: readonly Field[];
  address: Field;
  /** `ip daddr` as a field of typeof. */
  destination: Field;
  pair: readonly Field[];
  /** Where the port of `target` is when the map wrote it to register 1. */
  targetPort: Register;
  loadPair: readonly Expression[];
  loadAddress: Expression;
  /** The packet's source into the register, and its destination. */
  source(dreg: Register): Expression;
  destinationTo(dreg: Register): Expression;
  originalAddress: Expression;
  /** Writes register 1 to the packet's destination address. */
  setDestination: Expression;
  /** Matches destinations of this node that others can reach too, and sources that are this node. */
  isLocal: readonly Expression[];
  isFromNode: readonly Expression[];
  /** ICMP's code of `port unreachable`. */
  portUnreachable: number;
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
/** RTN_LOCAL in the host's order. */
const localType = bytes(2, 0, 0, 0);
const isOfNode = (flag: 'saddr' | 'daddr'): readonly Expression[] => [
  { expr: 'fib', result: 'type', flags: [flag], dreg: 1 },
  { expr: 'cmp', sreg: 1, op: '==', data: localType },
];
const payload = (base: 'network' | 'transport', offset: number, length: number, dreg: number): Expression => ({
  expr: 'payload',
  base,
  offset,
  length,
  dreg,
});

/** Words of 4 bytes count from 8. */
const firstWord = 8;

interface Loads {
  addressWords: number;
  /** With the packet's and with conntrack's destination. */
  destination(dreg: Register): Expression;
  original(dreg: Register): Expression;
  source(dreg: Register): Expression;
  protocol(dreg: Register): Expression;
}

interface Fields {
  source: Field;
  destination: Field;
  protocol: Field;
}

function keyLayout(loads: Loads, fields: Fields, hasAddress: boolean): KeyLayout {
  const { addressWords, destination, original, source, protocol } = loads;
  const portLoads = (word: number): Expression[] => [protocol(word), payload('transport', 2, 2, word + 1)];
  const keyFrom = (word: number, address: (dreg: Register) => Expression): Expression[] =>
    hasAddress ? [address(word), ...portLoads(word + addressWords)] : portLoads(word);
  const key: readonly Field[] = [...(hasAddress ? [fields.destination] : []), fields.protocol, 'th dport'];
  const keyWords = (hasAddress ? addressWords : 0) + 2;
  const afterClient = firstWord + addressWords;
  return {
    key,
    indexKey: [...key, indexField],
    addressKey: [...key, fields.destination],
    clientKey: [fields.source, ...key],
    load: keyFrom(firstWord, destination),
    loadOriginal: keyFrom(firstWord, original),
    loadClient: [source(firstWord), ...keyFrom(afterClient, destination)],
    loadOriginalClient: [source(firstWord), ...keyFrom(afterClient, original)],
    behind: firstWord + keyWords,
    behindClient: afterClient + keyWords,
  };
}

const ipv4Loads: Loads = {
  addressWords: 1,
  destination: (dreg) => payload('network', 16, 4, dreg),
  original: (dreg) => ({ expr: 'ct', key: 'ip daddr', direction: 'original', dreg }),
  source: (dreg) => payload('network', 12, 4, dreg),
  protocol: (dreg) => payload('network', 9, 1, dreg),
};
const ipv4Fields: Fields = { source: 'ip saddr', destination: 'ip daddr', protocol: 'ip protocol' };

const ipv4: Layout = {
  family: 'IPv4',
  table: { family: 'ip', table: tableName },
  addressBytes: 4,
  service: keyLayout(ipv4Loads, ipv4Fields, true),
  nodePort: keyLayout(ipv4Loads, ipv4Fields, false),
  sourceKey: ['ip daddr', 'ip protocol', 'th dport', 'ip saddr'],
  target: ['ip daddr', 'tcp dport'],
  address: 'ipv4_addr',
  destination: 'ip daddr',
  pair: ['ip saddr', 'ip daddr'],
  targetPort: firstWord + 1,
  loadPair: [ipv4Loads.source(8), ipv4Loads.destination(9)],
  loadAddress: ipv4Loads.destination(8),
  source: ipv4Loads.source,
  destinationTo: ipv4Loads.destination,
  originalAddress: ipv4Loads.original(8),
  setDestination: {
    expr: 'payloadSet',
    base: 'network',
    offset: 16,
    length: 4,
    sreg: 1,
    checksumOffset: 10,
    pseudoHeader: true,
  },
  isLocal: [payload('network', 16, 1, 1), { expr: 'cmp', sreg: 1, op: '!=', data: bytes(127) }, ...isOfNode('daddr')],
  isFromNode: isOfNode('saddr'),
  portUnreachable: 3,
};

const ipv6Loads: Loads = {
  addressWords: 4,
  destination: (dreg) => payload('network', 24, 16, dreg),
  original: (dreg) => ({ expr: 'ct', key: 'ip6 daddr', direction: 'original', dreg }),
  source: (dreg) => payload('network', 8, 16, dreg),
  /** `meta l4proto`, since extension headers may stand before the transport header. */
  protocol: (dreg) => ({ expr: 'meta', key: 'l4proto', dreg }),
};
const ipv6Fields: Fields = { source: 'ip6 saddr', destination: 'ip6 daddr', protocol: 'meta l4proto' };

const ipv6: Layout = {
  family: 'IPv6',
  table: { family: 'ip6', table: tableName },
  addressBytes: 16,
  service: keyLayout(ipv6Loads, ipv6Fields, true),
  nodePort: keyLayout(ipv6Loads, ipv6Fields, false),
  sourceKey: ['ip6 daddr', 'meta l4proto', 'th dport', 'ip6 saddr'],
  target: ['ip6 daddr', 'tcp dport'],
  address: 'ipv6_addr',
  destination: 'ip6 daddr',
  pair: ['ip6 saddr', 'ip6 daddr'],
  targetPort: firstWord + 4,
  loadPair: [ipv6Loads.source(8), ipv6Loads.destination(12)],
  loadAddress: ipv6Loads.destination(8),
  source: ipv6Loads.source,
  destinationTo: ipv6Loads.destination,
  originalAddress: ipv6Loads.original(8),
  setDestination: { expr: 'payloadSet', base: 'network', offset: 24, length: 16, sreg: 1, pseudoHeader: true },
  isLocal: [
    payload('network', 24, 16, 1),
    { expr: 'cmp', sreg: 1, op: '!=', data: bytes(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) },
    ...isOfNode('daddr'),
  ],
  isFromNode: isOfNode('saddr'),
  portUnreachable: 4,
};

export const layoutOf = (family: IpFamily): Layout => (family === 'IPv4' ? ipv4 : ipv6);

export function tableRef(family: IpFamily): TableRef {
  const { family: tableFamily, table: name } = layoutOf(family).table;
  return { family: tableFamily, name };
}
