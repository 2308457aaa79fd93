/**
 * Takes a volume away from one pod, and from the node when no other pod has it, knowing only the records on disk. The
 * pod's own record goes last, so that a kill at any instant leaves what the next try needs.
 * Layer: kubelet/csi (edge: disk, driver). One call at a time for each volume. Deletes nothing that is not empty.
 */
import { lstat, rmdir, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasErrorCode } from '../../base/errors.ts';
import { type CsiContext, isMounted, placesOf, type VolumePlaces } from './csi-context.ts';
import { CsiError } from './csi-error.ts';
import type { RegisteredDriver } from './registered-drivers.ts';
import {
  linkText,
  readRecord,
  removeEmptyDirectory,
  removeRecord,
  type VolumeRecord,
  type VolumeUser,
  writeRecord,
} from './volume-record.ts';
import { volumeKey } from './volume-users.ts';

/** Nothing was ever asked of a driver. @throws CsiError CSI_STILL_MOUNTED when something is mounted there all the same */
export async function removeUnrecorded({ podUid, specName }: VolumeUser, context: CsiContext): Promise<void> {
  const directory = context.paths.volume(podUid, specName);
  const below = (await context.mounts.list()).find(({ target }) => target.startsWith(`${directory}/`));
  if (below !== undefined) {
    throw new CsiError('CSI_STILL_MOUNTED', 'is mounted, and no record says by which driver', {
      object: below.target,
      fix: `umount ${below.target}`,
    });
  }
  await removeEmptyDirectory(context.paths.target(podUid, specName));
  await removeRecord(directory);
  await removeLink({ podUid, specName }, context);
  for (const key of await context.users.forget({ podUid, specName })) context.staged.delete(key);
}

/** @throws CsiError, Node's errors, or the signal's reason */
export async function unmountVolume(
  user: VolumeUser,
  record: VolumeRecord,
  context: CsiContext,
  signal: AbortSignal,
): Promise<void> {
  const { driverName, volumeHandle, volumeMode = 'Filesystem' } = record;
  const key = volumeKey(driverName, volumeHandle);
  const places = placesOf(context.paths, volumeMode, user, { driver: driverName, volumeHandle });
  const driver = context.drivers.required(driverName);
  // From here on it is not what was published, whether the driver answers or not.
  if (record.stage === 'done') await writeRecord(places.record, { ...record, stage: 'begun' });
  await driver.service.unpublish({ volumeId: volumeHandle, targetPath: places.target }, signal);
  await removePublished(places.target, driver, context);
  if (record.volumeLifecycleMode !== 'Ephemeral' && !(await context.users.hasOthers(key, user))) {
    context.staged.delete(key);
    await unstage(volumeHandle, places, driver, context, signal);
    if (volumeMode === 'Block') await removeBlockDirectories(user.specName, places, context);
  }
  await removeLink(user, context);
  await removeRecord(places.record);
  await context.users.delete(key, user);
}

async function unstage(
  volumeId: string,
  places: VolumePlaces,
  driver: RegisteredDriver,
  context: CsiContext,
  signal: AbortSignal,
): Promise<void> {
  const record = await readRecord(places.stagingRecord);
  if (record === undefined) return;
  const capabilities = await driver.service.capabilities(signal);
  if (capabilities.has('STAGE_UNSTAGE_VOLUME')) {
    if (record.stage === 'done') await writeRecord(places.stagingRecord, { ...record, stage: 'begun' });
    await driver.service.unstage({ volumeId, stagingTargetPath: places.staging }, signal);
  }
  await removePublished(places.staging, driver, context);
  await removeRecord(places.stagingRecord);
}

/** Of what the driver was to delete, at most an empty directory or the empty file that a device was bound to is left. */
async function removePublished(path: string, { name }: RegisteredDriver, context: CsiContext): Promise<void> {
  if (await isMounted(context, path)) {
    throw new CsiError('CSI_STILL_MOUNTED', `driver ${name} says that it is unmounted, but it is not`, {
      object: path,
      fix: `umount ${path}`,
    });
  }
  const stat = await lstat(path).catch(ifAbsent);
  if (stat === undefined) return;
  if (stat.isFile() && stat.size === 0) return unlink(path).catch(ifAbsent);
  await rmdir(path).catch((cause: unknown) => {
    if (hasErrorCode(cause, 'ENOENT')) return;
    throw new CsiError('CSI_STILL_MOUNTED', `driver ${name} left something there that is not deleted for it`, {
      object: path,
      fix: 'look what it is, and remove it',
      cause,
    });
  });
}

async function removeBlockDirectories(
  specName: string,
  { target, stagingRecord }: VolumePlaces,
  { paths }: CsiContext,
): Promise<void> {
  await removeEmptyDirectory(dirname(target));
  await removeEmptyDirectory(paths.block.device(specName));
  await removeRecord(stagingRecord);
  await removeEmptyDirectory(dirname(stagingRecord));
}

async function removeLink({ podUid, specName }: VolumeUser, { paths }: CsiContext): Promise<void> {
  const link = paths.block.link(podUid, specName);
  if ((await linkText(link)) !== undefined) await unlink(link).catch(ifAbsent);
}

function ifAbsent(error: unknown): undefined {
  if (hasErrorCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
  throw error;
}
