import { execFile } from 'node:child_process';
import { link, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { directoryUsage, filesUsage, fileUsage } from './disk-usage.ts';

const never = new AbortController().signal;

async function tree(t: { teardown(fn: () => unknown): void }): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'keelson-du-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  return root;
}

test('counts what du counts: blocks and inodes, a hard link once, no target of a symlink', async (t) => {
  const root = await tree(t);
  await mkdir(join(root, 'a/b'), { recursive: true });
  await writeFile(join(root, 'a/b/big'), Buffer.alloc(1_000_000, 1));
  await writeFile(join(root, 'a/small'), 'x');
  await link(join(root, 'a/b/big'), join(root, 'again'));
  await symlink('/usr', join(root, 'outside'));
  await symlink('a', join(root, 'inside'));
  const usage = await directoryUsage(root, never);
  const { stdout } = await promisify(execFile)('du', ['-s', '--block-size=1', root]);
  t.is(usage?.usedBytes, Number(stdout.split('\t')[0]));
  // Three directories, two files, two symlinks.
  t.is(usage?.inodes, 7);
  t.true(usage?.complete);
});

test('a tree that is gone, and a path that is a file, have no usage', async (t) => {
  const root = await tree(t);
  await writeFile(join(root, 'file'), '');
  t.is(await directoryUsage(join(root, 'gone'), never), undefined);
  t.is(await directoryUsage(join(root, 'file'), never), undefined);
  t.is(await filesUsage(join(root, 'gone')), undefined);
  t.is(await fileUsage(join(root, 'gone')), undefined);
});

test('a walk ends at its bounds and says so', async (t) => {
  const root = await tree(t);
  await mkdir(join(root, 'd/e/f'), { recursive: true });
  for (let i = 0; i < 20; i++) await writeFile(join(root, `f${i}`), '');
  const few = await directoryUsage(root, never, { entries: 10, depth: 9 });
  t.is(few?.complete, false);
  t.is(few?.inodes, 10);
  const flat = await directoryUsage(root, never, { entries: 1000, depth: 2 });
  t.is(flat?.complete, false);
  t.is(flat?.inodes, 23, 'the root, 20 files, d and e');
});

test('a walk ends when it is aborted', async (t) => {
  const root = await tree(t);
  await writeFile(join(root, 'f'), '');
  await t.throwsAsync(directoryUsage(root, AbortSignal.abort(new Error('enough'))), { message: 'enough' });
});

test('the files of a log folder, without what is deeper', async (t) => {
  const root = await tree(t);
  await mkdir(join(root, 'deeper'));
  await writeFile(join(root, 'deeper/x'), Buffer.alloc(100_000, 1));
  await writeFile(join(root, '0.log'), Buffer.alloc(10_000, 1));
  const usage = await filesUsage(root);
  t.is(usage?.inodes, 1);
  t.true((usage?.usedBytes ?? 0) >= 10_000 && (usage?.usedBytes ?? 0) < 100_000);
});
