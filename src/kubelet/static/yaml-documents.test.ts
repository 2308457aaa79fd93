/** Tests of the YAML reader: what Kubernetes' YAML means, lines, and hostile input that must come to an end. */
import test from 'ava';
import fc from 'fast-check';
import { parseYamlDocuments } from './yaml-documents.ts';

function values(text: string): unknown[] {
  const { documents, problems } = parseYamlDocuments(text);
  if (problems.length > 0) throw new Error(problems.map(({ line, message }) => `${line}: ${message}`).join('\n'));
  return documents.map(({ value }) => value);
}

test('scalars are read by YAML 1.1, as Kubernetes does', (t) => {
  const text =
    'octal: 0644\nbool: yes\nclock: 10:20\ndate: 2026-01-01\nfloat: 1e3\nnothing: ~\nquoted: "0644"\nhex: 0x10\n8080: key\n';
  t.deepEqual(values(text), [
    {
      octal: 420,
      bool: true,
      clock: '10:20',
      date: '2026-01-01',
      float: 1000,
      nothing: null,
      quoted: '0644',
      hex: 16,
      8080: 'key',
    },
  ]);
  t.deepEqual(values('%YAML 1.2\n---\nmode: 0644\n'), [{ mode: 420 }]);
});

test('several documents, empty ones left out; JSON with tabs', (t) => {
  t.deepEqual(values('# only a comment\n---\n---\na: 1\n...\n---\nb: 2\n'), [{ a: 1 }, { b: 2 }]);
  t.deepEqual(values('{\n\t"a": [\n\t\t1,\n\t\t"\\u00e9"\n\t]\n}\n'), [{ a: [1, 'é'] }]);
  t.deepEqual(values(''), []);
});

test('aliases and merge keys', (t) => {
  t.deepEqual(values('base: &b {x: 1, w: 2}\nuse: {<<: *b, w: 3}\nsame: *b\n'), [
    { base: { x: 1, w: 2 }, use: { x: 1, w: 3 }, same: { x: 1, w: 2 } },
  ]);
  t.deepEqual(values('a: &a {x: 1}\nb: &b {x: 2, z: 3}\nc: {<<: [*a, *b]}\n')[0], {
    a: { x: 1 },
    b: { x: 2, z: 3 },
    c: { x: 1, z: 3 },
  });
});

test('a key named __proto__ is only a key', (t) => {
  const [value] = values('__proto__: {polluted: 1}\n') as [object];
  t.true(Object.hasOwn(value, '__proto__'));
  t.is(({} as Record<string, unknown>).polluted, undefined);
});

test('lines of fields, list elements and missing fields', (t) => {
  const [document] = parseYamlDocuments('---\n# c\na:\n  b:\n  - c: 1\n  -\n    d: 2\n').documents;
  t.is(document?.line, 3);
  const line = (...path: (string | number)[]): number | undefined => document?.lineOf(path);
  t.is(line('a'), 3);
  t.is(line('a', 'b', 0), 5);
  t.is(line('a', 'b', 1, 'd'), 7);
  t.is(line('a', 'b', 1, 'missing', 'deeper'), 7);
  t.is(line('missing'), 3);
});

const refused: [text: string, line: number, message: RegExp][] = [
  ['a: 1\n\tb: 2', 2, /Tabs are not allowed/],
  ['a: [1\nb: 2', 2, /Flow sequence/],
  ['a: 1\nb: 1\na: 2', 3, /the key "a" stands twice/],
  ['x: 1\nyes: 2', 2, /the key yes is not a string/],
  ['? [1]\n: 2', 1, /a key must be a string/],
  ['x: !!binary aGk=', 1, /is not a string, number or boolean/],
  ['x: !custom y', 1, /Unresolved tag: !custom/],
  ['x: .inf', 1, /Infinity is not a number/],
  ['a: *nope', 1, /the alias \*nope has no anchor/],
  ['a: &a [*a]', 1, /contains itself/],
  ['a: &a {b: *a}', 1, /contains itself/],
  ['- {<<: 1}', 1, /merge key/],
];
for (const [text, line, message] of refused) {
  test(`refused: ${JSON.stringify(text)}`, (t) => {
    const { documents, problems } = parseYamlDocuments(text);
    t.deepEqual(documents, []);
    t.is(problems[0]?.line, line);
    t.regex(problems[0]?.message ?? '', message);
  });
}

test('aliases that multiply are refused, many aliases of a small thing are not', (t) => {
  let bomb = 'a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n';
  for (let i = 1; i < 10; i++)
    bomb += `a${i}: &a${i} [${Array(10)
      .fill(`*a${i - 1}`)
      .join(',')}]\n`;
  t.regex(parseYamlDocuments(bomb).problems[0]?.message ?? '', /aliases multiply/);
  const merges = `a0: &a0 {k: 1}\n${Array.from({ length: 60 }, (_, i) => `a${i + 1}: &a${i + 1} {v: *a${i}, w: *a${i}}\n`).join('')}`;
  t.regex(parseYamlDocuments(merges).problems[0]?.message ?? '', /aliases multiply|nested/);
  t.is(values(`a: &a {x: 1}\nl: [${Array(500).fill('*a').join(',')}]\n`).length, 1);
});

test('depth is bounded, by a clear line', (t) => {
  const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  t.deepEqual(parseYamlDocuments(nested(60)).problems, []);
  for (const text of [nested(100), '- '.repeat(100), '? '.repeat(100), '{a: '.repeat(100)]) {
    t.is(parseYamlDocuments(text).problems[0]?.message, 'is nested more than 64 levels deep');
  }
});

const hostile: Record<string, string> = {
  'open brackets': '['.repeat(3_000_000),
  'open braces': '{'.repeat(3_000_000),
  'nested sequences': '- '.repeat(200_000),
  'nested keys': '? '.repeat(200_000),
  quotes: '"'.repeat(3_000_000),
  'many keys': Array.from({ length: 90_000 }, (_, i) => `k${i}: ${i}`).join('\n'),
  'many documents': '---\n'.repeat(700_000),
  'many anchors': '&a '.repeat(1_000_000),
  'many comments': '#\n'.repeat(1_500_000),
  'one long line': `a: ${'x'.repeat(3_000_000)}`,
};
for (const [name, text] of Object.entries(hostile)) {
  test(`hostile: ${name}`, (t) => {
    // Without the bounds these take minutes, and ava gives up; with them a few hundred milliseconds.
    const { documents, problems } = parseYamlDocuments(text);
    t.true(documents.length + problems.length > 0);
  });
}

test('any text gives documents or problems, never an exception', (t) => {
  const piece = fc.constantFrom(
    'a',
    ': ',
    '- ',
    '\n',
    '  ',
    '{',
    '}',
    '[',
    ']',
    ',',
    '"',
    "'",
    '&a ',
    '*a',
    '|',
    '>',
    '?',
    '<<',
    '!',
    '%',
    '#',
    '---\n',
    '\t',
    '0',
    '\u0000',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
      const { documents, problems } = parseYamlDocuments(pieces.join(''));
      return documents.length === 0 || problems.length === 0;
    }),
    { numRuns: 3000 },
  );
  t.pass();
});

test('any JSON value is read as JSON.parse reads it', (t) => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false, maxDepth: 5 }), (value) => {
      const text = JSON.stringify(value, null, 2);
      const [read = null] = values(text);
      t.is(JSON.stringify(read), JSON.stringify(JSON.parse(text)));
    }),
    { numRuns: 500 },
  );
});
