import test from 'ava';
import fc from 'fast-check';
import { ContainerConfigError } from './container-config-error.ts';
import { expandReferences, maxExpandedCharacters } from './expansion.ts';

const variables = new Map([
  ['A', 'a'],
  ['EMPTY', ''],
  ['REF', '$(A)'],
  ['with space', 'w'],
]);
const expand = (text: string): string => expandReferences(text, variables, 'container c');

// The cases of Kubernetes' expand_test.go that differ in kind, and what the API documentation promises of `env.value`.
for (const [text, expected] of [
  ['', ''],
  ['plain', 'plain'],
  ['$(A)', 'a'],
  ['x$(A)y$(A)z', 'xayaz'],
  ['$(EMPTY)', ''],
  ['$(UNKNOWN)', '$(UNKNOWN)'],
  ['$()', '$()'],
  ['$$', '$'],
  ['$$(A)', '$(A)'],
  ['$$$(A)', '$a'],
  ['$$$$(A)', '$$(A)'],
  ['$(REF)', '$(A)'],
  ['$(A', '$(A'],
  ['$(A $(A)', '$(A $(A)'],
  ['$A', '$A'],
  ['$', '$'],
  ['a$', 'a$'],
  ['$x$(A)', '$xa'],
  [') $$ $(A', ') $ $(A'],
  ['$(with space)', 'w'],
  ['$(A\nB)', '$(A\nB)'],
  ['$(constructor)', '$(constructor)'],
] as const) {
  test(`${JSON.stringify(text)} becomes ${JSON.stringify(expected)}`, (t) => t.is(expand(text), expected));
}

test('a text without a dollar stays as it is', (t) => {
  fc.assert(fc.property(fc.string(), (text) => text.includes('$') || expand(text) === text));
  t.pass();
});

test('escaping every dollar gives the text back', (t) => {
  fc.assert(fc.property(fc.string(), (text) => expand(text.replaceAll('$', '$$$$')) === text));
  t.pass();
});

test('a megabyte of opened references is read in linear time', (t) => {
  const hostile = '$('.repeat(2 ** 19);
  const started = performance.now();
  t.is(expand(hostile), hostile);
  t.true(performance.now() - started < 2_000);
});

test('a result that no program could be given is refused before it is built', (t) => {
  const big = new Map([['X', 'x'.repeat(2 ** 20)]]);
  const error = t.throws(() => expandReferences('$(X)'.repeat(100_000), big, 'container c'), {
    instanceOf: ContainerConfigError,
  });
  t.is(error?.object, 'container c');
  t.is(expandReferences('$(X)'.repeat(5), big, 'container c').length, 5 * 2 ** 20);
  t.true(maxExpandedCharacters >= 6 * 2 ** 20);
});
