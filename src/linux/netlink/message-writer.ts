/**
 * Writes netlink messages and attributes one after the other into one growing buffer: a batch for a single sendmsg.
 * Layer: linux (pure). Knows headers and padding, no message of any protocol. Host byte order is little-endian on every
 * architecture that Node runs on under Linux here (x86-64, arm64).
 */
import { KeelsonError } from '../../observe/keelson-error.ts';

/** What was asked cannot be said in netlink, e.g. an attribute longer than 65,531 bytes. */
export class NetlinkEncodeError extends KeelsonError {
  constructor(message: string, object?: string) {
    super('NETLINK_UNENCODABLE', message, object === undefined ? {} : { object });
  }
}

const initialBytes = 2048;

export class MessageWriter {
  #buffer: Buffer = Buffer.allocUnsafeSlow(initialBytes);
  #length = 0;
  #messageStart = -1;

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Starts a message; every begin needs its end. `sequence` is 32 bits, unsigned. */
  begin(type: number, flags: number, sequence: number): void {
    this.#messageStart = this.#length;
    this.u32(0);
    this.u16(type);
    this.u16(flags);
    this.u32(sequence);
    this.u32(0);
  }

  /** Completes the message: its length is now known. */
  end(): void {
    this.#buffer.writeUInt32LE(this.#length - this.#messageStart, this.#messageStart);
    this.#messageStart = -1;
  }

  /** Forgets the message that was begun, for one that turned out to be unencodable halfway. */
  cancel(): void {
    if (this.#messageStart >= 0) this.#length = this.#messageStart;
    this.#messageStart = -1;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#length = this.#buffer.writeUInt16LE(value, this.#length);
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32LE(value >>> 0, this.#length);
  }

  /** In network byte order, as nf_tables wants its numbers. */
  u32be(value: number): void {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32BE(value >>> 0, this.#length);
  }

  /**
   * Makes room for `length` bytes and counts them as written; the caller fills the view at once, before any other call.
   * For hot loops that lay out many equal records themselves. `length` must be a multiple of 4.
   */
  claim(length: number): Buffer {
    this.#reserve(length);
    const start = this.#length;
    this.#length += length;
    return this.#buffer.subarray(start, this.#length);
  }

  /** Grows once now instead of several times later. */
  expect(bytes: number): void {
    this.#reserve(bytes);
  }

  bytes(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
  }

  attributeU32(type: number, value: number): void {
    this.#attributeHeader(type, 4);
    this.u32(value);
  }

  attributeU32Be(type: number, value: number): void {
    this.#attributeHeader(type, 4);
    this.u32be(value);
  }

  /** @param value a non-negative integer up to 2^53 - 1 */
  attributeU64Be(type: number, value: number): void {
    this.#attributeHeader(type, 8);
    this.u32be(Math.floor(value / 0x1_0000_0000));
    this.u32be(value % 0x1_0000_0000);
  }

  attributeBytes(type: number, value: Uint8Array): void {
    this.#attributeHeader(type, value.length);
    this.bytes(value);
    this.#pad();
  }

  /** A string with its terminating NUL, as interface names are sent; `terminated` false leaves it out (IFLA_INFO_KIND). */
  attributeString(type: number, value: string, terminated = true): void {
    const size = Buffer.byteLength(value);
    this.#attributeHeader(type, size + (terminated ? 1 : 0));
    this.#reserve(size + 1);
    this.#length += this.#buffer.write(value, this.#length, 'utf8');
    if (terminated) this.u8(0);
    this.#pad();
  }

  /** Starts an attribute whose length is not known yet; returns what endAttribute wants. */
  beginAttribute(type: number): number {
    const start = this.#length;
    this.u16(0);
    this.u16(type);
    return start;
  }

  endAttribute(start: number): void {
    const size = this.#length - start;
    if (size > 0xffff) throw new NetlinkEncodeError(`attribute of ${size} bytes; at most 65535 fit`);
    this.#buffer.writeUInt16LE(size, start);
    this.#pad();
  }

  /** The batch. The writer lets go of it and starts a new one, so nobody writes to it while the kernel reads. */
  take(): Buffer {
    const batch = this.#buffer.subarray(0, this.#length);
    this.#buffer = Buffer.allocUnsafeSlow(initialBytes);
    this.#length = 0;
    return batch;
  }

  #attributeHeader(type: number, payload: number): void {
    if (payload + 4 > 0xffff) throw new NetlinkEncodeError(`attribute of ${payload + 4} bytes; at most 65535 fit`);
    this.u16(payload + 4);
    this.u16(type);
  }

  /** Attributes and messages start at multiples of 4 (NLA_ALIGN, NLMSG_ALIGN). */
  #pad(): void {
    while ((this.#length & 3) !== 0) this.u8(0);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#length + bytes));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}
