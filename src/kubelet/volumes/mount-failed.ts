/**
 * The error of a host command that did not do its work for a volume, in the words that the kubelet's events have.
 * Layer: kubelet/volumes (pure). Source: operation_generator.go (GenerateError).
 */
import type { CommandOutcome } from './host-command.ts';
import { VolumeError } from './volume-error.ts';

/** Events carry 1 KiB. */
const maxOutput = 600;

/** @param command as a person would type it */
export function mountFailed(
  { subject, specName }: { readonly subject: string; readonly specName: string },
  command: string,
  answer: CommandOutcome,
  { fix, operation = 'MountVolume.SetUp' }: { fix?: string; operation?: string } = {},
): VolumeError {
  const failed = `${operation} failed for volume "${specName}" : `;
  if (answer.outcome === 'missing') {
    const [program = ''] = command.split(' ');
    return new VolumeError('VOLUME_MOUNT', `${failed}${program} is not installed on this node`, {
      object: subject,
      fix: `install ${packages.get(program) ?? program}`,
    });
  }
  if (answer.outcome === 'killed') {
    const timedOut = answer.timedOut;
    const said = answer.stderr === '' ? '' : `: ${answer.stderr.slice(0, maxOutput)}`;
    return new VolumeError(
      timedOut ? 'VOLUME_TIMEOUT' : 'VOLUME_MOUNT',
      `${failed}${command} ${timedOut ? 'did not end in time' : 'was ended by a signal'}${said}`,
      { object: subject, fix: 'check that the server or disk answers' },
    );
  }
  const said = (answer.stderr || answer.stdout).slice(0, maxOutput);
  return new VolumeError('VOLUME_MOUNT', `${failed}${command}: exit status ${answer.status}: ${said}`, {
    object: subject,
    ...(fix === undefined ? {} : { fix }),
  });
}

/** Debian's packages. */
const packages = new Map([
  ['mount', 'mount'],
  ['blkid', 'util-linux'],
  ['fsck', 'util-linux'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['mkfs.ext3', 'e2fsprogs'],
  ['mkfs.xfs', 'xfsprogs'],
  ['mkfs.btrfs', 'btrfs-progs'],
  ['resize2fs', 'e2fsprogs'],
  ['xfs_growfs', 'xfsprogs'],
  ['btrfs', 'btrfs-progs'],
]);
