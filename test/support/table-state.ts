/**
 * A dumped nf_tables table as lines that can be compared: elements and sets in any order, rules in theirs, no handles.
 * Layer: test (pure). Deliberately not src/linux' table difference, which the product itself relies on.
 */
import { type InstalledSet, isPacked, type TableDump } from '../../src/linux/nftables/types.ts';

interface Element {
  key: string;
  data: string;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const asText = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (part instanceof Uint8Array ? hex(part) : part));

function elementsOf({ set, elements }: InstalledSet): Element[] {
  // What rules added is no part of what was asked for.
  if (set.dynamic) return [];
  if (elements === undefined) throw new Error(`set ${set.name} was dumped without elements`);
  if (isPacked(elements)) {
    const { count, keyBytes, keys, dataBytes, data } = elements;
    const part = (bytes: Uint8Array, index: number, length: number): string =>
      hex(bytes.subarray(index * length, (index + 1) * length));
    return Array.from({ length: count }, (_, index) => ({
      key: part(keys, index, keyBytes),
      data: part(data, index, dataBytes),
    }));
  }
  return elements.map(({ key, data, ...others }) => ({ key: hex(key), data: `${asText(data)} ${asText(others)}` }));
}

function linesOf(dump: TableDump, elements: (set: InstalledSet) => string[]): string[] {
  const { table, chains, rules, sets } = dump;
  const position = new Map<string, number>();
  const ruleLines = rules.map(({ chain, expressions, comment }) => {
    const index = position.get(chain) ?? 0;
    position.set(chain, index + 1);
    return `rule ${chain} ${index} ${asText(expressions)} ${comment}`;
  });
  return [
    `table ${asText(table)}`,
    ...chains.map((chain) => `chain ${asText(chain)}`),
    ...ruleLines,
    ...sets.map(({ set }) => `set ${asText(set)}`),
    ...sets.flatMap((set) => elements(set)),
  ].sort();
}

/** Everything as it is. */
export const exactState = (dump: TableDump): string[] =>
  linesOf(dump, (set) => elementsOf(set).map(({ key, data }) => `element ${set.set.name} ${key} ${data}`));

/**
 * Everything but which index an endpoint has, which depends on the past: indexes must be 0..N-1 and the endpoints the same.
 * @throws Error when indexes have gaps or an endpoint stands at two
 */
export const stateWithoutIndexes = (dump: TableDump): string[] =>
  linesOf(dump, (installed) => {
    const { name, key, data } = installed.set;
    const elements = elementsOf(installed);
    const isIndexed = data !== undefined && String(key.at(-1)).startsWith('numgen');
    if (!isIndexed) return elements.map((element) => `element ${name} ${element.key} ${element.data}`);
    const lists = new Map<string, Map<number, string>>();
    for (const element of elements) {
      const frontend = element.key.slice(0, -8);
      const index = Buffer.from(element.key.slice(-8), 'hex').readUInt32LE();
      const list = lists.get(frontend) ?? new Map<number, string>();
      lists.set(frontend, list.set(index, element.data));
    }
    return [...lists].map(([frontend, list]) => {
      const indexes = [...list.keys()].sort((a, b) => a - b);
      const endpoints = [...list.values()].sort();
      if (indexes.some((index, place) => index !== place) || new Set(endpoints).size !== endpoints.length)
        throw new Error(`${name} ${frontend}: indexes ${indexes}, endpoints ${endpoints}`);
      return `elements ${name} ${frontend} ${endpoints}`;
    });
  });

/** Lines that only one of the two has. */
export function stateDifference(actual: readonly string[], wanted: readonly string[]): string[] {
  const [here, there] = [new Set(actual), new Set(wanted)];
  return [
    ...actual.filter((line) => !there.has(line)).map((line) => `too much: ${line}`),
    ...wanted.filter((line) => !here.has(line)).map((line) => `missing: ${line}`),
  ];
}
