/**
 * Which pods have a volume of a driver, by the directories that lie on disk: what a killed predecessor mounted, too.
 * Layer: kubelet/volumes/claims (edge: disk, reads only). Directories are listed from above: looking at one itself would ask
 * the server or disk that is mounted there.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasErrorCode } from '../../../base/errors.ts';
import { isPodUid } from '../volume-paths.ts';

export interface VolumeOnDisk {
  readonly podUid: string;
  /** `kubernetes.io~csi` */
  readonly driver: string;
  readonly specName: string;
}

/** Every volume of `drivers` below `pods/`, whether it is still mounted or not. */
export async function volumesOnDisk(rootDir: string, drivers: Iterable<string>): Promise<VolumeOnDisk[]> {
  const wanted = [...drivers];
  const found = new Map<string, VolumeOnDisk>();
  for (const podUid of (await names(join(rootDir, 'pods'))).filter(isPodUid)) {
    for (const folder of ['volumes', 'volumeDevices']) {
      for (const driver of wanted) {
        for (const specName of await names(join(rootDir, 'pods', podUid, folder, driver))) {
          found.set(`${podUid}/${driver}/${specName}`, { podUid, driver, specName });
        }
      }
    }
  }
  return [...found.values()];
}

async function names(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
