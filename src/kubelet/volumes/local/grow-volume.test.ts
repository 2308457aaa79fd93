/** Growing local volumes: which command for which file system, who is told, and what is tried again. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FakeClock } from '../../../base/fake-clock.ts';
import { silentLogger } from '../../../observe/logger.ts';
import { driverBench, driverVolume } from '../driver-bench.fake.ts';
import { LocalGrower } from './grow-volume.ts';
import { createLocalDriver, type LocalSource } from './local-driver.ts';

const signal = new AbortController().signal;

async function bench(t: ExecutionContext, type: 'block' | 'directory' = 'block', fsType = 'ext4') {
  const { base, host, options } = await driverBench(t);
  const clock = new FakeClock();
  const told: string[] = [];
  const patches: unknown[] = [];
  const api: { isAway: boolean } = { isAway: false };
  const grower = new LocalGrower({
    run: host.run,
    clock,
    log: silentLogger,
    recordEvent: (_, event) => told.push(`${event.type} ${event.reason} ${event.message}`),
    async patchClaimStatus(namespace, name, status) {
      if (api.isAway) throw new Error('the API server is away');
      patches.push([namespace, name, status]);
    },
  });
  const driver = createLocalDriver({
    ...options,
    onSharedGroup: () => undefined,
    fileType: async () => type,
    grower,
  });
  const path = join(base, 'disk');
  if (type === 'block') await writeFile(path, '');
  else await mkdir(path);
  host.disks.set(path, { fsType });
  const source = (claimStatus: string | undefined): LocalSource => ({
    path,
    fsType,
    growth: { claim: { namespace: 'default', name: 'data' }, capacity: { volume: '2Gi', claimStatus } },
  });
  const device = join(options.rootDir, 'plugins/kubernetes.io/local-volume/mounts/pv-1');
  const commands = (): string[] => host.commands.filter((each) => /^(resize2fs|xfs_growfs|btrfs) /.test(each));
  /** A look at the pod, and what goes on behind its back. */
  const look = async (...args: [LocalSource, Parameters<typeof driverVolume>[2]?]): Promise<void> => {
    await driver.setUp(driverVolume('web', args[0], args[1] as object), signal);
    // Behind it in the volume's queue.
    await driver.setUp(driverVolume('web', { ...args[0], growth: undefined }, args[1] as object), signal);
  };
  return { host, clock, told, patches, api, driver, source, path, device, commands, look };
}

const grown = [
  'default',
  'data',
  {
    capacity: { storage: '2Gi' },
    conditions: [{ type: 'FileSystemResizePending', $patch: 'delete' }],
    allocatedResourceStatuses: { storage: null },
  },
];

test('a disk whose claim is smaller is grown once, and the claim told', async (t) => {
  const { told, patches, source, path, commands, look } = await bench(t);
  await look(source('1Gi'));
  t.deepEqual(commands(), [`resize2fs ${path}`]);
  t.deepEqual(patches, [grown]);
  t.deepEqual(told, ['Normal FileSystemResizeSuccessful MountVolume.NodeExpandVolume succeeded for volume "pv-1"']);
  await look(source('2Gi'));
  t.is(commands().length, 1);
});

test('the file system that is mounted decides how', async (t) => {
  const { source, device, commands, look } = await bench(t, 'block', 'xfs');
  await look(source('1Gi'));
  t.deepEqual(commands(), [`xfs_growfs -d ${device}`]);
});

for (const [what, claimStatus] of [
  ['as large as its claim', '2Gi'],
  ['smaller than its claim', '3Gi'],
  ['of a claim without a size', undefined],
] as const) {
  test(`a volume ${what} is left alone`, async (t) => {
    const { patches, told, source, commands, look } = await bench(t);
    await look(source(claimStatus));
    t.deepEqual([commands(), patches, told], [[], [], []]);
  });
}

test('what has no file system of ours needs no command: a directory, a device', async (t) => {
  const directory = await bench(t, 'directory');
  await directory.look(directory.source('1Gi'));
  t.deepEqual([directory.commands(), directory.patches], [[], [grown]]);
  const device = await bench(t);
  await device.look(device.source('1Gi'), { mode: 'Block' });
  t.deepEqual([device.commands(), device.patches], [[], [grown]]);
});

test('read-only it stays as it is', async (t) => {
  const { patches, source, commands, look } = await bench(t);
  await look(source('1Gi'), { readOnly: true });
  t.deepEqual([commands(), patches], [[], []]);
});

test('a failure is told, leaves the pod its volume, and is tried again later', async (t) => {
  const { host, clock, told, patches, source, commands, look } = await bench(t);
  host.missing.add('resize2fs');
  await look(source('1Gi'));
  t.regex(told.join(), /^Warning VolumeResizeFailed .*resize2fs is not installed on this node \(install e2fsprogs\)$/);
  await look(source('1Gi'));
  t.is(commands().length, 1, 'not before its time');
  host.missing.clear();
  await clock.advance(500);
  await look(source('1Gi'));
  t.deepEqual([commands().length, patches], [2, [grown]]);
});

test('a file system that nothing here grows', async (t) => {
  const { told, patches, source, look } = await bench(t, 'block', 'ext2');
  await look(source('1Gi'));
  t.regex(told.join(), /VolumeResizeFailed .*ext2 cannot be grown/);
  t.deepEqual(patches, []);
});

test('a claim that cannot be told is told later; the disk is not grown twice', async (t) => {
  const { api, clock, patches, source, commands, look } = await bench(t);
  api.isAway = true;
  await look(source('1Gi'));
  t.deepEqual([commands().length, patches], [1, []]);
  api.isAway = false;
  await clock.advance(500);
  await look(source('1Gi'));
  t.deepEqual([commands().length, patches], [1, [grown]]);
});

test('an unmount that comes meanwhile waits its turn', async (t) => {
  const { host, driver, source, path } = await bench(t);
  let mountedWhileGrowing = -1;
  host.onCommand = (command) => {
    if (command === `resize2fs ${path}`) mountedWhileGrowing = host.mounts.mounts.length;
  };
  await driver.setUp(driverVolume('web', source('1Gi')), signal);
  await driver.tearDown('uid-web', 'pv-1', signal);
  t.is(mountedWhileGrowing, 2);
  t.deepEqual(host.mounts.mounts, []);
});
