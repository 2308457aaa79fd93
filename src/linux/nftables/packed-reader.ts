/**
 * Elements of a dump into two byte arrays, without an object for any of them.
 * Layer: linux (pure). For sets whose elements are bare keys with data of one length or none; elements.ts has the others.
 */
import type { MessageCursor } from '../netlink/message-reader.ts';
import { NFTA_SET_ELEM, NFTA_SET_ELEM_LIST } from './constants.ts';
import { PackedIndex } from './packed-index.ts';
import type { PackedElements } from './types.ts';

/** Collects the messages of a dump of a set whose elements are bare keys, with data of one length or none. */
export class PackedReader {
  readonly #keyBytes: number;
  readonly #dataBytes: number;
  #keys: Uint8Array;
  #data: Uint8Array;
  #count = 0;

  constructor(keyBytes: number, dataBytes: number) {
    this.#keyBytes = keyBytes;
    this.#dataBytes = dataBytes;
    this.#keys = new Uint8Array(keyBytes * 64);
    this.#data = new Uint8Array(dataBytes * 64);
  }

  /** @throws NetlinkFormatError */
  add(message: MessageCursor): void {
    const attributes = message.attributes(4);
    while (attributes.next()) {
      if (attributes.type !== NFTA_SET_ELEM_LIST.ELEMENTS) continue;
      this.#addList(attributes.buffer, attributes.start, attributes.start + attributes.length);
    }
  }

  /** Copies both values of each element by their place; lengths were checked by the cursor for the list as a whole. */
  #addList(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (at + 4 <= end) {
      const next = at + ((buffer.readUInt16LE(at) + 3) & ~3);
      if (next <= at || next > end) break;
      this.#reserve();
      for (let inner = at + 4; inner + 8 <= next; ) {
        const length = buffer.readUInt16LE(inner);
        const type = buffer.readUInt16LE(inner + 2) & 0x3fff;
        if (type === NFTA_SET_ELEM.KEY) copy(buffer, inner + 8, this.#keys, this.#count, this.#keyBytes);
        else if (type === NFTA_SET_ELEM.DATA) copy(buffer, inner + 8, this.#data, this.#count, this.#dataBytes);
        inner += Math.max(4, (length + 3) & ~3);
      }
      this.#count++;
      at = next;
    }
  }

  take(): PackedElements {
    const [keyBytes, dataBytes, count] = [this.#keyBytes, this.#dataBytes, this.#count];
    return {
      count,
      keyBytes,
      keys: this.#keys.subarray(0, count * keyBytes),
      dataBytes,
      data: this.#data.subarray(0, count * dataBytes),
    };
  }

  /**
   * Whether no key came twice. A hash table that the kernel resizes between two messages of a dump (it does for moments
   * after many elements were added) goes on in another order: some elements come twice and as many are missing, and
   * nothing else tells. Then the dump must be taken again.
   */
  isDistinct(): boolean {
    return new PackedIndex(this.take()).isDistinct;
  }

  #reserve(): void {
    if ((this.#count + 1) * this.#keyBytes <= this.#keys.length) return;
    this.#keys = grown(this.#keys);
    this.#data = grown(this.#data);
  }
}

function copy(from: Buffer, at: number, to: Uint8Array, index: number, bytes: number): void {
  const start = index * bytes;
  for (let i = 0; i < bytes; i++) to[start + i] = from[at + i] ?? 0;
}

function grown(bytes: Uint8Array): Uint8Array {
  const larger = new Uint8Array(bytes.length * 2);
  larger.set(bytes);
  return larger;
}
