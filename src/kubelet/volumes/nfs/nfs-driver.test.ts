import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { driverBench, driverVolume } from '../driver-bench.fake.ts';
import { VolumeError } from '../volume-error.ts';
import { createNfsDriver } from './nfs-driver.ts';
import { nfsDevice } from './nfs-source.ts';

const signal = new AbortController().signal;
const source = { server: 'files.example.com', path: '/export/data' };

async function bench(t: ExecutionContext) {
  const made = await driverBench(t);
  made.host.exports.add('files.example.com:/export/data');
  const targetOf = (pod: string): string =>
    join(made.options.rootDir, 'pods', `uid-${pod}`, 'volumes', 'kubernetes.io~nfs', 'pv-1');
  return { ...made, driver: createNfsDriver(made.options), targetOf };
}

test('mounts the export for the pod once, and takes it away', async (t) => {
  const { driver, host, targetOf } = await bench(t);
  const volume = driverVolume('web', source, { mountOptions: ['nfsvers=4.2', 'hard'] });
  t.deepEqual(await driver.setUp(volume, signal), { hostPath: targetOf('web'), ownership: 'leave' });
  t.deepEqual(host.commands, [`mount -t nfs -o nfsvers=4.2,hard -- files.example.com:/export/data ${targetOf('web')}`]);
  await driver.setUp(volume, signal);
  t.is(host.commands.length, 1, 'it is mounted');
  await driver.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(host.mounts.mounts, []);
  await t.throwsAsync(access(targetOf('web')), { code: 'ENOENT' });
  await driver.tearDown('uid-web', 'pv-1', signal);
});

test('each pod has a mount of its own', async (t) => {
  const { driver, host, targetOf } = await bench(t);
  await driver.setUp(driverVolume('a', source), signal);
  await driver.setUp(driverVolume('b', source, { readOnly: true, mountOptions: ['rw'] }), signal);
  t.deepEqual(
    host.mounts.mounts.map(({ target, readOnly }) => [target, readOnly]),
    [
      [targetOf('a'), false],
      [targetOf('b'), true],
    ],
  );
  await driver.tearDown('uid-a', 'pv-1', signal);
  t.deepEqual(
    host.mounts.mounts.map(({ target }) => target),
    [targetOf('b')],
  );
});

test('what the server says is in the error, and nothing stays behind', async (t) => {
  const { driver, host, targetOf } = await bench(t);
  host.exports.clear();
  const error = await t.throwsAsync(driver.setUp(driverVolume('web', source), signal), { instanceOf: VolumeError });
  t.is(error?.code, 'VOLUME_MOUNT');
  t.regex(error?.message ?? '', /MountVolume.SetUp failed for volume "pv-1" : mount .* access denied by server/);
  t.regex(error?.fix ?? '', /nfs-common/);
  t.deepEqual(await readdir(join(targetOf('web'), '..')), []);
});

test('a server that does not answer is an error after a while', async (t) => {
  const { driver, host } = await bench(t);
  host.deadServers.add('files.example.com');
  const error = await t.throwsAsync(driver.setUp(driverVolume('web', source), signal), { instanceOf: VolumeError });
  t.is(error?.code, 'VOLUME_TIMEOUT');
});

test('a mount that was cut off in its last moment is undone', async (t) => {
  const { driver, host, options } = await bench(t);
  const scope = new AbortController();
  const run: typeof host.run = async (...call) => {
    await host.run(...call);
    if (call[0] === 'mount') throw new Error('enough');
    return { outcome: 'ended', status: 0, stdout: '', stderr: '' };
  };
  const cutOff = createNfsDriver({ ...options, run });
  await t.throwsAsync(cutOff.setUp(driverVolume('web', source), scope.signal), { message: 'enough' });
  t.deepEqual(host.mounts.mounts, []);
  await driver.setUp(driverVolume('web', source), signal);
});

test('the mount of a dead server is forced away, and that is told', async (t) => {
  const { driver, host, lastResorts, targetOf } = await bench(t);
  await driver.setUp(driverVolume('web', source), signal);
  host.deadServers.add('files.example.com');
  host.commands.length = 0;
  await driver.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(host.mounts.mounts, []);
  t.deepEqual(host.commands, [
    `umount --no-canonicalize -- ${targetOf('web')}`,
    `umount --no-canonicalize --force -- ${targetOf('web')}`,
  ]);
  t.deepEqual(lastResorts, [{ target: targetOf('web'), cause: 'unanswered' }]);
});

test('a busy mount is asked for again, then detached without force: others share the connection', async (t) => {
  const { driver, host, lastResorts, targetOf } = await bench(t);
  await driver.setUp(driverVolume('web', source), signal);
  host.mounts.busy.add(targetOf('web'));
  host.commands.length = 0;
  await driver.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(host.mounts.mounts, []);
  t.is(host.commands.filter((command) => command.startsWith('umount')).length, 4);
  t.false(host.commands.some((command) => command.includes('--force')));
  t.deepEqual(lastResorts, [{ target: targetOf('web'), cause: 'busy' }]);
});

test('a mount that somebody keeps busy who waits for a dead server is forced', async (t) => {
  const { driver, host, lastResorts, targetOf } = await bench(t);
  await driver.setUp(driverVolume('web', source), signal);
  host.deadServers.add('files.example.com');
  host.mounts.busy.add(targetOf('web'));
  host.onCommand = (command) => {
    // Whoever waits gets an error then.
    if (command.includes('--force')) host.mounts.busy.clear();
  };
  await driver.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(host.mounts.mounts, []);
  t.deepEqual(lastResorts, [{ target: targetOf('web'), cause: 'unanswered' }]);
});

test('a mount that stops being busy is unmounted as usual', async (t) => {
  const { driver, host, lastResorts, targetOf } = await bench(t);
  await driver.setUp(driverVolume('web', source), signal);
  host.mounts.busy.add(targetOf('web'));
  let asked = 0;
  host.onCommand = () => {
    if (++asked === 3) host.mounts.busy.clear();
  };
  await driver.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual([host.mounts.mounts, lastResorts], [[], []]);
});

test('two mounts on top of each other both go', async (t) => {
  const { driver, host, targetOf } = await bench(t);
  await driver.setUp(driverVolume('web', source), signal);
  await host.run('mount', ['-t', 'nfs', '--', 'files.example.com:/export/data', targetOf('web')], { timeoutMs: 1 });
  await driver.tearDown('uid-web', 'pv-1', signal);
  t.deepEqual(host.mounts.mounts, []);
});

test('a foreign mount in the place of the volume is left alone', async (t) => {
  const { driver, host, targetOf } = await bench(t);
  await host.mounts.mountTmpfs(targetOf('web'), {});
  await t.throwsAsync(driver.setUp(driverVolume('web', source), signal), { code: 'VOLUME_FOREIGN_MOUNT' });
  t.is(host.mounts.mounts.length, 1);
});

test('files of somebody in the directory are not deleted', async (t) => {
  const { driver, options, targetOf } = await bench(t);
  const { mkdir, writeFile } = await import('node:fs/promises');
  await mkdir(targetOf('web'), { recursive: true });
  await writeFile(join(targetOf('web'), 'precious'), '');
  await t.throwsAsync(driver.tearDown('uid-web', 'pv-1', signal), { code: 'ENOTEMPTY' });
  await access(join(options.rootDir, 'pods', 'uid-web', 'volumes', 'kubernetes.io~nfs', 'pv-1', 'precious'));
});

test('a symlink in the way of the volume is not followed', async (t) => {
  const { base, driver, options } = await bench(t);
  const { mkdir, symlink } = await import('node:fs/promises');
  await mkdir(join(options.rootDir, 'pods', 'uid-web'), { recursive: true });
  await mkdir(join(base, 'elsewhere'));
  await symlink(join(base, 'elsewhere'), join(options.rootDir, 'pods', 'uid-web', 'volumes'));
  await t.throwsAsync(driver.setUp(driverVolume('web', source), signal), { code: 'VOLUME_PATH' });
  t.deepEqual(await readdir(join(base, 'elsewhere')), []);
});

for (const [what, bad] of [
  ['an option as a server', { server: '-oremount', path: '/x' }],
  ['an empty server', { server: '', path: '/x' }],
  ['a server with a path', { server: 'a/b', path: '/x' }],
  ['a server with a space', { server: 'a b', path: '/x' }],
  ['a server with options', { server: 'a,b', path: '/x' }],
  ['an address with a zone', { server: 'fe80::1%eth0', path: '/x' }],
  ['a relative path', { server: 'a', path: 'x' }],
  ['a path with a line break', { server: 'a', path: '/x\n/y' }],
  ['a path with a NUL', { server: 'a', path: '/x\0' }],
  ['a path without end', { server: 'a', path: `/${'x'.repeat(5000)}` }],
] as const) {
  test(`${what} never reaches mount`, async (t) => {
    const { driver, host } = await bench(t);
    await t.throwsAsync(driver.setUp(driverVolume('web', bad), signal), { code: 'VOLUME_MOUNT' });
    t.deepEqual(host.commands, []);
  });
}

for (const option of ['', 'a b', 'a\nb', 'ä']) {
  test(`the mount option ${JSON.stringify(option)} never reaches mount`, async (t) => {
    const { driver, host } = await bench(t);
    const volume = driverVolume('web', source, { mountOptions: [option] });
    await t.throwsAsync(driver.setUp(volume, signal), { code: 'VOLUME_MOUNT' });
    t.deepEqual(host.commands, []);
  });
}

test('whatever a pod names as server and path, mount sees one word that is no option', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (server, path) => {
      let device: string;
      try {
        device = nfsDevice({ server, path: `/${path}` }, 'pod');
      } catch (error) {
        return error instanceof VolumeError;
      }
      return /^[A-Za-z0-9_[]/.test(device) && !device.includes('\0') && device.endsWith(`:/${path}`);
    }),
  );
  t.is(nfsDevice({ server: 'fd00::1', path: '/' }, 'pod'), '[fd00::1]:/');
  t.is(nfsDevice({ server: '10.0.0.1', path: '/a b' }, 'pod'), '10.0.0.1:/a b');
});

test('names and UIDs that are no file names lead nowhere', async (t) => {
  const { driver, host } = await bench(t);
  await t.throwsAsync(driver.setUp(driverVolume('web', source, { specName: '../x' }), signal), { code: 'VOLUME_PATH' });
  await t.throwsAsync(driver.tearDown('../..', 'pv-1', signal), { code: 'VOLUME_PATH' });
  await t.throwsAsync(driver.tearDown('uid-web', '..', signal), { code: 'VOLUME_PATH' });
  t.deepEqual(host.commands, []);
});

test('an NFS volume is no block device', async (t) => {
  const { driver } = await bench(t);
  await t.throwsAsync(driver.setUp(driverVolume('web', source, { mode: 'Block' }), signal), { code: 'VOLUME_CLAIM' });
});
