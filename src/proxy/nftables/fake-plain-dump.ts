/**
 * Tables and plans in forms that compare: without what is the kernel's affair (order in sets and of chains, handles).
 * Layer: proxy/nftables, tests only. Must not be imported by product code.
 */
import { elementAt } from '../../linux/nftables/describe.ts';
import { formatFields } from '../../linux/nftables/fields.ts';
import {
  type Elements,
  elementCount,
  type NftablesOperation,
  type NftSet,
  type TableDump,
} from '../../linux/nftables/types.ts';

/** `key : data` as nft says them, sorted, of each set that has any. */
export type PlainElements = Record<string, string[]>;

export function plainElements(dump: TableDump | undefined): PlainElements {
  return sorted(dump?.sets.map(({ set, elements }) => [set, elements ?? []]) ?? []);
}

/** What a plan from scratch puts into the sets. */
export function plannedElements(operations: readonly NftablesOperation[]): PlainElements {
  const declared = new Map<string, NftSet>();
  const lists: [NftSet, Elements][] = [];
  for (const operation of operations) {
    if (operation.op === 'setAdd') declared.set(operation.set.name, operation.set);
    const set = operation.op === 'elementsAdd' ? declared.get(operation.set) : undefined;
    if (operation.op === 'elementsAdd' && set !== undefined) lists.push([set, operation.elements]);
  }
  return sorted(lists);
}

/** Everything but elements: texts that are equal for equal tables. */
export function plainStructure(dump: TableDump | undefined): string | undefined {
  if (dump === undefined) return undefined;
  const rules = dump.rules.map(({ handle: _, ...rule }) => rule);
  const byName = <Named>(named: readonly Named[], nameOf: (one: Named) => string): Named[] =>
    named.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0));
  return JSON.stringify([
    dump.table,
    byName(dump.chains, ({ name }) => name),
    byName(
      dump.sets.map(({ set }) => set),
      ({ name }) => name,
    ),
    byName(rules, ({ chain }) => chain),
  ]);
}

function sorted(lists: readonly (readonly [NftSet, Elements])[]): PlainElements {
  const plain: PlainElements = {};
  for (const [{ name, key, data }, elements] of lists) {
    const fields = Array.isArray(data) ? data : [];
    const lines = Array.from({ length: elementCount(elements) }, (_, index) => {
      const element = elementAt(elements, index);
      const text = formatFields(key, element.key);
      return element.data instanceof Uint8Array ? `${text} : ${formatFields(fields, element.data)}` : text;
    });
    if (lines.length > 0) plain[name] = lines.sort();
  }
  return Object.fromEntries(Object.entries(plain).sort(([a], [b]) => (a < b ? -1 : 1)));
}
