/**
 * Volumes of drivers on the real kernel with the real tools: local directories and disks (a loop device), and a mount whose
 * server never answers (FUSE without a server stands for NFS, which not every kernel has). Layer: test (kernel, root).
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Pod } from '../../src/api/core.ts';
import { systemClock } from '../../src/base/clock.ts';
import { kernelMounts } from '../../src/kernel/mounts.ts';
import { driverVolume } from '../../src/kubelet/volumes/driver-bench.fake.ts';
import { filesystemFigures } from '../../src/kubelet/volumes/filesystem-figures.ts';
import { type RunHostCommand, runHostCommand } from '../../src/kubelet/volumes/host-command.ts';
import { createLocalDriver } from '../../src/kubelet/volumes/local/local-driver.ts';
import { mountVolumes } from '../../src/kubelet/volumes/mount-volumes.ts';
import { createNfsDriver } from '../../src/kubelet/volumes/nfs/nfs-driver.ts';
import { bindSubPaths } from '../../src/kubelet/volumes/sub-path.ts';
import type { LastResort } from '../../src/kubelet/volumes/unmount.ts';

const signal = new AbortController().signal;

function bench(t: ExecutionContext) {
  const base = mkdtempSync(join(tmpdir(), 'keelson-volumes-'));
  const rootDir = join(base, 'root');
  const lastResorts: LastResort[] = [];
  t.teardown(async () => {
    for (const { target } of (await kernelMounts.list()).reverse()) {
      if (target.startsWith(`${base}/`)) await kernelMounts.unmount(target, { lazy: true });
    }
    rmSync(base, { recursive: true });
  });
  const options = {
    mounts: kernelMounts,
    run: runHostCommand,
    rootDir,
    clock: systemClock,
    onLastResort: (what: LastResort) => lastResorts.push(what),
    onSharedGroup: () => undefined,
  };
  const mountsBelow = async (): Promise<string[]> =>
    (await kernelMounts.list()).map(({ target }) => target).filter((target) => target.startsWith(`${rootDir}/`));
  return { base, rootDir, options, lastResorts, mountsBelow };
}

/** A disk of 32 MiB. */
function loopDevice(t: ExecutionContext, base: string): string {
  const file = join(base, 'disk.img');
  writeFileSync(file, '');
  execFileSync('truncate', ['-s', '32M', file]);
  const device = execFileSync('losetup', ['--find', '--show', file], { encoding: 'utf8' }).trim();
  t.teardown(() => execFileSync('losetup', ['--detach', device]));
  return device;
}

/** With one Linux partition. */
function masterBootRecord(): Buffer {
  const sector = Buffer.alloc(512);
  sector[450] = 0x83;
  sector.writeUInt32LE(2048, 454);
  sector.writeUInt32LE(4096, 458);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

test.serial('local directory: read and write for one pod, read-only for another', async (t) => {
  const { base, options, mountsBelow } = bench(t);
  const data = join(base, 'data');
  mkdirSync(data);
  const driver = createLocalDriver(options);
  const a = await driver.setUp(driverVolume('a', { path: data }), signal);
  const b = await driver.setUp(driverVolume('b', { path: data }, { readOnly: true, mountOptions: ['noexec'] }), signal);
  writeFileSync(join(a.hostPath, 'x'), 'from a');
  t.is(readFileSync(join(b.hostPath, 'x'), 'utf8'), 'from a');
  t.throws(() => writeFileSync(join(b.hostPath, 'y'), ''), { code: 'EROFS' });
  t.regex(execFileSync('findmnt', ['-no', 'OPTIONS', b.hostPath], { encoding: 'utf8' }), /ro.*noexec|noexec.*ro/);
  await driver.tearDown('uid-a', 'pv-1', signal);
  await driver.tearDown('uid-b', 'pv-1', signal);
  t.deepEqual(await mountsBelow(), []);
  t.is(readFileSync(join(data, 'x'), 'utf8'), 'from a', 'the data stays');
});

test.serial('local disk: formatted once, shared, kept over unmounts, never formatted again', async (t) => {
  const { base, rootDir, options, mountsBelow } = bench(t);
  const path = loopDevice(t, base);
  const driver = createLocalDriver(options);
  const a = await driver.setUp(driverVolume('a', { path }), signal);
  const b = await driver.setUp(driverVolume('b', { path }), signal);
  writeFileSync(join(a.hostPath, 'x'), 'kept');
  t.is(readFileSync(join(b.hostPath, 'x'), 'utf8'), 'kept');
  t.like(
    (await kernelMounts.list()).findLast(({ target }) => target === a.hostPath),
    { fsType: 'ext4', source: path },
  );
  const edges = { run: runHostCommand, list: () => kernelMounts.list(), root: await realpath(rootDir) };
  const volume = { podUid: 'uid-a', directory: 'kubernetes.io~local-volume', specName: 'pv-1' };
  const figures = await filesystemFigures(volume, edges, signal);
  t.true(figures !== undefined && figures.capacityBytes > 20e6 && figures.capacityBytes <= 32 * 1024 * 1024);
  await driver.tearDown('uid-a', 'pv-1', signal);
  t.is((await mountsBelow()).length, 2, 'the disk and the other pod');
  await driver.tearDown('uid-b', 'pv-1', signal);
  t.deepEqual(await mountsBelow(), []);
  const again = await createLocalDriver(options).setUp(driverVolume('c', { path }), signal);
  t.is(readFileSync(join(again.hostPath, 'x'), 'utf8'), 'kept');
  await driver.tearDown('uid-c', 'pv-1', signal);
});

test.serial('local disk: one with a partition table is left alone', async (t) => {
  const { base, options, mountsBelow } = bench(t);
  const path = loopDevice(t, base);
  writeFileSync(path, masterBootRecord());
  const driver = createLocalDriver(options);
  await t.throwsAsync(driver.setUp(driverVolume('a', { path }), signal), { message: /has a partition table/ });
  t.deepEqual(await mountsBelow(), []);
  t.regex(execFileSync('blkid', ['-p', path], { encoding: 'utf8' }), /PTTYPE="dos"/);
});

test.serial('local disk as a device', async (t) => {
  const { base, options } = bench(t);
  const path = loopDevice(t, base);
  const driver = createLocalDriver(options);
  const { hostPath } = await driver.setUp(driverVolume('a', { path }, { mode: 'Block' }), signal);
  t.true(statSync(hostPath).isBlockDevice());
  await driver.tearDown('uid-a', 'pv-1', signal);
  t.true(existsSync(path));
});

test.serial('a busy mount is detached at last, and that is told', async (t) => {
  const { base, options, lastResorts, mountsBelow } = bench(t);
  const data = join(base, 'data');
  mkdirSync(data);
  const driver = createLocalDriver(options);
  const { hostPath } = await driver.setUp(driverVolume('a', { path: data }), signal);
  const user = spawn('sleep', ['60'], { cwd: hostPath });
  await once(user, 'spawn');
  try {
    await driver.tearDown('uid-a', 'pv-1', signal);
    t.deepEqual(lastResorts, [{ target: hostPath, cause: 'busy' }]);
    t.deepEqual(await mountsBelow(), []);
  } finally {
    user.kill();
  }
});

test.serial('nfs: what mount says is the error, and nothing stays behind', async (t) => {
  const { rootDir, options, mountsBelow } = bench(t);
  const driver = createNfsDriver(options);
  // An address that is this machine's own: refused at once, be there a helper of mount or not.
  const source = { server: '127.0.0.1', path: '/keelson-exports-nothing' };
  const volume = driverVolume('a', source, { mountOptions: ['nfsvers=4.2', 'retry=0', 'soft', 'timeo=10'] });
  const error = await t.throwsAsync(driver.setUp(volume, signal), { code: 'VOLUME_MOUNT' });
  t.regex(error?.message ?? '', /MountVolume.SetUp failed for volume "pv-1" : mount -t nfs .*: exit status \d+: ./);
  t.deepEqual(await mountsBelow(), []);
  t.deepEqual(await readdir(join(rootDir, 'pods/uid-a/volumes/kubernetes.io~nfs')), []);
});

/** Mounts a file system whose server never says a word: whoever looks at it waits until the mount is forced away. */
async function mountDead(t: ExecutionContext, target: string): Promise<void> {
  const server = openSync('/dev/fuse', 'r+');
  t.teardown(() => closeSync(server));
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
  const mount: ChildProcess = spawn('mount', ['-i', '-t', 'fuse', '-o', options, 'dead', target], {
    stdio: ['ignore', 'inherit', 'inherit', server],
  });
  const [status] = await once(mount, 'exit');
  t.is(status, 0);
}

test.serial(
  'a server that never answers: figures end in time, the daemon goes on, and the pod can be taken away',
  async (t) => {
    const { rootDir, options, mountsBelow } = bench(t);
    const target = join(rootDir, 'pods/uid-a/volumes/kubernetes.io~nfs/pv-1');
    mkdirSync(target, { recursive: true });
    await mountDead(t, target);
    const soon: RunHostCommand = (file, args, limits) => runHostCommand(file, args, { ...limits, timeoutMs: 500 });
    const edges = { run: soon, list: () => kernelMounts.list(), root: await realpath(rootDir) };
    const volume = { podUid: 'uid-a', directory: 'kubernetes.io~nfs', specName: 'pv-1' };
    // More than libuv has threads: one call of ours that looked there would stop all files of the daemon.
    const asked = Array.from({ length: 8 }, () =>
      t.throwsAsync(filesystemFigures(volume, edges, signal), { code: 'VOLUME_TIMEOUT' }),
    );
    t.true((await readdir('/')).length > 0);
    await Promise.all(asked);
    await createNfsDriver({ ...options, run: soon }).tearDown('uid-a', 'pv-1', signal);
    t.deepEqual(await mountsBelow(), []);
    t.false(existsSync(target));
  },
);

test.serial(
  'parts, types and sources on a server that never answers are refused, and no thread of the daemon hangs',
  async (t) => {
    const { base, rootDir, options } = bench(t);
    const dead = join(base, 'dead');
    mkdirSync(dead);
    mkdirSync(rootDir);
    await mountDead(t, dead);
    symlinkSync('dead/below', join(base, 'link'));
    const run: RunHostCommand = (file, args, limits) => runHostCommand(file, args, { ...limits, timeoutMs: 500 });
    const resources = { allocatable: { milliCores: 1, memoryBytes: 2 ** 30 }, clock: systemClock };
    const dependencies = { ...options, ...resources, run, rootDir: await realpath(rootDir) };
    const { pod } = driverVolume('a', {});
    const withHostPath: Pod = {
      ...pod,
      spec: {
        containers: [{ name: 'c', image: 'i', volumeMounts: [{ name: 'share', mountPath: '/share' }] }],
        volumes: [{ name: 'share', hostPath: { path: join(base, 'link/x'), type: 'DirectoryOrCreate' } }],
      },
    };
    const nothing = { configMap: () => undefined, secret: () => undefined };
    const request = { index: 0, volume: 'data', subPath: 'a', volumePath: dead };
    const asked = Array.from({ length: 4 }, () => [
      t.throwsAsync(bindSubPaths('uid-a', 'c', [request], dependencies), { code: 'VOLUME_SUB_PATH' }),
      t.throwsAsync(mountVolumes(withHostPath, nothing, dependencies), { code: 'VOLUME_TIMEOUT' }),
      t.throwsAsync(
        createLocalDriver({ ...options, run }).setUp(driverVolume('a', { path: join(base, 'link') }), signal),
        {
          code: 'VOLUME_TIMEOUT',
        },
      ),
    ]);
    t.true((await readdir('/')).length > 0);
    await Promise.all(asked.flat());
  },
);
