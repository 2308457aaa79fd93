import test from 'ava';
import { formatAge, formatTable } from './table.ts';

test('columns align, and what could move a cursor is blanked', (t) => {
  t.is(
    formatTable([
      ['NAME', 'IP'],
      ['web', '10.0.0.1'],
      ['a-long\u001b[2Jname', ''],
    ]),
    'NAME             IP\nweb              10.0.0.1\na-long [2Jname',
  );
});

for (const [seconds, text] of [
  [0, '0s'],
  [119, '119s'],
  [120, '2m'],
  [192, '3m12s'],
  [900, '15m'],
  [3 * 3600 + 300, '3h5m'],
  [20 * 3600, '20h'],
  [76 * 3600, '3d4h'],
  [30 * 86400, '30d'],
] as const) {
  test(`${seconds} s is ${text}`, (t) => t.is(formatAge(seconds * 1000), text));
}
