/**
 * docs/differences.md lists what of the Pod, Service and EndpointSlice APIs this version refuses or passes over, from the
 * tables that read manifests.
 * UPDATE_DOCS=1 rewrites the page's generated section instead of failing.
 */
import { readFile, writeFile } from 'node:fs/promises';
import test from 'ava';
import { fieldRows, type ObjectSpec } from './field-spec.ts';
import { refusedKinds } from './object-fields.ts';
import { podFields } from './pod-fields.ts';
import { endpointSliceFields, serviceFields } from './service-fields.ts';

const page = new URL('../../../docs/differences.md', import.meta.url);
function rowsOf(fields: ObjectSpec, kind = ''): string[] {
  return fieldRows(fields).flatMap((row) => {
    // What all kinds share stands once, with the pods.
    if (row.treatment === 'read' || (kind !== '' && row.path.startsWith('metadata.'))) return [];
    const { unless = [], because = '' } = row;
    const taken = unless.length > 0 ? `; ${JSON.stringify(unless)} is taken` : '';
    return [`| ${kind}\`${row.path}\` | ${row.treatment} | ${because.replaceAll('|', '\\|')}${taken} |`];
  });
}

const kinds = [...refusedKinds].map(([kind, because]) => `| ${kind} | refused | ${because} |`);
const sections = {
  pod: ['| Field or kind | Treatment | Why |', '|---|---|---|', ...rowsOf(podFields), ...kinds],
  service: [
    '| Field | Treatment | Why |',
    '|---|---|---|',
    ...rowsOf(serviceFields, 'Service '),
    ...rowsOf(endpointSliceFields, 'EndpointSlice '),
  ],
};

/** The page with the lines between a section's markers replaced. */
function withSection(text: string, name: string, lines: readonly string[]): string {
  const begin = `<!-- begin generated: ${name} -->`;
  const end = `<!-- end generated: ${name} -->`;
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new RangeError(`docs/differences.md has lost the markers of ${name}`);
  return `${text.slice(0, from)}${[begin, ...lines].join('\n')}\n${text.slice(to)}`;
}

test('docs/differences.md has the rows of the manifest tables', async (t) => {
  const text = await readFile(page, 'utf8');
  let wanted = text;
  for (const [name, lines] of Object.entries(sections)) wanted = withSection(wanted, name, lines);
  if (process.env.UPDATE_DOCS === '1') {
    await writeFile(page, wanted);
    t.pass();
  } else t.is(text, wanted, 'run UPDATE_DOCS=1 ava src/kubelet/static/pod-differences.test.ts');
});
