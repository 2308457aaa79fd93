/**
 * The real files and filesystems of the machine for node-measurements.ts.
 * Layer: kubelet/node (edge). Reads only, starts no process.
 */
import { readdir, readFile, statfs } from 'node:fs/promises';
import { arch, release } from 'node:os';
import type { HostReader } from './node-measurements.ts';

/** Go's names where they are not Node's. */
const goArchitectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', loong64: 'loong64' };

export const hostReader: HostReader = {
  readText: (path) => readFile(path, 'utf8'),
  names: (directory) => readdir(directory),
  async filesystem(path) {
    const { bsize, blocks, bavail, files, ffree } = await statfs(path);
    return { capacityBytes: blocks * bsize, availableBytes: bavail * bsize, inodes: files, inodesFree: ffree };
  },
  kernelVersion: release,
  architecture: () => goArchitectures[arch()] ?? arch(),
};
