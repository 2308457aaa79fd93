/**
 * Collects elements to take away and to add, one packed list for each set, without an object for each element.
 * Layer: proxy/nftables (pure). Knows lengths of keys, not what they mean.
 */
import type { Element, InTable, NftablesOperation, PackedElements } from '../../linux/nftables/types.ts';

/** Elements of one length, in buffers that double. */
class PackedList {
  readonly keyBytes: number;
  readonly dataBytes: number;
  count = 0;
  #keys: Uint8Array;
  #data: Uint8Array;

  constructor(keyBytes: number, dataBytes: number) {
    this.keyBytes = keyBytes;
    this.dataBytes = dataBytes;
    this.#keys = new Uint8Array(4 * keyBytes);
    this.#data = new Uint8Array(4 * dataBytes);
  }

  /** Adds a copy of both. */
  append(key: Uint8Array, data: Uint8Array | undefined): void {
    const { keyBytes, dataBytes } = this;
    if ((this.count + 1) * keyBytes > this.#keys.length) {
      this.#keys = grown(this.#keys);
      this.#data = grown(this.#data);
    }
    this.#keys.set(key, this.count * keyBytes);
    if (data !== undefined) this.#data.set(data, this.count * dataBytes);
    this.count++;
  }

  get packed(): PackedElements {
    const { count, keyBytes, dataBytes } = this;
    return {
      count,
      keyBytes,
      keys: this.#keys.subarray(0, count * keyBytes),
      dataBytes,
      data: this.#data.subarray(0, count * dataBytes),
    };
  }
}

function grown(bytes: Uint8Array): Uint8Array {
  const larger = new Uint8Array(bytes.length * 2);
  larger.set(bytes);
  return larger;
}

export class ElementLists {
  readonly #table: InTable;
  readonly #deletes = new Map<string, PackedList>();
  readonly #adds = new Map<string, PackedList>();
  readonly #deletedRanges = new Map<string, Element[]>();
  readonly #addedRanges = new Map<string, Element[]>();

  constructor(table: InTable) {
    this.#table = table;
  }

  /** Copies `key`. Every key of a set must have one length. */
  delete(set: string, key: Uint8Array): void {
    listOf(this.#deletes, set, key.length, 0).append(key, undefined);
  }

  /** Copies `key` and `data`. */
  add(set: string, key: Uint8Array, data?: Uint8Array): void {
    listOf(this.#adds, set, key.length, data?.length ?? 0).append(key, data);
  }

  /** Of a concatenation with intervals; few. Keeps both, which are inclusive. */
  deleteRange(set: string, key: Uint8Array, keyEnd: Uint8Array): void {
    append(this.#deletedRanges, set, { key, keyEnd });
  }

  addRange(set: string, key: Uint8Array, keyEnd: Uint8Array): void {
    append(this.#addedRanges, set, { key, keyEnd });
  }

  /** Deletions first: an element whose data changes is in both. */
  operations(): NftablesOperation[] {
    const operations: NftablesOperation[] = [];
    for (const [set, { packed }] of this.#deletes)
      operations.push({ op: 'elementsDelete', ...this.#table, set, elements: packed });
    for (const [set, elements] of this.#deletedRanges)
      operations.push({ op: 'elementsDelete', ...this.#table, set, elements });
    for (const [set, { packed }] of this.#adds)
      operations.push({ op: 'elementsAdd', ...this.#table, set, elements: packed });
    for (const [set, elements] of this.#addedRanges)
      operations.push({ op: 'elementsAdd', ...this.#table, set, elements });
    return operations;
  }
}

function append(lists: Map<string, Element[]>, set: string, element: Element): void {
  const list = lists.get(set);
  if (list === undefined) lists.set(set, [element]);
  else list.push(element);
}

function listOf(lists: Map<string, PackedList>, set: string, keyBytes: number, dataBytes: number): PackedList {
  let list = lists.get(set);
  if (list === undefined) {
    list = new PackedList(keyBytes, dataBytes);
    lists.set(set, list);
  }
  return list;
}
