import test from 'ava';
import fc from 'fast-check';
import { addLabels, renderFamily, renderLabels } from './exposition.ts';

test('a family with labels, values and times', (t) => {
  const text = renderFamily('m', 'What it\nis \\.', 'gauge', [
    { labels: renderLabels({ a: 'x', b: '' }), value: 1.5, timeMs: 1234.9 },
    { labels: '', value: Number.POSITIVE_INFINITY },
  ]);
  t.is(text, '# HELP m What it\\nis \\\\.\n# TYPE m gauge\nm{a="x",b=""} 1.5 1234\nm +Inf\n');
});

test('a family without a sample is not written', (t) => {
  t.is(renderFamily('m', 'h', 'counter', []), '');
});

test('labels are added behind those that are there', (t) => {
  t.is(addLabels('{a="}"}', { b: '1' }), '{a="}",b="1"}');
  t.is(addLabels('', { b: '1' }), '{b="1"}');
  t.is(addLabels('{a="1"}', {}), '{a="1"}');
});

test('no value of a label breaks out of its line, and each is read back as it was', (t) => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('"} 1\nevil 2', '\\', '\\n', '\\"', '{', '\r\n', '\ud800'),
  );
  fc.assert(
    fc.property(hostile, hostile, (one, two) => {
      const text = renderFamily('m', 'h', 'gauge', [{ labels: renderLabels({ one, two }), value: 1 }]);
      const lines = text.split('\n');
      t.is(lines.length, 4);
      t.deepEqual(readLabels(lines[2] ?? ''), { one: one.toWellFormed(), two: two.toWellFormed() });
    }),
  );
});

/** As Prometheus reads them: a value ends at the first quote that no backslash stands before. */
function readLabels(line: string): Record<string, string> {
  const found = [...line.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/gs)];
  const plain = (text: string): string => text.replace(/\\(.)/gs, (_, c: string) => (c === 'n' ? '\n' : c));
  return Object.fromEntries(found.map(([, name = '', value = '']) => [name, plain(value)]));
}
