/**
 * Reads flows of a listing in place: one reader is moved from message to message, so that an entry nobody wants costs no
 * allocation, and only a wanted one becomes a Flow of its own.
 * Layer: linux (pure). Bytes that are no flow give a NetlinkFormatError.
 */
import { type MessageCursor, NetlinkFormatError } from '../netlink/message-reader.ts';
import {
  CTA,
  CTA_IP_SRC,
  CTA_PROTO,
  CTA_TUPLE,
  conntrackMessage,
  familyNumber,
  IPCTNL_MSG_CT,
  protocolNumber,
} from './constants.ts';
import type { AddressKey, Flow, FlowTuples, IpFamily, TransportProtocol, Tuple } from './types.ts';

const nfgenmsgBytes = 4;

export class FlowReader implements FlowTuples {
  readonly original: TupleReader;
  readonly reply: TupleReader;
  readonly #family: IpFamily;
  readonly #protocol: TransportProtocol;
  #message: MessageCursor | undefined;

  constructor(family: IpFamily, protocol: TransportProtocol) {
    this.#family = family;
    this.#protocol = protocol;
    this.original = new TupleReader(family);
    this.reply = new TupleReader(family);
  }

  /** Moves to the flow at the cursor; false when it is of another family or protocol. @throws NetlinkFormatError */
  read(message: MessageCursor): boolean {
    if (message.type !== conntrackMessage(IPCTNL_MSG_CT.NEW)) return false;
    const { buffer, start, end } = message;
    if (end - start < nfgenmsgBytes) throw new NetlinkFormatError('flow shorter than its header');
    if (buffer[start] !== familyNumber[this.#family]) return false;
    this.#message = message;
    // The kernel writes the tuples first.
    let found = 0;
    for (let at = start + nfgenmsgBytes; end - at >= 4 && found < 2; ) {
      const length = attributeLength(buffer, at, end);
      const type = attributeType(buffer, at);
      if (type === CTA.TUPLE_ORIG || type === CTA.TUPLE_REPLY) {
        (type === CTA.TUPLE_ORIG ? this.original : this.reply).read(buffer, at + 4, at + length);
        found++;
      }
      at += (length + 3) & ~3;
    }
    if (found < 2) throw new NetlinkFormatError('flow without both tuples');
    return this.original.protocol === protocolNumber[this.#protocol];
  }

  /** A copy that lives longer than the received bytes. @throws NetlinkFormatError */
  take(): Flow {
    const attributes = this.#message?.attributes(nfgenmsgBytes);
    let id: number | undefined;
    let zone = 0;
    while (attributes?.next()) {
      if (attributes.type === CTA.ID) id = attributes.u32be();
      if (attributes.type === CTA.ZONE) zone = u16At(attributes.buffer, attributes.start - 4, attributes.length + 4);
    }
    if (id === undefined) throw new NetlinkFormatError('flow without id');
    const { original, reply } = this;
    return {
      family: this.#family,
      protocol: this.#protocol,
      original: copyTuple(original),
      reply: copyTuple(reply),
      id,
      zone,
      replyZone: reply.zone,
    };
  }
}

/** Valid until the next read; what it gives is read when asked for. */
class TupleReader implements Tuple {
  readonly #ipv4: boolean;
  readonly #sourceType: number;
  #buffer: Buffer = Buffer.alloc(0);
  #source = 0;
  #destination = 0;
  sourcePort = 0;
  destinationPort = 0;
  protocol = 0;
  zone = 0;

  constructor(family: IpFamily) {
    this.#ipv4 = family === 'IPv4';
    this.#sourceType = CTA_IP_SRC[family];
  }

  get source(): AddressKey {
    return this.#address(this.#source);
  }

  get destination(): AddressKey {
    return this.#address(this.#destination);
  }

  /** @throws NetlinkFormatError */
  read(buffer: Buffer, start: number, end: number): void {
    this.#buffer = buffer;
    this.#source = 0;
    this.#destination = 0;
    this.sourcePort = 0;
    this.destinationPort = 0;
    this.protocol = 0;
    this.zone = 0;
    for (let at = start; end - at >= 4; ) {
      const length = attributeLength(buffer, at, end);
      const type = attributeType(buffer, at);
      if (type === CTA_TUPLE.IP) this.#readAddresses(at + 4, at + length);
      else if (type === CTA_TUPLE.PROTO) this.#readProtocol(at + 4, at + length);
      else if (type === CTA_TUPLE.ZONE) this.zone = u16At(buffer, at, length);
      at += (length + 3) & ~3;
    }
    if (this.#source === 0 || this.#destination === 0) throw new NetlinkFormatError('tuple without addresses');
  }

  #readAddresses(start: number, end: number): void {
    const buffer = this.#buffer;
    const bytes = this.#ipv4 ? 4 : 16;
    for (let at = start; end - at >= 4; ) {
      const length = attributeLength(buffer, at, end);
      const type = attributeType(buffer, at);
      if (type === this.#sourceType || type === this.#sourceType + 1) {
        if (length !== bytes + 4) throw new NetlinkFormatError(`address of ${length - 4} bytes in a tuple`);
        if (type === this.#sourceType) this.#source = at + 4;
        else this.#destination = at + 4;
      }
      at += (length + 3) & ~3;
    }
  }

  #readProtocol(start: number, end: number): void {
    const buffer = this.#buffer;
    for (let at = start; end - at >= 4; ) {
      const length = attributeLength(buffer, at, end);
      const type = attributeType(buffer, at);
      if (type === CTA_PROTO.NUM) this.protocol = length > 4 ? (buffer[at + 4] ?? 0) : 0;
      else if (type === CTA_PROTO.SRC_PORT) this.sourcePort = u16At(buffer, at, length);
      else if (type === CTA_PROTO.DST_PORT) this.destinationPort = u16At(buffer, at, length);
      at += (length + 3) & ~3;
    }
  }

  #address(at: number): AddressKey {
    return this.#ipv4 ? this.#buffer.readUInt32BE(at) : this.#buffer.toString('latin1', at, at + 16);
  }
}

const copyTuple = ({ source, destination, sourcePort, destinationPort }: Tuple): Tuple => ({
  source,
  destination,
  sourcePort,
  destinationPort,
});

/** With its header. @throws NetlinkFormatError */
function attributeLength(buffer: Buffer, at: number, end: number): number {
  const length = (buffer[at] ?? 0) | ((buffer[at + 1] ?? 0) << 8);
  if (length < 4 || length > end - at)
    throw new NetlinkFormatError(`attribute length ${length} with ${end - at} bytes left`);
  return length;
}

/** Without the nested and byte order flags. */
const attributeType = (buffer: Buffer, at: number): number =>
  (buffer[at + 2] ?? 0) | (((buffer[at + 3] ?? 0) & 0x3f) << 8);

/** 16 bits in network order: ports and zones. @throws NetlinkFormatError */
function u16At(buffer: Buffer, at: number, length: number): number {
  if (length < 6) throw new NetlinkFormatError('attribute shorter than 16 bits');
  return ((buffer[at + 4] ?? 0) << 8) | (buffer[at + 5] ?? 0);
}
