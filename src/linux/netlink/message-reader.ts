/**
 * Walks over netlink messages and attributes in received bytes without copying: two cursors that are moved, not made anew.
 * Layer: linux (pure). Knows headers, NLMSG_ERROR and NLMSG_DONE, no message of any protocol. Bytes that are no netlink
 * give a NetlinkFormatError, never an endless loop: every step moves forward by at least a header.
 */
import { KeelsonError } from '../../observe/keelson-error.ts';
import { NLA_TYPE_MASK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSGERR_ATTR_MSG } from './constants.ts';

/** What came is not what the protocol says. */
export class NetlinkFormatError extends KeelsonError {
  constructor(message: string) {
    super('NETLINK_MALFORMED', message);
  }
}

export class MessageCursor {
  readonly buffer: Buffer;
  type = 0;
  flags = 0;
  sequence = 0;
  /** In an answer the port of the socket that asked, in a notification that of the one whose request is told of. */
  portId = 0;
  /** Payload of the current message. */
  start = 0;
  end = 0;
  #next = 0;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
  }

  /** Moves to the next message; false at the end. @throws NetlinkFormatError */
  next(): boolean {
    const at = this.#next;
    const left = this.buffer.length - at;
    if (left <= 0) return false;
    if (left < 16) throw new NetlinkFormatError(`${left} bytes where a message header should be`);
    const length = this.buffer.readUInt32LE(at);
    if (length < 16 || length > left) throw new NetlinkFormatError(`message length ${length} with ${left} bytes left`);
    this.type = this.buffer.readUInt16LE(at + 4);
    this.flags = this.buffer.readUInt16LE(at + 6);
    this.sequence = this.buffer.readUInt32LE(at + 8);
    this.portId = this.buffer.readUInt32LE(at + 12);
    this.start = at + 16;
    this.end = at + length;
    this.#next = at + ((length + 3) & ~3);
    return true;
  }

  /** Attributes behind a fixed header of `bytes`. @throws NetlinkFormatError when the message is shorter than that */
  attributes(bytes: number): AttributeCursor {
    if (this.end - this.start < bytes)
      throw new NetlinkFormatError(`message type ${this.type} shorter than its header`);
    return new AttributeCursor(this.buffer, this.start + ((bytes + 3) & ~3), this.end);
  }
}

export class AttributeCursor {
  readonly buffer: Buffer;
  /** Without the nested and byte order flags. */
  type = 0;
  /** Payload of the current attribute. */
  start = 0;
  length = 0;
  readonly #end: number;
  #next: number;

  constructor(buffer: Buffer, start: number, end: number) {
    this.buffer = buffer;
    this.#next = start;
    this.#end = end;
  }

  /** Moves to the next attribute; false at the end. @throws NetlinkFormatError */
  next(): boolean {
    const at = this.#next;
    const left = this.#end - at;
    if (left < 4) return false;
    const length = this.buffer.readUInt16LE(at);
    if (length < 4 || length > left) throw new NetlinkFormatError(`attribute length ${length} with ${left} bytes left`);
    this.type = this.buffer.readUInt16LE(at + 2) & NLA_TYPE_MASK;
    this.start = at + 4;
    this.length = length - 4;
    this.#next = at + ((length + 3) & ~3);
    return true;
  }

  u32(): number {
    this.#expect(4);
    return this.buffer.readUInt32LE(this.start);
  }

  i32(): number {
    this.#expect(4);
    return this.buffer.readInt32LE(this.start);
  }

  /** In network byte order, as nf_tables sends its numbers. */
  u32be(): number {
    this.#expect(4);
    return this.buffer.readUInt32BE(this.start);
  }

  /** As a number: exact up to 2^53 - 1. */
  u64be(): number {
    this.#expect(8);
    return this.buffer.readUInt32BE(this.start) * 0x1_0000_0000 + this.buffer.readUInt32BE(this.start + 4);
  }

  /** UTF-8 up to the first NUL or the end. */
  string(): string {
    let end = this.start;
    const limit = this.start + this.length;
    while (end < limit && this.buffer[end] !== 0) end++;
    return this.buffer.toString('utf8', this.start, end);
  }

  /** A view, valid as long as the buffer. */
  bytes(): Buffer {
    return this.buffer.subarray(this.start, this.start + this.length);
  }

  nested(): AttributeCursor {
    return new AttributeCursor(this.buffer, this.start, this.start + this.length);
  }

  #expect(bytes: number): void {
    if (this.length < bytes)
      throw new NetlinkFormatError(`attribute ${this.type} has ${this.length} bytes, not ${bytes}`);
  }
}

export interface Acknowledgement {
  /** Positive; 0 means that the request succeeded. */
  errno: number;
  /** The kernel's own words (NLMSGERR_ATTR_MSG), where it has some. */
  extack: string | undefined;
}

/** Reads the NLMSG_ERROR at the cursor. @throws NetlinkFormatError */
export function readAcknowledgement(message: MessageCursor): Acknowledgement {
  const { buffer, start, end, flags } = message;
  if (end - start < 20) throw new NetlinkFormatError('NLMSG_ERROR shorter than its header');
  const errno = 0 - buffer.readInt32LE(start);
  if (errno < 0) throw new NetlinkFormatError(`NLMSG_ERROR with positive error ${-errno}`);
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, extack: undefined };
  // The request's header follows, and its payload too unless the answer is capped.
  const echoed = (flags & NLM_F_CAPPED) !== 0 ? 16 : Math.max(16, buffer.readUInt32LE(start + 4));
  // Not with `& ~3`: a length above 2^31 would become a negative offset.
  const attributes = start + 4 + Math.ceil(echoed / 4) * 4;
  if (attributes > end) throw new NetlinkFormatError(`NLMSG_ERROR echoes ${echoed} bytes beyond its end`);
  return { errno, extack: extackText(new AttributeCursor(buffer, attributes, end)) };
}

/** Reads the NLMSG_DONE at the cursor: a dump may end with an error. */
export function readDone(message: MessageCursor): Acknowledgement {
  const { buffer, start, end, flags } = message;
  const errno = end - start >= 4 ? Math.max(0, -buffer.readInt32LE(start)) : 0;
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, extack: undefined };
  return { errno, extack: extackText(new AttributeCursor(buffer, start + 4, end)) };
}

function extackText(attributes: AttributeCursor): string | undefined {
  while (attributes.next()) {
    if (attributes.type === NLMSGERR_ATTR_MSG) return attributes.string();
  }
  return undefined;
}
