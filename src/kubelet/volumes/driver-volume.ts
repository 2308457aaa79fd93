/**
 * Asks a driver for one volume and gives what it mounted to the pod's fsGroup, where the driver leaves that to the kubelet.
 * Layer: kubelet/volumes (edge: disk). Which driver, and of what, was found out before.
 */
import type { Pod } from '../../api/core.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import type { PodVolume } from '../plan/pod-volume.ts';
import { warning } from '../pods/pod-events.ts';
import { untilAnswering } from './answering.ts';
import { Directory } from './directory.ts';
import { giveToFsGroup } from './fs-group.ts';
import { type GivenVolume, isNoted, markOf, note } from './given-to-group.ts';
import { runHostCommand } from './host-command.ts';
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
  if (fsGroup !== undefined && ownership === 'fsGroup' && !readOnly) {
    const { specName } = volume;
    const given = { podUid: pod.metadata.uid, directory, specName, group: fsGroup, hostPath };
    await giveOnce(pod, given, subject, dependencies, signal);
  }
  return { kind: 'path', hostPath, readOnly, relabel: !readOnly && !unlabelled.includes(directory) };
}

/** Once for each mount: what containers do with their files after that is their affair. */
async function giveOnce(
  pod: Pod,
  volume: GivenVolume,
  subject: string,
  dependencies: VolumeDependencies,
  signal: AbortSignal,
): Promise<void> {
  const { mounts, rootDir, trace } = dependencies;
  const mark = await markOf(volume, await mounts.list());
  if (mark !== undefined && (await isNoted(rootDir, volume, mark))) return;
  await giveAway(pod, volume, subject, dependencies, signal);
  if (mark !== undefined) await note(rootDir, volume, mark, trace);
}

async function giveAway(
  pod: Pod,
  { hostPath, group, specName }: GivenVolume,
  subject: string,
  { mounts, run = runHostCommand, clock, log, recordEvent, trace }: VolumeDependencies,
  signal: AbortSignal,
): Promise<void> {
  await untilAnswering(hostPath, subject, { mounts, run }, signal);
  await using root = await Directory.open(hostPath, trace);
  const policy = pod.spec.securityContext?.fsGroupChangePolicy ?? 'Always';
  const cancel = clock.after(slowMs, () => {
    const message = `Setting volume ownership for ${specName} is taking longer than expected, consider using OnRootMismatch`;
    recordEvent?.(pod, warning('VolumePermissionChangeInProgress', message));
    log?.warn({ volume: subject, fsGroup: group }, 'giving the volume to the fsGroup takes long');
  });
  let refused = 0;
  let first: unknown;
  const onRefused = (error: unknown): void => {
    first ??= error;
    refused++;
  };
  try {
    await giveToFsGroup(root, { group, policy, readOnly: false, subject, onRefused }, signal);
  } finally {
    cancel();
  }
  if (refused === 0) return;
  log?.warn(
    { volume: subject, fsGroup: group, files: refused, error: errorLine(first) },
    'some files of the volume cannot be given to the fsGroup',
  );
}
