/** Tests of both splitters with bodies cut anywhere. Layer: api. */
import test from 'ava';
import fc from 'fast-check';
import { isApiError } from './api-error.ts';
import { createLineSplitter } from './json-lines.ts';
import { createItemSplitter } from './list-items.ts';

/** The bytes of `text` in pieces of the given sizes, again and again. */
function* cut(text: string, sizes: readonly number[]): Generator<Buffer> {
  const bytes = Buffer.from(text);
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

function splitList(text: string, sizes: readonly number[]): { items: unknown[]; envelope: unknown } {
  const splitter = createItemSplitter();
  const items: unknown[] = [];
  for (const chunk of cut(text, sizes)) for (const item of splitter.push(chunk)) items.push(JSON.parse(item));
  return { items, envelope: splitter.end() };
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });
// Everything that could be taken for structure stands in strings too.
const word = fc.string({
  unit: fc.constantFrom('"', '\\', '{', '}', '[', ']', ',', ':', '\n', 'ü', '🐢', 'items', 'a'),
});
const anything = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: 'small' }, word, fc.integer(), fc.constant(null), tie('list'), tie('object')),
  list: fc.array(tie('value'), { maxLength: 3 }),
  object: fc.dictionary(fc.oneof(word, fc.constant('items')), tie('value'), { maxKeys: 3, noNullPrototype: true }),
}));

test('a list gives its items and what is around them, wherever it is cut', (t) => {
  const list = fc.record({
    kind: word,
    metadata: anything.object,
    items: fc.array(anything.object, { maxLength: 4 }),
    more: anything.value,
  });
  const order = fc.shuffledSubarray(['kind', 'metadata', 'items', 'more'] as const, { minLength: 4 });
  fc.assert(
    fc.property(list, order, sizes, fc.constantFrom(0, 2), (value, keys, cuts, indent) => {
      const text = JSON.stringify(Object.fromEntries(keys.map((key) => [key, value[key]])), undefined, indent);
      const { items, envelope } = splitList(`${text}\n`, cuts);
      t.deepEqual(items, JSON.parse(JSON.stringify(value.items)));
      t.deepEqual(envelope, JSON.parse(JSON.stringify({ ...value, items: [] })));
    }),
  );
});

test('items that are null, and documents that are no list, stay as they are', (t) => {
  for (const document of [{ items: null }, { items: {} }, { kind: 'Status', details: { causes: [{ items: [{}] }] } }]) {
    t.deepEqual(splitList(JSON.stringify(document), [3]), { items: [], envelope: document });
  }
});

for (const [what, text] of [
  ['nothing', ''],
  ['cut in an item', '{"items":[{"a":1'],
  ['cut after an item', '{"items":[{"a":1}'],
  ['cut in a string', '{"a":"'],
  ['no JSON', '<html>'],
  ['items that are no objects', '{"items":[1,2]}'],
  ['too many ends', '{}}'],
] as const) {
  test(`a list is refused: ${what}`, (t) => {
    const error = t.throws(() => splitList(text, [4]));
    t.true(isApiError(error, 'API_RESPONSE'));
  });
}

test('a huge item is refused before it fills memory', (t) => {
  const splitter = createItemSplitter(1000);
  splitter.push(Buffer.from('{"items":[{"a":"'));
  t.notThrows(() => splitter.push(Buffer.alloc(900, 'x')));
  const error = t.throws(() => splitter.push(Buffer.alloc(900, 'x')));
  t.true(isApiError(error, 'API_RESPONSE'));
});

test('lines come out whole, wherever they are cut', (t) => {
  fc.assert(
    fc.property(fc.array(anything.object), sizes, (objects, cuts) => {
      const splitter = createLineSplitter();
      const lines: string[] = [];
      const text = objects.map((object) => `${JSON.stringify(object)}\n`).join('');
      for (const chunk of cut(text, cuts)) lines.push(...splitter.push(chunk));
      t.deepEqual(
        lines,
        objects.map((object) => JSON.stringify(object)),
      );
      t.is(splitter.pending, 0);
    }),
  );
});

test('a line of 3 MiB in small chunks passes; one above the limit does not', (t) => {
  const splitter = createLineSplitter(4 * 1024 * 1024);
  const chunk = Buffer.alloc(16 * 1024, 'x');
  for (let sent = 0; sent < 3 * 1024 * 1024; sent += chunk.length) t.deepEqual(splitter.push(chunk), []);
  t.is(splitter.push(Buffer.from('\n\n')).join().length, 3 * 1024 * 1024);
  const error = t.throws(() => {
    for (;;) splitter.push(chunk);
  });
  t.true(isApiError(error, 'API_RESPONSE'));
});
