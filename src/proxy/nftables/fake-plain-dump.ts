/**
 * A table's dump without what is the kernel's affair (order in sets and of chains, handles, generation), for comparing.
 * Layer: proxy/nftables, tests only. Must not be imported by product code.
 */
import { formatFields } from '../../linux/nftables/fields.ts';
import { isPacked, type TableDump } from '../../linux/nftables/types.ts';

export interface PlainDump {
  table: TableDump['table'];
  chains: TableDump['chains'];
  sets: { set: TableDump['sets'][number]['set']; elements: string[] }[];
  rules: Record<string, unknown[]>;
}

export function plainDump(dump: TableDump | undefined): PlainDump | undefined {
  if (dump === undefined) return undefined;
  const sets = dump.sets.map(({ set, elements }) => {
    if (elements === undefined || !isPacked(elements)) return { set, elements: [] };
    const { count, keyBytes, keys, dataBytes, data } = elements;
    const fields = Array.isArray(set.data) ? set.data : [];
    const lines = Array.from({ length: count }, (_, i) => {
      const to = formatFields(fields, data.subarray(i * dataBytes, (i + 1) * dataBytes));
      return `${formatFields(set.key, keys.subarray(i * keyBytes, (i + 1) * keyBytes))} : ${to}`;
    });
    return { set, elements: lines.sort() };
  });
  const rules: Record<string, unknown[]> = {};
  for (const { handle: _, chain, ...rule } of dump.rules) rules[chain] = [...(rules[chain] ?? []), rule];
  return {
    table: dump.table,
    chains: dump.chains.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    sets: sets.toSorted((a, b) => (a.set.name < b.set.name ? -1 : 1)),
    rules,
  };
}
