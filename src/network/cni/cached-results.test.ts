import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { silentLogger } from '../../observe/logger.ts';
import { removeBrokenResults } from './cached-results.ts';

const boot = Date.parse('2026-11-21T21:00:00Z');
const before = new Date(boot - 60_000);

test('what a former boot left half-written is removed, and nothing else', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cni-results-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const write = async (name: string, content: string, at = before): Promise<void> => {
    await writeFile(join(folder, name), content);
    await utimes(join(folder, name), at, at);
  };
  await write('keelson-aa11-eth0', '');
  await write('keelson-bb22-eth0', '{"kind":"cniCacheV1","contain');
  await write('keelson-cc33-eth0', '\0\0\0\0');
  await write('keelson-dd44-eth0', '{"kind":"cniCacheV1"}');
  await write('keelson-ee55-eth0', '', new Date(boot + 1));
  await write('cni-loopback-aa11-lo', '');
  await write('keelson-blue-aa11-eth0', '');
  await mkdir(join(folder, 'keelson-ff66-eth0'));
  await utimes(join(folder, 'keelson-ff66-eth0'), before, before);

  const removed = await removeBrokenResults(folder, boot, silentLogger);
  t.deepEqual(
    removed,
    ['aa11', 'bb22', 'cc33'].map((id) => join(folder, `keelson-${id}-eth0`)),
  );
  t.deepEqual((await readdir(folder)).sort(), [
    'cni-loopback-aa11-lo',
    'keelson-blue-aa11-eth0',
    'keelson-dd44-eth0',
    'keelson-ee55-eth0',
    'keelson-ff66-eth0',
  ]);
  t.deepEqual(await removeBrokenResults(folder, boot, silentLogger), []);
});

test('no folder is nothing to do', async (t) => {
  t.deepEqual(await removeBrokenResults('/nonexistent/results', boot, silentLogger), []);
});
