/**
 * The drivers of this node, what finds out which volume is whose, and how full each volume is, as the kubelet role is
 * handed them. Layer: kubelet/volumes (composition over injected edges). Decides nothing.
 */
import type { Pod } from '../../api/core.ts';
import type { PersistentVolumeClient } from '../../api/persistent-volume-client.ts';
import type { CancelTimer, Clock } from '../../base/clock.ts';
import type { Mounts } from '../../linux/host.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { Logger } from '../../observe/logger.ts';
import { type RecordPodEvent, warning } from '../pods/pod-events.ts';
import type { DriverVolumes, MeasureDriverVolume } from '../stats/driver-volume-usage.ts';
import type { NodeIdentity } from './claims/bound-volume.ts';
import { ClaimedVolumes } from './claims/claimed-volumes.ts';
import type { CsiSource } from './claims/csi-source.ts';
import { createVolumeResolver } from './claims/resolve-volume.ts';
import { realRoot } from './driver-directory.ts';
import { driverDirectory } from './driver-paths.ts';
import { filesystemFigures } from './filesystem-figures.ts';
import { type RunHostCommand, runHostCommand } from './host-command.ts';
import { LocalGrower } from './local/grow-volume.ts';
import { createLocalDriver } from './local/local-driver.ts';
import { createNfsDriver } from './nfs/nfs-driver.ts';
import { type LastResort, lastResortMessage } from './unmount.ts';
import type { ResolveVolume, VolumeDriver, VolumeDrivers } from './volume-driver.ts';

/** What a cluster adds to a node's own disks. */
export interface ClusterVolumes {
  readonly client: PersistentVolumeClient;
  readonly node: () => NodeIdentity;
  readonly recordEvent: RecordPodEvent;
  readonly csi?: CsiVolumes | undefined;
  /** Looks at the pod's volumes again: its claim may ask for more room. CSI volumes see to it themselves. */
  readonly wake?: ((podUid: string) => void) | undefined;
}

export interface CsiVolumes {
  readonly driver: VolumeDriver<CsiSource>;
  readonly volumeStats: MeasureDriverVolume;
  /** The pod is gone, with or without having had a volume. */
  forget?(podUid: string): void;
}

export interface DriverVolumesOptions {
  readonly mounts: Mounts;
  readonly rootDir: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** undefined: a node of its own, where there are no claims. */
  readonly cluster?: ClusterVolumes | undefined;
  /** Tests have no disks and servers. */
  readonly run?: RunHostCommand;
  /** 0 to 1; so that not all pods are looked at at once. */
  readonly random?: () => number;
}

/** As CSI volumes. A claim is read again when it is that old. */
const lookAgainMs = 60_000;

export interface DriverVolumeParts {
  readonly resolveVolume: ResolveVolume;
  readonly drivers: VolumeDrivers;
  /** For the statistics. */
  readonly measured: DriverVolumes;
  /** The volumes of the pod are gone. */
  forget(podUid: string): void;
}

export function createDriverVolumes(options: DriverVolumesOptions): DriverVolumeParts {
  const { mounts, rootDir, clock, log, cluster, run = runHostCommand, random = Math.random } = options;
  const { csi, recordEvent } = cluster ?? {};
  const claimed = new ClaimedVolumes();
  /** Those whose volumes were asked for, as they were last: their events are about them. */
  const pods = new Map<string, Pod>();
  const unmounting = {
    mounts,
    run,
    rootDir,
    clock,
    onLastResort({ target, cause }: LastResort) {
      log.warn({ target, cause }, 'a volume could not be unmounted and was detached: it ends with its last user');
      const [, uid = ''] = /\/pods\/([^/]+)\//.exec(target.slice(target.lastIndexOf('/pods/'))) ?? [];
      const pod = pods.get(uid);
      if (pod) recordEvent?.(pod, warning('FailedUnMount', lastResortMessage(target, cause)));
    },
  };
  const drivers = new Map<string, VolumeDriver<unknown>>([
    [driverDirectory.nfs, createNfsDriver(unmounting)],
    [
      driverDirectory.local,
      createLocalDriver({
        ...unmounting,
        onSharedGroup: (pod, message) => recordEvent?.(pod, warning('AlreadyMountedVolume', message)),
        grower:
          cluster &&
          new LocalGrower({ run, clock, log, recordEvent, patchClaimStatus: cluster.client.patchClaimStatus }),
        onLeftMounted: (volume, error) =>
          log.warn({ volume, error: errorLine(error) }, 'a disk without pods was grown and cannot be unmounted'),
      }),
    ],
  ]);
  if (csi !== undefined) drivers.set(driverDirectory.csi, csi.driver);
  const statfs =
    (directory: string): MeasureDriverVolume =>
    async (podUid, specName, signal) => {
      const root = await realRoot(rootDir);
      return filesystemFigures({ podUid, directory, specName }, { run, list: () => mounts.list(), root }, signal);
    };
  const measure = new Map(
    [driverDirectory.nfs, driverDirectory.local].map((directory) => [directory as string, statfs(directory)]),
  );
  if (csi !== undefined) measure.set(driverDirectory.csi, csi.volumeStats);
  const resolveVolume = createVolumeResolver({
    client: cluster?.client,
    claimed,
    node: cluster?.node ?? (() => ({ name: '', labels: undefined })),
    rootDir,
    clock,
    log,
  });
  const timers = new Map<string, CancelTimer>();
  const lookAgain = (uid: string): void => {
    if (cluster?.wake === undefined) return;
    timers.get(uid)?.();
    const cancel = clock.after(lookAgainMs * (1 + random() / 2), () => {
      timers.delete(uid);
      cluster.wake?.(uid);
    });
    timers.set(uid, cancel);
  };
  return {
    async resolveVolume(volume, pod, signal) {
      const { uid } = pod.metadata;
      pods.set(uid, pod);
      const resolved = await resolveVolume(volume, pod, signal);
      // One that was torn down meanwhile is not looked at any more.
      if (pods.has(uid) && resolved.kind === 'driver' && resolved.driver === driverDirectory.local) lookAgain(uid);
      return resolved;
    },
    drivers,
    measured: { of: (uid) => claimed.of(uid), measure },
    forget(podUid) {
      claimed.forget(podUid);
      pods.delete(podUid);
      timers.get(podUid)?.();
      timers.delete(podUid);
      csi?.forget?.(podUid);
    },
  };
}
