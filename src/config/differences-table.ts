/**
 * The generated part of docs/differences.md: one row for each KubeletConfiguration field, from the field table.
 * Layer: config (pure): makes text, reads and writes no file. The test beside it compares the page and rewrites it on
 * request.
 */

import type { FieldSpec, Treatment } from './field-spec.ts';
import { kubeletConfigurationPaths, kubeletConfigurationVersion } from './kubelet-configuration-paths.ts';
import { kubeletConfigurationFields } from './kubelet-configuration-table.ts';

/** The comment lines between which the generated text stands. */
export const differencesMarkers = {
  begin: '<!-- begin generated: kubelet-configuration -->',
  end: '<!-- end generated: kubelet-configuration -->',
} as const;

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function shownDefault(spec: FieldSpec<unknown>): string {
  if (spec.fallback === undefined) return '';
  const text = spec.schema.print(spec.fallback);
  return text === '' ? '' : `\`${text}\``;
}

/** The table in the order of the Go types, with a count of each treatment above it. */
export function renderDifferencesTable(): string {
  const table: Readonly<Record<string, FieldSpec<unknown>>> = kubeletConfigurationFields;
  const paths = kubeletConfigurationPaths.filter((path) => Object.hasOwn(table, path));
  const count = (treatment: Treatment) => paths.filter((path) => table[path]?.treatment === treatment).length;
  const rows = paths.flatMap((path) => {
    const spec = table[path];
    if (spec === undefined) return [];
    return [`| \`${path}\` | ${shownDefault(spec)} | ${spec.treatment} | ${cell(spec.note)} |`];
  });
  return [
    `KubeletConfiguration of Kubernetes ${kubeletConfigurationVersion}, ${paths.length} fields:` +
      ` ${count('honoured')} honoured, ${count('warned')} warned, ${count('refused')} refused,` +
      ` ${count('accepted')} accepted.`,
    '',
    '| Field | Default | Treatment | Note |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** The page with the text between the markers replaced. Throws RangeError when a marker is missing. */
export function withDifferencesTable(page: string): string {
  const begin = page.indexOf(differencesMarkers.begin);
  const end = page.indexOf(differencesMarkers.end);
  if (begin < 0 || end < begin) throw new RangeError('docs/differences.md has lost its generated-section markers');
  const head = page.slice(0, begin + differencesMarkers.begin.length);
  return `${head}\n${renderDifferencesTable()}\n${page.slice(end)}`;
}
