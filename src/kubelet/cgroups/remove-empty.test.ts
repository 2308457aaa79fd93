/** What cleanup takes away of cgroups, and what it leaves. */
import test from 'ava';
import { FakeClock } from '../../base/fake-clock.ts';
import { FakeCgroupFiles } from './fake-cgroup-files.ts';
import { FakeSystemdUnits } from './fake-systemd-units.ts';
import { removeEmptyCgroups } from './remove-empty.ts';

test('empty cgroups of both drivers go, with all below; others stay', async (t) => {
  const files = new FakeCgroupFiles();
  const systemd = new FakeSystemdUnits(files);
  await systemd.startSlice('kubepods-burstable-podx.slice', []);
  for (const path of ['/kubepods', '/kubepods/besteffort', '/kubepods/besteffort/podx', '/other'])
    await files.mkdir(path);
  const removed = await removeEmptyCgroups({ files, systemd: () => systemd, clock: new FakeClock() });
  t.deepEqual(removed, ['/kubepods', '/kubepods.slice']);
  t.deepEqual(files.paths(), ['/other']);
  t.true(systemd.closed);
  t.true(systemd.calls.includes('stop kubepods.slice'));
});

test('a cgroup in which a process runs is left as it is, and systemd is not asked for nothing', async (t) => {
  const files = new FakeCgroupFiles();
  for (const path of ['/kubepods', '/kubepods/podx']) await files.mkdir(path);
  await files.write('/kubepods/podx', 'cgroup.procs', '7');
  const systemd = (): never => t.fail() as never;
  t.deepEqual(await removeEmptyCgroups({ files, systemd, clock: new FakeClock() }), []);
  t.deepEqual(files.paths(), ['/kubepods', '/kubepods/podx']);
  t.is(await files.read('/kubepods/podx', 'cgroup.procs'), '7');
});
