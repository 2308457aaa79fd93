/**
 * The generated parts of docs/differences.md: one row for each field of each configuration kind, from the field tables.
 * Layer: config (pure): makes text, reads and writes no file. The test beside it compares the page and rewrites it on
 * request.
 */

import type { FieldTable, Treatment } from './field-spec.ts';
import { kubeProxyConfigurationPaths } from './kube-proxy-configuration-paths.ts';
import { kubeProxyConfigurationFields } from './kube-proxy-configuration-table.ts';
import { kubeletConfigurationPaths, kubeletConfigurationVersion } from './kubelet-configuration-paths.ts';
import { kubeletConfigurationFields } from './kubelet-configuration-table.ts';

/** A configuration kind with a section in the page. */
export interface DocumentedKind {
  readonly kind: string;
  /** The name between the marker lines. */
  readonly marker: string;
  readonly table: FieldTable;
  /** In the order of the Go types. */
  readonly paths: readonly string[];
}

export const documentedKinds: readonly DocumentedKind[] = [
  {
    kind: 'KubeletConfiguration',
    marker: 'kubelet-configuration',
    table: kubeletConfigurationFields,
    paths: kubeletConfigurationPaths,
  },
  {
    kind: 'KubeProxyConfiguration',
    marker: 'kube-proxy-configuration',
    table: kubeProxyConfigurationFields,
    paths: kubeProxyConfigurationPaths,
  },
];

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function shownDefault(spec: FieldTable[string]): string {
  if (spec.fallback === undefined) return '';
  const text = spec.schema.print(spec.fallback);
  return text === '' ? '' : `\`${text}\``;
}

/** The table in the order of the Go types, with a count of each treatment above it. */
function renderTable({ kind, table, paths: allPaths }: DocumentedKind): string {
  const paths = allPaths.filter((path) => Object.hasOwn(table, path));
  const count = (treatment: Treatment) => paths.filter((path) => table[path]?.treatment === treatment).length;
  const rows = paths.flatMap((path) => {
    const spec = table[path];
    if (spec === undefined) return [];
    return [`| \`${path}\` | ${shownDefault(spec)} | ${spec.treatment} | ${cell(spec.note)} |`];
  });
  return [
    `${kind} of Kubernetes ${kubeletConfigurationVersion}, ${paths.length} fields:` +
      ` ${count('honoured')} honoured, ${count('warned')} warned, ${count('refused')} refused,` +
      ` ${count('accepted')} accepted.`,
    '',
    '| Field | Default | Treatment | Note |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** The page with the text between the markers of each kind replaced. Throws RangeError when a marker is missing. */
export function withDifferencesTables(page: string): string {
  return documentedKinds.reduce((text, kind) => {
    const begin = `<!-- begin generated: ${kind.marker} -->`;
    const from = text.indexOf(begin);
    const to = text.indexOf(`<!-- end generated: ${kind.marker} -->`);
    if (from < 0 || to < from) throw new RangeError(`docs/differences.md has lost its markers of ${kind.marker}`);
    return `${text.slice(0, from + begin.length)}\n${renderTable(kind)}\n${text.slice(to)}`;
  }, page);
}
