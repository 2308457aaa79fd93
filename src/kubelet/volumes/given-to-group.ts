/**
 * Remembers on disk which mount of a volume was given to which fsGroup, so that a daemon that starts again does not walk the
 * trees of pods that run: what a container has since closed to its group stays closed.
 * Layer: kubelet/volumes (edge: disk). A volume that is mounted anew, or a machine that was started anew, is another mount.
 */
import { readFile, realpath } from 'node:fs/promises';
import type { MountInfo } from '../../linux/host.ts';
import { Directory, type Trace } from './directory.ts';
import { podDirectory } from './volume-paths.ts';

export interface GivenVolume {
  readonly podUid: string;
  /** `kubernetes.io~csi` */
  readonly directory: string;
  readonly specName: string;
  readonly group: number;
  /** Where it is mounted. */
  readonly hostPath: string;
}

const privateMode = 0o750;
const fileName = 'fs-group';

/** What tells this mount from every other; undefined for a volume that is no mount of its own. */
export async function markOf(
  { hostPath, group }: GivenVolume,
  table: readonly MountInfo[],
): Promise<string | undefined> {
  const mount = table.findLast(({ target }) => target === hostPath);
  if (mount === undefined) return undefined;
  const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  return `${bootId} ${mount.mountId} ${mount.source} ${group}\n`;
}

/** Whether `mark` was noted. */
export async function isNoted(rootDir: string, volume: GivenVolume, mark: string): Promise<boolean> {
  await using opened = new AsyncDisposableStack();
  let directory = opened.use(await Directory.open(await realpath(rootDir)));
  for (const element of elementsOf(volume)) {
    const next = await directory.childIfPresent(element);
    if (next === undefined) return false;
    directory = opened.use(next);
  }
  const text = await directory.readFile(fileName, Buffer.byteLength(mark));
  return text?.toString('utf8') === mark;
}

/** Half of it written counts as nothing noted. */
export async function note(rootDir: string, volume: GivenVolume, mark: string, trace?: Trace): Promise<void> {
  await using opened = new AsyncDisposableStack();
  let directory = opened.use(await Directory.open(await realpath(rootDir), trace));
  for (const element of elementsOf(volume)) directory = opened.use(await directory.ensureChild(element, privateMode));
  await directory.unlink(fileName);
  await directory.writeNewFile(fileName, Buffer.from(mark), 0o600, undefined);
}

const elementsOf = ({ podUid, directory, specName }: GivenVolume): string[] => [
  ...podDirectory(podUid),
  'plugins',
  directory,
  specName,
];
