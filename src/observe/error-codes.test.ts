/** docs/errors.md names every error code of the sources, and none that is gone. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const root = fileURLToPath(new URL('../..', import.meta.url));
const code = /'([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)'/g;

function codesOfSources(): Set<string> {
  const codes = new Set<string>();
  for (const file of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || /\.test\.|fake/.test(file)) continue;
    const text = readFileSync(join(root, 'src', file), 'utf8');
    // Codes are literals of a constructor call, or members of the union in a file of errors.
    for (const match of text.matchAll(/(?:super|\w+Error)\(\s*'([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)'/g))
      codes.add(match[1]!);
    if (/error\.ts$/.test(file))
      for (const match of text.matchAll(code)) if (match[1]!.includes('_')) codes.add(match[1]!);
  }
  return codes;
}

function codesOfPage(): Set<string> {
  const rows = readFileSync(join(root, 'docs/errors.md'), 'utf8')
    .split('\n')
    .filter((line) => /^\| [A-Z]/.test(line));
  return new Set(
    rows.slice(1).flatMap((row) =>
      row
        .split('|')[1]!
        .split(',')
        .map((name) => name.trim()),
    ),
  );
}

test('docs/errors.md and the sources name the same codes', (t) => {
  const [sources, page] = [codesOfSources(), codesOfPage()];
  t.true(sources.size > 50, 'the search finds the codes');
  t.deepEqual([...sources].filter((name) => !page.has(name)).sort(), [], 'missing in docs/errors.md');
  t.deepEqual([...page].filter((name) => !sources.has(name)).sort(), [], 'in docs/errors.md only');
});
