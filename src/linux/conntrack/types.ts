/**
 * Flows that the kernel tracks, as plain data, and the filter that a listing takes.
 * Layer: linux (pure types). Only what it takes to choose flows and to delete them: no counters, states or timeouts.
 */
export type IpFamily = 'IPv4' | 'IPv6';
export type TransportProtocol = 'TCP' | 'UDP' | 'SCTP';

/**
 * An address as a primitive for `===`, Map and Set, since half a million of them are compared in one listing.
 * IPv4: an unsigned 32-bit integer. IPv6: the 16 bytes as a string of one character a byte. See address-key.ts.
 */
export type AddressKey = number | string;

export interface Tuple {
  readonly source: AddressKey;
  readonly destination: AddressKey;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** What both directions of a flow look like. `reply.source` is who really answers: after dnat not `original.destination`. */
export interface FlowTuples {
  readonly original: Tuple;
  readonly reply: Tuple;
}

/** One entry of the table. Immutable and its own: nothing in it is shared with received bytes. */
export interface Flow extends FlowTuples {
  readonly family: IpFamily;
  readonly protocol: TransportProtocol;
  /** CTA_ID, 32 bits: tells it from an entry of equal tuples that comes later. */
  readonly id: number;
  /** CTA_ZONE: the zone of both directions, 0 by default. */
  readonly zone: number;
  /** CTA_TUPLE_ZONE of the reply tuple, 0 by default. */
  readonly replyZone: number;
}

/** An original destination. No address: that port of any address. */
export interface FlowDestination {
  readonly address?: AddressKey;
  readonly port: number;
}

export interface FlowFilter {
  readonly family: IpFamily;
  readonly protocol: TransportProtocol;
  /** Only flows to these need to be listed; all flows unless given. */
  readonly destinations?: readonly FlowDestination[];
}
