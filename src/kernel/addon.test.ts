/** A missing, broken or foreign addon file gives one clear error that names the fix. Needs no privileges and no build. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { KernelError } from '../linux/kernel-error.ts';
import { AddonError, addonPath, loadAddon } from './addon.ts';
import { toKernelError } from './kernel-errors.ts';
import { sdNotify } from './notify.ts';

test('missing, broken and foreign files', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-addon-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const missing = t.throws(() => loadAddon(join(directory, 'none.node')), { instanceOf: AddonError });
  t.is(missing?.code, 'ADDON_MISSING');
  t.regex(missing?.toLine() ?? '', /none\.node does not exist \(run `make -C native`/);
  const broken = join(directory, 'broken.node');
  writeFileSync(broken, 'no shared library');
  t.is(t.throws(() => loadAddon(broken), { instanceOf: AddonError })?.code, 'ADDON_UNUSABLE');
  const foreign = join(directory, 'foreign.cjs');
  writeFileSync(foreign, 'module.exports = { openNetlink() {} };');
  t.is(t.throws(() => loadAddon(foreign), { instanceOf: AddonError })?.code, 'ADDON_UNUSABLE');
  t.regex(addonPath, /\/native\/build\/keelson\.node$/);
});

test('errno becomes KernelError once, other errors stay as they are', (t) => {
  const native = Object.assign(new Error('umount2: Device or resource busy'), { errno: 16, syscall: 'umount2' });
  const node = Object.assign(new Error('ENOENT'), { errno: -2, syscall: 'open' });
  const mapped = toKernelError(native, 'umount /x');
  t.true(mapped instanceof KernelError);
  t.like(mapped, { errno: 16, errnoName: 'EBUSY', syscall: 'umount2', object: 'umount /x' });
  t.like(toKernelError(node, 'read'), { errno: 2, errnoName: 'ENOENT', syscall: 'open' });
  const other = new TypeError('mistake');
  t.is(toKernelError(other, 'x'), other);
});

test('sdNotify does nothing when nobody asked', (t) => {
  t.false(sdNotify('READY=1', {}));
  t.false(sdNotify('READY=1', { NOTIFY_SOCKET: '' }));
});
