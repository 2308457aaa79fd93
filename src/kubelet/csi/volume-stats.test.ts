/** Numbers of CSI volumes, and trouble that a driver sees. */
import test from 'ava';
import { csiPod, fakeCsiNode, persistentVolume } from './csi-node.fake.ts';
import { csiVolumeStats, readStats } from './volume-stats.ts';

const signal = new AbortController().signal;

test('numbers come from the driver, for what is mounted', async (t) => {
  const { volumes, context, driver, events } = await fakeCsiNode(t);
  const read = csiVolumeStats({ ...context, held: (uid, name) => volumes.held(uid, name) });
  t.is(await read('uid-web', 'pv-1', signal), undefined);
  await volumes.setUp(persistentVolume(csiPod('web')), signal);
  const numbers = {
    capacityBytes: 1000,
    availableBytes: 600,
    usedBytes: 400,
    inodes: 100,
    inodesFree: 90,
    inodesUsed: 10,
    abnormal: undefined,
    trouble: undefined,
  };
  t.deepEqual(await read('uid-web', 'pv-1', signal), numbers);
  driver.condition = { abnormal: true, message: 'disk is failing' };
  t.deepEqual(await read('uid-web', 'pv-1', signal), numbers, 'not before it offers VOLUME_CONDITION');
  driver.capabilities.push('VOLUME_CONDITION');
  for (let i = 0; i < 3; i++)
    t.like(await read('uid-web', 'pv-1', signal), { abnormal: true, trouble: 'disk is failing' });
  t.deepEqual(
    events.map(({ reason, message }) => `${reason} ${message}`),
    ['VolumeConditionAbnormal Volume data: disk is failing'],
  );
  driver.condition = { abnormal: false, message: '' };
  t.like(await read('uid-web', 'pv-1', signal), { abnormal: false, trouble: undefined });
  driver.capabilities = [];
  t.is(await read('uid-web', 'pv-1', signal), undefined);
});

test('of a driver that says far too much the beginning is told, once', async (t) => {
  const { volumes, context, driver, events } = await fakeCsiNode(t);
  const read = csiVolumeStats({ ...context, held: (uid, name) => volumes.held(uid, name) });
  await volumes.setUp(persistentVolume(csiPod('web')), signal);
  driver.capabilities.push('VOLUME_CONDITION');
  driver.condition = { abnormal: true, message: 'x'.repeat(4_000_000) };
  for (let i = 0; i < 2; i++) t.is((await read('uid-web', 'pv-1', signal))?.trouble?.length, 500);
  driver.condition = { abnormal: true, message: 'x'.repeat(17_000_000) };
  await t.throwsAsync(read('uid-web', 'pv-1', signal), { code: 'CSI_UNCERTAIN' }, 'more than a message may have');
  t.is(events.length, 1);
});

test('a driver that hangs is asked once', async (t) => {
  const { volumes, context, driver } = await fakeCsiNode(t);
  const read = csiVolumeStats({ ...context, held: (uid, name) => volumes.held(uid, name) });
  await volumes.setUp(persistentVolume(csiPod('web')), signal);
  const release = driver.hold('NodeGetVolumeStats');
  const answers = [1, 2, 3].map(() => read('uid-web', 'pv-1', signal));
  while (driver.count('NodeGetVolumeStats') === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  release();
  for (const answer of await Promise.all(answers)) t.is(answer?.usedBytes, 400);
  t.is(driver.count('NodeGetVolumeStats'), 1);
});

test('numbers that make no sense count as not told', (t) => {
  const usage = [{ total: -1, available: 2 ** 60, used: 0, unit: 'BYTES' as const }];
  const stats = readStats({ usage, volumeCondition: undefined }, true);
  t.deepEqual(
    [stats.capacityBytes, stats.availableBytes, stats.usedBytes, stats.inodes],
    [undefined, undefined, 0, undefined],
  );
});
