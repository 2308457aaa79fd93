import test from 'ava';
import { errorLine, KeelsonError } from './keelson-error.ts';

class PodError extends KeelsonError {}
const full = new PodError('POD', 'has no container', { object: 'pod default/web', fix: 'add one' });

for (const [what, error, line] of [
  ['object, message and fix', full, 'pod default/web: has no container (add one)'],
  ['message only', new KeelsonError('X', 'broken'), 'broken'],
  ['an ordinary error, without its stack', new TypeError('x is not a function'), 'x is not a function'],
  [
    'several at once',
    new AggregateError([full, new Error('b')], 'both'),
    'pod default/web: has no container (add one); b',
  ],
  ['several in several', new AggregateError([new AggregateError([new Error('a'), 'b']), 'c']), 'a; b; c'],
  ['none at all', new AggregateError([], 'nothing worked'), 'nothing worked'],
  ['a text', 'just words', 'just words'],
  ['nothing', undefined, 'undefined'],
  ['line breaks', new Error('runc: exit status 1\r\n\tstderr: no\n'), 'runc: exit status 1 stderr: no'],
  ['line breaks in an object', new KeelsonError('X', 'm', { object: 'a\nb' }), 'a b: m'],
] as const) {
  test(`one line: ${what}`, (t) => t.is(errorLine(error), line));
}

test('the class, code and cause stay for programs', (t) => {
  const cause = new Error('errno');
  const error = new PodError('POD', 'm', { cause });
  t.is(error.name, 'PodError');
  t.is(error.code, 'POD');
  t.is(error.cause, cause);
  t.is(error.object, undefined);
  t.false('cause' in new PodError('POD', 'm'));
});
