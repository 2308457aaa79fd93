/**
 * Where CSI volumes are below the root directory: the kubelet's own layout.
 * Layer: kubelet/csi (pure). Names that become directories are checked here, wherever they come from.
 * Source: pkg/volume/csi/{csi_mounter,csi_attacher,csi_block}.go.
 */
import { join } from 'node:path';
import { checkCsiDriverName } from '../../api/persistent-volume.ts';
import { checkPathSegment } from '../../config/paths.ts';
import { csiDirectory } from '../volumes/claims/csi-source.ts';
import { VolumeError } from '../volumes/volume-error.ts';
import { isPodUid } from '../volumes/volume-paths.ts';
import { CsiError } from './csi-error.ts';
import { stagingDirectoryName } from './volume-names.ts';

export const recordFile = 'vol_data.json';

export interface CsiPaths {
  /** `pods/<uid>/volumes/kubernetes.io~csi/<spec>`: has the record, and `mount`. */
  volume(podUid: string, specName: string): string;
  /** Where a file system is published. */
  target(podUid: string, specName: string): string;
  /** `plugins/kubernetes.io/csi/<driver>/<hash>`: has the record, and `globalmount`. */
  device(driver: string, volumeHandle: string): string;
  /** Where a file system is staged. */
  globalMount(driver: string, volumeHandle: string): string;
  /** Of block volumes. */
  block: {
    staging(specName: string): string;
    publish(specName: string, podUid: string): string;
    data(specName: string): string;
    device(specName: string): string;
    /** The symlink by which the pod's device is found. */
    link(podUid: string, specName: string): string;
  };
}

/** @param rootDir a real path: the mount table knows no other */
export function csiPaths(rootDir: string): CsiPaths {
  const plugins = join(rootDir, 'plugins/kubernetes.io/csi');
  const devices = join(plugins, 'volumeDevices');
  const volume = (podUid: string, specName: string): string =>
    join(rootDir, 'pods', checkedUid(podUid), 'volumes', csiDirectory, checkedSpec(specName));
  const device = (driver: string, handle: string): string =>
    join(plugins, checkedDriver(driver), stagingDirectoryName(handle));
  return {
    volume,
    target: (podUid, specName) => join(volume(podUid, specName), 'mount'),
    device,
    globalMount: (driver, handle) => join(device(driver, handle), 'globalmount'),
    block: {
      staging: (specName) => join(devices, 'staging', checkedSpec(specName)),
      publish: (specName, podUid) => join(devices, 'publish', checkedSpec(specName), checkedUid(podUid)),
      data: (specName) => join(devices, checkedVolume(specName), 'data'),
      device: (specName) => join(devices, checkedVolume(specName), 'dev'),
      link: (podUid, specName) =>
        join(rootDir, 'pods', checkedUid(podUid), 'volumeDevices', csiDirectory, checkedSpec(specName)),
    },
  };
}

function checkedUid(uid: string): string {
  if (isPodUid(uid)) return uid;
  throw new VolumeError('VOLUME_PATH', 'the UID is no file name', { object: `pod ${JSON.stringify(uid)}` });
}

function checkedSpec(name: string): string {
  const [reason] = [...checkPathSegment(name), ...(Buffer.byteLength(name) > 253 ? ['is too long'] : [])];
  if (reason === undefined) return name;
  throw new VolumeError('VOLUME_PATH', `the name ${reason}`, { object: `volume ${JSON.stringify(name)}` });
}

/** `staging` and `publish` lie beside the volumes' own directories. */
function checkedVolume(name: string): string {
  if (name !== 'staging' && name !== 'publish') return checkedSpec(name);
  throw new VolumeError('VOLUME_PATH', 'the name is taken in the directory of block volumes', {
    object: `volume ${name}`,
    fix: 'give the PersistentVolume another name',
  });
}

function checkedDriver(name: string): string {
  const [reason] = [...checkCsiDriverName(name), ...checkPathSegment(name)];
  if (reason === undefined && name !== 'volumeDevices') return name;
  throw new CsiError('CSI_UNSUPPORTED', `the driver name ${reason ?? 'is taken'}`, {
    object: `CSI driver ${JSON.stringify(name.slice(0, 100))}`,
    fix: 'correct the driver name',
  });
}
