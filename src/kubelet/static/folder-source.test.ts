/** Tests of following a real folder: changes, editors, things that are no manifests, the folder itself going away. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import test from 'ava';
import { systemClock } from '../../base/clock.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { silentLogger } from '../../observe/logger.ts';
import { createFolderSource } from './folder-source.ts';
import { ManifestError } from './manifest-error.ts';
import type { ManifestSnapshot } from './manifest-snapshot.ts';

const settleMs = 100;

const scratchDirectories: string[] = [];

function scratch(prefix: string): string {
  const directory = mkdtempSync(join(tmpdir(), prefix));
  scratchDirectories.push(directory);
  return directory;
}

test.after.always(() => {
  for (const directory of scratchDirectories) rmSync(directory, { recursive: true, force: true });
});

const podText = (name: string, image = 'a'): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: c, image: "${image}"}]}\n`;

class Follower {
  readonly dir: string;
  readonly snapshots: ManifestSnapshot[] = [];
  readonly #abort = new AbortController();

  constructor(t: ExecutionContext, dir = scratch('keelson-folder-')) {
    this.dir = dir;
    t.teardown(() => {
      this.#abort.abort();
      rmSync(dir, { recursive: true, force: true });
    });
  }

  async start(options: { rescanMs?: number; mayBeMissing?: boolean } = {}): Promise<this> {
    const source = createFolderSource({
      folder: this.dir,
      nodeName: 'node',
      clock: systemClock,
      log: silentLogger,
      settleMs,
      debounceMs: 2,
      ...options,
    });
    await source.start((snapshot) => this.snapshots.push(snapshot), this.#abort.signal);
    return this;
  }

  stop(): void {
    this.#abort.abort();
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.dir, name), text);
  }

  get last(): ManifestSnapshot {
    const last = this.snapshots.at(-1);
    if (last === undefined) throw new Error('no snapshot');
    return last;
  }

  names(): string[] {
    return this.last.pods.map(({ metadata }) => metadata.name.replace(/-node$/, ''));
  }

  images(): (string | undefined)[] {
    return this.last.pods.map(({ spec }) => spec.containers[0]?.image);
  }

  errors(): string[] {
    return this.last.errors.map(({ error }) => errorLine(error).replaceAll(this.dir, 'DIR'));
  }

  async until(what: string, condition: () => boolean, limitMs = 10_000): Promise<void> {
    for (let waited = 0; !condition(); waited += 5) {
      if (waited > limitMs)
        throw new Error(`waited in vain for: ${what}; ${JSON.stringify(this.errors())} ${this.names()}`);
      await sleep(5);
    }
  }
}

test('the first snapshot comes before start resolves, in order of file names', async (t) => {
  const f = new Follower(t);
  f.write('b.yaml', podText('two'));
  f.write('a.json', `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}}`);
  f.write('a.yaml', podText('one'));
  f.write('.hidden.yaml', podText('hidden'));
  mkdirSync(join(f.dir, 'sub'));
  writeFileSync(join(f.dir, 'sub', 'c.yaml'), podText('sub'));
  await f.start();
  t.is(f.snapshots.length, 1);
  t.deepEqual(f.names(), ['one', 'two']);
  t.deepEqual([...f.last.configMaps.keys()], ['default/m']);
  t.deepEqual(f.errors(), []);
});

test('files that come, change and go', async (t) => {
  const f = await new Follower(t).start();
  f.write('a.yaml', podText('one', 'v1'));
  await f.until('the pod', () => f.names().includes('one'));
  const [before] = f.last.pods;
  f.write('a.yaml', podText('one', 'v2'));
  await f.until('the change', () => f.images()[0] === 'v2');
  t.not(f.last.pods[0]?.metadata.uid, before?.metadata.uid);
  writeFileSync(join(f.dir, '.new'), podText('one', 'v3'));
  renameSync(join(f.dir, '.new'), join(f.dir, 'a.yaml'));
  await f.until('the renamed one', () => f.images()[0] === 'v3');
  unlinkSync(join(f.dir, 'a.yaml'));
  await f.until('the end', () => f.names().length === 0);
});

test('a touched file changes nothing, a comment keeps the UID', async (t) => {
  const f = new Follower(t);
  f.write('a.yaml', podText('one'));
  await f.start();
  const [pod] = f.last.pods;
  const count = f.snapshots.length;
  utimesSync(join(f.dir, 'a.yaml'), 1, 1);
  await sleep(4 * settleMs);
  t.is(f.snapshots.length, count);
  appendFileSync(join(f.dir, 'a.yaml'), '# nothing\n');
  await sleep(4 * settleMs);
  t.is(f.last.pods[0], pod);
});

test('truncate-then-write, and rename-away-then-create, never end the pod', async (t) => {
  const f = new Follower(t);
  f.write('a.yaml', podText('one', 'v0'));
  await f.start();
  for (let round = 1; round <= 5; round++) {
    f.write('a.yaml', '');
    await sleep(settleMs / 10);
    f.write('a.yaml', podText('one', `v${round}`));
    await f.until('the new text', () => f.images()[0] === `v${round}`);
    renameSync(join(f.dir, 'a.yaml'), join(f.dir, '.a.yaml~'));
    await sleep(settleMs / 10);
    f.write('a.yaml', podText('one', `w${round}`));
    await f.until('the new file', () => f.images()[0] === `w${round}`);
  }
  t.true(f.snapshots.every(({ pods }) => pods.length === 1));
});

test('an empty file means no objects, once it has stayed empty', async (t) => {
  const f = new Follower(t);
  f.write('a.yaml', podText('one'));
  await f.start();
  f.write('a.yaml', '');
  await f.until('no pods', () => f.names().length === 0);
  t.deepEqual(f.errors(), []);
});

test('a broken file keeps what it had, says so once, and mends', async (t) => {
  const f = new Follower(t);
  f.write('a.yaml', podText('one'));
  await f.start();
  const [pod] = f.last.pods;
  f.write('a.yaml', `${podText('one')}  bad: [`);
  await f.until('the error', () => f.errors().length > 0);
  t.is(f.last.pods[0], pod);
  t.deepEqual([...f.last.brokenFiles], []);
  t.regex(f.errors()[0] ?? '', /^DIR\/a\.yaml:\d+: /);
  const count = f.snapshots.length;
  utimesSync(join(f.dir, 'a.yaml'), 1, 1);
  await sleep(4 * settleMs);
  t.is(f.snapshots.length, count);
  f.write('a.yaml', podText('one'));
  await f.until('no error', () => f.errors().length === 0);
  t.is(f.last.pods[0], pod);
});

test('a file that was never good is listed as broken until it is good or gone', async (t) => {
  const f = new Follower(t);
  f.write('a.yaml', 'a: [');
  f.write('b.yaml', 'b: [');
  await f.start();
  t.deepEqual([...f.last.brokenFiles], [join(f.dir, 'a.yaml'), join(f.dir, 'b.yaml')]);
  f.write('a.yaml', podText('one'));
  unlinkSync(join(f.dir, 'b.yaml'));
  await f.until('both mended', () => f.last.brokenFiles.size === 0);
  t.deepEqual(f.names(), ['one']);
});

test('fifo, dangling link, loop, device and a large file are errors; links to files and folders are not', async (t) => {
  const f = new Follower(t);
  const outside = scratch('keelson-outside-');
  writeFileSync(join(outside, 'pod'), podText('linked'));
  execFileSync('mkfifo', [join(f.dir, 'fifo')]);
  symlinkSync('nowhere', join(f.dir, 'dangling'));
  symlinkSync('loop', join(f.dir, 'loop'));
  symlinkSync('/dev/zero', join(f.dir, 'zero'));
  symlinkSync(join(outside, 'pod'), join(f.dir, 'link'));
  symlinkSync(outside, join(f.dir, 'folder'));
  f.write('large', `# ${'x'.repeat(5_000_000)}\n`);
  await f.start();
  t.deepEqual(f.names(), ['linked']);
  t.deepEqual(
    f.errors().map((line) => line.replace(/: (ENOENT|ELOOP).*/, ': $1')),
    [
      'DIR/dangling: cannot be read: ENOENT',
      'DIR/fifo: is not a regular file (put a regular file, or a symlink to one, in its place)',
      'DIR/large: has 5000003 bytes, at most 3145728 are read (split it or make it smaller)',
      'DIR/loop: cannot be read: ELOOP',
      'DIR/zero: is not a regular file (put a regular file, or a symlink to one, in its place)',
    ],
  );
  t.is(f.last.brokenFiles.size, 5);
  unlinkSync(join(f.dir, 'dangling'));
  f.write('dangling', podText('mended'));
  await f.until('the link is a file', () => f.names().includes('mended'));
});

test('a mounted config map: files are links through a link that is swapped', async (t) => {
  const f = new Follower(t);
  for (const version of ['1', '2']) {
    mkdirSync(join(f.dir, `..v${version}`));
    writeFileSync(join(f.dir, `..v${version}`, 'a.yaml'), podText('one', `v${version}`));
  }
  symlinkSync('..v1', join(f.dir, '..data'));
  symlinkSync('..data/a.yaml', join(f.dir, 'a.yaml'));
  await f.start();
  t.deepEqual(f.images(), ['v1']);
  symlinkSync('..v2', join(f.dir, '..data_tmp'));
  renameSync(join(f.dir, '..data_tmp'), join(f.dir, '..data'));
  await f.until('the second version', () => f.images()[0] === 'v2');
  t.pass();
});

test('a folder that may be missing is an empty one until it is made; later its loss is told', async (t) => {
  const f = new Follower(t);
  const folder = new Follower(t, join(f.dir, 'manifests'));
  await folder.start({ mayBeMissing: true, rescanMs: 5 });
  t.deepEqual(folder.snapshots.length, 1);
  t.deepEqual([folder.last.pods, folder.last.errors], [[], []]);
  mkdirSync(folder.dir);
  folder.write('a.yaml', podText('one'));
  await folder.until('the pod', () => folder.names().join() === 'one');
  rmSync(folder.dir, { recursive: true });
  await folder.until('the loss', () => folder.errors().length === 1);
  t.deepEqual(folder.names(), ['one']);
});

test('a folder that is missing or a file at the start is one clear error', async (t) => {
  const f = new Follower(t);
  const missing = new Follower(t, join(f.dir, 'missing'));
  const error = await t.throwsAsync(missing.start(), { instanceOf: ManifestError });
  t.is((error as ManifestError).code, 'MANIFEST_FOLDER');
  t.regex(errorLine(error), /missing: cannot be read: ENOENT.*\(create the folder and let root read it\)$/);
  f.write('file', '');
  const file = new Follower(t, join(f.dir, 'file'));
  t.regex(errorLine(await t.throwsAsync(file.start())), /cannot be read: ENOTDIR/);
  t.deepEqual(missing.snapshots, []);
});

test('a folder that goes away leaves all in force, and is followed again when it is back', async (t) => {
  const f = new Follower(t);
  f.write('a.yaml', podText('one', 'v1'));
  await f.start({ rescanMs: 50 });
  rmSync(f.dir, { recursive: true });
  await f.until('the error', () => f.errors().length > 0);
  t.deepEqual(f.names(), ['one']);
  t.regex(f.errors()[0] ?? '', /^DIR: cannot be read: ENOENT/);
  mkdirSync(f.dir);
  f.write('a.yaml', podText('one', 'v2'));
  await f.until('the new content', () => f.images()[0] === 'v2');
  t.deepEqual(f.errors(), []);
  f.write('b.yaml', podText('two'));
  await f.until('the watch of the new folder', () => f.names().length === 2);
});

test('the rescan finds what no event tells: a link to a file elsewhere', async (t) => {
  const f = new Follower(t);
  const outside = scratch('keelson-outside-');
  writeFileSync(join(outside, 'pod'), podText('one', 'v1'));
  symlinkSync(join(outside, 'pod'), join(f.dir, 'link'));
  await f.start({ rescanMs: 50 });
  writeFileSync(join(outside, 'pod'), podText('one', 'v2'));
  await f.until('the change', () => f.images()[0] === 'v2');
  t.pass();
});

test('a change of the same size right after it was read is not missed', async (t) => {
  const f = await new Follower(t).start();
  for (let round = 0; round < 30; round++) {
    const image = `v${String(round).padStart(2, '0')}`;
    f.write('a.yaml', podText('one', image));
    await f.until(`round ${round}`, () => f.images()[0] === image);
  }
  t.pass();
});

test('when the first of two files with the same pod goes, the other takes over', async (t) => {
  const f = new Follower(t);
  f.write('a.yaml', podText('one', 'first'));
  f.write('b.yaml', podText('one', 'second'));
  await f.start();
  t.deepEqual(f.images(), ['first']);
  t.is(f.errors().length, 1);
  unlinkSync(join(f.dir, 'a.yaml'));
  await f.until('the other', () => f.images()[0] === 'second');
  t.deepEqual(f.errors(), []);
});

test('room that a removed file leaves goes to the file that had none', async (t) => {
  const maps = (prefix: string, count: number): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'ConfigMapList',
      items: Array.from({ length: count }, (_, i) => ({ metadata: { name: `${prefix}${i}` } })),
    });
  const f = new Follower(t);
  f.write('a.json', maps('a', 700));
  f.write('b.json', maps('b', 400));
  await f.start();
  t.is(f.last.configMaps.size, 700);
  t.regex(f.errors()[0] ?? '', /the folder would hold 1100 objects/);
  unlinkSync(join(f.dir, 'a.json'));
  await f.until('the other file', () => f.last.configMaps.size === 400);
  t.deepEqual(f.errors(), []);
});

test('nothing is told after the stop', async (t) => {
  const f = new Follower(t);
  await f.start({ rescanMs: 10 });
  const count = f.snapshots.length;
  f.stop();
  f.write('a.yaml', podText('one'));
  await sleep(100);
  t.is(f.snapshots.length, count);
});

test('another folder put in its place is followed by its own watch', async (t) => {
  const f = new Follower(t);
  const next = scratch('keelson-folder-');
  f.write('a.yaml', podText('one', 'v1'));
  writeFileSync(join(next, 'a.yaml'), podText('one', 'v2'));
  await f.start({ rescanMs: 2000 });
  renameSync(f.dir, `${f.dir}-old`);
  renameSync(next, f.dir);
  t.teardown(() => rmSync(`${f.dir}-old`, { recursive: true }));
  await f.until('the other folder', () => f.images()[0] === 'v2');
  f.write('b.yaml', podText('two'));
  // Sooner than the rescan could.
  await f.until('its new file', () => f.names().includes('two'), 1000);
  t.pass();
});
