/** What an attacker does to a path inside a volume: symlinks out of it, `..`, exchanges in the middle, things that wait. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { Directory } from './directory.ts';
import { openBeneath } from './open-beneath.ts';
import { VolumeError } from './volume-error.ts';

function scratch(t: ExecutionContext): { volume: string; outside: string } {
  const top = mkdtempSync(join(tmpdir(), 'keelson-beneath-'));
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const volume = join(top, 'volume');
  const outside = join(top, 'outside');
  for (const directory of [volume, outside]) mkdirSync(directory);
  writeFileSync(join(outside, 'secret'), 'victim');
  return { volume, outside };
}

/** Inode of what the path leads to, or why it is refused. */
async function opened(volume: string, path: string, makeMode?: number): Promise<bigint | string> {
  await using root = await Directory.open(volume);
  try {
    await using entry = await openBeneath(root, path, 'volume v', { makeMode });
    return entry.stats.ino;
  } catch (error) {
    if (error instanceof VolumeError && error.code === 'VOLUME_SUB_PATH') return error.message;
    throw error;
  }
}

const inode = (path: string): bigint => statSync(path, { bigint: true }).ino;

test('directories and files, the volume itself, symlinks that stay inside', async (t) => {
  const { volume } = scratch(t);
  mkdirSync(join(volume, 'a/b'), { recursive: true });
  writeFileSync(join(volume, 'a/file'), '');
  symlinkSync('../a/file', join(volume, 'a/link'));
  symlinkSync('b/..//./b', join(volume, 'a/dir'));
  // The layout of a configMap.
  mkdirSync(join(volume, '..2026'));
  writeFileSync(join(volume, '..2026/key'), '');
  symlinkSync('..2026', join(volume, '..data'));
  symlinkSync('..data/key', join(volume, 'key'));
  t.is(await opened(volume, ''), inode(volume));
  t.is(await opened(volume, './/.'), inode(volume));
  t.is(await opened(volume, 'a/b/'), inode(join(volume, 'a/b')));
  t.is(await opened(volume, 'a//./file'), inode(join(volume, 'a/file')));
  t.is(await opened(volume, 'a/link'), inode(join(volume, 'a/file')));
  t.is(await opened(volume, 'a/dir'), inode(join(volume, 'a/b')));
  t.is(await opened(volume, 'key'), inode(join(volume, '..2026/key')));
});

for (const [what, target, path, message] of [
  ['an absolute symlink', 'OUTSIDE', 'link', 'it leads out of the volume'],
  ['an absolute symlink on the way', 'OUTSIDE', 'link/secret', 'it leads out of the volume'],
  ['a symlink up', '../outside', 'link', 'it leads out of the volume'],
  ['a symlink far up', 'a/../../../../../../etc', 'link/passwd', 'it leads out of the volume'],
  ['a symlink to itself', 'link', 'link', 'it has too many symlinks'],
  ['a symlink to nothing', 'nowhere', 'link', 'it does not exist'],
  ['no symlink: ..', '.', '../outside', 'it leads out of the volume'],
  ['no symlink: a path from the root', '.', '/etc', 'it leads out of the volume'],
  ['a file where a directory is needed', '.', 'file/x', 'a part of it is not a directory'],
] as const) {
  test(`refused: ${what}`, async (t) => {
    const { volume, outside } = scratch(t);
    mkdirSync(join(volume, 'a'));
    writeFileSync(join(volume, 'file'), '');
    symlinkSync(target.replace('OUTSIDE', outside), join(volume, 'link'));
    t.is(await opened(volume, path), message);
  });
}

test('missing directories get the mode; nothing is made outside', async (t) => {
  const { volume, outside } = scratch(t);
  symlinkSync(join(outside, 'new'), join(volume, 'out'));
  const old = process.umask(0o077);
  t.is(await opened(volume, 'x/y', 0o2775), inode(join(volume, 'x/y')));
  process.umask(old);
  t.is(statSync(join(volume, 'x')).mode & 0o7777, 0o2775);
  t.is(statSync(join(volume, 'x/y')).mode & 0o7777, 0o2775);
  t.is(await opened(volume, 'out/deep', 0o777), 'it leads out of the volume');
  t.is(await opened(volume, 'x/../../outside/new', 0o777), 'it leads out of the volume');
  t.false(existsSync(join(outside, 'new')));
  t.is(await opened(volume, `${'d/'.repeat(500)}`, 0o777), 'it is deeper than 128 directories');
});

test('a pipe that nobody writes to is not waited for', async (t) => {
  const { volume } = scratch(t);
  execFileSync('mkfifo', [join(volume, 'pipe')]);
  t.is(await opened(volume, 'pipe'), inode(join(volume, 'pipe')));
});

test('a directory that is exchanged for a symlink all the time leads in or nowhere', async (t) => {
  const { volume, outside } = scratch(t);
  mkdirSync(join(volume, 'real'));
  writeFileSync(join(volume, 'real/secret'), 'ours');
  symlinkSync(outside, join(volume, 'evil'));
  let going = true;
  const exchange = (async () => {
    // real -> spot, spot -> real, evil -> spot, ...: the name `spot` is a directory, nothing, or the way out.
    for (let round = 0; going; round++) {
      const name = round % 2 === 0 ? 'real' : 'evil';
      renameSync(join(volume, name), join(volume, 'spot'));
      await new Promise((resolve) => setImmediate(resolve));
      renameSync(join(volume, 'spot'), join(volume, name));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const victim = inode(join(outside, 'secret'));
  const answers = new Set<string>();
  for (let attempt = 0; attempt < 300; attempt++) {
    const answer = await opened(volume, 'spot/secret').catch((error: NodeJS.ErrnoException) => String(error.code));
    t.not(answer, victim);
    answers.add(typeof answer === 'bigint' ? 'ours' : answer);
  }
  going = false;
  await exchange;
  t.deepEqual(readdirSync(outside), ['secret']);
  t.true(answers.has('ours') || answers.has('it leads out of the volume'), [...answers].join());
});

test('any path of any elements ends inside or is refused, and makes nothing outside', async (t) => {
  const { volume, outside } = scratch(t);
  mkdirSync(join(volume, 'a/b'), { recursive: true });
  symlinkSync('../..', join(volume, 'a/up'));
  symlinkSync(outside, join(volume, 'a/b/out'));
  symlinkSync('../a', join(volume, 'a/self'));
  const before = readdirSync(join(volume, '..')).sort();
  const element = fc.constantFrom('a', 'b', 'up', 'out', 'self', '..', '.', '', 'new', 'secret');
  await fc.assert(
    fc.asyncProperty(fc.array(element, { maxLength: 8 }), async (elements) => {
      const path = elements.join('/');
      const answer = await opened(volume, path, 0o755);
      if (typeof answer === 'string') return;
      const found = execFileSync('find', [volume, '-inum', String(answer)], { encoding: 'utf8' });
      t.not(found, '', path);
    }),
    { numRuns: 60 },
  );
  t.deepEqual(readdirSync(join(volume, '..')).sort(), before);
  t.deepEqual(readdirSync(outside), ['secret']);
});
