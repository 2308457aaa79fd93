/** Cgroups made, mended and removed over a hierarchy with the kernel's rules, with both drivers. */
import test from 'ava';
import fc from 'fast-check';
import { FakeClock } from '../../base/fake-clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import { CgroupError } from './cgroup-error.ts';
import { planCgroup } from './cgroup-plan.ts';
import type { CgroupSettings } from './cgroup-settings.ts';
import { CgroupTree } from './cgroup-tree.ts';
import { FakeCgroupFiles, type FakeCgroupOptions } from './fake-cgroup-files.ts';
import { FakeSystemdUnits } from './fake-systemd-units.ts';

const controllers = new Set(['cpuset', 'cpu', 'memory', 'pids', 'hugetlb', 'io']);

function world(driver: 'cgroupfs' | 'systemd', options: FakeCgroupOptions = {}) {
  const files = new FakeCgroupFiles(options);
  const systemd = driver === 'systemd' ? new FakeSystemdUnits(files) : undefined;
  const clock = new FakeClock();
  const killed: number[] = [];
  const kill = (pid: number): void => {
    killed.push(pid);
    files.endProcess(pid);
  };
  return {
    files,
    systemd,
    clock,
    killed,
    tree: new CgroupTree({ files, systemd, controllers, clock, log: silentLogger, kill }),
  };
}

const pod = ['kubepods', 'burstable', 'podu1'];
const settings: CgroupSettings = {
  cpuWeight: 39,
  cpuMax: { quotaUs: 20_000, periodUs: 100_000 },
  memoryMax: 1_000_000,
  pidsMax: 100,
  hugetlbMax: new Map<string, number | 'max'>([
    ['2MB', 0],
    ['1GB', 'max'],
  ]),
};

for (const driver of ['cgroupfs', 'systemd'] as const) {
  test(`${driver}: a cgroup is made with all that is above it, and a second time nothing is done`, async (t) => {
    const { files, systemd, tree } = world(driver);
    await tree.ensure(pod, settings);
    const path = tree.path(pod);
    t.deepEqual(files.valuesOf(path), {
      'cpu.max': '20000 100000',
      'cpu.weight': '39',
      'hugetlb.1GB.max': 'max',
      'hugetlb.1GB.rsvd.max': 'max',
      'hugetlb.2MB.max': '0',
      'hugetlb.2MB.rsvd.max': '0',
      'memory.max': '999424',
      'pids.max': '100',
    });
    t.is(files.paths().length, 3);
    const [writes, calls] = [files.done.length, systemd?.calls.length];
    await tree.ensure(pod, settings);
    t.deepEqual([files.done.length, systemd?.calls.length], [writes, calls]);
  });

  test(`${driver}: only what differs is written`, async (t) => {
    const { files, systemd, tree } = world(driver);
    await tree.ensure(pod, settings);
    const before = files.done.length;
    await tree.ensure(pod, { ...settings, cpuWeight: 40 });
    const path = tree.path(pod);
    t.deepEqual(driver === 'cgroupfs' ? files.done.slice(before) : systemd?.calls.slice(1), [
      driver === 'cgroupfs' ? `echo 40 > ${path}/cpu.weight` : 'set kubepods-burstable-podu1.slice',
    ]);
    t.is(files.valuesOf(path)?.['cpu.weight'], '40');
  });

  test(`${driver}: a limit that is lifted is lifted`, async (t) => {
    const { files, systemd, tree } = world(driver);
    await tree.ensure(pod, settings);
    await tree.ensure(pod, { cpuMax: { quotaUs: 'max', periodUs: 100_000 }, memoryMax: 'max', pidsMax: 'max' });
    await systemd?.daemonReload();
    const { 'cpu.max': cpu, 'memory.max': memory, 'pids.max': pids } = files.valuesOf(tree.path(pod)) ?? {};
    t.deepEqual([cpu, memory, pids], ['max 100000', 'max', 'max']);
  });

  test(`${driver}: what is left in it is killed, then all of it is removed`, async (t) => {
    const { files, systemd, tree } = world(driver);
    await tree.ensure(pod, settings);
    const path = tree.path(pod);
    await files.mkdir(`${path}/container`);
    await files.mkdir(`${path}/container/deeper`);
    await files.write(`${path}/container/deeper`, 'cgroup.procs', '71');
    await files.write(`${path}/container`, 'cgroup.procs', '72');
    t.deepEqual((await tree.remove(pod)).sort(), [71, 72]);
    t.false(files.paths().some((one) => one.startsWith(path)));
    t.is(systemd?.units.has('kubepods-burstable-podu1.slice'), driver === 'systemd' ? false : undefined);
    t.deepEqual(await tree.remove(pod), []);
    t.true(await tree.exists(pod.slice(0, 2)));
  });

  test(`${driver}: the kernel may be busy for a while`, async (t) => {
    const { files, tree, clock } = world(driver);
    await tree.ensure(pod, {});
    files.busy.set(tree.path(pod), 3);
    const removing = tree.remove(pod);
    await clock.advance(1000);
    t.deepEqual(await removing, []);
    t.false(await tree.exists(pod));
  });
}

test('systemd: it knows every value, so that nothing is lost at its reload', async (t) => {
  const { files, systemd, tree } = world('systemd');
  const odd = { ...settings, cpuMax: { quotaUs: 12_345, periodUs: 100_000 } };
  await tree.ensure(pod, odd);
  const before = files.valuesOf(tree.path(pod));
  t.is(before?.['cpu.max'], '13000 100000');
  await systemd?.daemonReload();
  t.deepEqual(files.valuesOf(tree.path(pod)), before);
});

test('systemd: a unit without its directory, and a directory without its unit, are both mended', async (t) => {
  const { files, systemd, tree } = world('systemd');
  await tree.ensure(pod, settings);
  await files.rmdir(tree.path(pod));
  await tree.ensure(pod, { ...settings, cpuWeight: 41 });
  t.is(files.valuesOf(tree.path(pod))?.['cpu.weight'], '41');
  systemd?.units.delete('kubepods-burstable-podu1.slice');
  await tree.ensure(pod, { ...settings, cpuWeight: 42 });
  t.is(systemd?.units.get('kubepods-burstable-podu1.slice')?.get('CPUWeight'), 42n);
});

test('systemd: what it refuses is told, and nothing is half done', async (t) => {
  const { files, systemd, tree } = world('systemd');
  if (systemd) systemd.failure = new CgroupError('CGROUP_SYSTEMD', 'no answer', { object: 'kubepods.slice' });
  await t.throwsAsync(tree.ensure(pod, settings), { instanceOf: CgroupError, message: 'no answer' });
  t.deepEqual(files.paths(), []);
});

test('one value that is refused does not hold up the others', async (t) => {
  const { files, tree } = world('cgroupfs');
  files.refuse.set('/kubepods/burstable/podu1/memory.max', 'EBUSY');
  const error = await t.throwsAsync(tree.ensure(pod, settings), { instanceOf: CgroupError });
  t.is(error?.code, 'CGROUP_REFUSED');
  t.regex(error?.message ?? '', /echo 1000000 > .*memory\.max: EBUSY/);
  t.is(files.valuesOf('/kubepods/burstable/podu1')?.['pids.max'], '100');
  files.refuse.set('/kubepods/burstable/podu1/cpu.weight', 'EPERM');
  const both = await t.throwsAsync(tree.ensure(pod, { ...settings, cpuWeight: 50 }), { instanceOf: CgroupError });
  t.regex(both?.message ?? '', /cpu\.weight.*EPERM.*memory\.max.*EBUSY/);
});

test('a process where only cgroups may be is named with what to do', async (t) => {
  const { files, tree } = world('cgroupfs');
  await files.mkdir('/kubepods');
  await files.write('/kubepods', 'cgroup.procs', '99');
  const error = await t.throwsAsync(tree.ensure(pod, settings), { instanceOf: CgroupError });
  t.regex(error?.toLine() ?? '', /^cgroup \/kubepods: .*EBUSY \(move the processes out/);
});

test('without hugetlb nothing is said about huge pages', async (t) => {
  const files = new FakeCgroupFiles({ controllers: ['cpu', 'memory', 'pids'] });
  const tree = new CgroupTree({
    files,
    controllers: new Set(['cpu', 'memory', 'pids']),
    clock: new FakeClock(),
    log: silentLogger,
  });
  await tree.ensure(pod, settings);
  t.deepEqual(Object.keys(files.valuesOf('/kubepods/burstable/podu1') ?? {}), [
    'cpu.max',
    'cpu.weight',
    'memory.max',
    'pids.max',
  ]);
});

test('a kernel without cgroup.kill: each process by itself', async (t) => {
  const { files, tree, killed } = world('cgroupfs', { hasKill: false });
  await tree.ensure(pod, {});
  await files.mkdir('/kubepods/burstable/podu1/c');
  await files.write('/kubepods/burstable/podu1/c', 'cgroup.procs', '81');
  await files.write('/kubepods/burstable/podu1/c', 'cgroup.procs', '82');
  await tree.remove(pod);
  t.deepEqual(killed.sort(), [81, 82]);
});

test('processes that do not end are named; nothing is removed', async (t) => {
  const { files, tree, clock } = world('cgroupfs');
  await tree.ensure(pod, {});
  await files.write('/kubepods/burstable/podu1', 'cgroup.procs', '91');
  files.undying.add(91);
  const removing = tree.remove(pod);
  removing.catch(() => undefined);
  await clock.advance(30_000);
  const error = await t.throwsAsync(removing, { instanceOf: CgroupError });
  t.is(error?.code, 'CGROUP_LEFTOVERS');
  t.regex(error?.message ?? '', /91/);
  t.true(await tree.exists(pod));
});

test('a cgroup that this daemon is in is left alone', async (t) => {
  const { files, tree } = world('cgroupfs');
  await tree.ensure(pod, {});
  await files.write('/kubepods/burstable/podu1', 'cgroup.procs', String(process.pid));
  await t.throwsAsync(tree.remove(pod), { instanceOf: CgroupError, message: /this daemon itself/ });
  t.true(await tree.exists(pod));
});

test('whatever is there already, what was planned is possible and enough', async (t) => {
  const limit = fc.oneof(fc.constant('max' as const), fc.nat({ max: 2 ** 31 - 1 }));
  const any = fc.record({
    cpuWeight: fc.integer({ min: 1, max: 10_000 }),
    cpuMax: fc.record({
      quotaUs: fc.oneof(fc.constant('max' as const), fc.integer({ min: 1000, max: 1e9 })),
      periodUs: fc.integer({ min: 1000, max: 1_000_000 }),
    }),
    memoryMax: limit,
    pidsMax: fc.oneof(fc.constant('max' as const), fc.integer({ min: 1, max: 5_000_000 })),
  });
  const step = fc.record({
    name: fc.constantFrom(['a'], ['a', 'b'], ['a', 'b', 'c'], ['d', 'e']),
    settings: any,
    reload: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('cgroupfs' as const, 'systemd' as const),
      fc.array(step, { maxLength: 6 }),
      async (driver: 'cgroupfs' | 'systemd', steps) => {
        const { files, systemd, tree } = world(driver);
        for (const { name, settings: wanted, reload } of steps) {
          await tree.ensure(name, wanted);
          if (reload) await systemd?.daemonReload();
          const done = files.done.length;
          await tree.ensure(name, wanted);
          if (files.done.length !== done) return false;
        }
        return true;
      },
    ),
    { numRuns: 60 },
  );
  t.pass();
});

test('a name that is no directory is refused before anything is done', (t) => {
  const state = { above: [], exists: false, values: new Map() };
  t.throws(() => planCgroup({ driver: 'cgroupfs', name: ['..'], settings: {}, controllers }, state), {
    instanceOf: CgroupError,
  });
});
