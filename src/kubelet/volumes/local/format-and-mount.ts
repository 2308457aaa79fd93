/**
 * Mounts a disk of this node, with a file system made on it first if it holds nothing at all.
 * Layer: kubelet/volumes/local (edge: processes). Data is never risked: a disk with anything on it that blkid knows, be it
 * another file system or a partition table, is not formatted. Source: staging/src/k8s.io/mount-utils/mount_linux.go.
 */
import type { RunHostCommand } from '../host-command.ts';
import { mountFailed } from '../mount-failed.ts';
import { VolumeError } from '../volume-error.ts';

export interface DiskMount {
  /** For errors. */
  readonly subject: string;
  readonly specName: string;
  /** Absolute path of a block device. */
  readonly device: string;
  readonly target: string;
  /** Default ext4. */
  readonly fsType: string | undefined;
  readonly readOnly: boolean;
  /** The argument of `-o`, without `ro`; may be empty. */
  readonly options: string;
}

const askTimeoutMs = 60_000;
/** Never ended before: what was cut off in the middle might not be mended. */
const diskWorkTimeoutMs = 3_600_000;
const operation = 'MountVolume.MountDevice';

/** @throws VolumeError VOLUME_MOUNT, VOLUME_TIMEOUT */
export async function formatAndMount(disk: DiskMount, run: RunHostCommand, signal: AbortSignal): Promise<void> {
  const { subject, specName, device, target, readOnly } = disk;
  const fsType = disk.fsType ?? 'ext4';
  const failed = (message: string, fix: string): VolumeError =>
    new VolumeError('VOLUME_MOUNT', `${operation} failed for volume "${specName}" : ${message}`, {
      object: subject,
      fix,
    });
  // It becomes part of a program's name.
  if (!/^[a-z][a-z0-9]{0,31}$/.test(fsType)) {
    throw failed(`fsType ${JSON.stringify(fsType.slice(0, 60))} is no file system`, 'correct the PersistentVolume');
  }
  const content = await diskContent(disk, run, signal);
  if (content.partitioned) {
    throw failed(`the disk ${device} has a partition table`, 'name a partition, or wipe the disk');
  }
  if (content.fsType === undefined) {
    if (readOnly) throw failed(`the disk ${device} is not formatted, and it is to be used read-only`, 'format it');
    const program = `mkfs.${fsType}`;
    const args = [...(formatOptions.get(fsType) ?? []), device];
    const answer = await run(program, args, { timeoutMs: diskWorkTimeoutMs });
    if (answer.outcome !== 'ended' || answer.status !== 0) {
      throw mountFailed(disk, [program, ...args].join(' '), answer, { operation });
    }
  } else if (!readOnly) {
    await repair(disk, run);
  }
  const options = [disk.options, readOnly ? 'ro' : '', 'defaults'].filter((option) => option !== '').join(',');
  const args = ['-t', fsType, '-o', options, '--', device, target];
  const answer = await run('mount', args, { timeoutMs: askTimeoutMs, signal });
  if (answer.outcome === 'ended' && answer.status === 0) return;
  const fix =
    content.fsType === undefined || content.fsType === fsType
      ? undefined
      : `the disk holds ${content.fsType}: set fsType of the PersistentVolume to it`;
  throw mountFailed(disk, `mount ${args.join(' ')}`, answer, { operation, ...(fix === undefined ? {} : { fix }) });
}

/** Nothing reserved for root: the space is the pod's. */
const formatOptions = new Map([
  ['ext3', ['-F', '-m0']],
  ['ext4', ['-F', '-m0']],
  ['xfs', ['-f']],
]);

interface DiskContent {
  readonly fsType: string | undefined;
  readonly partitioned: boolean;
}

async function diskContent(disk: DiskMount, run: RunHostCommand, signal: AbortSignal): Promise<DiskContent> {
  const args = ['-p', '-s', 'TYPE', '-s', 'PTTYPE', '-o', 'export', disk.device];
  const answer = await run('blkid', args, { timeoutMs: askTimeoutMs, signal });
  // It found none of what it was asked for.
  if (answer.outcome === 'ended' && answer.status === 2) return { fsType: undefined, partitioned: false };
  if (answer.outcome !== 'ended' || answer.status !== 0) {
    throw mountFailed(disk, ['blkid', ...args].join(' '), answer, { operation });
  }
  return parseBlkid(answer.stdout);
}

/** The answer of `blkid -o export`: `NAME=value` lines. A disk that holds something of no known name is not empty. */
export function parseBlkid(text: string): DiskContent {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) values.set(line.slice(0, at), line.slice(at + 1));
  }
  return { fsType: values.get('TYPE') ?? 'something unknown', partitioned: values.has('PTTYPE') };
}

/** fsck(8): 1 is mended, 4 is damage that needs a person. Other troubles show when it is mounted. */
async function repair(disk: DiskMount, run: RunHostCommand): Promise<void> {
  const answer = await run('fsck', ['-a', disk.device], { timeoutMs: diskWorkTimeoutMs });
  if (answer.outcome === 'ended' && (answer.status & 4) !== 0) {
    throw mountFailed(disk, `fsck -a ${disk.device}`, answer, { operation, fix: `run fsck ${disk.device} by hand` });
  }
}
