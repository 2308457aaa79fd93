/** Tests of making, updating and removing a pod's volumes, on real directories with a table of mounts in memory. */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
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
import test from 'ava';
import type { ConfigMap, HostPathType, Pod, PodSpec, Secret, Volume } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { KernelError } from '../../linux/kernel-error.ts';
import type { PodVolume } from '../plan/pod-volume.ts';
import { FakeDirectoryMounts } from './fake-mounts.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import * as mounting from './mount-volumes.ts';
import { createPodVolumes } from './pod-volumes.ts';
import { podDirectoryUids, teardownVolumes } from './teardown-volumes.ts';
import { VolumeError } from './volume-error.ts';
import type { VolumeSources } from './volume-plan.ts';

const scratchDirectories: string[] = [];

function scratch(prefix: string): string {
  const directory = mkdtempSync(join(tmpdir(), prefix));
  scratchDirectories.push(directory);
  return directory;
}

test.after.always(() => {
  for (const directory of scratchDirectories) rmSync(directory, { recursive: true, force: true });
});

const uid = '0123456789abcdef0123456789abcdef';
const GiB = 1024 ** 3;
const asRoot = process.getuid?.() === 0 ? test : test.skip;

interface Setup {
  rootDir: string;
  mounts: FakeDirectoryMounts;
  clock: FakeClock;
  dependencies: VolumeDependencies;
  configMaps: Map<string, ConfigMap>;
  secrets: Map<string, Secret>;
  sources: VolumeSources;
}

function setup(): Setup {
  const rootDir = realpathSync(scratch('keelson-volumes-'));
  const mounts = new FakeDirectoryMounts();
  const clock = new FakeClock();
  const configMaps = new Map<string, ConfigMap>();
  const secrets = new Map<string, Secret>();
  const sources: VolumeSources = {
    configMap: (namespace, name) => configMaps.get(`${namespace}/${name}`),
    secret: (namespace, name) => secrets.get(`${namespace}/${name}`),
  };
  const dependencies = { mounts, rootDir, clock, allocatable: { milliCores: 4000, memoryBytes: 8 * GiB } };
  return { rootDir, mounts, clock, dependencies, configMaps, secrets, sources };
}

function pathOf(made: ReadonlyMap<string, PodVolume>, name: string): string {
  const volume = made.get(name);
  return volume?.kind === 'path' ? volume.hostPath : '';
}

function pod(volumes: Volume[], spec: Partial<PodSpec> = {}): Pod {
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }));
  const containers = (spec.containers ?? [{ name: 'c', image: 'busybox' }]).map((each) => ({ volumeMounts, ...each }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default', uid },
    spec: { volumes, ...spec, containers },
  };
}

/** Name -> path on the host; all volumes here are directories or files. */
async function mountVolumes(...args: Parameters<typeof mounting.mountVolumes>): Promise<Map<string, string>> {
  const made = await mounting.mountVolumes(...args);
  return new Map([...made].map(([name, volume]) => [name, volume.kind === 'path' ? volume.hostPath : volume.kind]));
}
const updateVolumes = mountVolumes;

function configMap(data: Record<string, string>, binaryData?: Record<string, string>): ConfigMap {
  const metadata = { name: 'settings', namespace: 'default', uid: '' };
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data, ...(binaryData ? { binaryData } : {}) };
}

function secret(data: Record<string, string>): Secret {
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'keys', namespace: 'default', uid: '' }, data };
}

const mode = (path: string): number => statSync(path).mode & 0o7777;
const base64 = (text: string): string => Buffer.from(text).toString('base64');

const settings: Volume = { name: 'config', configMap: { name: 'settings' } };

test('emptyDir on disk: the kubelet path, mode 0777 whatever the umask', async (t) => {
  const { rootDir, dependencies, sources } = setup();
  const old = process.umask(0o077);
  const paths = await mountVolumes(pod([{ name: 'data', emptyDir: {} }]), sources, dependencies);
  process.umask(old);
  const path = join(rootDir, 'pods', uid, 'volumes/kubernetes.io~empty-dir/data');
  t.deepEqual([...paths], [['data', path]]);
  t.is(mode(path), 0o777);
  t.is(mode(join(rootDir, 'pods', uid)), 0o750);
});

test('a finished emptyDir is left as its containers changed it; a half-made one is finished', async (t) => {
  const { rootDir, dependencies, sources } = setup();
  const wanted = pod([{ name: 'data', emptyDir: {} }]);
  const path = join(rootDir, 'pods', uid, 'volumes/kubernetes.io~empty-dir/data');
  mkdirSync(path, { recursive: true, mode: 0o700 });
  await mountVolumes(wanted, sources, dependencies);
  t.is(mode(path), 0o777);
  chmodSync(path, 0o700);
  writeFileSync(join(path, 'kept'), 'x');
  await mountVolumes(wanted, sources, dependencies);
  t.is(mode(path), 0o700);
  t.true(existsSync(join(path, 'kept')));
});

test('emptyDir in memory: one tmpfs however often it is asked for, with the least of the sizes', async (t) => {
  const { mounts, dependencies, sources } = setup();
  const volumes: Volume[] = [
    { name: 'plain', emptyDir: { medium: 'Memory' } },
    { name: 'small', emptyDir: { medium: 'Memory', sizeLimit: '64Mi' } },
    { name: 'zero', emptyDir: { medium: 'Memory', sizeLimit: '0' } },
  ];
  const limited = pod(volumes, {
    containers: [
      { name: 'a', image: 'x', resources: { limits: { memory: '1Gi' } } },
      { name: 'b', image: 'x', resources: { limits: { memory: '1Gi' } } },
    ],
  });
  await mountVolumes(limited, sources, dependencies);
  await mountVolumes(limited, sources, dependencies);
  t.deepEqual(
    mounts.mounts.map(({ tmpfs }) => tmpfs),
    [
      { sizeBytes: 2 * GiB, mode: 0o777, noswap: true },
      { sizeBytes: 64 * 1024 ** 2, mode: 0o777, noswap: true },
      { sizeBytes: 2 * GiB, mode: 0o777, noswap: true },
    ],
  );
  const other = setup();
  await mountVolumes(pod(volumes.slice(0, 1)), other.sources, other.dependencies);
  t.is(other.mounts.mounts[0]?.tmpfs?.sizeBytes, 8 * GiB);
});

test('a file system of somebody else at the place of a tmpfs is refused', async (t) => {
  const { rootDir, mounts, dependencies, sources } = setup();
  await mounts.bind('/src', join(rootDir, 'pods', uid, 'volumes/kubernetes.io~empty-dir/data'));
  const error = await t.throwsAsync(
    mountVolumes(pod([{ name: 'data', emptyDir: { medium: 'Memory' } }]), sources, dependencies),
    { instanceOf: VolumeError },
  );
  t.is((error as VolumeError).code, 'VOLUME_FOREIGN_MOUNT');
});

test('configMap: files through ..data, modes, items, binary data', async (t) => {
  const { dependencies, sources, configMaps } = setup();
  configMaps.set('default/settings', configMap({ a: 'one', b: 'two' }, { blob: base64('\0ÿ') }));
  const volumes: Volume[] = [
    settings,
    {
      name: 'items',
      configMap: {
        name: 'settings',
        defaultMode: 0o400,
        items: [
          { key: 'a', path: 'deep/er/a.txt' },
          { key: 'b', path: './deep//b', mode: 0o755 },
        ],
      },
    },
  ];
  const paths = await mountVolumes(pod(volumes), sources, dependencies);
  const config = paths.get('config') as string;
  t.is(readFileSync(join(config, 'a'), 'utf8'), 'one');
  t.deepEqual(readFileSync(join(config, 'blob')), Buffer.from('\0ÿ'));
  t.is(readlinkSync(join(config, 'a')), '..data/a');
  t.regex(readlinkSync(join(config, '..data')), /^\.\.2026_01_01_00_00_00\.[0-9a-f]+$/);
  t.is(mode(join(config, 'a')), 0o644);
  t.is(mode(join(config, '..data/')), 0o755);
  const items = paths.get('items') as string;
  t.is(readlinkSync(join(items, 'deep')), '..data/deep');
  t.is(readFileSync(join(items, 'deep/er/a.txt'), 'utf8'), 'one');
  t.is(mode(join(items, 'deep/er/a.txt')), 0o400);
  t.is(mode(join(items, 'deep/b')), 0o755);
  t.deepEqual(readdirSync(items).sort().slice(1), ['..data', 'deep']);
});

test('an unchanged configMap writes nothing; a changed one swaps all files at once and leaves no rest', async (t) => {
  const { dependencies, sources, configMaps } = setup();
  configMaps.set('default/settings', configMap({ a: 'one', gone: 'x' }));
  const operations: string[] = [];
  const traced = { ...dependencies, trace: (operation: string) => operations.push(operation) };
  const path = (await mountVolumes(pod([settings]), sources, traced)).get('config') as string;
  const first = readlinkSync(join(path, '..data'));
  operations.length = 0;
  await updateVolumes(pod([settings]), sources, traced);
  t.deepEqual(operations, []);
  configMaps.set('default/settings', configMap({ a: 'two', fresh: 'y' }));
  await updateVolumes(pod([settings]), sources, traced);
  t.not(readlinkSync(join(path, '..data')), first);
  t.deepEqual(readdirSync(path).sort(), [readlinkSync(join(path, '..data')), '..data', 'a', 'fresh'].sort());
  t.is(readFileSync(join(path, 'a'), 'utf8'), 'two');
});

test('a secret lives on a tmpfs', async (t) => {
  const { mounts, dependencies, sources, secrets } = setup();
  secrets.set('default/keys', secret({ token: base64('s3cret') }));
  const volume: Volume = { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } };
  const path = (await mountVolumes(pod([volume]), sources, dependencies)).get('keys') as string;
  t.deepEqual(
    mounts.mounts.map(({ target, fsType }) => [target, fsType]),
    [[path, 'tmpfs']],
  );
  t.is(readFileSync(join(path, 'token'), 'utf8'), 's3cret');
  t.is(mode(join(path, 'token')), 0o400);
});

test('missing objects and keys are named, all of them; optional ones give an empty volume', async (t) => {
  const { dependencies, sources, configMaps } = setup();
  const keys: Volume = { name: 'keys', secret: { secretName: 'keys' } };
  const all = await t.throwsAsync(mountVolumes(pod([settings, keys]), sources, dependencies), {
    instanceOf: AggregateError,
  });
  t.deepEqual(
    (all as AggregateError).errors.map((error: VolumeError) => [error.code, error.toLine()]),
    [
      [
        'VOLUME_OBJECT_MISSING',
        'pod default/web: volume config: configMap default/settings does not exist (create it, or set optional: true)',
      ],
      [
        'VOLUME_OBJECT_MISSING',
        'pod default/web: volume keys: secret default/keys does not exist (create it, or set optional: true)',
      ],
    ],
  );
  configMaps.set('default/settings', configMap({ a: '1' }));
  const items = [
    { key: 'a', path: 'a' },
    { key: 'b', path: 'b' },
  ];
  const lacking: Volume = { name: 'config', configMap: { name: 'settings', items } };
  const error = await t.throwsAsync(mountVolumes(pod([lacking]), sources, dependencies));
  t.is((error as VolumeError).code, 'VOLUME_KEY_MISSING');
  const optional: Volume[] = [
    { name: 'config', configMap: { name: 'settings', items, optional: true } },
    { name: 'keys', secret: { secretName: 'keys', optional: true } },
  ];
  const paths = await mountVolumes(pod(optional), sources, dependencies);
  t.deepEqual(
    readdirSync(paths.get('config') as string).filter((name) => !name.startsWith('..')),
    ['a'],
  );
  t.deepEqual(
    readdirSync(paths.get('keys') as string).filter((name) => !name.startsWith('..')),
    [],
  );
});

test('an object that disappears leaves the files as they were, and containers may start with them', async (t) => {
  const { dependencies, sources, configMaps } = setup();
  configMaps.set('default/settings', configMap({ a: 'one' }));
  const path = (await mountVolumes(pod([settings]), sources, dependencies)).get('config') as string;
  configMaps.clear();
  const made = await mounting.mountVolumes(pod([settings]), sources, dependencies);
  t.like(made.get('config'), {
    kind: 'path',
    hostPath: path,
    readOnly: true,
    stale: { code: 'VOLUME_OBJECT_MISSING' },
  });
  t.is(readFileSync(join(path, 'a'), 'utf8'), 'one');
  // Half of it is not what was there before.
  rmSync(join(path, 'a'));
  await t.throwsAsync(mounting.mountVolumes(pod([settings]), sources, dependencies), { code: 'VOLUME_OBJECT_MISSING' });
});

test('tokens that cannot be had keep nothing else from being made, and no container that has one from starting', async (t) => {
  const { dependencies, sources, configMaps, mounts } = setup();
  configMaps.set('default/settings', configMap({ a: 'one' }));
  const token: Volume = { name: 'api', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } };
  const away = new VolumeError('VOLUME_TOKEN', 'no service account token: connection refused', { object: 'pod' });
  const withTokens = (issued: string | undefined): VolumeSources => ({
    ...sources,
    prepare: async () => {
      if (issued === undefined) throw away;
    },
    serviceAccountToken() {
      if (issued === undefined) throw new VolumeError('VOLUME_TOKEN', 'has no token yet', { object: 'pod' });
      return issued;
    },
  });
  const both = pod([token, settings]);
  const error = await t.throwsAsync(mounting.mountVolumes(both, withTokens(undefined), dependencies));
  t.is(error, away);
  t.true(existsSync(join(dependencies.rootDir, `pods/${uid}/volumes/kubernetes.io~configmap/config/a`)));
  const made = await mounting.mountVolumes(both, withTokens('t1'), dependencies);
  const path = pathOf(made, 'api');
  // A daemon that starts anew has no token of before, but the pod has its file.
  t.is(pathOf(await mounting.mountVolumes(both, withTokens(undefined), dependencies), 'api'), path);
  t.is(readFileSync(join(path, 'token'), 'utf8'), 't1');
  // After a reboot what was in memory is gone.
  await mounts.unmount(path);
  await t.throwsAsync(mounting.mountVolumes(both, withTokens(undefined), dependencies), { is: away });
});

test('a pod that ends does not wait for tokens', async (t) => {
  const { dependencies, sources } = setup();
  const token: Volume = { name: 'api', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } };
  const scope = new AbortController();
  const waiting = mounting.mountVolumes(
    pod([token]),
    { ...sources, prepare: () => new Promise(() => undefined) },
    dependencies,
    scope.signal,
  );
  const reason = new Error('the pod ends');
  scope.abort(reason);
  await t.throwsAsync(waiting, { is: reason });
});

test('a hostPath on a server that does not answer is not touched', async (t) => {
  const { dependencies, sources, mounts, rootDir } = setup();
  const share = join(rootDir, 'share');
  mkdirSync(share);
  await mounts.bind('server:/export', share);
  for (const mount of mounts.mounts) mount.fsType = 'nfs4';
  const hung: VolumeDependencies = {
    ...dependencies,
    run: async () => ({ outcome: 'killed', timedOut: true, stderr: '' }),
  };
  const volume = (type: HostPathType): Volume => ({ name: 'share', hostPath: { path: join(share, 'x'), type } });
  await t.throwsAsync(mounting.mountVolumes(pod([volume('DirectoryOrCreate')]), sources, hung), {
    code: 'VOLUME_TIMEOUT',
  });
  t.deepEqual(readdirSync(share), []);
  // Nobody looks at it then, but for the runtime.
  t.is((await mounting.mountVolumes(pod([volume('')]), sources, hung)).size, 1);
});

for (const path of ['../up', 'a/../../up', '/abs', '..', '..data', '..x/y', '', '.', 'a\0b', 'x'.repeat(300)]) {
  test(`an item path that would leave the volume is refused: ${JSON.stringify(path.slice(0, 20))}`, async (t) => {
    const { rootDir, dependencies, sources, configMaps } = setup();
    configMaps.set('default/settings', configMap({ a: 'one' }));
    const volume: Volume = { name: 'config', configMap: { name: 'settings', items: [{ key: 'a', path }] } };
    const error = await t.throwsAsync(mountVolumes(pod([volume]), sources, dependencies));
    t.is((error as VolumeError).code, 'VOLUME_PAYLOAD_PATH');
    t.deepEqual(readdirSync(rootDir), ['pods']);
  });
}

for (const key of ['..', '../x', 'a/../../x', '..data', '']) {
  test(`a key that is no file name is refused: ${JSON.stringify(key)}`, async (t) => {
    const { dependencies, sources, configMaps } = setup();
    configMaps.set('default/settings', configMap({ [key]: 'one' }));
    const error = await t.throwsAsync(mountVolumes(pod([settings]), sources, dependencies));
    t.is((error as VolumeError).code, 'VOLUME_PAYLOAD_PATH');
  });
}

for (const bad of ['..', '.', '', 'a/b', '../x', '-x', 'a\nb', 'x'.repeat(64)]) {
  test(`a UID that is no file name is refused: ${JSON.stringify(bad.slice(0, 10))}`, async (t) => {
    const { rootDir, dependencies, sources } = setup();
    const wanted = pod([{ name: 'data', emptyDir: {} }]);
    wanted.metadata.uid = bad;
    t.is(((await t.throwsAsync(mountVolumes(wanted, sources, dependencies))) as VolumeError).code, 'VOLUME_PATH');
    t.is(((await t.throwsAsync(teardownVolumes(bad, dependencies))) as VolumeError).code, 'VOLUME_PATH');
    t.true(existsSync(rootDir));
  });
}

test('a volume name that is no file name is refused', async (t) => {
  const { dependencies, sources } = setup();
  const error = await t.throwsAsync(mountVolumes(pod([{ name: '../../x', emptyDir: {} }]), sources, dependencies));
  t.is((error as VolumeError).code, 'VOLUME_PATH');
});

asRoot('fsGroup: the group owns the volume, setgid, and may read projected files', async (t) => {
  const { dependencies, sources, configMaps, secrets } = setup();
  configMaps.set('default/settings', configMap({ c: 'y' }));
  secrets.set('default/keys', secret({ token: base64('s') }));
  const volumes: Volume[] = [
    { name: 'data', emptyDir: {} },
    { name: 'fast', emptyDir: { medium: 'Memory' } },
    settings,
    { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } },
  ];
  const wanted = pod(volumes, { securityContext: { fsGroup: 4321 } });
  const operations: string[] = [];
  const traced = { ...dependencies, trace: (operation: string) => operations.push(operation) };
  const paths = await mountVolumes(wanted, sources, traced);
  for (const name of paths.keys()) {
    const path = paths.get(name) as string;
    t.is(statSync(path).gid, 4321, name);
    t.is(mode(path), 0o2777, name);
  }
  t.is(mode(join(paths.get('keys') as string, 'token')), 0o440);
  t.is(statSync(join(paths.get('keys') as string, 'token')).gid, 4321);
  t.is(mode(join(paths.get('config') as string, '..data/')), 0o2755);
  operations.length = 0;
  await updateVolumes(wanted, sources, traced);
  t.deepEqual(operations, []);
});

test('symlinks swapped into a projected volume lead nowhere', async (t) => {
  const { rootDir, dependencies, sources, configMaps } = setup();
  const outside = scratch('keelson-outside-');
  writeFileSync(join(outside, 'a'), 'victim');
  configMaps.set('default/settings', configMap({ a: 'one' }));
  const path = (await mountVolumes(pod([settings]), sources, dependencies)).get('config') as string;
  const dated = readlinkSync(join(path, '..data'));
  // The dated directory, then ..data, then a visible name, then the temporary names.
  rmSync(join(path, dated), { recursive: true });
  symlinkSync(outside, join(path, dated));
  rmSync(join(path, 'a'));
  symlinkSync(join(outside, 'a'), join(path, 'a'));
  symlinkSync(outside, join(path, '..data_tmp'));
  symlinkSync(outside, join(path, '..link_tmp'));
  symlinkSync(outside, join(path, 'extra'));
  await updateVolumes(pod([settings]), sources, dependencies);
  t.is(readFileSync(join(path, 'a'), 'utf8'), 'one');
  t.false(readdirSync(path).includes('extra'));
  rmSync(join(path, '..data'));
  symlinkSync(outside, join(path, '..data'));
  configMaps.set('default/settings', configMap({ a: 'two' }));
  await updateVolumes(pod([settings]), sources, dependencies);
  t.is(readFileSync(join(path, 'a'), 'utf8'), 'two');
  t.deepEqual(readdirSync(outside), ['a']);
  t.is(readFileSync(join(outside, 'a'), 'utf8'), 'victim');
  t.true(rootDir.length > 0);
});

test('a symlink in place of a directory of ours is refused, and nothing is made behind it', async (t) => {
  const outside = scratch('keelson-outside-');
  for (const place of ['', 'volumes', 'volumes/kubernetes.io~empty-dir', 'volumes/kubernetes.io~empty-dir/data']) {
    const { rootDir, dependencies, sources } = setup();
    const link = join(rootDir, 'pods', uid, place);
    mkdirSync(join(link, '..'), { recursive: true });
    symlinkSync(outside, link.replace(/\/$/, ''));
    const error = await t.throwsAsync(mountVolumes(pod([{ name: 'data', emptyDir: {} }]), sources, dependencies));
    t.is((error as VolumeError).code, 'VOLUME_PATH', place);
    t.deepEqual(readdirSync(outside), [], place);
    t.is(mode(outside), 0o700, place);
  }
});

test('hostPath: each type holds or is refused by name', async (t) => {
  const { dependencies, sources } = setup();
  const dir = realpathSync(scratch('keelson-host-'));
  writeFileSync(join(dir, 'file'), 'x');
  symlinkSync('file', join(dir, 'link'));
  symlinkSync('nowhere', join(dir, 'dangling'));
  const mount = (
    path: string,
    type: NonNullable<Volume['hostPath']>['type'] | undefined,
  ): Promise<Map<string, string>> =>
    mountVolumes(pod([{ name: 'h', hostPath: { path, ...(type ? { type } : {}) } }]), sources, dependencies);
  const refused = async (path: string, type: NonNullable<Volume['hostPath']>['type']): Promise<string> =>
    ((await t.throwsAsync(mount(path, type), { code: 'VOLUME_HOST_PATH' })) as VolumeError).message;

  t.is((await mount(`${dir}/./x/`, undefined)).get('h'), `${dir}/x`);
  t.false(existsSync(`${dir}/x`));
  t.is((await mount(dir, 'Directory')).get('h'), dir);
  t.is((await mount(`${dir}/link`, 'File')).get('h'), `${dir}/link`);
  t.is(await refused(`${dir}/file`, 'Directory'), `${dir}/file is not a directory`);
  t.is(await refused(dir, 'File'), `${dir} is not a file`);
  t.is(await refused(`${dir}/none`, 'File'), `${dir}/none does not exist`);
  t.is(await refused(`${dir}/file`, 'Socket'), `${dir}/file is not a socket`);
  t.is((await mount('/dev/null', 'CharDevice')).get('h'), '/dev/null');
  t.is(await refused('/dev/null', 'BlockDevice'), '/dev/null is not a block device');
  t.regex(await refused(`${dir}/../etc`, 'Directory'), /must not contain '\.\.'/);
  t.regex(await refused('relative', 'Directory'), /must be an absolute path/);

  const old = process.umask(0o077);
  await mount(`${dir}/new/er`, 'DirectoryOrCreate');
  await mount(`${dir}/new/f`, 'FileOrCreate');
  process.umask(old);
  t.is(mode(`${dir}/new`), 0o755);
  t.is(mode(`${dir}/new/er`), 0o755);
  t.is(mode(`${dir}/new/f`), 0o644);
  await mount(`${dir}/new/f`, 'FileOrCreate');
  t.is(await refused(`${dir}/nope/f`, 'FileOrCreate'), `${dir}/nope/f does not exist`);
  t.false(existsSync(`${dir}/nope`));
  // Nothing is made through a dangling symlink, neither at the end nor on the way.
  await refused(`${dir}/dangling`, 'FileOrCreate');
  await refused(`${dir}/dangling`, 'DirectoryOrCreate');
  await refused(`${dir}/dangling/below`, 'DirectoryOrCreate');
  t.false(existsSync(`${dir}/nowhere`));
});

test('hostPath: a directory that is swapped for a symlink while parts of it are made leads nowhere', async (t) => {
  const { dependencies, sources } = setup();
  const dir = realpathSync(scratch('keelson-host-'));
  const outside = scratch('keelson-outside-');
  let swapped = false;
  const swapping = {
    ...dependencies,
    trace(operation: string) {
      if (operation !== `mkdir ${dir}/a/b` || swapped) return;
      swapped = true;
      renameSync(join(dir, 'a'), join(dir, 'old'));
      symlinkSync(outside, join(dir, 'a'));
    },
  };
  const volume: Volume = { name: 'h', hostPath: { path: `${dir}/a/b/c`, type: 'DirectoryOrCreate' } };
  // What was made is not what the path leads to now, and that is said.
  await t.throwsAsync(mountVolumes(pod([volume]), sources, swapping), { code: 'VOLUME_HOST_PATH' });
  t.true(swapped);
  t.deepEqual(readdirSync(outside), []);
  t.true(existsSync(join(dir, 'old/b/c')));
});

test('hostPath: a file that is a symlink by the time it is made is not written through', async (t) => {
  const { dependencies, sources } = setup();
  const dir = realpathSync(scratch('keelson-host-'));
  const victim = join(scratch('keelson-outside-'), 'victim');
  const swapping = {
    ...dependencies,
    trace: (operation: string) => {
      if (operation === `write ${dir}/f`) symlinkSync(victim, join(dir, 'f'));
    },
  };
  const volume: Volume = { name: 'h', hostPath: { path: `${dir}/f`, type: 'FileOrCreate' } };
  await t.throwsAsync(mountVolumes(pod([volume]), sources, swapping), { code: 'VOLUME_HOST_PATH' });
  t.false(existsSync(victim));
});

test('a ConfigMap of a thousand keys and a megabyte: written, left alone, one key changed', async (t) => {
  const { dependencies, sources, configMaps } = setup();
  const data = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`key-${index}`, 'x'.repeat(1024)]));
  configMaps.set('default/settings', configMap(data));
  const wanted = pod([settings]);
  const path = (await mountVolumes(wanted, sources, dependencies)).get('config') as string;
  t.is(readdirSync(path).length, 1002);
  const operations: string[] = [];
  const traced = { ...dependencies, trace: (operation: string) => void operations.push(operation) };
  await mountVolumes(wanted, sources, traced);
  t.deepEqual(operations, []);
  configMaps.set('default/settings', configMap({ ...data, 'key-7': 'changed' }));
  await mountVolumes(wanted, sources, traced);
  t.is(readFileSync(join(path, 'key-7'), 'utf8'), 'changed');
  t.is(readdirSync(path).length, 1002);
});

const everything: Volume[] = [
  { name: 'data', emptyDir: {} },
  { name: 'fast', emptyDir: { medium: 'Memory' } },
  { name: 'config', configMap: { name: 'settings', items: [{ key: 'a', path: 'deep/a' }] } },
  { name: 'keys', secret: { secretName: 'keys' } },
];

class Killed extends Error {}

/** Stops, as `kill -9` would, before the n-th change; returns whether it came to that. */
async function killedAt(n: number, work: (trace: (operation: string) => void) => Promise<unknown>): Promise<boolean> {
  let count = 0;
  let killed = false;
  const trace = (): void => {
    if (killed || count++ === n) {
      killed = true;
      throw new Killed();
    }
  };
  await work(trace).catch((error: unknown) => {
    if (!killed) throw error;
  });
  return killed;
}

asRoot('killed before any change, mounting completes on the next run', async (t) => {
  let steps = 0;
  for (; steps < 200; steps++) {
    const { mounts, dependencies, sources, configMaps, secrets, rootDir } = setup();
    configMaps.set('default/settings', configMap({ a: 'one' }));
    secrets.set('default/keys', secret({ token: base64('s') }));
    const wanted = pod(everything, { securityContext: { fsGroup: 77 } });
    const killed = await killedAt(steps, (trace) => mountVolumes(wanted, sources, { ...dependencies, trace }));
    const paths = await mountVolumes(wanted, sources, dependencies);
    t.is(mounts.mounts.length, 2, `step ${steps}`);
    for (const path of paths.values()) {
      t.is(mode(path), 0o2777);
      t.is(statSync(path).gid, 77);
    }
    const config = paths.get('config') as string;
    t.is(readFileSync(join(config, 'deep/a'), 'utf8'), 'one');
    t.is(mode(join(config, '..data/deep')), 0o2755);
    t.is(readdirSync(config).length, 3);
    t.is(readFileSync(join(paths.get('keys') as string, 'token'), 'utf8'), 's');
    rmSync(rootDir, { recursive: true });
    if (!killed) break;
  }
  t.true(steps > 25 && steps < 200, `${steps} steps`);
});

test('killed at any change of an update, readers see the old or the new files, and the next run completes', async (t) => {
  let steps = 0;
  for (; steps < 100; steps++) {
    const { dependencies, sources, configMaps, rootDir } = setup();
    configMaps.set('default/settings', configMap({ a: 'old', gone: 'x' }));
    const path = (await mountVolumes(pod([settings]), sources, dependencies)).get('config') as string;
    configMaps.set('default/settings', configMap({ a: 'new', fresh: 'y' }));
    const killed = await killedAt(steps, (trace) =>
      updateVolumes(pod([settings]), sources, { ...dependencies, trace }),
    );
    t.true(['old', 'new'].includes(readFileSync(join(path, 'a'), 'utf8')), `step ${steps}`);
    await updateVolumes(pod([settings]), sources, dependencies);
    t.is(readFileSync(join(path, 'a'), 'utf8'), 'new');
    t.deepEqual(
      readdirSync(path)
        .filter((name) => !/^\.\.\d/.test(name))
        .sort(),
      ['..data', 'a', 'fresh'],
    );
    t.is(readdirSync(path).length, 4);
    rmSync(rootDir, { recursive: true });
    if (!killed) break;
  }
  t.true(steps > 8 && steps < 100, `${steps} steps`);
});

test('killed at any change, removal completes on the next run, and nothing outside is touched', async (t) => {
  let steps = 0;
  for (; steps < 500; steps++) {
    const { mounts, dependencies, sources, configMaps, secrets, rootDir } = setup();
    configMaps.set('default/settings', configMap({ a: 'one' }));
    secrets.set('default/keys', secret({ token: base64('s') }));
    const outside = scratch('keelson-outside-');
    writeFileSync(join(outside, 'a'), 'victim');
    const paths = await mountVolumes(pod(everything), sources, dependencies);
    const data = paths.get('data') as string;
    symlinkSync(outside, join(data, 'to-outside'));
    symlinkSync(join(outside, 'a'), join(data, 'to-file'));
    mkdirSync(join(data, `${'d/'.repeat(40)}end`), { recursive: true });
    const killed = await killedAt(steps, (trace) => teardownVolumes(uid, { ...dependencies, trace }));
    await teardownVolumes(uid, dependencies);
    t.deepEqual(readdirSync(join(rootDir, 'pods')), [], `step ${steps}`);
    t.is(mounts.mounts.length, 0);
    t.deepEqual(readdirSync(outside), ['a']);
    rmSync(rootDir, { recursive: true });
    rmSync(outside, { recursive: true });
    if (!killed) break;
  }
  t.true(steps > 40 && steps < 500, `${steps} steps`);
});

test('a pod without a directory, or a node without a root directory, is torn down already', async (t) => {
  const { dependencies } = setup();
  await teardownVolumes(uid, dependencies);
  await teardownVolumes(uid, { ...dependencies, rootDir: '/nonexistent/keelson' });
  t.deepEqual(await podDirectoryUids('/nonexistent/keelson'), []);
});

test('nothing is deleted below what is still mounted; a busy mount is waited for, and detached as the last resort', async (t) => {
  const { mounts, rootDir, dependencies, sources, clock } = setup();
  const volumes: Volume[] = [
    { name: 'data', emptyDir: {} },
    { name: 'fast', emptyDir: { medium: 'Memory' } },
  ];
  const paths = await mountVolumes(pod(volumes), sources, dependencies);
  writeFileSync(join(paths.get('data') as string, 'kept'), 'x');
  const fast = paths.get('fast') as string;
  mounts.intercept = (call, target) =>
    call === 'unmount' && target === fast ? new KernelError(16, 'umount2', `umount ${target}`) : undefined;
  const lastResorts: unknown[] = [];
  const reported = { ...dependencies, onLastResort: (...args: unknown[]) => lastResorts.push(args) };
  const teardown = async (): Promise<unknown> => {
    let ended = false;
    const end = teardownVolumes(uid, reported).then(
      () => undefined,
      (error: unknown) => error,
    );
    void end.then(() => {
      ended = true;
    });
    while (!ended) {
      await clock.advance(500);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return end;
  };
  t.is(((await teardown()) as VolumeError).code, 'VOLUME_STILL_MOUNTED');
  t.true(existsSync(join(paths.get('data') as string, 'kept')));
  t.deepEqual(lastResorts, []);
  mounts.intercept = undefined;
  mounts.busy.add(fast);
  t.is(await teardown(), undefined);
  t.deepEqual(lastResorts, [[uid, { target: fast, cause: 'busy' }]]);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
});

test('mounts of others below the pod go first, deepest and topmost first; a pod with a longer UID keeps its own', async (t) => {
  const { mounts, rootDir, dependencies, sources } = setup();
  const operations: string[] = [];
  const traced = { ...dependencies, trace: (operation: string) => operations.push(operation) };
  const path = (await mountVolumes(pod([{ name: 'fast', emptyDir: { medium: 'Memory' } }]), sources, traced)).get(
    'fast',
  ) as string;
  await mounts.bind('/one', join(path, 'a/b'));
  await mounts.bind('/two', join(path, 'a/b'));
  await mounts.bind('/other', join(rootDir, 'pods', `${uid}0`, 'x'));
  operations.length = 0;
  await teardownVolumes(uid, traced);
  t.deepEqual(
    operations.filter((operation) => operation.startsWith('umount')),
    [`umount ${path}/a/b`, `umount ${path}/a/b`, `umount ${path}`],
  );
  t.is(mounts.mounts.length, 1);
});

test('a symlink in place of the pod directory is removed, not followed', async (t) => {
  const { rootDir, dependencies } = setup();
  const outside = scratch('keelson-outside-');
  writeFileSync(join(outside, 'a'), 'victim');
  mkdirSync(join(rootDir, 'pods'));
  symlinkSync(outside, join(rootDir, 'pods', uid));
  await teardownVolumes(uid, dependencies);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
  t.deepEqual(readdirSync(outside), ['a']);
});

test('a root directory behind a symlink works, mounts are matched by real path', async (t) => {
  const { rootDir, mounts, dependencies, sources, secrets } = setup();
  secrets.set('default/keys', secret({ token: base64('s') }));
  const link = join(scratch('keelson-link-'), 'root');
  symlinkSync(rootDir, link);
  const linked = { ...dependencies, rootDir: link };
  const wanted = pod([{ name: 'keys', secret: { secretName: 'keys' } }]);
  await mountVolumes(wanted, sources, linked);
  await mountVolumes(wanted, sources, linked);
  t.is(mounts.mounts.length, 1);
  t.true(mounts.mounts[0]?.target.startsWith(`${rootDir}/`));
  await teardownVolumes(uid, linked);
  t.is(mounts.mounts.length, 0);
});

test('the volumes edge lists pods that have a directory and leaves other entries alone', async (t) => {
  const { rootDir, dependencies, sources } = setup();
  const volumes = createPodVolumes({ ...dependencies, sources });
  t.deepEqual(await volumes.orphans(), []);
  await volumes.mount(pod([{ name: 'data', emptyDir: {} }]));
  writeFileSync(join(rootDir, 'pods', 'file'), '');
  mkdirSync(join(rootDir, 'pods', '.hidden'));
  symlinkSync('/', join(rootDir, 'pods', 'link'));
  t.deepEqual(await volumes.orphans(), [uid]);
  await volumes.teardown(uid);
  t.deepEqual(await volumes.orphans(), []);
});

test('a tree nested beyond any path length is removed', async (t) => {
  const { rootDir, dependencies, sources } = setup();
  const path = (await mountVolumes(pod([{ name: 'data', emptyDir: {} }]), sources, dependencies)).get('data') as string;
  // Deeper than PATH_MAX: two chains, one put below the other.
  for (let round = 0; round < 6; round++) {
    const name = 'n'.repeat(100);
    mkdirSync(join(path, `new/${`${name}/`.repeat(30)}`), { recursive: true });
    if (existsSync(join(path, 'chain')))
      renameSync(join(path, 'chain'), join(path, `new/${`${name}/`.repeat(30)}chain`));
    renameSync(join(path, 'new'), join(path, 'chain'));
  }
  t.true(lstatSync(join(path, 'chain')).isDirectory());
  const operations: string[] = [];
  await teardownVolumes(uid, { ...dependencies, trace: (operation) => operations.push(operation) });
  // Moved up from time to time, or it would need a descriptor for each level.
  t.true(operations.filter((operation) => operation.startsWith('rename')).length >= 5);
  t.deepEqual(readdirSync(join(rootDir, 'pods')), []);
});
