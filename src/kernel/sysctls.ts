/**
 * Sysctls through /proc/sys, also inside another network namespace.
 * Layer: kernel. Must never enter a namespace itself: the addon does, on a thread that ends afterwards.
 */
import { constants, readFile, writeFile } from 'node:fs/promises';
import type { Sysctls } from '../linux/host.ts';
import { netSysctlPath, sysctlPath } from '../linux/sysctl-path.ts';
import { loadAddon } from './addon.ts';
import { kernelCall } from './kernel-errors.ts';

export const kernelSysctls: Sysctls = {
  async read(name) {
    const path = sysctlPath(name);
    return (await kernelCall(`sysctl ${path}`, () => readFile(`/proc/sys/${path}`, 'utf8'))).trim();
  },

  async write(name, value) {
    const path = sysctlPath(name);
    // Without O_CREAT, so that a sysctl that does not exist is ENOENT.
    await kernelCall(`sysctl -w ${path}=${value}`, () =>
      writeFile(`/proc/sys/${path}`, value, { flag: constants.O_WRONLY }),
    );
  },

  async writeInNetns(netnsPath, name, value) {
    const path = netSysctlPath(name);
    const addon = loadAddon();
    await kernelCall(`sysctl -w ${path}=${value} in ${netnsPath}`, () =>
      addon.writeInNetns(netnsPath, `/proc/sys/${path}`, value),
    );
  },
};
