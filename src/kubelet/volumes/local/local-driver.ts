/**
 * Local PersistentVolumes: a directory or a disk of this node. A directory is bind-mounted for each pod; a disk is mounted
 * once below `plugins/` and from there for each pod, or handed on as the device that it is.
 * Layer: kubelet/volumes/local (edge: mounts, disk). What pods still use is asked of the mount table, so that it survives a
 * `kill -9`: a pod's own directory is made first and removed last. Source: pkg/volume/local/local.go.
 */
import { readlink, realpath, stat, symlink, unlink } from 'node:fs/promises';
import type { Pod } from '../../../api/core.ts';
import { sleep } from '../../../base/clock.ts';
import { hasErrorCode } from '../../../base/errors.ts';
import { KeyedLock } from '../../../base/keyed-lock.ts';
import type { MountInfo, Mounts } from '../../../linux/host.ts';
import { untilAnswering } from '../answering.ts';
import { ensureMountPoint, ensureParents, realRoot, removeMountPoint } from '../driver-directory.ts';
import { deviceMountPath, driverDirectory, driverVolumePath, podsWithMount } from '../driver-paths.ts';
import { mountFailed } from '../mount-failed.ts';
import { joinMountOptions } from '../mount-options.ts';
import { type UnmountDependencies, unmountLocal } from '../unmount.ts';
import type { DriverVolume, MountedVolume, VolumeDriver } from '../volume-driver.ts';
import { VolumeError } from '../volume-error.ts';
import { formatAndMount } from './format-and-mount.ts';
import type { LocalGrower, LocalGrowth } from './grow-volume.ts';

export interface LocalSource {
  readonly path: string;
  readonly fsType?: string | undefined;
  /** Of a claim. */
  readonly growth?: LocalGrowth | undefined;
}

export interface LocalDriverOptions extends UnmountDependencies {
  readonly mounts: Mounts;
  readonly rootDir: string;
  /** Another pod has the volume with another group: files may not be readable to both. */
  readonly onSharedGroup: (pod: Pod, message: string) => void;
  /** What a path leads to; tests have no disks. Rejects with Node's ENOENT. */
  readonly fileType?: (path: string) => Promise<FileType>;
  /** Grows what a claim asks to be larger; without it everything stays as it is. */
  readonly grower?: LocalGrower | undefined;
  /** A disk that was grown beyond its last pod's end is still mounted; to be logged. */
  readonly onLeftMounted?: ((specName: string, error: unknown) => void) | undefined;
}

export type FileType = 'directory' | 'block' | 'other';

const plugin = 'local-volume';
const localDirectory = driverDirectory.local;
const bindTimeoutMs = 60_000;
/** How long the end of the last pod waits for its disk to have grown: most have within a second. */
const growthPatienceMs = 10_000;

interface Growth {
  readonly ended: Promise<void>;
  /** Whatever grows it has been given the mounted disk. Changed in the volume's turn only. */
  hasDisk: boolean;
  /** The last pod has gone meanwhile: the disk is to be unmounted when it has grown. */
  isLeft: boolean;
}

export function createLocalDriver(options: LocalDriverOptions): VolumeDriver<LocalSource> {
  return new LocalDriver(options);
}

class LocalDriver implements VolumeDriver<LocalSource> {
  readonly directory = localDirectory;
  readonly #options: LocalDriverOptions;
  /** By PersistentVolume: pods share its device mount. */
  readonly #volumes = new KeyedLock();
  /** Those that are being grown, by PersistentVolume; outside of their turn, since pods come and go meanwhile. */
  readonly #growths = new Map<string, Growth>();

  constructor(options: LocalDriverOptions) {
    this.#options = options;
  }

  async setUp(volume: DriverVolume<LocalSource>, signal: AbortSignal): Promise<MountedVolume> {
    const [path, mounted] = await this.#volumes.run(volume.specName, async () => {
      signal.throwIfAborted();
      const found = await this.#checkedSource(volume, signal);
      const root = await realRoot(this.#options.rootDir);
      const made =
        volume.mode === 'Block' ? this.#map(volume, root, found.real) : this.#mount(volume, root, found, signal);
      return [found, await made] as const;
    });
    this.#growLater(volume, path);
    return mounted;
  }

  /** One at a time for a volume. No pod waits for it, nor what is next in the volume's turn. */
  #growLater(volume: DriverVolume<LocalSource>, path: { real: string; type: FileType }): void {
    const { grower } = this.#options;
    const { growth: wanted } = volume.source;
    const { subject, pod, specName } = volume;
    if (wanted === undefined || volume.readOnly || this.#growths.has(specName)) return;
    if (grower?.isDue({ specName, growth: wanted }) !== true) return;
    const end = Promise.withResolvers<void>();
    const growth: Growth = { ended: end.promise, hasDisk: false, isLeft: false };
    this.#growths.set(specName, growth);
    // In its turn, so that it is not unmounted between this look and its use.
    const mountedDisk = () =>
      this.#volumes.run(specName, async () => {
        const disk = await this.#mountedDisk(specName, path.real);
        growth.hasDisk = disk !== undefined;
        return disk ?? 'gone';
      });
    const isDisk = path.type === 'block' && volume.mode === 'Filesystem';
    const disk = async () => (isDisk ? await mountedDisk() : undefined);
    void grower.grow({ subject, specName, pod, growth: wanted, disk }).finally(() => {
      this.#growths.delete(specName);
      end.resolve();
      if (growth.isLeft) void this.#unmountLeft(specName);
    });
  }

  async #mountedDisk(specName: string, device: string) {
    const target = [await realRoot(this.#options.rootDir), ...deviceMountPath(plugin, specName)].join('/');
    const mount = (await this.#options.mounts.list()).findLast((each) => each.target === target);
    return mount && { device, target, fsType: mount.fsType };
  }

  tearDown(podUid: string, specName: string, signal: AbortSignal): Promise<void> {
    return this.#volumes.run(specName, async () => {
      const root = await realRoot(this.#options.rootDir);
      const elements = driverVolumePath(podUid, 'volumes', localDirectory, specName);
      await this.#unmountAll([root, ...elements].join('/'), signal);
      if (!(await this.#isUsed(root, specName)) && !(await this.#leaveToGrowth(specName, signal))) {
        await this.#unmountDevice(root, specName, signal);
      }
      await removeMountPoint(root, elements);
      await removeMountPoint(root, driverVolumePath(podUid, 'volumeDevices', localDirectory, specName));
    });
  }

  /**
   * Waits a while for a disk that is being grown. @returns whether it is then left mounted, to be unmounted when it has grown
   *
   * An hour would be too long for the pod, whose own mount is gone already. Ending the growth would not help: ext4 grows in one
   * ioctl that looks at no signal (ext4_resize_fs), so the mount stays busy, is detached after two seconds, and fsck and mount
   * of the next pod find the disk in use for the rest of the hour; left mounted, it serves that pod at once. And a resize2fs
   * that finds its disk unmounted grows it offline, which must not be cut off.
   */
  async #leaveToGrowth(specName: string, signal: AbortSignal): Promise<boolean> {
    const growth = this.#growths.get(specName);
    if (!growth?.hasDisk) return false;
    const waiting = new AbortController();
    const limit = AbortSignal.any([signal, waiting.signal]);
    await Promise.race([growth.ended, sleep(growthPatienceMs, limit, this.#options.clock)]);
    waiting.abort();
    growth.isLeft = this.#growths.get(specName) === growth;
    return growth.isLeft;
  }

  /** Unless another pod has come meanwhile. */
  async #unmountLeft(specName: string): Promise<void> {
    try {
      await this.#volumes.run(specName, async () => {
        const root = await realRoot(this.#options.rootDir);
        if (await this.#isUsed(root, specName)) return;
        await this.#unmountDevice(root, specName, new AbortController().signal);
      });
    } catch (error) {
      this.#options.onLeftMounted?.(specName, error);
    }
  }

  async #isUsed(root: string, specName: string): Promise<boolean> {
    return podsWithMount(await this.#options.mounts.list(), root, localDirectory, specName).size > 0;
  }

  async #unmountDevice(root: string, specName: string, signal: AbortSignal): Promise<void> {
    const device = deviceMountPath(plugin, specName);
    await this.#unmountAll([root, ...device].join('/'), signal);
    await removeMountPoint(root, device);
  }

  async #checkedSource(
    volume: DriverVolume<LocalSource>,
    signal: AbortSignal,
  ): Promise<{ real: string; type: FileType }> {
    const { path } = volume.source;
    const { subject, specName, mode } = volume;
    const refuse = (reason: string, fix: string, cause?: unknown): VolumeError =>
      new VolumeError(
        'VOLUME_MOUNT',
        `MountVolume.NewMounter initialization failed for volume "${specName}" : ${reason}`,
        { object: subject, fix, cause },
      );
    if (!path.startsWith('/') || path.includes('\0') || path.split('/').includes('..')) {
      const reason = `path ${JSON.stringify(path.slice(0, 100))} is not absolute, or goes up`;
      throw refuse(reason, 'correct local.path of the PersistentVolume');
    }
    await untilAnswering(path, subject, this.#options, signal);
    try {
      const real = await realpath(path);
      const type = await (this.#options.fileType ?? fileType)(real);
      const wanted = mode === 'Block' ? 'a block device' : 'a directory or a block device';
      if (type === 'block' || (type === 'directory' && mode === 'Filesystem')) return { real, type };
      throw refuse(`path ${JSON.stringify(path)} is not ${wanted}`, 'correct local.path of the PersistentVolume');
    } catch (cause) {
      if (!hasErrorCode(cause, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EACCES')) throw cause;
      throw refuse(`path ${JSON.stringify(path)} does not exist`, 'make it on this node', cause);
    }
  }

  /** The symlink is what a teardown finds, and what other tools look for. */
  async #map(volume: DriverVolume<LocalSource>, root: string, device: string): Promise<MountedVolume> {
    const elements = driverVolumePath(volume.pod.metadata.uid, 'volumeDevices', localDirectory, volume.specName);
    const link = await ensureParents(root, elements);
    const present = await readlink(link).catch(() => undefined);
    if (present !== device) {
      if (present !== undefined) await unlink(link);
      await symlink(device, link);
    }
    return { hostPath: device, ownership: 'leave' };
  }

  async #mount(
    volume: DriverVolume<LocalSource>,
    root: string,
    path: { real: string; type: FileType },
    signal: AbortSignal,
  ): Promise<MountedVolume> {
    const { uid } = volume.pod.metadata;
    const target = await ensureMountPoint(root, driverVolumePath(uid, 'volumes', localDirectory, volume.specName));
    let table = await this.#options.mounts.list();
    if (table.every((mount) => mount.target !== target)) {
      const source =
        path.type === 'block' ? await this.#mountDevice(volume, root, path.real, table, signal) : path.real;
      await this.#bind(volume, source, target, signal);
      table = await this.#options.mounts.list();
    }
    return { hostPath: target, ownership: await this.#ownership(volume, root, table, target) };
  }

  /** @returns where the disk is mounted */
  async #mountDevice(
    { subject, specName, source, readOnly, mountOptions }: DriverVolume<LocalSource>,
    root: string,
    device: string,
    table: readonly MountInfo[],
    signal: AbortSignal,
  ): Promise<string> {
    const target = await ensureMountPoint(root, deviceMountPath(plugin, specName));
    if (table.some((mount) => mount.target === target)) return target;
    const options = joinMountOptions(mountOptions, false, subject);
    const disk = { subject, specName, device, target, fsType: source.fsType, readOnly, options };
    await formatAndMount(disk, this.#options.run, signal);
    return target;
  }

  async #bind(volume: DriverVolume<LocalSource>, source: string, target: string, signal: AbortSignal): Promise<void> {
    const { mountOptions, readOnly, subject } = volume;
    if (mountOptions.length === 0) return this.#options.mounts.bind(source, target, { readOnly });
    const args = ['-o', `bind,${joinMountOptions(mountOptions, readOnly, subject)}`, '--', source, target];
    const answer = await this.#options.run('mount', args, { timeoutMs: bindTimeoutMs, signal });
    if (answer.outcome === 'ended' && answer.status === 0) return;
    // Its second step, the options, may be what failed.
    await this.#unmountAll(target, new AbortController().signal);
    throw mountFailed(volume, `mount ${args.join(' ')}`, answer);
  }

  /** The first pod of the node gives the tree its group; the others take what they find. */
  async #ownership(
    { pod, specName, readOnly, fsGroup }: DriverVolume<LocalSource>,
    root: string,
    table: readonly MountInfo[],
    target: string,
  ): Promise<MountedVolume['ownership']> {
    if (readOnly || fsGroup === undefined) return 'leave';
    if (podsWithMount(table, root, localDirectory, specName).size <= 1) return 'fsGroup';
    const { gid } = await stat(target);
    if (gid !== fsGroup) {
      const message = `The requested fsGroup is ${fsGroup}, but the volume ${specName} has GID ${gid}. The volume may not be shareable.`;
      this.#options.onSharedGroup(pod, message);
    }
    return 'leave';
  }

  async #unmountAll(target: string, signal: AbortSignal): Promise<void> {
    const count = (await this.#options.mounts.list()).filter((mount) => mount.target === target).length;
    for (let left = count; left > 0; left--) await unmountLocal(target, this.#options, signal);
  }
}

async function fileType(path: string): Promise<FileType> {
  const found = await stat(path);
  if (found.isDirectory()) return 'directory';
  return found.isBlockDevice() ? 'block' : 'other';
}
