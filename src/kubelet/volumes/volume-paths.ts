/**
 * Where a pod's volumes are below the root directory: the kubelet's own layout, so that its tools find them.
 * Layer: kubelet/volumes (pure). UIDs and volume names come from outside and become file names only here, checked.
 * Source: pkg/kubelet/kubelet_getters.go, pkg/volume/util (EscapeQualifiedName).
 */
import { checkDns1123Label } from '../../config/names.ts';
import { VolumeError } from './volume-error.ts';

/** The directory name of each volume type that has one. */
export const pluginDirectory = {
  emptyDir: 'kubernetes.io~empty-dir',
  configMap: 'kubernetes.io~configmap',
  secret: 'kubernetes.io~secret',
  downwardAPI: 'kubernetes.io~downward-api',
  projected: 'kubernetes.io~projected',
} as const;

export type MountedType = keyof typeof pluginDirectory;

/** Whether a name is a pod UID of Kubernetes' or of ours: one plain file name, never `.` or `..`. */
export function isPodUid(uid: string): boolean {
  return /^[A-Za-z0-9][-A-Za-z0-9_.]{0,62}$/.test(uid);
}

/** The path elements below the root directory. Throws VolumeError VOLUME_PATH. */
export function podDirectory(uid: string): [pods: string, uid: string] {
  if (!isPodUid(uid))
    throw new VolumeError('VOLUME_PATH', 'the UID is no file name', { object: `pod ${JSON.stringify(uid)}` });
  return ['pods', uid];
}

/** The path elements of a volume below the pod's directory. Throws VolumeError VOLUME_PATH. */
export function volumeDirectory(type: MountedType, name: string): [volumes: string, plugin: string, name: string] {
  return ['volumes', pluginDirectory[type], checkedName(name)];
}

/** The directory of the bind mounts of a container's subPaths, below the pod's directory. Throws VolumeError VOLUME_PATH. */
export function subPathDirectory(volume: string, container: string): [subPaths: string, volume: string, name: string] {
  return [subPathsName, checkedName(volume), checkedName(container)];
}

/** Below the pod's directory: `<volume>/<container>/<index in volumeMounts>`. */
export const subPathsName = 'volume-subpaths';

/** The directory whose file `ready` says that an emptyDir was completely made, below the pod's directory. */
export function markerDirectory(name: string): [plugins: string, plugin: string, name: string] {
  return ['plugins', pluginDirectory.emptyDir, checkedName(name)];
}

/** The file in markerDirectory. */
export const readyMarker = 'ready';

function checkedName(name: string): string {
  const reasons = checkDns1123Label(name);
  if (reasons.length === 0) return name;
  throw new VolumeError('VOLUME_PATH', `the name ${reasons.join('; ')}`, { object: `volume ${JSON.stringify(name)}` });
}
