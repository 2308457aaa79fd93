import { mkdir, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { driverBench, driverVolume } from '../driver-bench.fake.ts';
import type { FakeDisk } from '../fake-host-commands.ts';
import { VolumeError } from '../volume-error.ts';
import { createLocalDriver } from './local-driver.ts';

const signal = new AbortController().signal;

async function bench(t: ExecutionContext) {
  const made = await driverBench(t);
  const { base, host, options } = made;
  const warnings: string[] = [];
  const directory = join(base, 'data');
  await mkdir(directory);
  const driver = createLocalDriver({
    ...options,
    onSharedGroup: (pod, message) => warnings.push(`${pod.metadata.name}: ${message}`),
    fileType: async (path) => (host.disks.has(path) ? 'block' : path.endsWith('.file') ? 'other' : 'directory'),
  });
  const addDisk = async (disk: FakeDisk): Promise<string> => {
    const path = join(base, 'disk');
    await writeFile(path, '');
    host.disks.set(path, disk);
    return path;
  };
  const targetOf = (pod: string): string =>
    join(options.rootDir, 'pods', `uid-${pod}`, 'volumes', 'kubernetes.io~local-volume', 'pv-1');
  const devicePath = join(options.rootDir, 'plugins', 'kubernetes.io', 'local-volume', 'mounts', 'pv-1');
  const targets = (): string[] => host.mounts.mounts.map(({ target }) => target);
  const tearDown = (pod: string): Promise<void> => driver.tearDown(`uid-${pod}`, 'pv-1', signal);
  return { ...made, driver, warnings, directory, addDisk, targetOf, devicePath, targets, tearDown };
}

test('a directory is bind-mounted for the pod once, and taken away', async (t) => {
  const { driver, host, directory, targetOf, tearDown } = await bench(t);
  const volume = driverVolume('web', { path: directory });
  t.deepEqual(await driver.setUp(volume, signal), { hostPath: targetOf('web'), ownership: 'leave' });
  await driver.setUp(volume, signal);
  t.deepEqual(
    host.mounts.mounts.map(({ root, target, readOnly }) => ({ root, target, readOnly })),
    [{ root: directory, target: targetOf('web'), readOnly: false }],
  );
  await tearDown('web');
  t.deepEqual(host.mounts.mounts, []);
  t.deepEqual(await readdir(join(targetOf('web'), '..')), []);
  await tearDown('web');
});

test('a read-only claim is a read-only mount', async (t) => {
  const { driver, host, directory } = await bench(t);
  await driver.setUp(driverVolume('web', { path: directory }, { readOnly: true }), signal);
  t.true(host.mounts.mounts[0]?.readOnly);
});

test('mount options of a directory go through mount(8); a mount that they fail on is undone', async (t) => {
  const { driver, host, directory, targetOf } = await bench(t);
  const volume = driverVolume('web', { path: directory }, { mountOptions: ['noexec'] });
  await driver.setUp(volume, signal);
  t.deepEqual(host.commands, [`mount -o bind,noexec -- ${directory} ${targetOf('web')}`]);
  const bad = driverVolume('other', { path: directory }, { mountOptions: ['bad'], specName: 'pv-2' });
  await t.throwsAsync(driver.setUp(bad, signal), { code: 'VOLUME_MOUNT', message: /bad option/ });
  t.is(host.mounts.mounts.length, 1);
});

test('the first pod gives the tree its group, the next takes what it finds', async (t) => {
  const { driver, directory, targetOf, warnings, tearDown } = await bench(t);
  const setUp = async (pod: string, fsGroup: number) => {
    await mkdir(targetOf(pod), { recursive: true });
    return (await driver.setUp(driverVolume(pod, { path: directory }, { fsGroup }), signal)).ownership;
  };
  t.is(await setUp('a', 4_000_000), 'fsGroup');
  t.is(await setUp('a', 4_000_000), 'fsGroup', 'a daemon that was killed before the change has it made again');
  t.is(await setUp('b', 4_000_001), 'leave');
  t.regex(
    warnings.join(),
    /^b: The requested fsGroup is 4000001, but the volume pv-1 has GID \d+\. The volume may not/,
  );
  await tearDown('a');
  t.is(await setUp('b', 4_000_001), 'fsGroup');
  const reader = driverVolume('c', { path: directory }, { fsGroup: 1, readOnly: true, specName: 'pv-2' });
  t.is((await driver.setUp(reader, signal)).ownership, 'leave');
});

test('an empty disk is formatted, mounted once, and shared by the pods until the last goes', async (t) => {
  const { driver, host, addDisk, devicePath, targetOf, targets, tearDown } = await bench(t);
  const path = await addDisk({});
  await driver.setUp(driverVolume('a', { path }), signal);
  t.deepEqual(host.commands.splice(0), [
    `blkid -p -s TYPE -s PTTYPE -o export ${path}`,
    `mkfs.ext4 -F -m0 ${path}`,
    `mount -t ext4 -o defaults -- ${path} ${devicePath}`,
  ]);
  t.deepEqual(targets(), [devicePath, targetOf('a')]);
  await driver.setUp(driverVolume('b', { path }), signal);
  t.deepEqual(host.commands, []);
  await tearDown('a');
  t.deepEqual(targets(), [devicePath, targetOf('b')]);
  await tearDown('b');
  t.deepEqual(targets(), []);
  t.deepEqual(await readdir(join(devicePath, '..')), []);
});

test('pods that come and go at once leave nothing mounted, and never take the disk from another', async (t) => {
  const { driver, addDisk, devicePath, targetOf, targets, tearDown } = await bench(t);
  const path = await addDisk({ fsType: 'ext4' });
  await driver.setUp(driverVolume('stays', { path }), signal);
  const names = ['a', 'b', 'c', 'd'];
  await Promise.all(
    names.map(async (pod) => {
      await driver.setUp(driverVolume(pod, { path }), signal);
      await tearDown(pod);
    }),
  );
  t.deepEqual(targets(), [devicePath, targetOf('stays')]);
});

test('a pod that comes while the last one goes keeps the disk', async (t) => {
  const { driver, host, addDisk, devicePath, targetOf, targets, tearDown } = await bench(t);
  const path = await addDisk({ fsType: 'ext4' });
  await driver.setUp(driverVolume('goes', { path }), signal);
  const list = host.mounts.list.bind(host.mounts);
  let goes: Promise<void> | undefined;
  host.mounts.list = async () => {
    const table = await list();
    // The other pod now knows that the disk is mounted. It has a while, in case nothing keeps the two apart.
    goes ??= tearDown('goes');
    await Promise.race([goes, new Promise((resolve) => setTimeout(resolve, 100))]);
    return table;
  };
  await driver.setUp(driverVolume('comes', { path }), signal);
  await goes;
  t.deepEqual(targets(), [devicePath, targetOf('comes')]);
});

test('a disk with a file system is checked, not formatted', async (t) => {
  const { driver, host, addDisk, devicePath } = await bench(t);
  const path = await addDisk({ fsType: 'xfs' });
  await driver.setUp(driverVolume('a', { path, fsType: 'xfs' }, { mountOptions: ['noatime'] }), signal);
  t.deepEqual(host.commands.slice(1, 3), [
    `fsck -a ${path}`,
    `mount -t xfs -o noatime,defaults -- ${path} ${devicePath}`,
  ]);
});

for (const [what, disk, change, expected] of [
  ['another file system than the volume says', { fsType: 'xfs' }, {}, /wrong fs type/],
  ['a partition table', { partitioned: true }, {}, /has a partition table/],
  ['a partition table and something on it', { partitioned: true, fsType: 'ext4' }, {}, /has a partition table/],
  ['damage', { fsType: 'ext4', damaged: true }, {}, /fsck -a .* UNEXPECTED INCONSISTENCY/],
  ['nothing, read-only', {}, { readOnly: true }, /not formatted, and it is to be used read-only/],
] as const) {
  test(`a disk with ${what} is refused and left as it is`, async (t) => {
    const { driver, host, addDisk, targets } = await bench(t);
    const before: FakeDisk = { ...disk };
    const path = await addDisk(before);
    await t.throwsAsync(driver.setUp(driverVolume('a', { path }, change), signal), {
      code: 'VOLUME_MOUNT',
      message: expected,
    });
    t.deepEqual([before, targets()], [disk, []]);
    t.false(host.commands.some((command) => command.startsWith('mkfs')));
  });
}

test('a file system that the disk does not hold is named with the one that it does', async (t) => {
  const { driver, addDisk } = await bench(t);
  const path = await addDisk({ fsType: 'xfs' });
  const error = await t.throwsAsync(driver.setUp(driverVolume('a', { path }), signal), { instanceOf: VolumeError });
  t.regex(error?.fix ?? '', /the disk holds xfs/);
});

test('a tool that is not installed is named with its package', async (t) => {
  const { driver, host, addDisk } = await bench(t);
  const path = await addDisk({});
  host.missing.add('mkfs.xfs');
  const volume = driverVolume('a', { path, fsType: 'xfs' });
  const error = await t.throwsAsync(driver.setUp(volume, signal), { instanceOf: VolumeError });
  t.regex(error?.message ?? '', /mkfs.xfs is not installed/);
  t.is(error?.fix, 'install xfsprogs');
});

for (const fsType of ['../../bin/sh', 'ext4 -x', '-x', 'EXT4', '']) {
  test(`the file system ${JSON.stringify(fsType)} becomes no program`, async (t) => {
    const { driver, host, addDisk } = await bench(t);
    const path = await addDisk({});
    await t.throwsAsync(driver.setUp(driverVolume('a', { path, fsType }), signal), { code: 'VOLUME_MOUNT' });
    t.deepEqual(host.commands, []);
  });
}

test('a block volume is the device, and a link to it', async (t) => {
  const { base, driver, addDisk, options, targets, tearDown } = await bench(t);
  const path = await addDisk({});
  const named = join(base, 'by-id');
  await symlink(path, named);
  const volume = driverVolume('a', { path: named }, { mode: 'Block', fsGroup: 1 });
  t.deepEqual(await driver.setUp(volume, signal), { hostPath: path, ownership: 'leave' });
  await driver.setUp(volume, signal);
  const links = join(options.rootDir, 'pods', 'uid-a', 'volumeDevices', 'kubernetes.io~local-volume');
  t.is(await readlink(join(links, 'pv-1')), path);
  t.deepEqual(targets(), []);
  await tearDown('a');
  t.deepEqual(await readdir(links), []);
});

test('a directory is no block volume', async (t) => {
  const { driver, directory } = await bench(t);
  const volume = driverVolume('a', { path: directory }, { mode: 'Block' });
  await t.throwsAsync(driver.setUp(volume, signal), { message: /is not a block device/ });
});

test('paths that lead nowhere, up, or to a file are refused', async (t) => {
  const { base, driver, directory, targets } = await bench(t);
  await writeFile(join(base, 'x.file'), '');
  for (const [path, expected] of [
    [join(base, 'missing'), /does not exist/],
    ['data', /is not absolute/],
    [`${directory}/../data`, /or goes up/],
    [`${directory}\0x`, /is not absolute/],
    [join(base, 'x.file'), /is not a directory or a block device/],
    [join(base, 'x.file', 'below'), /does not exist/],
  ] as const) {
    await t.throwsAsync(driver.setUp(driverVolume('a', { path }), signal), { code: 'VOLUME_MOUNT', message: expected });
  }
  t.deepEqual(targets(), []);
});

test('killed at each step, a second daemon finishes the work; killed at each step of the end, it leaves nothing', async (t) => {
  // The steps of one whole life are counted first, then each is the last of a daemon.
  for (let step = 1; ; step++) {
    const { base, driver, host, addDisk, devicePath, options, targetOf, targets, tearDown } = await bench(t);
    const path = await addDisk({});
    let left = step;
    let killed = false;
    const killer = () => {
      if (--left === 0) {
        killed = true;
        return new Error('killed');
      }
      return undefined;
    };
    host.mounts.intercept = killer;
    host.onCommand = () => {
      const error = killer();
      if (error) throw error;
    };
    const volume = driverVolume('a', { path });
    await driver.setUp(volume, signal).catch(() => undefined);
    if (!killed) await tearDown('a').catch(() => undefined);
    host.mounts.intercept = undefined;
    host.onCommand = undefined;
    if (!killed) break;
    const next = createLocalDriver({ ...options, onSharedGroup: () => undefined, fileType: async () => 'block' });
    await next.setUp(volume, signal);
    t.deepEqual(targets(), [devicePath, targetOf('a')], `step ${step}`);
    await next.tearDown('uid-a', 'pv-1', signal);
    t.deepEqual(targets(), [], `step ${step}`);
    await rm(base, { recursive: true });
  }
});

test('a pod that nothing but its directory tells of any more is torn down by that', async (t) => {
  const { driver, addDisk, options, targets } = await bench(t);
  const path = await addDisk({ fsType: 'ext4' });
  await driver.setUp(driverVolume('a', { path }), signal);
  await rm(path);
  const successor = createLocalDriver({ ...options, onSharedGroup: () => undefined });
  await successor.tearDown('uid-a', 'pv-1', signal);
  t.deepEqual(targets(), []);
});

test('a busy mount is asked for again and then detached, which is told', async (t) => {
  const { driver, host, directory, lastResorts, targetOf, targets, tearDown } = await bench(t);
  await driver.setUp(driverVolume('a', { path: directory }), signal);
  host.mounts.busy.add(targetOf('a'));
  await tearDown('a');
  t.deepEqual(targets(), []);
  t.deepEqual(lastResorts, [{ target: targetOf('a'), cause: 'busy' }]);
});
