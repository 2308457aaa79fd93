import test from 'ava';
import { createReport } from './report.ts';

test('checks are counted, said and put into the table', async (t) => {
  const lines: string[] = [];
  let clock = 0;
  const report = createReport(
    (line) => lines.push(line),
    () => clock,
  );
  const check = report.checks('join');
  t.true(
    await check('is Ready', async () => {
      clock += 1500;
      return 'a figure\nand another';
    }),
  );
  t.false(
    await check('is gone', () => {
      throw new Error('it is not');
    }),
  );
  report.fail('reset', 'ran to its end', 'no more');
  t.is(lines[0], 'ok 1 - join: is Ready # 1.5 s');
  t.is(lines[1], '#   a figure\n#   and another');
  t.is(lines[2], 'not ok 2 - join: is gone # 0.0 s');
  t.regex(lines[3] ?? '', /^# {3}Error: it is not/);
  t.is(report.failed, 2);
  const end = report.end().split('\n');
  t.is(end[0], '1..3');
  t.regex(end[3] ?? '', /^join +is Ready +ok +1\.5$/);
  t.regex(end[5] ?? '', /^reset +ran to its end +FAILED +0\.0$/);
  t.is(end.at(-1), '1 passed, 2 failed');
});

test('nothing checked is nothing passed', (t) => {
  t.true(
    createReport(
      () => {},
      () => 0,
    )
      .end()
      .endsWith('\n0 passed, 0 failed'),
  );
});
