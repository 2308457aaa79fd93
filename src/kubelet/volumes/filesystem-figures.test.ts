import { statfs } from 'node:fs/promises';
import test from 'ava';
import fc from 'fast-check';
import type { MountInfo } from '../../linux/host.ts';
import { filesystemFigures, parseFigures } from './filesystem-figures.ts';
import { type RunHostCommand, runHostCommand } from './host-command.ts';

const signal = new AbortController().signal;

test('the figures are those of statfs', async (t) => {
  const answer = await runHostCommand('stat', ['--file-system', '--format', '%S %b %f %a %c %d', '--', '/'], {
    timeoutMs: 60_000,
  });
  const { bsize, blocks, files } = await statfs('/');
  const figures = answer.outcome === 'ended' ? parseFigures(answer.stdout) : undefined;
  t.is(figures?.capacityBytes, bsize * blocks);
  t.is(figures?.inodes, files);
});

test('blocks become bytes', (t) => {
  t.deepEqual(parseFigures('4096 100 40 30 1000 900'), {
    capacityBytes: 409_600,
    availableBytes: 122_880,
    usedBytes: 245_760,
    inodes: 1000,
    inodesFree: 900,
    inodesUsed: 100,
  });
});

test('anything else is nothing', (t) => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const figures = parseFigures(text);
      return figures === undefined || /^\d+( \d+){5}$/.test(text);
    }),
  );
  t.is(parseFigures(''), undefined);
  t.is(parseFigures('1 2 3 4 5 -6'), undefined);
});

test('a volume is asked in a child, and only while something is mounted there', async (t) => {
  const asked: string[] = [];
  const run: RunHostCommand = async (file, args) => {
    asked.push([file, ...args].join(' '));
    return { outcome: 'ended', status: 0, stdout: '1 2 1 1 4 3', stderr: '' };
  };
  const volume = { podUid: 'uid', directory: 'kubernetes.io~nfs', specName: 'pv' };
  const target = '/root/pods/uid/volumes/kubernetes.io~nfs/pv';
  const table: Partial<MountInfo>[] = [];
  const edges = { run, list: async () => table as MountInfo[], root: '/root' };
  t.is(await filesystemFigures(volume, edges, signal), undefined);
  t.deepEqual(asked, []);
  table.push({ target });
  t.like(await filesystemFigures(volume, edges, signal), { capacityBytes: 2 });
  t.deepEqual(asked, [`stat --file-system --format %S %b %f %a %c %d -- ${target}`]);
  const hanging: RunHostCommand = async () => ({ outcome: 'killed', timedOut: true, stderr: '' });
  await t.throwsAsync(filesystemFigures(volume, { ...edges, run: hanging }, signal), { code: 'VOLUME_TIMEOUT' });
});
