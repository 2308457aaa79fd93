/**
 * docs/differences.md lists what of the Pod API this version refuses or passes over, from the tables that read manifests.
 * UPDATE_DOCS=1 rewrites the page's generated section instead of failing.
 */
import { readFile, writeFile } from 'node:fs/promises';
import test from 'ava';
import { fieldRows } from './field-spec.ts';
import { refusedKinds } from './object-fields.ts';
import { podFields } from './pod-fields.ts';

const page = new URL('../../../docs/differences.md', import.meta.url);
const begin = '<!-- begin generated: pod -->';
const end = '<!-- end generated: pod -->';

function render(): string {
  const rows = fieldRows(podFields).flatMap((row) => {
    if (row.treatment === 'read') return [];
    const { unless = [], because = '' } = row;
    const taken = unless.length > 0 ? `; ${JSON.stringify(unless)} is taken` : '';
    return [`| \`${row.path}\` | ${row.treatment} | ${because.replaceAll('|', '\\|')}${taken} |`];
  });
  const kinds = [...refusedKinds].map(([kind, because]) => `| ${kind} | refused | ${because} |`);
  return [begin, '| Field or kind | Treatment | Why |', '|---|---|---|', ...rows, ...kinds, end].join('\n');
}

test('docs/differences.md has the rows of the manifest tables', async (t) => {
  const text = await readFile(page, 'utf8');
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  t.true(from > 0 && to > from, 'the markers are there');
  const wanted = `${text.slice(0, from)}${render()}${text.slice(to + end.length)}`;
  if (process.env.UPDATE_DOCS === '1') await writeFile(page, wanted);
  else t.is(text, wanted, 'run UPDATE_DOCS=1 ava src/kubelet/static/pod-differences.test.ts');
});
