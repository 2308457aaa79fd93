/**
 * Mounts on the real kernel.
 * Layer: kernel. Which flags and which fallback is decided here; the addon only makes the calls, on its own threads.
 */
import { readFile } from 'node:fs/promises';
import type { HugetlbfsOptions, MountInfo, Mounts, TmpfsOptions } from '../linux/host.ts';
import { KernelError } from '../linux/kernel-error.ts';
import { parseMountInfo } from '../linux/mountinfo.ts';
import { loadAddon } from './addon.ts';
import { kernelCall } from './kernel-errors.ts';

/** include/uapi/linux/mount.h and linux/fs.h */
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_SHARED = 1 << 20;
const MOUNT_ATTR_RDONLY = 1;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const EINVAL = 22;

/** The kernel makes the table in pieces; two equal readings mean that nothing changed between them. */
const listAttempts = 5;

export const kernelMounts: Mounts = {
  async mountTmpfs(target, options) {
    const operation = `mount tmpfs ${target}`;
    // size=0 would mean without limit.
    if (options.sizeBytes !== undefined && !(Number.isSafeInteger(options.sizeBytes) && options.sizeBytes > 0)) {
      throw new KernelError(EINVAL, 'mount', operation, `size of ${options.sizeBytes} bytes`);
    }
    const addon = loadAddon();
    const mount = (noswap: boolean): Promise<void> =>
      kernelCall(operation, () =>
        addon.mount('tmpfs', target, 'tmpfs', MS_NOSUID | MS_NODEV, tmpfsData(options, noswap)),
      );
    try {
      await mount(options.noswap === true);
    } catch (error) {
      // A kernel before 6.3 refuses the option it does not know.
      if (options.noswap !== true || !(error instanceof KernelError) || error.errno !== EINVAL) throw error;
      await mount(false);
    }
  },

  async mountHugetlbfs(target, options) {
    const addon = loadAddon();
    await kernelCall(`mount hugetlbfs ${target}`, () =>
      addon.mount('nodev', target, 'hugetlbfs', MS_NOSUID | MS_NODEV, hugetlbfsData(options)),
    );
  },

  async makeShared(target) {
    const addon = loadAddon();
    await kernelCall(`mount --make-shared ${target}`, () =>
      addon.mount(undefined, target, undefined, MS_SHARED, undefined),
    );
  },

  async bind(source, target, options = {}) {
    const addon = loadAddon();
    const operation = `mount --${options.recursive ? 'rbind' : 'bind'} ${source} ${target}${options.readOnly ? ' -o ro' : ''}`;
    await kernelCall(operation, () =>
      addon.bindMount(source, target, options.recursive === true, options.readOnly ? MOUNT_ATTR_RDONLY : 0),
    );
  },

  async unmount(target, options = {}) {
    const addon = loadAddon();
    const flags = UMOUNT_NOFOLLOW | (options.lazy ? MNT_DETACH : 0);
    await kernelCall(`umount ${options.lazy ? '--lazy ' : ''}${target}`, () => addon.umount(target, flags));
  },

  async list(): Promise<MountInfo[]> {
    let before = '';
    for (let attempt = 0; ; attempt++) {
      const text = await kernelCall('list mounts', () => readFile('/proc/self/mountinfo', 'utf8'));
      if (text === before || attempt === listAttempts) return parseMountInfo(text);
      before = text;
    }
  },
};

function tmpfsData(options: TmpfsOptions, noswap: boolean): string | undefined {
  const words: string[] = [];
  if (options.sizeBytes !== undefined) words.push(`size=${options.sizeBytes}`);
  if (options.mode !== undefined) words.push(`mode=${options.mode.toString(8)}`);
  if (noswap) words.push('noswap');
  return words.length === 0 ? undefined : words.join(',');
}

function hugetlbfsData({ pageSizeBytes, sizeBytes, mode }: HugetlbfsOptions): string {
  const words = [`pagesize=${pageSizeBytes}`];
  if (sizeBytes !== undefined) words.push(`size=${sizeBytes}`);
  if (mode !== undefined) words.push(`mode=${mode.toString(8)}`);
  return words.join(',');
}
