/**
 * Where the volumes of drivers are: below the pod's directory, and for devices that pods share below `plugins/`.
 * Layer: kubelet/volumes (pure). Names come from outside and become file names only here, checked.
 * Source: pkg/kubelet/kubelet_getters.go, pkg/volume/util (MountsInGlobalPDPath).
 */
import { checkDns1123Subdomain } from '../../config/names.ts';
import type { MountInfo } from '../../linux/host.ts';
import { VolumeError } from './volume-error.ts';
import { isPodUid, podDirectory } from './volume-paths.ts';

/** The directory below `pods/<uid>/volumes` of each driver, and its key in VolumeDrivers. */
export const driverDirectory = {
  nfs: 'kubernetes.io~nfs',
  local: 'kubernetes.io~local-volume',
  csi: 'kubernetes.io~csi',
} as const;

/** `volumes` hold trees, `volumeDevices` links to devices. */
export type VolumeFolder = 'volumes' | 'volumeDevices';

/**
 * The path elements of a driver's volume below the root directory.
 * @param directory a driver's own, such as `kubernetes.io~nfs`. @throws VolumeError VOLUME_PATH
 */
export function driverVolumePath(
  uid: string,
  folder: VolumeFolder,
  directory: string,
  specName: string,
): [pods: string, uid: string, folder: VolumeFolder, directory: string, name: string] {
  return [...podDirectory(uid), folder, directory, checkedSpecName(specName)];
}

/** Where a device is mounted once for all pods of the node. @throws VolumeError VOLUME_PATH */
export function deviceMountPath(plugin: string, specName: string): string[] {
  return ['plugins', 'kubernetes.io', plugin, 'mounts', checkedSpecName(specName)];
}

function checkedSpecName(specName: string): string {
  const reasons = checkDns1123Subdomain(specName);
  if (reasons.length === 0) return specName;
  throw new VolumeError('VOLUME_PATH', `the name ${reasons.join('; ')}`, {
    object: `volume ${JSON.stringify(specName)}`,
  });
}

/** The pods that have this volume of the driver mounted. @param rootDir as the kernel knows it: without symlinks */
export function podsWithMount(
  table: readonly MountInfo[],
  rootDir: string,
  directory: string,
  specName: string,
): ReadonlySet<string> {
  const prefix = `${rootDir}/pods/`;
  const suffix = `/volumes/${directory}/${specName}`;
  const uids = table.flatMap(({ target }) => {
    if (!target.startsWith(prefix) || !target.endsWith(suffix)) return [];
    const uid = target.slice(prefix.length, -suffix.length);
    return isPodUid(uid) ? [uid] : [];
  });
  return new Set(uids);
}
