import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parseSkips, parseTapLine } from './report-tap.ts';

test('TAP lines are told apart', (t) => {
  t.deepEqual(parseTapLine('ok 1 - a › works'), { name: 'a › works', outcome: 'passed' });
  t.deepEqual(parseTapLine('not ok 12 - b # 2 fails'), { name: 'b # 2 fails', outcome: 'failed' });
  t.deepEqual(parseTapLine('ok 3 - c # SKIP'), { name: 'c', outcome: 'skipped' });
  t.deepEqual(parseTapLine('not ok 4 - d # TODO'), { name: 'd', outcome: 'skipped' });
  for (const line of ['TAP version 13', '1..4', '# ok 1', '  ---', 'okay', '']) t.is(parseTapLine(line), undefined);
});

test('a skip needs a reason', (t) => {
  t.deepEqual([...parseSkips('# remark\n\na › b\tno IPv6 here\n')], [['a › b', 'no IPv6 here']]);
  t.throws(() => parseSkips('a › b\n'), { message: /skips\.txt:1/ });
});

test('a skip that is not listed counts as failed', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'keelson-tap-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, 'skips'), 'known\treason\n');
  const input = [
    'TAP version 13',
    'ok 1 - good',
    'ok 2 - known # SKIP',
    'ok 3 - unknown # SKIP',
    'not ok 4 - bad',
    '1..4',
    '',
  ];
  const script = join(import.meta.dirname, 'report-tap.ts');
  execFileSync(process.execPath, [script, join(dir, 'skips'), join(dir, 'counts')], { input: input.join('\n') });
  t.is(readFileSync(join(dir, 'counts'), 'utf8'), '1 2 1\n');
});
