/**
 * Names in the table, and the keys of its sets: how one address family loads them from a packet and writes their bytes.
 * Layer: proxy/nftables (pure). Must not decide which element is where: frontend-elements.ts does.
 */
import type { Protocol } from '../../api/core.ts';
import type { IpFamily } from '../../api/service.ts';
import type { Expression } from '../../linux/nftables/expression.ts';
import type { Field } from '../../linux/nftables/fields.ts';
import type { InTable, TableRef } from '../../linux/nftables/types.ts';

/** Changes whenever the skeleton below the elements does: a table with another one is replaced, not compared. */
export const schemaVersion = 2;
export const tableComment = `keelson-proxy schema ${schemaVersion}`;
export const tableName = 'keelson-proxy';

export const names = {
  /** Service and index to endpoint. */
  endpoints: 'endpoints',
  nodePortEndpoints: 'node-port-endpoints',
  /** Every destination that has endpoints: flows to others pay one look-up each and are done. */
  services: 'services',
  nodePorts: 'node-ports',
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
} as const;

/**
 * An index is drawn below a power of two, the slots, and drawn again when no endpoint has it: so these chains serve every
 * number of endpoints, and a Service that gains or loses one mostly stays where it is. Endpoints beyond 65,536 get nothing.
 */
export const allSlots: readonly number[] = Array.from({ length: 17 }, (_, power) => 2 ** power);

export const slotsFor = (endpoints: number): number => allSlots.find((slots) => slots >= endpoints) ?? 65536;

/** Services and node ports whose endpoints need so many slots, and the chains that choose among them. */
export const serviceSet = (slots: number): string => `services-${slots}`;
export const nodePortSet = (slots: number): string => `node-ports-${slots}`;
/** The reverse of both; undefined for all other sets. */
export const slotsOfSet = (name: string): number | undefined => {
  const slots = Number(/^(?:services|node-ports)-(\d+)$/.exec(name)?.[1]);
  return slots >= 1 && slots <= 65536 ? slots : undefined;
};
export const serviceChain = (slots: number): string => `lb-${slots}`;
export const nodePortChain = (slots: number): string => `np-${slots}`;

export const protocols = ['TCP', 'UDP', 'SCTP'] as const;
/** IPPROTO_* */
export const protocolNumbers: Record<Protocol, number> = { TCP: 6, UDP: 17, SCTP: 132 };
/**
 * Node ports that are masqueraded, a set for each protocol: nft reads no concatenation with `ct original proto-dst` (its
 * type depends on the protocol), so a listing with one could not be loaded again.
 */
export const masqueradedPorts = (protocol: Protocol): string => `masqueraded-${protocol.toLowerCase()}-ports`;

/** An index takes all of a 32-bit word in a key; nft has no other name for a plain integer. */
const indexField: Field = 'numgen random mod 65536';

export interface Layout {
  family: IpFamily;
  table: InTable & { family: 'ip' | 'ip6' };
  addressBytes: 4 | 16;
  /** Address, protocol, port. */
  serviceKey: readonly Field[];
  /** Protocol, port. */
  portKey: readonly Field[];
  /** With the index behind. */
  endpointKey: readonly Field[];
  portEndpointKey: readonly Field[];
  /** What the maps of endpoints give. */
  target: readonly Field[];
  address: Field;
  pair: readonly Field[];
  loadService: readonly Expression[];
  loadPort: readonly Expression[];
  /** Registers behind a loaded key, where the index goes. */
  serviceIndex: number;
  portIndex: number;
  /** Where the port of `target` is when the map wrote it to register 1. */
  targetPort: number;
  loadPair: readonly Expression[];
  loadAddress: Expression;
  originalAddress: Expression;
  /** Matches destinations of this node that others can reach too. */
  isLocal: readonly Expression[];
  /** ICMP's code of `port unreachable`. */
  portUnreachable: number;
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
/** RTN_LOCAL in the host's order. */
const localType = bytes(2, 0, 0, 0);
const fibLocal: readonly Expression[] = [
  { expr: 'fib', result: 'type', flags: ['daddr'], dreg: 1 },
  { expr: 'cmp', sreg: 1, op: '==', data: localType },
];
const payload = (base: 'network' | 'transport', offset: number, length: number, dreg: number): Expression => ({
  expr: 'payload',
  base,
  offset,
  length,
  dreg,
});

const ipv4: Layout = {
  family: 'IPv4',
  table: { family: 'ip', table: tableName },
  addressBytes: 4,
  serviceKey: ['ip daddr', 'ip protocol', 'th dport'],
  portKey: ['ip protocol', 'th dport'],
  endpointKey: ['ip daddr', 'ip protocol', 'th dport', indexField],
  portEndpointKey: ['ip protocol', 'th dport', indexField],
  target: ['ip daddr', 'tcp dport'],
  address: 'ipv4_addr',
  pair: ['ip saddr', 'ip daddr'],
  loadService: [payload('network', 16, 4, 1), payload('network', 9, 1, 9), payload('transport', 2, 2, 10)],
  loadPort: [payload('network', 9, 1, 1), payload('transport', 2, 2, 9)],
  serviceIndex: 11,
  portIndex: 10,
  targetPort: 9,
  loadPair: [payload('network', 12, 4, 1), payload('network', 16, 4, 9)],
  loadAddress: payload('network', 16, 4, 1),
  originalAddress: { expr: 'ct', key: 'ip daddr', direction: 'original', dreg: 1 },
  isLocal: [payload('network', 16, 1, 1), { expr: 'cmp', sreg: 1, op: '!=', data: bytes(127) }, ...fibLocal],
  portUnreachable: 3,
};

/** `meta l4proto`, since extension headers may stand before the transport header. */
const l4proto = (dreg: number): Expression => ({ expr: 'meta', key: 'l4proto', dreg });
const ipv6: Layout = {
  family: 'IPv6',
  table: { family: 'ip6', table: tableName },
  addressBytes: 16,
  serviceKey: ['ip6 daddr', 'meta l4proto', 'th dport'],
  portKey: ['meta l4proto', 'th dport'],
  endpointKey: ['ip6 daddr', 'meta l4proto', 'th dport', indexField],
  portEndpointKey: ['meta l4proto', 'th dport', indexField],
  target: ['ip6 daddr', 'tcp dport'],
  address: 'ipv6_addr',
  pair: ['ip6 saddr', 'ip6 daddr'],
  loadService: [payload('network', 24, 16, 1), l4proto(12), payload('transport', 2, 2, 13)],
  loadPort: [l4proto(1), payload('transport', 2, 2, 9)],
  serviceIndex: 14,
  portIndex: 10,
  targetPort: 12,
  loadPair: [payload('network', 8, 16, 1), payload('network', 24, 16, 2)],
  loadAddress: payload('network', 24, 16, 1),
  originalAddress: { expr: 'ct', key: 'ip6 daddr', direction: 'original', dreg: 1 },
  isLocal: [
    payload('network', 24, 16, 1),
    { expr: 'cmp', sreg: 1, op: '!=', data: bytes(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) },
    ...fibLocal,
  ],
  portUnreachable: 4,
};

export const layoutOf = (family: IpFamily): Layout => (family === 'IPv4' ? ipv4 : ipv6);

export function tableRef(family: IpFamily): TableRef {
  const { family: tableFamily, table: name } = layoutOf(family).table;
  return { family: tableFamily, name };
}
