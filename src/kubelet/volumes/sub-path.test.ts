/** Parts of volumes for containers: bound where no container can change them, again and again, and never from outside. */
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FakeDirectoryMounts } from './fake-mounts.ts';
import { readEnvFile } from './read-env-file.ts';
import { bindSubPaths } from './sub-path.ts';
import { teardownVolumes } from './teardown-volumes.ts';
import { VolumeError } from './volume-error.ts';

const uid = 'u1';

/** Notes what a descriptor led to when it was bound. */
class NotingMounts extends FakeDirectoryMounts {
  readonly bound: [source: string, target: string][] = [];
  override async bind(source: string, target: string): Promise<void> {
    if (source.startsWith('/proc/')) this.bound.push([readlinkSync(source), target]);
    await super.bind(source, target);
  }
}

function setup(t: ExecutionContext) {
  const top = realpathSync(mkdtempSync(join(tmpdir(), 'keelson-subpath-')));
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const volume = join(top, 'volume');
  const outside = join(top, 'outside');
  const rootDir = join(top, 'root');
  for (const directory of [volume, outside, rootDir]) mkdirSync(directory);
  writeFileSync(join(outside, 'secret'), 'victim');
  const mounts = new NotingMounts();
  const operations: string[] = [];
  const dependencies = { mounts, rootDir, trace: (operation: string) => void operations.push(operation) };
  const bind = (subPath: string, index = 0, container = 'c') =>
    bindSubPaths(uid, container, [{ index, volume: 'data', subPath, volumePath: volume }], dependencies);
  const target = (index = 0) => join(rootDir, `pods/${uid}/volume-subpaths/data/c/${index}`);
  return { volume, outside, rootDir, mounts, operations, dependencies, bind, target };
}

test('a directory, a file, and a directory that has to be made', async (t) => {
  const { volume, mounts, bind, target } = setup(t);
  mkdirSync(join(volume, 'a/b'), { recursive: true });
  writeFileSync(join(volume, 'a/file'), '');
  t.deepEqual([...(await bind('a/b'))], [[0, target()]]);
  t.deepEqual([...(await bind('a/file', 1))], [[1, target(1)]]);
  t.deepEqual([...(await bind('made', 2))], [[2, target(2)]]);
  t.deepEqual(mounts.bound, [
    [join(volume, 'a/b'), target()],
    [join(volume, 'a/file'), target(1)],
    [join(volume, 'made'), target(2)],
  ]);
  t.true(statSync(target()).isDirectory());
  t.true(statSync(target(1)).isFile());
  t.is(statSync(join(volume, 'made')).mode & 0o7777, statSync(volume).mode & 0o7777);
  t.is(statSync(join(target(), '..')).mode & 0o777, 0o750);
});

test('a volume whose server does not answer is refused before it is opened', async (t) => {
  const { volume, mounts, dependencies } = setup(t);
  await mounts.bind('server:/export', volume);
  for (const mount of mounts.mounts) mount.fsType = 'nfs4';
  const commands: string[] = [];
  const hung = {
    ...dependencies,
    run: async (file: string) => {
      commands.push(file);
      return { outcome: 'killed', timedOut: true, stderr: '' } as const;
    },
  };
  const request = { index: 0, volume: 'data', subPath: 'made', volumePath: volume };
  const error = await t.throwsAsync(bindSubPaths(uid, 'c', [request], hung), { code: 'VOLUME_SUB_PATH' });
  t.regex(error?.message ?? '', /does not answer/);
  t.deepEqual(commands, ['stat']);
  t.deepEqual(readdirSync(volume), []);
});

test('no request, no directory; a part of a file stays a refusal', async (t) => {
  const { rootDir, volume, bind, dependencies } = setup(t);
  t.is((await bindSubPaths(uid, 'c', [], dependencies)).size, 0);
  t.deepEqual(readdirSync(rootDir), []);
  writeFileSync(join(volume, 'f'), '');
  const error = await t.throwsAsync(bind('f/x'), { instanceOf: VolumeError });
  t.is((error as VolumeError).code, 'VOLUME_SUB_PATH');
});

for (const [what, subPath] of [
  ['a symlink out', 'out/secret'],
  ['an absolute symlink', 'abs'],
  ['a symlink out, below which something would be made', 'out/new/er'],
  ['..', '../outside'],
] as const) {
  test(`refused without a word of the host: ${what}`, async (t) => {
    const { volume, outside, mounts, bind } = setup(t);
    symlinkSync('../outside', join(volume, 'out'));
    symlinkSync(join(outside, 'secret'), join(volume, 'abs'));
    const error = await t.throwsAsync(bind(subPath), { instanceOf: VolumeError });
    t.is(
      error?.message,
      'failed to prepare the subPath of volumeMount "data" of container "c": it leads out of the volume',
    );
    t.deepEqual(mounts.bound, []);
    t.deepEqual(readdirSync(outside), ['secret']);
  });
}

test('swapped for a symlink after the look: what was looked at is bound', async (t) => {
  const { volume, outside, mounts, dependencies } = setup(t);
  mkdirSync(join(volume, 'a'));
  const swapping = {
    ...dependencies,
    trace(operation: string) {
      if (!operation.startsWith('mount --bind')) return;
      renameSync(join(volume, 'a'), join(volume, 'hidden'));
      symlinkSync(outside, join(volume, 'a'));
    },
  };
  await bindSubPaths(uid, 'c', [{ index: 0, volume: 'data', subPath: 'a', volumePath: volume }], swapping);
  t.is(mounts.bound[0]?.[0], join(volume, 'hidden'));
});

test('a restarted container: what is another file now is bound anew, one mount at a time', async (t) => {
  const { volume, mounts, bind, target } = setup(t);
  mkdirSync(join(volume, 'x'));
  await bind('x');
  await bind('x');
  t.is(mounts.mounts.length, 1);
  rmSync(join(volume, 'x'), { recursive: true });
  writeFileSync(join(volume, 'x'), '');
  await bind('x');
  t.is(mounts.mounts.length, 1);
  t.true(lstatSync(target()).isFile());
  t.is(mounts.bound.at(-1)?.[0], join(volume, 'x'));
});

test('killed before any change, the next run binds', async (t) => {
  for (let step = 0; step < 20; step++) {
    const { volume, mounts, dependencies, bind } = setup(t);
    writeFileSync(join(volume, 'file'), '');
    let count = 0;
    const killing = {
      ...dependencies,
      trace: () => {
        if (count++ >= step) throw new Error('killed');
      },
    };
    const request = { index: 0, volume: 'data', subPath: 'file', volumePath: volume };
    const killed = await bindSubPaths(uid, 'c', [request], killing).then(
      () => false,
      () => true,
    );
    await bind('file');
    t.is(mounts.mounts.length, 1, `step ${step}`);
    if (!killed) {
      t.true(step > 4);
      return;
    }
  }
  t.fail('never ran to its end');
});

test('a symlink in place of a directory of ours is refused', async (t) => {
  const { rootDir, outside, mounts, bind } = setup(t);
  mkdirSync(join(rootDir, 'pods', uid), { recursive: true });
  symlinkSync(outside, join(rootDir, 'pods', uid, 'volume-subpaths'));
  await t.throwsAsync(bind('x'), { instanceOf: VolumeError });
  t.deepEqual(mounts.bound, []);
  t.deepEqual(readdirSync(outside), ['secret']);
});

test('names that are no file names are refused', async (t) => {
  const { bind, dependencies, volume } = setup(t);
  await t.throwsAsync(bind('x', 0, '../../c'), { instanceOf: VolumeError });
  const request = { index: 0, volume: '..', subPath: 'x', volumePath: volume };
  await t.throwsAsync(bindSubPaths(uid, 'c', [request], dependencies), { instanceOf: VolumeError });
  await t.throwsAsync(bindSubPaths('../u', 'c', [{ ...request, volume: 'v' }], dependencies), {
    instanceOf: VolumeError,
  });
});

test('the end of the pod takes the binds away before anything else, and leaves the volume as it is', async (t) => {
  const { volume, rootDir, mounts, operations, dependencies, bind, target } = setup(t);
  await bind('kept');
  writeFileSync(join(volume, 'kept/file'), 'x');
  await mounts.bind(volume, join(rootDir, 'pods', uid, 'volumes/kubernetes.io~nfs/data'));
  operations.length = 0;
  await teardownVolumes(uid, dependencies);
  t.is(operations[0], `umount ${target()}`);
  t.deepEqual(mounts.mounts, []);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
  t.deepEqual(readdirSync(join(volume, 'kept')), ['file']);
});

test('env files: read inside the volume, as far as they are files and short', async (t) => {
  const { volume, outside } = setup(t);
  writeFileSync(join(volume, 'env'), "A='x'");
  symlinkSync('env', join(volume, 'link'));
  symlinkSync(join(outside, 'secret'), join(volume, 'out'));
  mkdirSync(join(volume, 'dir'));
  writeFileSync(join(volume, 'long'), Buffer.alloc(64 * 1024 + 1, 'x'));
  t.is(await readEnvFile(volume, 'env', 'c'), "A='x'");
  t.is(await readEnvFile(volume, 'link', 'c'), "A='x'");
  t.is(await readEnvFile(volume, 'none', 'c'), undefined);
  t.is(await readEnvFile(volume, 'out', 'c'), undefined);
  t.is(await readEnvFile(volume, '../outside/secret', 'c'), undefined);
  await t.throwsAsync(readEnvFile(volume, 'dir', 'c'), { code: 'VOLUME_ENV_FILE', message: /is not a file/ });
  await t.throwsAsync(readEnvFile(volume, 'long', 'c'), { code: 'VOLUME_ENV_FILE', message: /is longer/ });
});
