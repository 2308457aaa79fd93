/** The record of a resized pod on disk. */
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { silentLogger } from '../../observe/logger.ts';
import { sameAllocation } from './allocation.ts';
import { AllocationFiles } from './allocation-files.ts';

const allocation = { pod: undefined, containers: new Map([['c', { requests: { cpu: '1' } }]]) };

test('what is saved is loaded, other files are left out', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'keelson-allocation-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const files = new AllocationFiles(root, silentLogger);
  t.is((await files.load()).size, 0, 'no pods at all');
  await files.save('u1', { allocation, generation: 7 });
  await files.save('u2', { allocation, generation: undefined });
  for (const [uid, text] of [
    ['u3', '{"generation":1,"allocation":'],
    ['u4', '{"generation":1.5,"allocation":{"containers":[]}}'],
    ['u5', '{"allocation":{"containers":[]}}'],
    ['u6', `{"generation":1,"allocation":{"containers":[]}}${' '.repeat(1024 * 1024)}`],
  ] as const) {
    await mkdir(join(root, 'pods', uid));
    await writeFile(join(root, 'pods', uid, 'allocated-resources'), text);
  }
  await mkdir(join(root, 'pods/u7'));
  await symlink('../u1/allocated-resources', join(root, 'pods/u7/allocated-resources'));
  await mkdir(join(root, 'pods/u8/allocated-resources'), { recursive: true });
  await mkdir(join(root, 'pods/u9'));
  await writeFile(join(root, 'pods/file'), '');
  const records = await files.load();
  t.deepEqual([...records.keys()].sort(), ['u1', 'u2']);
  t.is(records.get('u1')?.generation, 7);
  t.is(records.get('u2')?.generation, undefined);
  t.true(sameAllocation(records.get('u1')!.allocation, allocation));
});

test('what is removed is gone, with its directory unless that is used', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'keelson-allocation-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const files = new AllocationFiles(root, silentLogger);
  await files.save('u1', { allocation, generation: 1 });
  await files.save('u2', { allocation, generation: 1 });
  await writeFile(join(root, 'pods/u2/etc-hosts'), '');
  await files.remove('u1');
  await files.remove('u2');
  await files.remove('u3');
  t.deepEqual(await readdir(join(root, 'pods')), ['u2']);
  t.deepEqual(await readdir(join(root, 'pods/u2')), ['etc-hosts']);
});

test('a uid that is a path is refused', async (t) => {
  const files = new AllocationFiles(tmpdir(), silentLogger);
  for (const uid of ['..', '../x', 'a/b', '', '.']) {
    await t.throwsAsync(files.save(uid, { allocation, generation: 1 }), { message: /no file name/ });
  }
});
