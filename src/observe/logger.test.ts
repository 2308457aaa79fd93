import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import fc from 'fast-check';
import { silentLogger, textLine } from './logger.ts';

const head = { time: '2026-01-01T00:00:00.000Z', level: 'info', msg: 'pod ready' };
const prefix = '2026-01-01T00:00:00.000Z info  pod ready';

for (const [what, fields, rest] of [
  ['no fields', {}, ''],
  ['words stay bare', { pod: 'default/web', component: 'pods' }, ' pod=default/web component=pods'],
  ['numbers and truth', { retryMs: 100, ready: true }, ' retryMs=100 ready=true'],
  ['spaces are quoted', { error: 'no such file' }, ' error="no such file"'],
  ['an empty text shows', { ip: '' }, ' ip=""'],
  ['quotes and equals are quoted', { a: 'x"y', b: 'x=y' }, ' a="x\\"y" b="x=y"'],
  ['objects are JSON', { ips: ['a', 'b'], none: null }, ' ips=["a","b"] none=null'],
  ['line breaks are escaped', { error: 'a\nb' }, ' error="a\\nb"'],
  ['letters of any language stay', { name: 'grün' }, ' name=grün'],
] as const) {
  test(`text: ${what}`, (t) => t.is(textLine({ ...head, ...fields }), `${prefix}${rest}\n`));
}

test('text: levels are padded to a column', (t) => {
  t.true(textLine({ ...head, level: 'error' }).startsWith('2026-01-01T00:00:00.000Z error pod ready'));
});

test('text: one line an event, and nothing in it moves a cursor', (t) => {
  const hostile = fc.string({ unit: fc.constantFrom('a', ' ', '\n', '\r', '\u001b', '\u009b', '\u007f', '"', '=') });
  fc.assert(
    fc.property(hostile, hostile, hostile, (msg, name, value) => {
      const line = textLine({ ...head, msg, [`x${name}`]: value, object: { [name]: value } });
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal
      return line.endsWith('\n') && !/[\u0000-\u001f\u007f-\u009f]/.test(line.slice(0, -1));
    }),
  );
  t.pass();
});

async function logged(script: string): Promise<string> {
  const module = fileURLToPath(new URL('./logger.ts', import.meta.url));
  const program = `import { createLogger } from ${JSON.stringify(module)};\n${script}`;
  const { stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  return stderr;
}

test('JSON: the fields of a child, the level by name, nothing of the process', async (t) => {
  const text = await logged(
    `createLogger(0).child({ component: 'pods' }).info({ pod: 'default/web' }, 'ready'); process.exit(0);`,
  );
  const { time, ...rest } = JSON.parse(text) as Record<string, unknown>;
  t.regex(String(time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  t.deepEqual(rest, { level: 'info', component: 'pods', pod: 'default/web', msg: 'ready' });
});

test('verbosity 3 shows what 2 hides; text format comes through', async (t) => {
  const text = await logged(
    `for (const v of [2, 3]) createLogger(v, 'text').debug({ v }, 'detail'); createLogger(0, 'text').warn({}, 'loud');`,
  );
  t.deepEqual(
    text
      .trimEnd()
      .split('\n')
      .map((line) => line.replace(/^\S+ /, '')),
    ['debug detail v=3', 'warn  loud'],
  );
});

test('the silent logger says nothing and has children', (t) => {
  t.notThrows(() => silentLogger.child({ a: 1 }).error({}, 'x'));
});
