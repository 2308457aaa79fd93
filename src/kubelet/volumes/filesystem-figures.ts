/**
 * How full a mounted volume is, by statfs(2) in a child: of a server that does not answer it would never come back.
 * Layer: kubelet/volumes (edge: processes). Source: pkg/volume/metrics_statfs.go.
 */
import { join } from 'node:path';
import type { MountInfo } from '../../linux/host.ts';
import { driverVolumePath } from './driver-paths.ts';
import type { RunHostCommand } from './host-command.ts';
import { VolumeError } from './volume-error.ts';

/** Bytes and counts; a file system without a bound of inodes says 0. */
export interface FilesystemFigures {
  readonly capacityBytes: number;
  /** What an unprivileged writer may still take. */
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
  readonly inodesUsed: number;
}

const timeoutMs = 10_000;
/** stat(1): size of a block; blocks: all, free, free for everyone; inodes: all, free. */
const format = '%S %b %f %a %c %d';

/** The volume's own mount must be there: its directory alone would tell of the node's disk. @throws VolumeError */
export async function filesystemFigures(
  { podUid, directory, specName }: { podUid: string; directory: string; specName: string },
  { run, list, root }: { run: RunHostCommand; list: () => Promise<readonly MountInfo[]>; root: string },
  signal: AbortSignal,
): Promise<FilesystemFigures | undefined> {
  const path = join(root, ...driverVolumePath(podUid, 'volumes', directory, specName));
  if ((await list()).every(({ target }) => target !== path)) return undefined;
  const limits = { timeoutMs, endsAlone: true, signal };
  const answer = await run('stat', ['--file-system', '--format', format, '--', path], limits);
  if (answer.outcome === 'ended' && answer.status === 0) return parseFigures(answer.stdout);
  const timedOut = answer.outcome === 'killed' && answer.timedOut;
  throw new VolumeError(timedOut ? 'VOLUME_TIMEOUT' : 'VOLUME_IO', 'its file system does not say how full it is', {
    object: path,
  });
}

/** undefined for anything but six whole numbers. */
export function parseFigures(text: string): FilesystemFigures | undefined {
  const words = text.split(' ');
  const numbers = words.map(Number);
  if (words.length !== 6 || !words.every((word) => /^\d+$/.test(word))) return undefined;
  const [size = 0, blocks = 0, free = 0, available = 0, inodes = 0, inodesFree = 0] = numbers;
  return {
    capacityBytes: blocks * size,
    availableBytes: available * size,
    usedBytes: (blocks - free) * size,
    inodes,
    inodesFree,
    inodesUsed: inodes - inodesFree,
  };
}
