/**
 * Asks a driver for one volume and gives what it mounted to the pod's fsGroup, where the driver leaves that to the kubelet.
 * Layer: kubelet/volumes (edge: disk). Which driver, and of what, was found out before.
 */
import type { Pod } from '../../api/core.ts';
import type { PodVolume } from '../plan/pod-volume.ts';
import { Directory } from './directory.ts';
import { giveToFsGroup } from './fs-group.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import type { ResolvedVolume } from './volume-driver.ts';
import { VolumeError } from './volume-error.ts';

/** Servers give no extended attributes that a label could stand in. */
const unlabelled: readonly string[] = ['kubernetes.io~nfs'];
/** A tree so large that its owner waits is worth a word (firstEventReportDuration in pkg/volume/volume_linux.go). */
const slowMs = 30_000;

/** Throws VolumeError. */
export async function mountDriverVolume(
  pod: Pod,
  { driver: directory, volume }: Extract<ResolvedVolume, { kind: 'driver' }>,
  subject: string,
  dependencies: VolumeDependencies,
  signal: AbortSignal,
): Promise<PodVolume> {
  const driver = dependencies.drivers?.get(directory);
  if (driver === undefined) {
    const message = `no driver of this node mounts ${directory} volumes`;
    throw new VolumeError('VOLUME_UNSUPPORTED', message, { object: subject });
  }
  const { hostPath, ownership } = await driver.setUp(volume, signal);
  const { readOnly, mode, fsGroup } = volume;
  if (mode === 'Block') return { kind: 'device', hostPath, readOnly };
  const { givenToGroup } = dependencies;
  const key = `${pod.metadata.uid}/${directory}/${volume.specName}`;
  if (fsGroup !== undefined && ownership === 'fsGroup' && !readOnly && !givenToGroup?.has(key)) {
    await giveAway(pod, hostPath, fsGroup, subject, dependencies, signal);
    givenToGroup?.add(key);
  }
  return { kind: 'path', hostPath, readOnly, relabel: !readOnly && !unlabelled.includes(directory) };
}

async function giveAway(
  pod: Pod,
  hostPath: string,
  group: number,
  subject: string,
  { clock, log, trace }: VolumeDependencies,
  signal: AbortSignal,
): Promise<void> {
  await using root = await Directory.open(hostPath, trace);
  const policy = pod.spec.securityContext?.fsGroupChangePolicy ?? 'Always';
  const cancel = clock.after(slowMs, () =>
    log?.warn(
      { volume: subject, fsGroup: group },
      'giving the volume to the fsGroup takes long; fsGroupChangePolicy: OnRootMismatch does it once only',
    ),
  );
  try {
    await giveToFsGroup(root, { group, policy, readOnly: false, subject }, signal);
  } finally {
    cancel();
  }
}
