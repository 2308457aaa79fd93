/**
 * Takes away the cgroups of pods when no pod is left: for `keelson cleanup`, which does not know what the daemon was told.
 * Layer: kubelet/cgroups (edge through CgroupFiles and SystemdUnits). Kills nothing: a cgroup with processes is somebody's.
 */
import type { Clock } from '../../base/clock.ts';
import { silentLogger } from '../../observe/logger.ts';
import type { CgroupFiles } from './cgroup-files.ts';
import { cgroupPath, podsCgroup } from './cgroup-name.ts';
import { CgroupTree } from './cgroup-tree.ts';
import type { SystemdUnits } from './systemd-units.ts';

export interface RemoveEmptyContext {
  files: CgroupFiles;
  /** Asked for only when there are slices of pods. */
  systemd: () => SystemdUnits;
  clock: Clock;
}

/**
 * Both drivers', below the root of the hierarchy.
 * @returns the paths that were removed. @throws CgroupError
 */
export async function removeEmptyCgroups({ files, systemd, clock }: RemoveEmptyContext): Promise<string[]> {
  const name = podsCgroup([]);
  const removed: string[] = [];
  for (const driver of ['cgroupfs', 'systemd'] as const) {
    const path = cgroupPath(driver, name);
    if ((await files.read(path, 'cgroup.events'))?.includes('populated 0') !== true) continue;
    const units = driver === 'systemd' ? systemd() : undefined;
    try {
      const tree = new CgroupTree({ files, systemd: units, clock, log: silentLogger, controllers: new Set() });
      await tree.remove(name);
      removed.push(path);
    } finally {
      await units?.close();
    }
  }
  return removed;
}
