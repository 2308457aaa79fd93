import test from 'ava';
import fc from 'fast-check';
import { planCleanup, planRotation, printStep } from './rotation-plan.ts';

const now = new Date(2026, 10, 21, 15, 39, 20).getTime();
const plan = (files: string[], maxFiles = 5): string[] => planRotation('0.log', files, maxFiles, now).map(printStep);

test('the first rotation renames', (t) => {
  t.deepEqual(plan(['0.log']), ['mv 0.log 0.log.20261121-153920 # and reopen']);
});

test('the one before is compressed, the oldest go', (t) => {
  const files = ['0.log', '0.log.20261121-150000', '0.log.20261121-140000.gz', '0.log.20261121-130000.gz'];
  t.deepEqual(plan(files), ['gzip 0.log.20261121-150000', 'mv 0.log 0.log.20261121-153920 # and reopen']);
  t.deepEqual(plan(files, 4), [
    'rm 0.log.20261121-130000.gz # excess',
    'gzip 0.log.20261121-150000',
    'mv 0.log 0.log.20261121-153920 # and reopen',
  ]);
  t.deepEqual(plan(files, 2), [
    'rm 0.log.20261121-130000.gz # excess',
    'rm 0.log.20261121-140000.gz # excess',
    'rm 0.log.20261121-150000 # excess',
    'mv 0.log 0.log.20261121-153920 # and reopen',
  ]);
});

test('what a kill left half-way goes first', (t) => {
  const files = [
    '0.log.20261121-130000.tmp',
    '0.log.20261121-140000',
    '0.log.20261121-140000.gz',
    '0.log.20261121-150000.gz.tmp',
  ];
  const cleanup = [
    'rm 0.log.20261121-130000.tmp # unfinished',
    'rm 0.log.20261121-140000 # compressed already',
    'rm 0.log.20261121-150000.gz.tmp # unfinished',
  ];
  t.deepEqual(planCleanup('0.log', files).map(printStep), cleanup);
  t.deepEqual(plan(files), [...cleanup, 'mv 0.log 0.log.20261121-153920 # and reopen']);
});

test('other files stay, those of other instances, too', (t) => {
  const files = [
    '0.log',
    '1.log',
    '10.log',
    '1.log.20261121-130000',
    '10.log.20261121-130000',
    '0.log.save',
    '0.log.1.gz',
  ];
  t.deepEqual(plan([...files, '0.log.20261121-13000', '00.log.20261121-130000', '0.log.tmp', 'x', '..'], 2), [
    'mv 0.log 0.log.20261121-153920 # and reopen',
  ]);
});

test('a new name is always the newest, though the clock was set back', (t) => {
  const to = (newest: string): string | undefined => plan(['0.log', `0.log.${newest}.gz`]).at(-1);
  t.is(to('20261121-153920'), 'mv 0.log 0.log.20261121-153921 # and reopen');
  t.is(to('20271231-235959'), 'mv 0.log 0.log.20280101-000000 # and reopen');
  t.is(to('20280228-235959'), 'mv 0.log 0.log.20280229-000000 # and reopen');
});

test('repeated rotation keeps to the number of files, and loses none but the oldest', (t) => {
  const jump = fc.integer({ min: -100_000, max: 100_000 });
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 7 }), fc.array(jump, { maxLength: 15 }), (maxFiles, jumps) => {
      let files = new Map([['0.log', 0]]);
      let [time, made] = [now, 0];
      for (const ms of jumps) {
        time += ms;
        const next = new Map(files);
        for (const step of planRotation('0.log', [...files.keys()], maxFiles, time)) {
          const content = next.get(step.file);
          t.not(content, undefined, 'the file is there');
          next.delete(step.file);
          if (step.do === 'compress') next.set(`${step.file}.gz`, content ?? -1);
          if (step.do === 'rotate') {
            t.false(next.has(step.to) || next.has(`${step.to}.gz`), 'no name is used twice');
            next.set(step.to, content ?? -1);
          }
        }
        next.set('0.log', ++made);
        files = next;
        t.true(files.size <= maxFiles);
        t.deepEqual(
          [...files.values()].sort((a, b) => a - b),
          range(made + 1 - files.size, made),
        );
        t.is(files.size, Math.min(maxFiles, made + 1));
        t.true([...files.keys()].filter((name) => name !== '0.log' && !name.endsWith('.gz')).length <= 1);
      }
    }),
  );
});

const range = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => first + i);
