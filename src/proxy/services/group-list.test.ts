/** Numbering: which elements a change touches, and when a group's number may be used again. */
import test from 'ava';
import { GroupIds, renumber } from './group-list.ts';

const letters = (text: string): string[] => [...text];

const cases: [string, string, string | undefined, number[]][] = [
  // current, wanted, result, replaced
  ['', 'abc', 'abc', []],
  ['abc', 'abc', undefined, []],
  ['abc', 'cab', undefined, []],
  ['abc', 'abcd', 'abcd', []],
  ['abc', 'dabc', 'abcd', []],
  ['abcd', 'abc', 'abc', []],
  ['abcd', 'bcd', 'dbc', [0]],
  ['abcd', 'acd', 'adc', [1]],
  ['abcd', 'axcd', 'axcd', [1]],
  ['abcd', 'xcdb', 'xbcd', [0]],
  ['abcdef', 'cf', 'fc', [0, 1]],
  ['abcdef', 'bdfx', 'xbfd', [0, 2]],
  ['abc', '', '', []],
  ['ab', 'cdef', 'cdef', [0, 1]],
];

for (const [current, wanted, result, replaced] of cases)
  test(`${current || 'nothing'} to ${wanted || 'nothing'}`, (t) => {
    const renumbered = renumber(letters(current), letters(wanted));
    t.is(renumbered?.endpoints.join(''), result);
    t.deepEqual(renumbered?.replaced ?? [], replaced);
  });

test('a number rests for two flushes, and the one that rested longest comes first', (t) => {
  const ids = new GroupIds();
  ids.nextFlush();
  t.deepEqual([ids.take(), ids.take(), ids.take()], [1, 2, 3]);
  ids.nextFlush();
  ids.free(2);
  ids.free(1);
  t.is(ids.take(), 4, 'the same flush');
  ids.nextFlush();
  t.is(ids.take(), 5, 'the next one');
  ids.nextFlush();
  t.is(ids.take(), 6, 'the second one');
  ids.nextFlush();
  t.deepEqual([ids.take(), ids.take(), ids.take()], [2, 1, 7]);
});

test('numbers do not run away under churn', (t) => {
  const ids = new GroupIds();
  let highest = 0;
  let held = 0;
  for (let flush = 0; flush < 10000; flush++) {
    ids.nextFlush();
    if (held !== 0) ids.free(held);
    held = ids.take();
    highest = Math.max(highest, held);
  }
  t.true(highest <= 5, String(highest));
});
