/** The fake refuses what the kernel refuses (cgroups(7), cgroup-v2.rst). The same rules are tried in test/lab/cgroups.ts. */
import test from 'ava';
import { FakeCgroupFiles } from './fake-cgroup-files.ts';

test('a cgroup has the files of the controllers that its parent passes on', async (t) => {
  const files = new FakeCgroupFiles();
  await files.mkdir('/a');
  await t.throwsAsync(files.write('/a', 'memory.max', '1'), { code: 'ENOENT' });
  t.is(await files.read('/a', 'memory.max'), undefined);
  await files.write('/', 'cgroup.subtree_control', '+memory +cpu');
  t.is(await files.read('/a', 'memory.max'), 'max');
  t.is(await files.read('/a', 'cpu.max'), 'max 100000');
  t.is(await files.read('/a', 'cgroup.controllers'), 'memory cpu');
  await files.write('/', 'cgroup.subtree_control', '-memory');
  t.is(await files.read('/a', 'memory.max'), undefined);
});

test('controllers are passed on from above, and taken away from below', async (t) => {
  const files = new FakeCgroupFiles({ controllers: ['cpu', 'pids'] });
  await files.mkdir('/a');
  await files.mkdir('/a/b');
  await t.throwsAsync(files.write('/', 'cgroup.subtree_control', '+cpu +memory'), { code: 'ENOENT' });
  t.is(await files.read('/', 'cgroup.subtree_control'), '');
  await t.throwsAsync(files.write('/a', 'cgroup.subtree_control', '+cpu'), { code: 'ENOENT' });
  await files.write('/', 'cgroup.subtree_control', '+cpu');
  await files.write('/a', 'cgroup.subtree_control', '+cpu');
  await t.throwsAsync(files.write('/', 'cgroup.subtree_control', '-cpu'), { code: 'EBUSY' });
});

test('processes and cgroups with controllers are not side by side', async (t) => {
  const files = new FakeCgroupFiles();
  await files.mkdir('/a');
  await files.write('/', 'cgroup.subtree_control', '+cpu');
  await files.write('/a', 'cgroup.procs', '7');
  await t.throwsAsync(files.write('/a', 'cgroup.subtree_control', '+cpu'), { code: 'EBUSY' });
  files.endProcess(7);
  await files.write('/a', 'cgroup.subtree_control', '+cpu');
  await t.throwsAsync(files.write('/a', 'cgroup.procs', '8'), { code: 'EBUSY' });
  await files.write('/', 'cgroup.procs', '8');
});

test('what is in use is not removed', async (t) => {
  const files = new FakeCgroupFiles();
  await t.throwsAsync(files.mkdir('/a/b'), { code: 'ENOENT' });
  await files.mkdir('/a');
  await files.mkdir('/a/b');
  await files.write('/a/b', 'cgroup.procs', '7');
  t.is(await files.read('/a', 'cgroup.events'), 'populated 1\nfrozen 0');
  await t.throwsAsync(files.rmdir('/a'), { code: 'EBUSY' });
  await t.throwsAsync(files.rmdir('/a/b'), { code: 'EBUSY' });
  files.endProcess(7);
  await files.rmdir('/a/b');
  await files.rmdir('/a');
  await files.rmdir('/a');
});

test('values have their formats and ranges', async (t) => {
  const files = new FakeCgroupFiles();
  await files.mkdir('/a');
  await files.write('/', 'cgroup.subtree_control', '+cpu +memory +pids +hugetlb');
  const bad = [
    ['cpu.weight', '0', 'ERANGE'],
    ['cpu.weight', '10001', 'ERANGE'],
    ['cpu.weight', 'x', 'EINVAL'],
    ['cpu.max', '999 100000', 'EINVAL'],
    ['cpu.max', 'max 999', 'EINVAL'],
    ['memory.max', '-1', 'EINVAL'],
    ['pids.max', '4194305', 'EINVAL'],
    ['hugetlb.3MB.max', '0', 'ENOENT'],
    ['cpu.shares', '2', 'ENOENT'],
  ] as const;
  for (const [file, value, code] of bad)
    await t.throwsAsync(files.write('/a', file, value), { code }, `${file} ${value}`);
  await t.throwsAsync(files.write('/', 'cpu.weight', '1'), { code: 'ENOENT' });
  await files.write('/a', 'memory.max', '1000000');
  t.is(await files.read('/a', 'memory.max'), '999424');
  await files.write('/a', 'cpu.max', '2000');
  t.is(await files.read('/a', 'cpu.max'), '2000 100000');
});
