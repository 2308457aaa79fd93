/**
 * The fake mount table over a real temporary directory: a mounted tmpfs is the target directory itself, with the mode that
 * was asked for, and emptied by the unmount. Layer: kubelet/volumes (test support). Must not be imported by production code.
 */
import { chmodSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FakeMounts } from '../../linux/fake-host.ts';
import type { TmpfsOptions } from '../../linux/host.ts';
import { KernelError } from '../../linux/kernel-error.ts';

const ENOTDIR = 20;

export class FakeDirectoryMounts extends FakeMounts {
  override async mountTmpfs(target: string, options: TmpfsOptions): Promise<void> {
    if (!statSync(target).isDirectory()) throw new KernelError(ENOTDIR, 'mount', `mount tmpfs ${target}`);
    await super.mountTmpfs(target, options);
    if (options.mode !== undefined) chmodSync(target, options.mode);
  }

  override async unmount(target: string, options: { lazy?: boolean } = {}): Promise<void> {
    const top = this.mounts.findLast((mount) => mount.target === target);
    await super.unmount(target, options);
    if (top?.fsType !== 'tmpfs') return;
    for (const name of readdirSync(target)) rmSync(join(target, name), { recursive: true });
  }
}
