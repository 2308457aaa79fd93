import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { logTail, terminationMessageReader } from './termination-message.ts';

interface Root {
  root: string;
  podDir: string;
  read(hostPath: string | undefined, log?: string): Promise<string>;
}

async function makeRoot(t: ExecutionContext): Promise<Root> {
  const root = await mkdtemp(join(tmpdir(), 'keelson-message-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const podDir = join(root, 'pods', 'u1', 'containers', 'main');
  await mkdir(podDir, { recursive: true });
  const reader = terminationMessageReader(root);
  return {
    root,
    podDir,
    read: (hostPath, log) => reader({ hostPath, logPath: log ?? '', fallbackToLogs: log !== undefined }),
  };
}

const line = (text: string, tag = 'F'): string => `2026-01-01T00:00:00.000000000Z stdout ${tag} ${text}\n`;

test('the file that the container wrote', async (t) => {
  const { podDir, read } = await makeRoot(t);
  await writeFile(join(podDir, '00000000'), 'out of\nluck');
  t.is(await read(join(podDir, '00000000')), 'out of\nluck');
});

test('of a long file the last 4096 bytes', async (t) => {
  const { podDir, read } = await makeRoot(t);
  await writeFile(join(podDir, '00000000'), `${'a'.repeat(10_000)}${'b'.repeat(4095)}c`);
  t.is(await read(join(podDir, '00000000')), `${'b'.repeat(4095)}c`);
});

test('no file, no mount, an empty file: nothing', async (t) => {
  const { podDir, read } = await makeRoot(t);
  await writeFile(join(podDir, '00000002'), '');
  for (const path of [
    join(podDir, '00000001'),
    join(podDir, '00000002'),
    join(podDir, '00000002', 'below'),
    undefined,
    '',
  ]) {
    t.is(await read(path), '');
  }
});

test('what is not a file of ours is not read: links, directories, fifos, other places', async (t) => {
  const { root, podDir, read } = await makeRoot(t);
  const secret = join(root, 'secret');
  await writeFile(secret, 'hunter2');
  await symlink(secret, join(podDir, '00000003'));
  await symlink('/dev/zero', join(podDir, '00000004'));
  const volume = join(root, 'pods/u1/volumes/kubernetes.io~empty-dir/data');
  await mkdir(volume, { recursive: true });
  await writeFile(join(volume, 'file'), 'said');
  await symlink(root, join(volume, 'way'));
  await promisify(execFile)('mkfifo', [join(podDir, '00000005')]);
  for (const path of [
    join(podDir, '00000003'),
    join(podDir, '00000004'),
    join(podDir, '00000005'),
    podDir,
    secret,
    `${podDir}/../../../../secret`,
    join(root, 'pods-of-another', 'x'),
    'pods/u1/relative',
    // What a container has of its own: its symlinks would lead the way.
    join(volume, 'file'),
    join(volume, 'way', 'secret'),
    '/etc/hostname',
  ]) {
    t.is(await read(path), '', path);
  }
});

test('a fifo for a log neither blocks nor answers', async (t) => {
  const { podDir, read } = await makeRoot(t);
  await promisify(execFile)('mkfifo', [join(podDir, '00000005')]);
  t.is(await read(undefined, join(podDir, '00000005')), '');
});

test('a failure to read is told as the message, not thrown', async (t) => {
  const { podDir, read } = await makeRoot(t);
  t.regex(
    await read(join(podDir, '..', 'n'.repeat(300), '0badcafe')),
    /^cannot read the termination message: ENAMETOOLONG/,
  );
});

test('the file before the log, the log only when there is none', async (t) => {
  const { podDir, read } = await makeRoot(t);
  await writeFile(join(podDir, '00000000'), 'said');
  await writeFile(join(podDir, '00000002'), '');
  await writeFile(join(podDir, '00000006'), line('logged'));
  t.is(await read(join(podDir, '00000000'), join(podDir, '00000006')), 'said');
  t.is(await read(join(podDir, '00000002'), join(podDir, '00000006')), 'logged\n');
  t.is(await read(join(podDir, '00000002')), '');
  t.is(await read(undefined, join(podDir, 'nolog')), '');
});

test('of a long log the end, even when its last line is as long as lines get', async (t) => {
  const { podDir, read } = await makeRoot(t);
  const log = join(podDir, '00000006');
  await writeFile(log, `${line('early').repeat(5_000)}${line('x'.repeat(16_383))}`);
  t.is(await read(undefined, log), `${'x'.repeat(2047)}\n`);
  await writeFile(log, `${line('y'.repeat(16_384), 'P')}${line('end')}`);
  t.is(await read(undefined, log), `${'y'.repeat(2044)}end\n`);
});

for (const [what, text, expected] of [
  ['nothing', '', ''],
  ['both streams', `${line('a')}2026-01-01T00:00:00Z stderr F b\n`, 'a\nb\n'],
  ['empty lines stay', line('a') + line('') + line('b'), 'a\n\nb\n'],
  ['pieces are joined', line('a', 'P') + line('b', 'P') + line('c') + line('d'), 'abc\nd\n'],
  ['what is no log line is left out', `half a line\n${line('a')}{"log":"docker"}\n`, 'a\n'],
  ['a last line that did not end', `${line('a')}2026-01-01T00:00:00Z stdout F b`, 'a\nb'],
] as const) {
  test(`log tail: ${what}`, (t) => t.is(logTail(text), expected));
}

test('log tail: the last 80 lines, and of those the last 2048 bytes', (t) => {
  const numbered = Array.from({ length: 100 }, (_, i) => line(`${i}`)).join('');
  t.is(logTail(numbered).split('\n').length, 81);
  t.true(logTail(numbered).startsWith('20\n'));
  t.is(Buffer.byteLength(logTail(line('z'.repeat(3_000)))), 2048);
});

test('a part of a volume that is mounted there is read', async (t) => {
  const { root, read } = await makeRoot(t);
  const bound = join(root, 'pods/u1/volume-subpaths/data/main');
  await mkdir(bound, { recursive: true });
  await writeFile(join(bound, '0'), 'said');
  t.is(await read(join(bound, '0')), 'said');
});
