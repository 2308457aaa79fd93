/**
 * What a driver of mounted volumes (NFS, local, CSI) is asked for and answers; mountVolumes knows no other kind of them.
 * Layer: kubelet/volumes (pure types). A driver touches only its own directories and never decides which pod may use what.
 */
import type { HostPathType, Pod, Volume } from '../../api/core.ts';

/** `spec.volumeMode` of a PersistentVolume: a tree of files, or a block device as it is. */
export type VolumeMode = 'Filesystem' | 'Block';

/** One volume of one pod, its claim already resolved to a bound PersistentVolume (or an inline volume of the pod). */
export interface DriverVolume<Source> {
  /** `pod default/web: volume data`, for errors and events. */
  readonly subject: string;
  readonly pod: Pod;
  /** `spec.volumes[].name`. */
  readonly name: string;
  /** Name of the PersistentVolume, or the volume's own name when it is inline; the last element of its directory. */
  readonly specName: string;
  readonly source: Source;
  readonly mode: VolumeMode;
  readonly readOnly: boolean;
  /** Options of the PersistentVolume, as for `mount -o`. */
  readonly mountOptions: readonly string[];
  /** Access modes of the claim; an inline volume has none. */
  readonly accessModes: readonly string[];
  /** `securityContext.fsGroup` of the pod. */
  readonly fsGroup: number | undefined;
}

/** Where the volume is now. */
export interface MountedVolume {
  /** Directory on the host, or the device's file for `Block`. */
  readonly hostPath: string;
  /** Whether the kubelet is to give the tree to the pod's fsGroup, or the driver did, or policy says nobody does. */
  readonly ownership: 'fsGroup' | 'leave';
}

export interface VolumeDriver<Source> {
  /** `kubernetes.io~csi`: the directory below `pods/<uid>/volumes` that the driver's volumes are in. */
  readonly directory: string;
  /**
   * Makes the volume reachable below the pod's directory. Idempotent: called again at every sync of the pod and after a
   * `kill -9` at any point. Throws VolumeError (or a subclass); the pod is tried again later.
   */
  setUp(volume: DriverVolume<Source>, signal: AbortSignal): Promise<MountedVolume>;
  /**
   * Takes the volume away from the pod, knowing only what is on disk (the pod may be long gone from the API server).
   * Idempotent. The pod counts as ended only after it. Throws VolumeError when the volume is still in use.
   * @param podUid a checked UID. @param specName as found below `volumes/<directory>`.
   */
  tearDown(podUid: string, specName: string, signal: AbortSignal): Promise<void>;
}

/** By VolumeDriver.directory, which is also how the teardown finds the driver of what lies on disk. */
export type VolumeDrivers = ReadonlyMap<string, VolumeDriver<unknown>>;

/** What a volume of the pod turns out to be once its claim is known to be bound. */
export type ResolvedVolume =
  | {
      readonly kind: 'hostPath';
      readonly path: string;
      readonly type: HostPathType;
      readonly readOnly: boolean;
      /** A group that its users are to be in. */
      readonly gid?: number | undefined;
    }
  | {
      readonly kind: 'driver';
      /** `kubernetes.io~csi`: the key in VolumeDrivers. */
      readonly driver: string;
      readonly volume: DriverVolume<unknown>;
      readonly gid?: number | undefined;
    };

/**
 * Finds out what a persistentVolumeClaim, ephemeral, nfs or csi volume is; asked at each mount of the pod.
 * Throws VolumeError when the claim is missing, not bound, or not for this pod, and for what no driver mounts.
 */
export type ResolveVolume = (volume: Volume, pod: Pod, signal: AbortSignal) => Promise<ResolvedVolume>;
