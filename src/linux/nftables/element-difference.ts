/**
 * What turns the elements of one set as dumped into those that are wanted.
 * Layer: linux (pure). Large packed sets are compared byte by byte; an object is made for elements only where the kernel
 * lists more than a key and bytes (verdicts, timeouts).
 */
import { elementAt } from './describe.ts';
import { equalBytes, PackedIndex } from './packed-index.ts';
import { type Element, type Elements, elementCount, isPacked, type NftSet, type PackedElements } from './types.ts';

/** `refill`: to be flushed and filled again. Deletions come first: an element whose data differs is in both. */
export type ElementDifference = { deletes: Elements; adds: Elements[] } | 'refill';

/** Comments of elements in sets that are listed packed are not compared: they are not listed. */
export function differenceOfElements(set: NftSet, actual: Elements, desired: readonly Elements[]): ElementDifference {
  if (!isPacked(actual)) {
    const difference = differenceOfObjects(set, actual, desired);
    // The kernel checks each single boundary for overlaps, so that a piecemeal change may be refused.
    const isEqual = elementCount(difference.deletes) === 0 && difference.adds.length === 0;
    return set.interval && !isEqual ? 'refill' : difference;
  }
  const packed: PackedElements[] = [];
  for (const elements of desired) {
    const list = isPacked(elements) ? elements : pack(elements, actual.keyBytes, actual.dataBytes);
    // Of another length: for the kernel to refuse.
    if (list?.keyBytes !== actual.keyBytes || list.dataBytes !== actual.dataBytes) return 'refill';
    packed.push(list);
  }
  return differenceOfPacked(actual, packed);
}

function differenceOfPacked(actual: PackedElements, desired: readonly PackedElements[]): ElementDifference {
  const { keyBytes, dataBytes } = actual;
  const index = new PackedIndex(actual);
  const isWanted = new Uint8Array(actual.count);
  const deletes: number[] = [];
  const adds: Elements[] = [];
  for (const list of desired) {
    const added: number[] = [];
    for (let i = 0; i < list.count; i++) {
      const found = index.find(list.keys, i * keyBytes);
      if (found < 0) added.push(i);
      else if (isWanted[found] === 0) {
        isWanted[found] = 1;
        if (equalBytes(list.data, i * dataBytes, actual.data, found * dataBytes, dataBytes)) continue;
        deletes.push(found);
        added.push(i);
      }
    }
    if (added.length > 0) adds.push(select(list, added, dataBytes));
  }
  for (let i = 0; i < actual.count; i++) if (isWanted[i] === 0) deletes.push(i);
  return { deletes: select(actual, deletes, 0), adds };
}

/** A copy of some of them. @param dataBytes 0 leaves the data out */
function select(from: PackedElements, indices: readonly number[], dataBytes: number): PackedElements {
  const { keyBytes } = from;
  const keys = new Uint8Array(indices.length * keyBytes);
  const data = new Uint8Array(indices.length * dataBytes);
  for (const [to, index] of indices.entries()) {
    keys.set(from.keys.subarray(index * keyBytes, (index + 1) * keyBytes), to * keyBytes);
    if (dataBytes > 0) data.set(from.data.subarray(index * dataBytes, (index + 1) * dataBytes), to * dataBytes);
  }
  return { count: indices.length, keyBytes, keys, dataBytes, data };
}

/** Undefined unless every one is a bare key and data of these lengths. */
function pack(elements: readonly Element[], keyBytes: number, dataBytes: number): PackedElements | undefined {
  const keys = new Uint8Array(elements.length * keyBytes);
  const data = new Uint8Array(elements.length * dataBytes);
  for (const [index, element] of elements.entries()) {
    const value = element.data ?? new Uint8Array();
    if (!(value instanceof Uint8Array) || element.key.length !== keyBytes || value.length !== dataBytes)
      return undefined;
    keys.set(element.key, index * keyBytes);
    data.set(value, index * dataBytes);
  }
  return { count: elements.length, keyBytes, keys, dataBytes, data };
}

function differenceOfObjects(
  set: NftSet,
  actual: readonly Element[],
  desired: readonly Elements[],
): { deletes: Element[]; adds: Elements[] } {
  const left = new Map(actual.map((element) => [keyOf(element), element]));
  const same = new Set<string>();
  const deletes: Element[] = [];
  const added: Element[] = [];
  for (const elements of desired) {
    for (let index = 0; index < elementCount(elements); index++) {
      const element = elementAt(elements, index);
      const key = keyOf(element);
      const found = left.get(key);
      if (found === undefined) {
        if (!same.has(key)) added.push(element);
        continue;
      }
      left.delete(key);
      same.add(key);
      if (contentOf(set, found) === contentOf(set, element)) continue;
      deletes.push(found);
      added.push(element);
    }
  }
  deletes.push(...left.values());
  return { deletes, adds: added.length > 0 ? [added] : [] };
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const keyOf = ({ key, keyEnd, intervalEnd }: Element): string =>
  `${hex(key)}${keyEnd === undefined ? '' : `-${hex(keyEnd)}`}${intervalEnd ? ' end' : ''}`;

/** Without the time left, which runs. An element without a timeout has that of its set. */
function contentOf(set: NftSet, { data, timeoutMs, comment }: Element): string {
  const value = data instanceof Uint8Array ? hex(data) : data;
  return JSON.stringify([value ?? null, timeoutMs ?? set.timeoutMs ?? null, comment ?? null]);
}
