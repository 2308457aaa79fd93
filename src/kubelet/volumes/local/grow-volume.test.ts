/**
 * Growing local volumes: which command for which file system, who is told, what is tried again, and that pods come and go
 * meanwhile.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { FakeClock, settle } from '../../../base/fake-clock.ts';
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
  /** What a growth that has begun waits for. */
  const disk: { grows: Promise<void> } = { grows: Promise.resolve() };
  const grower = new LocalGrower({
    async run(file, args, limits) {
      const outcome = await host.run(file, args, limits);
      await disk.grows;
      return outcome;
    },
    clock,
    log: silentLogger,
    recordEvent: (_, event) => told.push(`${event.type} ${event.reason} ${event.message}`),
    async patchClaimStatus(namespace, name, status) {
      if (api.isAway) throw new Error('the API server is away');
      patches.push([namespace, name, status]);
    },
  });
  const grow = grower.grow.bind(grower);
  const growths: Promise<void>[] = [];
  grower.grow = (volume) => {
    growths.push(grow(volume));
    return growths.at(-1)!;
  };
  const unmounted: string[] = [];
  const driver = createLocalDriver({
    ...options,
    clock,
    onSharedGroup: () => undefined,
    fileType: async () => type,
    grower,
    onLeftMounted: (specName, error) => unmounted.push(`${specName}: ${(error as Error).message}`),
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
    await grownAll();
  };
  const grownAll = async (): Promise<void> => {
    await Promise.all(growths.splice(0));
    await settle();
  };
  /** Whether the disk and the volumes of pods are mounted. */
  const targets = (): string[] => host.mounts.mounts.map(({ target }) => (target === device ? 'disk' : podOf(target)));
  const tools = { host, clock, told, patches, api, disk, driver, source, path, device };
  return { ...tools, unmounted, commands, look, grownAll, targets };
}

const podOf = (target: string): string => /\/pods\/uid-([^/]+)\//.exec(target)?.[1] ?? target;

async function until(look: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !look(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  if (!look()) throw new Error('never');
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

test('a claim that was read before it was told is not grown for again; one that still says so later is', async (t) => {
  const { clock, told, patches, source, commands, look } = await bench(t);
  await look(source('1Gi'));
  await look(source('1Gi'));
  await clock.advance(60_000);
  await look(source('1Gi'));
  const smaller = source('1Gi');
  await look({ ...smaller, growth: { ...smaller.growth!, capacity: { volume: '1536Mi', claimStatus: '1Gi' } } });
  t.deepEqual([commands().length, patches.length, told.length], [1, 1, 1]);
  await clock.advance(60_000);
  await look(source('1Gi'));
  t.deepEqual([commands().length, patches.length, told.length], [2, 2, 2]);
});

/** The pod `web` has a disk that grows until `release`. */
async function growing(t: ExecutionContext) {
  const made = await bench(t);
  const { driver, source, disk, commands } = made;
  const held = Promise.withResolvers<void>();
  disk.grows = held.promise;
  const setUp = (pod: string) => driver.setUp(driverVolume(pod, source('1Gi')), signal);
  const tearDown = (pod: string) => driver.tearDown(`uid-${pod}`, 'pv-1', signal);
  await setUp('web');
  await until(() => commands().length === 1);
  return { ...made, setUp, tearDown, release: held.resolve };
}

test('while a disk grows its pods come, are looked at and go, and it is grown once', async (t) => {
  const { told, commands, setUp, tearDown, release, grownAll, targets } = await growing(t);
  await setUp('web');
  await setUp('till');
  await tearDown('web');
  t.deepEqual(targets(), ['disk', 'till']);
  release();
  await grownAll();
  t.deepEqual([commands().length, told.length], [1, 1]);
  await tearDown('till');
  t.deepEqual(targets(), []);
});

test('the last pod waits for its disk to have grown', async (t) => {
  const { clock, tearDown, release, targets } = await growing(t);
  const going = tearDown('web');
  await until(() => targets().length === 1);
  await clock.advance(9_999);
  t.deepEqual(targets(), ['disk'], 'nothing is unmounted under it');
  release();
  await going;
  t.deepEqual(targets(), []);
});

test('but not for long: the disk is unmounted when it has grown', async (t) => {
  const { clock, patches, tearDown, release, targets, unmounted } = await growing(t);
  const going = tearDown('web');
  await until(() => targets().length === 1);
  await clock.advance(10_000);
  await going;
  t.deepEqual(targets(), ['disk']);
  release();
  await until(() => targets().length === 0);
  t.deepEqual([patches, unmounted], [[grown], []]);
});

test('a pod that comes after the last one has left its disk keeps it', async (t) => {
  const { clock, setUp, tearDown, release, grownAll, targets } = await growing(t);
  const going = tearDown('web');
  await until(() => targets().length === 1);
  await clock.advance(10_000);
  await going;
  await setUp('till');
  release();
  await grownAll();
  await setUp('till');
  t.deepEqual(targets(), ['disk', 'till']);
  await tearDown('till');
  t.deepEqual(targets(), []);
});

test('a disk that was left and cannot be unmounted is told of', async (t) => {
  const { host, clock, tearDown, release, device, unmounted } = await growing(t);
  const going = tearDown('web');
  await until(() => host.mounts.mounts.length === 1);
  await clock.advance(10_000);
  await going;
  host.mounts.intercept = (call, target) => (call === 'unmount' && target === device ? new Error('no') : undefined);
  release();
  await until(() => unmounted.length === 1);
  t.deepEqual(unmounted, ['pv-1: no']);
});

test('the end of the last pod can be called off while it waits', async (t) => {
  const { driver, release, targets, tearDown } = await growing(t);
  const stop = new AbortController();
  const going = driver.tearDown('uid-web', 'pv-1', stop.signal);
  await until(() => targets().length === 1);
  stop.abort(new Error('the daemon stops'));
  await t.throwsAsync(going, { message: 'the daemon stops' });
  t.deepEqual(targets(), ['disk']);
  release();
  await tearDown('web');
  t.deepEqual(targets(), []);
});

test('a disk whose last pod goes before it is grown is unmounted at once, and not grown', async (t) => {
  const { driver, source, grownAll, targets, commands } = await bench(t);
  const coming = driver.setUp(driverVolume('web', source('1Gi')), signal);
  // In its turn before the look at the disk.
  await driver.tearDown('uid-web', 'pv-1', signal);
  await coming;
  await grownAll();
  t.deepEqual([targets(), commands()], [[], []]);
});
