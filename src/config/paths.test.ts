/** Path rules: what may stand in a volume's items and subPath, in flags and in configuration files. */
import test from 'ava';
import fc from 'fast-check';
import {
  checkAbsolutePath,
  checkLocalDescendingPath,
  checkLocalNonReservedPath,
  checkPathNoBacksteps,
  checkPathSegment,
  cleanAbsolutePath,
} from './paths.ts';

const tables: [string, (path: string) => string[], string[], string[]][] = [
  [
    'no back steps',
    checkPathNoBacksteps,
    ['', 'a', '/a/b', 'a..b', '..a', 'a/...', '.'],
    ['..', '../a', 'a/..', 'a/../b', '/..'],
  ],
  [
    'descending path',
    checkLocalDescendingPath,
    ['', 'a', 'a/b', '..data', './a'],
    ['/a', '../a', 'a/../../b', '/..', 'a\0b'],
  ],
  ['non-reserved path', checkLocalNonReservedPath, ['a', 'a/..b', '.a'], ['..data', '..', '../a', '/a', '..a/b']],
  ['segment', checkPathSegment, ['a', '.a', '...', 'a b'], ['', '.', '..', 'a/b', 'a\n', '\0']],
  [
    'absolute path',
    checkAbsolutePath,
    ['/', '/a', '//a/', '/a/./b', '/a..b'],
    ['', 'a', './a', '/a/..', '/../a', '/a\0', '/a\n'],
  ],
];

for (const [name, check, good, bad] of tables) {
  test(name, (t) => {
    for (const path of good) t.deepEqual(check(path), [], JSON.stringify(path));
    for (const path of bad) t.true(check(path).length > 0, JSON.stringify(path));
  });
}

test('cleaning', (t) => {
  t.is(cleanAbsolutePath('/'), '/');
  t.is(cleanAbsolutePath('//a///b/./c/'), '/a/b/c');
  t.is(cleanAbsolutePath('/a/../b'), '/a/../b');
  fc.assert(fc.property(fc.string(), (path) => cleanAbsolutePath(cleanAbsolutePath(path)) === cleanAbsolutePath(path)));
});
