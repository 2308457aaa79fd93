import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { NetworkError } from '../network-error.ts';
import { conflistName, installShim, removeCniFiles, renderConflist, writeConflist } from './install.ts';

async function directory(t: { teardown: (task: () => Promise<void>) => void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'keelson-cni-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

const shimOf = (version: string): string => `ELF ${version} keelsonSocket`;

test('the conflist is what a runtime reads', (t) => {
  t.deepEqual(JSON.parse(renderConflist('/run/keelson/cni.sock')), {
    cniVersion: '1.0.0',
    name: 'keelson',
    plugins: [
      {
        type: 'keelson',
        keelsonSocket: '/run/keelson/cni.sock',
        capabilities: { portMappings: true, bandwidth: true },
      },
    ],
  });
});

test('the conflist is written once, rewritten when it differs, and leaves no other file', async (t) => {
  const dir = await directory(t);
  const confDir = join(dir, 'deep', 'net.d');
  t.deepEqual(await writeConflist(confDir, '/a.sock'), { written: true, shadowedBy: [] });
  const path = join(confDir, conflistName);
  const before = await stat(path, { bigint: true });
  t.false((await writeConflist(confDir, '/a.sock')).written);
  t.is((await stat(path, { bigint: true })).ino, before.ino);
  t.true((await writeConflist(confDir, '/b.sock')).written);
  t.is(await readFile(path, 'utf8'), renderConflist('/b.sock'));
  t.is(Number(before.mode) & 0o777, 0o644);
  t.deepEqual(await readdir(confDir), [conflistName]);
});

test('a configuration that the runtime prefers is named', async (t) => {
  const dir = await directory(t);
  for (const name of ['10-flannel.conflist', '05-x.conf', '99-z.conf', 'README'])
    await writeFile(join(dir, name), '{}');
  t.deepEqual((await writeConflist(dir, '/a.sock')).shadowedBy, ['05-x.conf', '10-flannel.conflist']);
});

test('the plugin is installed under both names, executable, and replaced when it differs', async (t) => {
  const dir = await directory(t);
  const source = join(dir, 'source');
  const bin = join(dir, 'bin');
  await writeFile(source, shimOf('1'));
  t.deepEqual(await installShim(source, bin), {
    written: [join(bin, 'keelson'), join(bin, 'loopback')],
    foreignLoopback: false,
  });
  t.is((await stat(join(bin, 'loopback'))).mode & 0o777, 0o755);
  t.deepEqual((await installShim(source, bin)).written, []);
  await writeFile(source, shimOf('2'));
  t.is((await installShim(source, bin)).written.length, 2);
  t.is(await readFile(join(bin, 'loopback'), 'utf8'), shimOf('2'));
  t.deepEqual(await readdir(bin), ['keelson', 'loopback']);
});

test('a foreign loopback stays, a foreign keelson is an error', async (t) => {
  const dir = await directory(t);
  const source = join(dir, 'source');
  const bin = join(dir, 'bin');
  await writeFile(source, shimOf('1'));
  await installShim(source, bin);
  await writeFile(join(bin, 'loopback'), 'stock plugin');
  t.deepEqual(await installShim(source, bin), { written: [], foreignLoopback: true });
  t.is(await readFile(join(bin, 'loopback'), 'utf8'), 'stock plugin');
  await writeFile(join(bin, 'keelson'), 'another product');
  const error = await t.throwsAsync(installShim(source, bin), { instanceOf: NetworkError });
  t.is(error?.code, 'NETWORK_CNI_INSTALL_FAILED');
  t.is(await readFile(join(bin, 'keelson'), 'utf8'), 'another product');
});

test('a plugin that was not built, or is something else, is an error with the fix', async (t) => {
  const dir = await directory(t);
  for (const path of [join(dir, 'absent'), join(dir, 'other')]) {
    await writeFile(join(dir, 'other'), 'text');
    const error = await t.throwsAsync(installShim(path, dir), { instanceOf: NetworkError });
    t.regex(error?.toLine() ?? '', /script\/build/);
  }
});

test('a directory that cannot be written is named', async (t) => {
  const dir = await directory(t);
  await writeFile(join(dir, 'file'), '');
  const error = await t.throwsAsync(writeConflist(join(dir, 'file', 'net.d'), '/a.sock'), { instanceOf: NetworkError });
  t.regex(error?.toLine() ?? '', /net\.d.*--cni-conf-dir/);
});

test('removal takes our files and leftovers of an interrupted write, and nothing else', async (t) => {
  const dir = await directory(t);
  const source = join(dir, 'source');
  const [bin, conf] = [join(dir, 'bin'), join(dir, 'conf')];
  await writeFile(source, shimOf('1'));
  await installShim(source, bin);
  await writeConflist(conf, '/a.sock');
  await writeFile(join(bin, '.loopback.keelson-tmp'), 'half');
  await writeFile(join(bin, 'loopback'), 'stock plugin');
  await writeFile(join(bin, 'bridge'), 'stock plugin');
  await chmod(join(bin, 'bridge'), 0o755);
  await writeFile(join(conf, '99-other.conf'), '{}');
  t.deepEqual(await removeCniFiles(conf, bin), [join(conf, conflistName), join(bin, 'keelson')]);
  t.deepEqual(await readdir(bin), ['bridge', 'loopback']);
  t.deepEqual(await readdir(conf), ['99-other.conf']);
  t.deepEqual(await removeCniFiles(conf, bin), []);
  await writeFile(join(conf, conflistName), 'not ours');
  t.deepEqual(await removeCniFiles(conf, bin), []);
});
