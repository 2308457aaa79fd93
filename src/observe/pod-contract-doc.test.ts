/** docs/pod-contract.md names places and tests that exist: a test that is renamed takes its row along. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';

const root = join(import.meta.dirname, '..', '..');
const page = 'docs/pod-contract.md';

interface Row {
  line: string;
  places: string[];
  tests: { file: string; title: string }[];
}

/** Paths of the page are below src/kubelet unless they say otherwise. */
const whole = (path: string): string => (/^(?:src|test)\//.test(path) ? path : `src/kubelet/${path}`);

/** Rows of three columns: what, where, test. Those of the last section have two. */
function rowsOf(text: string): Row[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| row |'))
    .map((line) => ({ line, cells: line.split(' | ') }))
    .filter(({ cells }) => cells.length === 3)
    .map(({ line, cells: [, where = '', proof = ''] }) => ({
      line,
      places: [...where.matchAll(/`([^`]+\.ts)`/g)].map(([, path = '']) => whole(path)),
      tests: [...proof.matchAll(/`([^`]+\.test\.ts)` "([^"]+)"/g)].map(([, file = '', title = '']) => ({
        file: whole(file),
        title,
      })),
    }));
}

test('every row of the page names a place and a test that exist', async (t) => {
  const rows = rowsOf(await readFile(join(root, page), 'utf8'));
  t.true(rows.length > 100, 'the rows are found');
  const texts = new Map<string, string | undefined>();
  const read = async (path: string): Promise<string | undefined> => {
    if (!texts.has(path)) texts.set(path, await readFile(join(root, path), 'utf8').catch(() => undefined));
    return texts.get(path);
  };
  const wrong: string[] = [];
  for (const { line, places, tests } of rows) {
    if (places.length === 0) wrong.push(`no place: ${line}`);
    if (tests.length === 0) wrong.push(`no test: ${line}`);
    for (const place of places) if ((await read(place)) === undefined) wrong.push(`no file ${place}: ${line}`);
    for (const { file, title } of tests) {
      const text = await read(file);
      if (text === undefined) wrong.push(`no file ${file}: ${line}`);
      // As the source has it between its quotes.
      else if (!text.includes(title) && !text.includes(title.replaceAll("'", "\\'")))
        wrong.push(`no such test: ${line}`);
    }
  }
  t.deepEqual(wrong, []);
});
