/**
 * vol_data.json: which volume of which driver a directory belongs to, written before the driver is asked for anything, so
 * that whoever comes after a kill knows what to undo. The kubelet's file, with keys of our own.
 * Layer: kubelet/csi (edge: disk). Source: volDataKey of pkg/volume/csi/csi_mounter.go.
 */
import { mkdir, readdir, readlink, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '../../base/atomic-file.ts';
import { hasErrorCode } from '../../base/errors.ts';
import { isRecord } from '../../config/schema-compound.ts';
import { CsiError } from './csi-error.ts';
import { type CsiPaths, recordFile } from './csi-paths.ts';

/** `begun`: the driver may have been asked. `done`: it said yes. A record of the kubelet's counts as begun. */
export type RecordStage = 'begun' | 'done';

export interface VolumeRecord {
  readonly driverName: string;
  readonly volumeHandle: string;
  /** These are absent in the record of a staged volume. */
  readonly specVolID?: string;
  readonly nodeName?: string;
  readonly attachmentID?: string;
  readonly volumeLifecycleMode?: 'Persistent' | 'Ephemeral';
  /** These are ours. */
  readonly volumeMode?: 'Filesystem' | 'Block';
  readonly ownership?: 'fsGroup' | 'leave';
  readonly stage: RecordStage;
}

const maxRecordBytes = 64 * 1024;
const stageKey = 'keelsonStage';
const modeKey = 'keelsonVolumeMode';
const ownershipKey = 'keelsonOwnership';

/** Makes the directory when it is missing. Throws Node's errors. */
export async function writeRecord(directory: string, record: VolumeRecord): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o750 });
  const { stage, volumeMode, ownership, ...kubelets } = record;
  const text = JSON.stringify({
    ...kubelets,
    [stageKey]: stage,
    ...(volumeMode && { [modeKey]: volumeMode }),
    ...(ownership && { [ownershipKey]: ownership }),
  });
  await writeFileAtomic(join(directory, recordFile), `${text}\n`);
}

/** Undefined when there is none. @throws CsiError CSI_RECORD for one that cannot be understood */
export async function readRecord(directory: string): Promise<VolumeRecord | undefined> {
  const path = join(directory, recordFile);
  try {
    const { data } = await readFileBounded(path, maxRecordBytes, { noFollow: true });
    return parseRecord(JSON.parse(data.toString('utf8')));
  } catch (cause) {
    if (hasErrorCode(cause, 'ENOENT', 'ENOTDIR')) return undefined;
    throw new CsiError('CSI_RECORD', `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      object: path,
      fix: 'unmount the volume by hand, then remove the file',
      cause,
    });
  }
}

/** Throws Error saying what is wrong. */
export function parseRecord(value: unknown): VolumeRecord {
  if (!isRecord(value)) throw new Error('it is no JSON object');
  const text = (key: string): string | undefined => {
    const found = Object.hasOwn(value, key) ? value[key] : undefined;
    if (found === undefined || typeof found === 'string') return found || undefined;
    throw new Error(`${key} is no string`);
  };
  const [driverName, volumeHandle] = [text('driverName'), text('volumeHandle')];
  if (driverName === undefined) throw new Error('driverName is missing');
  if (volumeHandle === undefined) throw new Error('volumeHandle is missing');
  const [specVolID, nodeName, attachmentID] = [text('specVolID'), text('nodeName'), text('attachmentID')];
  return {
    driverName,
    volumeHandle,
    ...(specVolID !== undefined && { specVolID }),
    ...(nodeName !== undefined && { nodeName }),
    ...(attachmentID !== undefined && { attachmentID }),
    volumeLifecycleMode: text('volumeLifecycleMode') === 'Ephemeral' ? 'Ephemeral' : 'Persistent',
    volumeMode: text(modeKey) === 'Block' ? 'Block' : 'Filesystem',
    ownership: text(ownershipKey) === 'fsGroup' ? 'fsGroup' : 'leave',
    stage: text(stageKey) === 'done' ? 'done' : 'begun',
  };
}

/** Removes the record, what a killed writer left beside it, and the directory when nothing else is in it. */
export async function removeRecord(directory: string): Promise<void> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (names === undefined) return;
  const temporary = `.keelson-tmp.${recordFile}.`;
  for (const name of names) {
    if (name !== recordFile && !name.startsWith(temporary)) continue;
    await rm(join(directory, name), { force: true });
  }
  await removeEmptyDirectory(directory);
}

/** Missing is fine; one with something in it stays. */
export async function removeEmptyDirectory(path: string): Promise<void> {
  await rmdir(path).catch((error: unknown) => {
    if (!hasErrorCode(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
  });
}

/** One volume of one pod, as its directories name it. */
export interface VolumeUser {
  readonly podUid: string;
  readonly specName: string;
}

/**
 * The record by which a pod's volume can be undone: its own, or that of a block volume which a kubelet has published.
 * @throws CsiError CSI_RECORD, VolumeError VOLUME_PATH
 */
export async function recordOf({ podUid, specName }: VolumeUser, paths: CsiPaths): Promise<VolumeRecord | undefined> {
  const own = await readRecord(paths.volume(podUid, specName));
  if (own !== undefined) return own;
  if ((await linkText(paths.block.link(podUid, specName))) === undefined) return undefined;
  const shared = await readRecord(paths.block.data(specName));
  return shared && { ...shared, volumeMode: 'Block' };
}

/** Of a symlink; undefined for anything else. */
export async function linkText(path: string): Promise<string | undefined> {
  return readlink(path).catch((error: unknown) => {
    if (hasErrorCode(error, 'ENOENT', 'ENOTDIR', 'EINVAL')) return undefined;
    throw error;
  });
}
