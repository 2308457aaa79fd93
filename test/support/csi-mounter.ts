/**
 * Mounts for the tests' CSI driver as root has them: bind mounts, and files as block devices over the loop driver.
 * Layer: test. Everything is undone by `removeAll`, also after a failed test.
 */
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import type { TestMounter } from './csi-driver.ts';
import { exec, execResult } from './exec.ts';

export interface RealMounter extends TestMounter {
  /** Unmounts what is left and gives back the loop devices. */
  removeAll(): Promise<void>;
}

const deviceBytes = 4 * 1024 * 1024;

const isMounted = (path: string): boolean =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === path);

export function realMounter(): RealMounter {
  const targets = new Set<string>();
  /** By target. */
  const loops = new Map<string, string>();
  const unmount = async (target: string): Promise<void> => {
    await exec('umount', [target]);
    targets.delete(target);
  };
  return {
    async bind(source, target, readOnly) {
      await exec('mount', ['--bind', source, target]);
      targets.add(target);
      if (readOnly) await exec('mount', ['-o', 'remount,bind,ro', target]);
    },
    unmount,
    isMounted: async (path) => isMounted(path),
    async attachDevice(file, target) {
      if (!existsSync(file)) writeFileSync(file, '');
      truncateSync(file, deviceBytes);
      const device = (await exec('losetup', ['--find', '--show', file])).trim();
      loops.set(target, device);
      writeFileSync(target, '');
      await exec('mount', ['--bind', device, target]);
      targets.add(target);
    },
    async detachDevice(target) {
      if (isMounted(target)) await unmount(target);
      const device = loops.get(target);
      if (device !== undefined) await exec('losetup', ['--detach', device]);
      loops.delete(target);
      rmSync(target, { force: true });
    },
    async removeAll() {
      for (const target of [...targets].reverse()) await execResult('umount', ['--lazy', target]);
      for (const device of loops.values()) await execResult('losetup', ['--detach', device]);
    },
  };
}
