/**
 * Finds packed elements by their keys, without an object or a string for any of them.
 * Layer: linux (pure). An open hash table over the bytes themselves: 100,000 keys take some milliseconds, a Map of strings
 * ten times that.
 */
import type { PackedElements } from './types.ts';

export class PackedIndex {
  /** Whether no key came twice; if one did, the first is found. */
  readonly isDistinct: boolean;
  readonly #keys: Uint8Array;
  readonly #keyBytes: number;
  /** Index of an element plus one; 0 is free. A power of two of them, at most half used. */
  readonly #slots: Int32Array;

  /** @param elements must not change as long as the index is used */
  constructor({ count, keyBytes, keys }: PackedElements) {
    this.#keys = keys;
    this.#keyBytes = keyBytes;
    let slots = 64;
    while (slots < count * 2) slots *= 2;
    this.#slots = new Int32Array(slots);
    let isDistinct = true;
    for (let index = 0; index < count; index++) {
      const slot = this.#slotOf(keys, index * keyBytes);
      if (this.#slots[slot] === 0) this.#slots[slot] = index + 1;
      else isDistinct = false;
    }
    this.isDistinct = isDistinct;
  }

  /** @param start where in `keys` the key begins; it has the length of the keys here @returns -1 when there is none */
  find(keys: Uint8Array, start: number): number {
    return (this.#slots[this.#slotOf(keys, start)] ?? 0) - 1;
  }

  /** The slot that holds the key, or the free one where it belongs. FNV-1a, linear probing. */
  #slotOf(keys: Uint8Array, start: number): number {
    const length = this.#keyBytes;
    const mask = this.#slots.length - 1;
    let hash = 0x811c9dc5;
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ (keys[start + i] ?? 0), 0x01000193);
    for (let slot = (hash ^ (hash >>> 15)) & mask; ; slot = (slot + 1) & mask) {
      const other = (this.#slots[slot] ?? 0) - 1;
      if (other < 0 || equalBytes(keys, start, this.#keys, other * length, length)) return slot;
    }
  }
}

export function equalBytes(a: Uint8Array, aStart: number, b: Uint8Array, bStart: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[aStart + i] !== b[bStart + i]) return false;
  return true;
}
