/**
 * Every field of each configuration kind has a treatment and a row in docs/differences.md.
 * UPDATE_DOCS=1 rewrites the page's generated sections instead of failing.
 */
import { readFile, writeFile } from 'node:fs/promises';
import test from 'ava';
import { documentedKinds, withDifferencesTables } from './differences-table.ts';
import { featureGateDefaults } from './feature-gates.ts';

const page = new URL('../../docs/differences.md', import.meta.url);
const typeMeta = new Set(['apiVersion', 'kind']);

for (const { kind, table, paths, marker } of documentedKinds) {
  test(`${kind}: each field has a treatment`, (t) => {
    for (const path of paths) {
      if (typeMeta.has(path)) continue;
      const [parent = '', member] = path.split('[].');
      const spec = table[parent];
      t.truthy(spec, `${parent} has no entry`);
      if (member !== undefined) t.true(spec?.schema.elementKeys?.includes(member), `${path} is not known`);
      else t.true((spec?.note.length ?? 0) > 0, `${path} has no note`);
    }
  });

  test(`${kind}: no entry is made up`, (t) => {
    const known = new Set(paths);
    t.deepEqual(
      Object.keys(table).filter((path) => !known.has(path)),
      [],
    );
    t.is(known.size, paths.length);
  });

  test(`${kind}: notes are single lines without a full stop, and honoured fields are the narrow type`, (t) => {
    for (const [path, spec] of Object.entries(table)) {
      t.notRegex(spec.note, /\n|\.$/, path);
      t.false(spec.treatment === 'honoured' && spec.quiet.length > 0, path);
    }
  });

  test(`${kind}: defaults pass their own schema`, (t) => {
    for (const [path, spec] of Object.entries(table)) {
      if (spec.fallback === undefined) continue;
      const text = spec.schema.print(spec.fallback);
      if (spec.fallback instanceof Map || Array.isArray(spec.fallback)) continue;
      const input = typeof spec.fallback === 'number' && !/[a-z]/i.test(text) ? spec.fallback : text;
      const plain = typeof spec.fallback === 'boolean' ? spec.fallback : input;
      const read = spec.schema.read(plain, [path], (_at, problem) => t.fail(`${path}: ${problem.message}`));
      t.is(read === undefined ? undefined : spec.schema.print(read), text, path);
    }
  });

  test(`${kind}: docs/differences.md has a row for each field`, async (t) => {
    const text = withDifferencesTables(await readFile(page, 'utf8'));
    const section = text.split(`generated: ${marker} -->`)[1] ?? '';
    for (const path of Object.keys(table)) t.true(section.includes(`| \`${path}\` |`), path);
  });
}

test.serial('docs/differences.md has the rows of the tables', async (t) => {
  const text = await readFile(page, 'utf8');
  const wanted = withDifferencesTables(text);
  if (process.env.UPDATE_DOCS === '1') {
    await writeFile(page, wanted);
    t.pass();
  } else t.is(text, wanted, 'run UPDATE_DOCS=1 ava src/config/differences-table.test.ts');
});

test('the feature gates are those of 1.36', (t) => {
  t.is(featureGateDefaults.get('MemoryQoS'), false);
  t.is(featureGateDefaults.get('CustomCPUCFSQuotaPeriod'), true);
  t.is(featureGateDefaults.get('AllAlpha'), false);
  t.true(featureGateDefaults.size > 200);
});
