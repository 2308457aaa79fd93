/** Tests of atomic-file on a real temporary directory. Layer: base. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { FileError, readFileBounded, removeStaleTemporaries, writeFileAtomic } from './atomic-file.ts';

const scratchDirectories: string[] = [];

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-atomic-'));
  scratchDirectories.push(directory);
  return directory;
}

test.after.always(() => {
  for (const directory of scratchDirectories) rmSync(directory, { recursive: true, force: true });
});

test('writes the content and the mode, and leaves no temporary file', async (t) => {
  const dir = scratch();
  const old = process.umask(0o077);
  try {
    await writeFileAtomic(join(dir, 'a'), 'one', { mode: 0o644 });
  } finally {
    process.umask(old);
  }
  t.is(readFileSync(join(dir, 'a'), 'utf8'), 'one');
  t.is(statSync(join(dir, 'a')).mode & 0o7777, 0o644);
  await writeFileAtomic(join(dir, 'a'), Buffer.from('two'));
  t.is(readFileSync(join(dir, 'a'), 'utf8'), 'two');
  t.is(statSync(join(dir, 'a')).mode & 0o7777, 0o600);
  t.deepEqual(readdirSync(dir), ['a']);
});

test('a symlink in place of the file is replaced, its target untouched', async (t) => {
  const dir = scratch();
  writeFileSync(join(dir, 'victim'), 'keep');
  symlinkSync('victim', join(dir, 'a'));
  await writeFileAtomic(join(dir, 'a'), 'new');
  t.is(readFileSync(join(dir, 'victim'), 'utf8'), 'keep');
  t.is(readFileSync(join(dir, 'a'), 'utf8'), 'new');
});

test('a failed rename leaves the old content and no temporary file', async (t) => {
  const dir = scratch();
  mkdirSync(join(dir, 'a', 'child'), { recursive: true });
  await t.throwsAsync(writeFileAtomic(join(dir, 'a'), 'new'));
  t.deepEqual(readdirSync(dir), ['a']);
});

test('concurrent writers never mix', async (t) => {
  const dir = scratch();
  const contents = Array.from({ length: 20 }, (_, i) => String(i).repeat(100_000));
  await Promise.all(contents.map((c) => writeFileAtomic(join(dir, 'a'), c)));
  t.true(contents.includes(readFileSync(join(dir, 'a'), 'utf8')));
  t.deepEqual(readdirSync(dir), ['a']);
});

test('stale temporaries of a killed writer are removed, nothing else', async (t) => {
  const dir = scratch();
  writeFileSync(join(dir, '.keelson-tmp.a.0011'), 'half');
  writeFileSync(join(dir, '.other'), '');
  t.deepEqual(await removeStaleTemporaries(dir), ['.keelson-tmp.a.0011']);
  t.deepEqual(readdirSync(dir), ['.other']);
});

test('reads a file of exactly the limit and refuses one byte more', async (t) => {
  const dir = scratch();
  writeFileSync(join(dir, 'a'), 'x'.repeat(200_000));
  const { data, stat } = await readFileBounded(join(dir, 'a'), 200_000);
  t.is(data.length, 200_000);
  t.is(stat.size, 200_000n);
  const error = await t.throwsAsync(readFileBounded(join(dir, 'a'), 199_999), { instanceOf: FileError });
  t.is((error as FileError).code, 'FILE_TOO_LARGE');
});

test('a file without a size of its own is bounded as well', async (t) => {
  const error = await t.throwsAsync(readFileBounded('/proc/self/smaps', 10), { instanceOf: FileError });
  t.is((error as FileError).code, 'FILE_TOO_LARGE');
});

test('fifo, socket, directory and device are refused without hanging; symlinks as asked', async (t) => {
  const dir = scratch();
  execFileSync('mkfifo', [join(dir, 'fifo')]);
  symlinkSync('fifo', join(dir, 'to-fifo'));
  const server = createServer().listen(join(dir, 'sock'));
  await new Promise((resolve) => server.once('listening', resolve));
  for (const path of [join(dir, 'fifo'), join(dir, 'to-fifo'), join(dir, 'sock'), dir, '/dev/zero']) {
    const error = await t.throwsAsync(readFileBounded(path, 10), { instanceOf: FileError }, path);
    t.is((error as FileError).code, 'FILE_NOT_REGULAR', path);
  }
  server.close();
  writeFileSync(join(dir, 'a'), 'x');
  chmodSync(join(dir, 'a'), 0o600);
  symlinkSync('a', join(dir, 'link'));
  t.is((await readFileBounded(join(dir, 'link'), 10)).data.toString(), 'x');
  await t.throwsAsync(readFileBounded(join(dir, 'link'), 10, { noFollow: true }), { code: 'ELOOP' });
});
