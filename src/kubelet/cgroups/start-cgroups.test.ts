/** The node's cgroups and those of pods, from the start over restarts to the end, with both drivers. */
import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { parseQuantity } from '../../config/quantity.ts';
import { silentLogger } from '../../observe/logger.ts';
import { makePod, named } from '../plan/planned-pod.fake.ts';
import { CgroupError } from './cgroup-error.ts';
import { FakeCgroupFiles } from './fake-cgroup-files.ts';
import { FakeSystemdUnits } from './fake-systemd-units.ts';
import { type NodeCgroupsOptions, startCgroups } from './start-cgroups.ts';

type Driver = 'cgroupfs' | 'systemd';

function world(driver: Driver, files = new FakeCgroupFiles({ pageSizes: ['2MB'] })) {
  const clock = new FakeClock();
  const events: string[] = [];
  const systemd = driver === 'systemd' ? new FakeSystemdUnits(files) : undefined;
  const start = (more: Partial<NodeCgroupsOptions> = {}) =>
    startCgroups({
      files,
      systemd,
      cgroupRoot: '/',
      machine: {
        cores: 2,
        memoryBytes: 4 * 2 ** 30,
        pids: 10_000,
        hugePages: new Map([['2MB', 2 ** 21]]),
        cpus: '0-1',
      },
      reservations: {
        systemReserved: new Map([['memory', parseQuantity('1Gi')]]),
        kubeReserved: new Map([['cpu', parseQuantity('500m')]]),
      },
      evictionMemoryBytes: 100 * 2 ** 20,
      enforce: new Set(['pods']),
      pods: { enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000, podPidsLimit: 64 },
      clock,
      log: silentLogger,
      recordEvent: ({ type, reason, message }) => events.push(`${type} ${reason} ${message}`),
      ...more,
    });
  return { files, systemd, clock, events, start };
}

const burstable = (uid: string, cpu: string): Pod => ({
  ...makePod({ containers: [named('a', { resources: { requests: { cpu } } })] }),
  metadata: { name: uid, namespace: 'default', uid },
});
const bestEffort = (uid: string): Pod => ({
  ...makePod({ containers: [named('a')] }),
  metadata: { name: uid, namespace: 'default', uid },
});

const paths = {
  cgroupfs: { pods: '/kubepods', burstable: '/kubepods/burstable', bestEffort: '/kubepods/besteffort' },
  systemd: {
    pods: '/kubepods.slice',
    burstable: '/kubepods.slice/kubepods-burstable.slice',
    bestEffort: '/kubepods.slice/kubepods-besteffort.slice',
  },
};

for (const driver of ['cgroupfs', 'systemd'] as const) {
  const at = paths[driver];

  test(`${driver}: the levels above pods`, async (t) => {
    const { files, events, start } = world(driver);
    const cgroups = await start();
    t.deepEqual(files.valuesOf(at.pods), {
      'cpu.weight': '59',
      'cpuset.cpus': '0-1',
      'hugetlb.2MB.max': '2097152',
      'hugetlb.2MB.rsvd.max': '2097152',
      // The eviction threshold is not subtracted.
      'memory.max': String(3 * 2 ** 30),
      'pids.max': '10000',
    });
    t.deepEqual(files.valuesOf(at.burstable)?.['cpu.weight'], '1');
    t.deepEqual(files.valuesOf(at.bestEffort)?.['cpu.weight'], '1');
    t.deepEqual(events, ['Normal NodeAllocatableEnforced Updated Node Allocatable limit across pods']);
    await cgroups.stop();
  });

  test(`${driver}: a pod's cgroup comes and goes, with what is left in it`, async (t) => {
    const { files, systemd, start } = world(driver);
    const cgroups = await start();
    const parent = await cgroups.ensure(burstable('u-1', '1'));
    t.is(parent, driver === 'cgroupfs' ? `${at.burstable}/podu-1` : `${at.burstable}/kubepods-burstable-podu_1.slice`);
    t.is(files.valuesOf(parent)?.['pids.max'], '64');
    t.is(await cgroups.ensure(burstable('u-1', '1')), parent);
    await files.mkdir(`${parent}/container`);
    await files.write(`${parent}/container`, 'cgroup.procs', '7');
    await cgroups.remove('u-1');
    t.false(files.paths().includes(parent));
    await cgroups.remove('u-1');
    await cgroups.remove('../../etc');
    await cgroups.stop();
    t.is(systemd?.closed, driver === 'systemd' ? true : undefined);
    t.true(files.paths().includes(at.burstable));
  });

  test(`${driver}: the weight of Burstable pods rises at once and falls with the minute`, async (t) => {
    const { files, clock, start } = world(driver);
    const cgroups = await start();
    const weight = () => files.valuesOf(at.burstable)?.['cpu.weight'];
    await Promise.all(['a', 'b', 'c'].map((uid) => cgroups.ensure(burstable(uid, '1'))));
    await clock.advance(0);
    t.is(weight(), '118');
    await cgroups.ensure(bestEffort('d'));
    await cgroups.remove('a');
    await cgroups.update(burstable('b', '2'));
    await clock.advance(59_000);
    t.is(weight(), '118');
    await cgroups.remove('c');
    await clock.advance(0);
    t.is(weight(), '118');
    await clock.advance(2000);
    t.is(weight(), '79');
    await cgroups.stop();
  });

  test(`${driver}: a restart takes nothing from pods that run, and removes what nobody knows`, async (t) => {
    const { files, clock, start } = world(driver);
    const first = await start();
    const kept = await first.ensure(burstable('kept', '1'));
    const gone = await first.ensure(bestEffort('gone'));
    await clock.advance(0);
    await first.stop();
    await files.write(gone, 'cgroup.procs', '7');
    const before = files.valuesOf(at.burstable)?.['cpu.weight'];
    t.is(before, '39');
    const second = await start();
    t.is(files.valuesOf(at.burstable)?.['cpu.weight'], before);
    await second.removeOrphans((uid) => uid === 'kept');
    t.true(files.paths().includes(kept));
    t.false(files.paths().includes(gone));
    await second.ensure(burstable('kept', '1'));
    await clock.advance(61_000);
    t.is(files.valuesOf(at.burstable)?.['cpu.weight'], before);
    await second.stop();
  });

  test(`${driver}: what somebody else changed is put right within a minute`, async (t) => {
    const { files, clock, events, start } = world(driver);
    const cgroups = await start();
    await files.write(at.pods, 'memory.max', '4096');
    await files.write(at.bestEffort, 'cpu.weight', '500');
    await clock.advance(61_000);
    t.is(files.valuesOf(at.pods)?.['memory.max'], String(3 * 2 ** 30));
    t.is(files.valuesOf(at.bestEffort)?.['cpu.weight'], '1');
    t.is(events.length, 1);
    await cgroups.stop();
    await files.write(at.pods, 'memory.max', '4096');
    await clock.advance(200_000);
    t.is(files.valuesOf(at.pods)?.['memory.max'], '4096');
  });
}

test('a limit that the kernel refuses is told and tried again; pods have their place meanwhile', async (t) => {
  const { files, clock, events, start } = world('cgroupfs');
  files.refuse.set('/kubepods/memory.max', 'EBUSY');
  const cgroups = await start();
  t.regex(events[0] ?? '', /^Warning FailedNodeAllocatableEnforcement .*"\/kubepods": .*memory\.max: EBUSY/);
  t.is(await cgroups.ensure(bestEffort('u1')), '/kubepods/besteffort/podu1');
  files.refuse.clear();
  await clock.advance(61_000);
  t.is(files.valuesOf('/kubepods')?.['memory.max'], String(3 * 2 ** 30));
  t.regex(events.at(-1) ?? '', /^Normal NodeAllocatableEnforced/);
  await cgroups.stop();
});

test('reserved cgroups: the limits, only CPU when compressible, and each mistake by its name', async (t) => {
  const { files, start, events } = world('cgroupfs');
  await files.mkdir('/system.slice');
  await files.mkdir('/kube');
  const enforce = new Set(['pods', 'system-reserved', 'kube-reserved-compressible']);
  const cgroups = await start({ enforce, systemReservedCgroup: '/system.slice', kubeReservedCgroup: '/kube' });
  t.deepEqual(files.valuesOf('/system.slice'), {
    'hugetlb.2MB.max': '0',
    'hugetlb.2MB.rsvd.max': '0',
    'memory.max': String(2 ** 30),
  });
  t.deepEqual(files.valuesOf('/kube'), { 'cpu.weight': '20' });
  t.true(events.includes('Normal NodeAllocatableEnforced Updated limits on system reserved cgroup /system.slice'));
  await cgroups.stop();
  const only = new Set(['kube-reserved']);
  await t.throwsAsync(start({ enforce: only, kubeReservedCgroup: '/none' }), {
    instanceOf: CgroupError,
    message: /is not there/,
  });
  await t.throwsAsync(start({ enforce: only }), { instanceOf: CgroupError, message: /kubeReservedCgroup/ });
  await t.throwsAsync(start({ enforce: only, kubeReservedCgroup: '/' }), { code: 'CGROUP_RESERVED' });
  const nothing = { systemReserved: new Map(), kubeReserved: new Map() };
  await t.throwsAsync(start({ enforce: only, kubeReservedCgroup: '/kube', reservations: nothing }), {
    code: 'CGROUP_RESERVED',
  });
  t.regex(events.at(-1) ?? '', /^Warning FailedNodeAllocatableEnforcement/);
});

test('controllers that are missing are named; hugetlb and cpuset may be', async (t) => {
  const poor = world('cgroupfs', new FakeCgroupFiles({ controllers: ['cpu', 'hugetlb'] }));
  const error = await t.throwsAsync(poor.start(), { instanceOf: CgroupError });
  t.is(error?.code, 'CGROUP_CONTROLLERS');
  t.regex(error?.message ?? '', /without memory, pids$/);
  t.deepEqual(poor.files.done, []);
  const enough = world('cgroupfs', new FakeCgroupFiles({ controllers: ['cpu', 'memory', 'pids'] }));
  await (await enough.start()).stop();
  t.deepEqual(Object.keys(enough.files.valuesOf('/kubepods') ?? {}), ['cpu.weight', 'memory.max', 'pids.max']);
});

test('a cgroup root must be there', async (t) => {
  const { files, start } = world('cgroupfs');
  await t.throwsAsync(start({ cgroupRoot: '/nodes/one' }), { instanceOf: CgroupError, code: 'CGROUP_ROOT' });
  await files.mkdir('/nodes');
  await files.mkdir('/nodes/one');
  const cgroups = await start({ cgroupRoot: '/nodes/one' });
  t.is(await cgroups.ensure(bestEffort('u1')), '/nodes/one/kubepods/besteffort/podu1');
  await cgroups.stop();
});

test('a pod whose UID is no name gets no cgroup, others go on', async (t) => {
  const { start } = world('cgroupfs');
  const cgroups = await start();
  await t.throwsAsync(cgroups.ensure(bestEffort('../x')), { instanceOf: CgroupError, code: 'CGROUP_NAME' });
  t.is(await cgroups.ensure(bestEffort('x')), '/kubepods/besteffort/podx');
  await cgroups.stop();
});

test('a pod cgroup that somebody removed is made again', async (t) => {
  const { files, start } = world('cgroupfs');
  const cgroups = await start();
  const path = await cgroups.ensure(bestEffort('x'));
  await files.rmdir(path);
  await cgroups.ensure(bestEffort('x'));
  t.is(files.valuesOf(path)?.['pids.max'], '64');
  await cgroups.stop();
});

test('a pod that got its cgroup meanwhile is no orphan', async (t) => {
  const { files, start } = world('cgroupfs');
  const cgroups = await start();
  const path = await cgroups.ensure(bestEffort('new'));
  await cgroups.removeOrphans(() => false);
  t.true(files.paths().includes(path));
  await cgroups.stop();
});

test('an orphan that cannot be removed does not hold up the others', async (t) => {
  const { files, clock, start } = world('cgroupfs');
  for (const path of ['/kubepods', '/kubepods/besteffort', '/kubepods/poda', '/kubepods/besteffort/podb'])
    await files.mkdir(path);
  await files.write('/kubepods/poda', 'cgroup.procs', '7');
  // Processes in the way of controllers are for the pods' own level only.
  files.undying.add(7);
  const cgroups = await start();
  const cleaning = cgroups.removeOrphans(() => false);
  await clock.advance(30_000);
  await cleaning;
  t.deepEqual(files.paths(), ['/kubepods', '/kubepods/besteffort', '/kubepods/burstable', '/kubepods/poda']);
  await cgroups.stop();
});
