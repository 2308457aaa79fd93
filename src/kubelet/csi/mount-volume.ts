/**
 * Stages a volume and publishes it for one pod. A record is on disk before the driver is asked for anything and says `done`
 * only after its yes, so that a kill at any instant leaves what the next try, or the teardown, needs to know.
 * Layer: kubelet/csi (edge: disk, driver). One call at a time for each volume (volume-lock.ts).
 */
import { lstat, mkdir, rmdir, symlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import type { MountedVolume } from '../volumes/volume-driver.ts';
import { type CsiContext, isMounted, placesOf, type VolumePlaces } from './csi-context.ts';
import { CsiError } from './csi-error.ts';
import { type CsiVolume, handleOf, lifecycleOf, type PreparedCalls } from './prepare-calls.ts';
import { attachmentName } from './volume-names.ts';
import {
  linkText,
  readRecord,
  removeRecord,
  type VolumeRecord,
  type VolumeUser,
  writeRecord,
} from './volume-record.ts';
import { volumeKey } from './volume-users.ts';

export const userOf = ({ pod, specName }: CsiVolume): VolumeUser => ({
  podUid: pod.metadata.uid,
  specName,
});

export const placesOfVolume = (volume: CsiVolume, { paths }: CsiContext): VolumePlaces =>
  placesOf(paths, volume.mode, userOf(volume), { driver: volume.source.csi.driver, volumeHandle: handleOf(volume) });

/**
 * What a predecessor of this process finished; undefined when there is anything left to do.
 * @throws CsiError CSI_RECORD when the directory belongs to another volume
 */
export async function findMounted(volume: CsiVolume, context: CsiContext): Promise<MountedVolume | undefined> {
  const places = placesOfVolume(volume, context);
  const record = await readRecord(places.record);
  if (record === undefined) return undefined;
  const { driver } = volume.source.csi;
  if (record.driverName !== driver || record.volumeHandle !== handleOf(volume)) {
    const message = `its directory belongs to volume ${record.volumeHandle} of driver ${record.driverName}`;
    throw new CsiError('CSI_RECORD', message, { object: volume.subject, fix: 'delete the pod and create it anew' });
  }
  if (record.stage !== 'done') return undefined;
  if (!(await isThere(volume, places.target, context))) return undefined;
  return { hostPath: places.target, ownership: record.ownership ?? 'leave' };
}

/** Whether what was published is there now. */
export async function isThere({ mode }: CsiVolume, target: string, context: CsiContext): Promise<boolean> {
  return (await isMounted(context, target)) || (mode === 'Block' && (await isBlockDevice(target)));
}

/** @throws CsiError CSI_REFUSED or CSI_UNCERTAIN, Node's errors, or the signal's reason */
export async function mountVolume(
  volume: CsiVolume,
  calls: PreparedCalls,
  context: CsiContext,
  signal: AbortSignal,
): Promise<MountedVolume> {
  const places = placesOfVolume(volume, context);
  const key = volumeKey(volume.source.csi.driver, handleOf(volume));
  const record = newRecord(volume, calls, context);
  await context.users.add(key, userOf(volume));
  await writeRecord(places.record, record);
  if (calls.stage !== undefined) {
    try {
      await stageVolume(key, places, volume, calls, context, signal);
    } catch (error) {
      if (isFinal(error)) await forgetRefused(key, places, volume, context);
      throw error;
    }
  }
  await mkdir(dirname(places.target), { recursive: true, mode: 0o750 });
  if (volume.mode === 'Block') await linkDevice(volume, places, context);
  try {
    await publishVolume(places, calls, signal);
  } catch (error) {
    if (isFinal(error) && !(await isMounted(context, places.target))) {
      await rmdir(places.target).catch(ifAbsentOrUsed);
      // A staged volume is unstaged by the pod's teardown, which finds it by the record.
      if (calls.stage === undefined && volume.mode !== 'Block') {
        await removeRecord(places.record);
        await context.users.delete(key, userOf(volume));
      }
    }
    throw error;
  }
  await writeRecord(places.record, { ...record, stage: 'done' });
  return { hostPath: places.target, ownership: calls.ownership };
}

/** Also for a volume that is published already (requiresRepublish). */
export function publishVolume(places: VolumePlaces, calls: PreparedCalls, signal: AbortSignal): Promise<void> {
  const { service } = calls.driver;
  const stagingTargetPath = calls.stage === undefined ? '' : places.staging;
  return service.publish({ ...calls.publish, stagingTargetPath, targetPath: places.target }, signal);
}

async function stageVolume(
  key: string,
  places: VolumePlaces,
  volume: CsiVolume,
  calls: PreparedCalls,
  context: CsiContext,
  signal: AbortSignal,
): Promise<void> {
  if (context.staged.has(key)) return;
  const known = await readRecord(places.stagingRecord);
  if (known?.stage !== 'done' || !(await isMounted(context, places.staging))) {
    const record: VolumeRecord = {
      ...(volume.mode === 'Block' && newRecord(volume, calls, context)),
      driverName: volume.source.csi.driver,
      volumeHandle: handleOf(volume),
      stage: 'begun',
    };
    await writeRecord(places.stagingRecord, record);
    await mkdir(places.staging, { recursive: true, mode: 0o750 });
    await calls.driver.service.stage({ ...calls.stage, stagingTargetPath: places.staging }, signal);
    await writeRecord(places.stagingRecord, { ...record, stage: 'done' });
  }
  context.staged.add(key);
}

/** The driver has nothing of the volume: the pod, and the driver itself, may go without a further call. */
async function forgetRefused(key: string, places: VolumePlaces, volume: CsiVolume, context: CsiContext): Promise<void> {
  if (await context.users.hasOthers(key, userOf(volume))) return;
  if (await isMounted(context, places.staging)) return;
  await rmdir(places.staging).catch(ifAbsentOrUsed);
  await removeRecord(places.stagingRecord);
  await removeRecord(places.record);
  await context.users.delete(key, userOf(volume));
}

function newRecord(volume: CsiVolume, calls: PreparedCalls, { nodeName }: CsiContext): VolumeRecord {
  const [driverName, volumeHandle] = [volume.source.csi.driver, handleOf(volume)];
  return {
    specVolID: volume.specName,
    volumeHandle,
    driverName,
    nodeName,
    attachmentID: attachmentName(volumeHandle, driverName, nodeName),
    volumeLifecycleMode: lifecycleOf(volume),
    volumeMode: volume.mode,
    ownership: calls.ownership,
    stage: 'begun',
  };
}

/** The symlink of the kubelet's layout, made before the device is there. */
async function linkDevice(volume: CsiVolume, places: VolumePlaces, { paths }: CsiContext): Promise<void> {
  const link = paths.block.link(volume.pod.metadata.uid, volume.specName);
  await mkdir(dirname(link), { recursive: true, mode: 0o750 });
  if ((await linkText(link)) !== places.target) await symlink(places.target, link);
}

async function isBlockDevice(path: string): Promise<boolean> {
  return lstat(path).then(
    (stat) => stat.isBlockDevice(),
    () => false,
  );
}

const isFinal = (error: unknown): boolean => error instanceof CsiError && error.isFinal;

function ifAbsentOrUsed(error: unknown): void {
  if (!hasErrorCode(error, 'ENOENT', 'ENOTEMPTY', 'ENOTDIR', 'EBUSY')) throw error;
}
