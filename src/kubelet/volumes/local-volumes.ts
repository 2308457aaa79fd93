/**
 * The volumes that live in the pod's own directory and nowhere else: emptyDir, configMap, secret, downwardAPI, projected.
 * Layer: kubelet/volumes (edge: disk, mounts). Every step may be the last before a kill. Must be handed finished plans:
 * looks nothing up.
 */
import type { MountInfo } from '../../linux/host.ts';
import { isComplete, writePayload } from './atomic-writer.ts';
import type { Directory } from './directory.ts';
import type { VolumeDependencies } from './mount-volumes.ts';
import { VolumeError } from './volume-error.ts';
import type { MountedType } from './volume-paths.ts';
import { markerDirectory, readyMarker, volumeDirectory } from './volume-paths.ts';
import type { MemoryFilesystem, VolumePlan } from './volume-plan.ts';

/** Directories above the volumes are for root only. */
const privateMode = 0o750;
/** Volumes are for every user that a container may run as. */
const volumeMode = 0o777;

export type LocalPlan = Extract<VolumePlan, { type: MountedType }>;

export class LocalVolumes {
  readonly #pod: Directory;
  readonly #dependencies: VolumeDependencies;
  #mountTable: MountInfo[] | undefined;

  /** @param pod the pod's directory. */
  constructor(pod: Directory, dependencies: VolumeDependencies) {
    this.#pod = pod;
    this.#dependencies = dependencies;
  }

  /** The volume's directory on the host. Throws VolumeError, KernelError, errors of files. */
  async make(plan: LocalPlan): Promise<string> {
    const [volumes, plugin, name] = volumeDirectory(plan.type, plan.name);
    await using volumesDirectory = await this.#pod.ensureChild(volumes, privateMode);
    await using parent = await volumesDirectory.ensureChild(plugin, privateMode);
    const path = `${parent.path}/${name}`;
    // Before anything is made: what a dead predecessor mounted and had no time to mark is ours too.
    const mounted = plan.memory !== undefined && (await this.#isMounted(path, plan.memory, plan.subject));
    const ready = await this.#isReady(plan.type, name);
    const finished = ready && (plan.memory === undefined || mounted) && (await parent.lstat(name)) !== undefined;
    if (!finished) {
      await (await parent.ensureChild(name, volumeMode))[Symbol.asyncDispose]();
      if (plan.memory !== undefined && !mounted) await this.#mount(path, plan.memory);
    }
    // Opened only now: a directory opened before would be the one under the mount.
    await using volume = await parent.child(name);
    if (plan.type !== 'emptyDir') {
      await setAccess(volume, plan.group);
      await writePayload(volume, plan.payload, { nowMs: this.#dependencies.clock.now(), group: plan.group });
    } else if (!finished) {
      await setAccess(volume, plan.group);
      await this.#markReady(name);
    }
    return path;
  }

  /**
   * Lets mounts below the volume pass between its containers and the host, which the runtime asks of it: the node may have
   * everything private. Only this volume becomes shared, by a mount of its own if it has none.
   */
  async share(path: string): Promise<void> {
    const { mounts, trace = () => undefined } = this.#dependencies;
    const table = await mounts.list();
    const around = table
      .filter(({ target }) => target === '/' || path === target || path.startsWith(`${target}/`))
      .sort((a, b) => a.target.length - b.target.length)
      .at(-1);
    if (around?.shared) return;
    if (around?.target !== path) {
      trace(`mount --bind ${path}`);
      await mounts.bind(path, path);
    }
    trace(`mount --make-shared ${path}`);
    await mounts.makeShared(path);
    this.#mountTable = undefined;
  }

  /** The volume's directory when it holds complete files of before, which readers find; undefined otherwise. */
  async written(type: Exclude<MountedType, 'emptyDir'>, name: string): Promise<string | undefined> {
    let directory = this.#pod;
    await using opened = new AsyncDisposableStack();
    for (const element of volumeDirectory(type, name)) {
      const next = await directory.childIfPresent(element);
      if (next === undefined) return undefined;
      directory = opened.use(next);
    }
    return (await isComplete(directory)) ? directory.path : undefined;
  }

  async #mount(path: string, memory: MemoryFilesystem): Promise<void> {
    const { mounts, trace = () => undefined } = this.#dependencies;
    trace(`mount ${memory.fsType} ${path}`);
    if (memory.fsType === 'tmpfs') {
      await mounts.mountTmpfs(path, { sizeBytes: memory.sizeBytes, mode: volumeMode, noswap: true });
      return;
    }
    const { pageSizeBytes, sizeBytes } = memory;
    const size = sizeBytes === undefined ? {} : { sizeBytes };
    await mounts.mountHugetlbfs(path, { pageSizeBytes, mode: volumeMode, ...size });
  }

  async #isMounted(path: string, { fsType }: MemoryFilesystem, subject: string): Promise<boolean> {
    // One reading for all volumes of the pod: only this run mounts below its directory.
    this.#mountTable ??= await this.#dependencies.mounts.list();
    const top = this.#mountTable.findLast((mount) => mount.target === path);
    if (top === undefined) return false;
    if (top.fsType === fsType) return true;
    const message = `${path} has a ${top.fsType} mounted that Keelson did not mount`;
    throw new VolumeError('VOLUME_FOREIGN_MOUNT', message, { object: subject, fix: `umount ${path}` });
  }

  /** Only emptyDirs are marked: their content and mode belong to the containers once they were made. */
  async #isReady(type: MountedType, name: string): Promise<boolean> {
    if (type !== 'emptyDir') return false;
    let directory = this.#pod;
    await using opened = new AsyncDisposableStack();
    for (const element of markerDirectory(name)) {
      const next = await directory.childIfPresent(element);
      if (next === undefined) return false;
      directory = opened.use(next);
    }
    return (await directory.lstat(readyMarker)) !== undefined;
  }

  async #markReady(name: string): Promise<void> {
    let directory = this.#pod;
    await using opened = new AsyncDisposableStack();
    for (const element of markerDirectory(name)) {
      directory = opened.use(await directory.ensureChild(element, privateMode));
    }
    if ((await directory.lstat(readyMarker)) === undefined) {
      await directory.writeNewFile(readyMarker, new Uint8Array(), 0o644, undefined);
    }
  }
}

/** Mode 0777; with an fsGroup also that group, and setgid so that new files have it. Changes only what differs. */
async function setAccess(volume: Directory, group: number | undefined): Promise<void> {
  const stat = await volume.stat();
  const mode = group === undefined ? volumeMode : volumeMode | 0o2000;
  if (group !== undefined && Number(stat.gid) !== group) await volume.chgrp(group);
  if ((Number(stat.mode) & 0o7777) !== mode) await volume.chmod(mode);
}
