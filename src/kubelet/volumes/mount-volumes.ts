/**
 * Makes the volumes of one pod on the host, and brings configMap and secret files up to date.
 * Layer: kubelet/volumes (edge: disk, mounts). Every step may be the last before a kill: a later run finishes what it
 * finds begun, and touches nothing of what a container has since done with a finished volume.
 * Two runs for the same pod must not overlap (a pod has one worker).
 */
import { mkdir, realpath } from 'node:fs/promises';
import type { Pod } from '../../api/core.ts';
import type { Clock } from '../../base/clock.ts';
import type { MountInfo, Mounts } from '../../linux/host.ts';
import type { Allocatable } from '../plan/downward-api.ts';
import { writePayload } from './atomic-writer.ts';
import type { Trace } from './directory.ts';
import { Directory } from './directory.ts';
import { prepareHostPath } from './host-path.ts';
import { VolumeError } from './volume-error.ts';
import type { MountedType } from './volume-paths.ts';
import { markerDirectory, podDirectory, readyMarker, volumeDirectory } from './volume-paths.ts';
import type { VolumePlan, VolumeSources } from './volume-plan.ts';
import { planVolume } from './volume-plan.ts';

export interface VolumeDependencies {
  mounts: Mounts;
  /** Holds `pods/`; made when missing. */
  rootDir: string;
  clock: Clock;
  /** The node's; the memory is the upper bound of volumes in memory. */
  allocatable: Allocatable;
  trace?: Trace;
}

/** Directories above the volumes are for root only; what is inside a volume is the containers' affair. */
const privateMode = 0o750;
/** Volumes are for every user that a container may run as. */
const volumeMode = 0o777;

/**
 * Makes every volume of the pod, or finds it made; configMap and secret volumes get the present content.
 * Returns the host path of each volume by its name.
 * Throws VolumeError, or an AggregateError of several: every volume is tried.
 */
export async function mountVolumes(
  pod: Pod,
  sources: VolumeSources,
  dependencies: VolumeDependencies,
): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  const volumes = pod.spec.volumes ?? [];
  if (volumes.length === 0) return paths;
  await sources.prepare?.(pod);
  const [pods, uid] = podDirectory(pod.metadata.uid);
  const { rootDir, trace = () => undefined } = dependencies;
  await mkdir(rootDir, { recursive: true, mode: privateMode });
  // The mount table knows real paths only.
  await using root = await Directory.open(await realpath(rootDir), trace);
  await using podsDirectory = await root.ensureChild(pods, privateMode);
  await using directory = await podsDirectory.ensureChild(uid, privateMode);
  const host = new VolumeHost(directory, dependencies);
  const errors: VolumeError[] = [];
  for (const volume of volumes) {
    const subject = `pod ${pod.metadata.namespace}/${pod.metadata.name}: volume ${volume.name}`;
    try {
      const plan = planVolume(volume, pod, sources, dependencies.allocatable);
      paths.set(volume.name, await host.make(plan));
    } catch (cause) {
      if (cause instanceof VolumeError) errors.push(cause);
      else errors.push(new VolumeError('VOLUME_IO', reasonOf(cause), { object: subject, cause }));
    }
  }
  if (errors.length > 1) throw new AggregateError(errors, `${errors.length} volumes cannot be mounted`);
  if (errors[0] !== undefined) throw errors[0];
  return paths;
}

/** Brings the files of changed ConfigMaps and Secrets up to date; the same work, as what is up to date is left alone. */
export const updateVolumes: typeof mountVolumes = mountVolumes;

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

class VolumeHost {
  readonly #pod: Directory;
  readonly #dependencies: VolumeDependencies;
  #mountTable: MountInfo[] | undefined;

  constructor(pod: Directory, dependencies: VolumeDependencies) {
    this.#pod = pod;
    this.#dependencies = dependencies;
  }

  async make(plan: VolumePlan): Promise<string> {
    const { clock, trace = () => undefined } = this.#dependencies;
    if (plan.type === 'hostPath') return prepareHostPath(plan.path, plan.check, plan.subject, trace);
    const [volumes, plugin, name] = volumeDirectory(plan.type, plan.name);
    await using volumesDirectory = await this.#pod.ensureChild(volumes, privateMode);
    await using parent = await volumesDirectory.ensureChild(plugin, privateMode);
    const path = `${parent.path}/${name}`;
    // Before anything is made: a tmpfs that a dead predecessor mounted and had no time to mark is ours too.
    const mounted = plan.memoryBytes !== undefined && (await this.#isTmpfs(path, plan.subject));
    const ready = await this.#isReady(plan.type, name);
    const finished = ready && (plan.memoryBytes === undefined || mounted) && (await parent.lstat(name)) !== undefined;
    if (!finished) {
      await (await parent.ensureChild(name, volumeMode))[Symbol.asyncDispose]();
      if (plan.memoryBytes !== undefined && !mounted) await this.#mountTmpfs(path, plan.memoryBytes);
    }
    // Opened only now: a directory opened before would be the one under the mount.
    await using volume = await parent.child(name);
    if (plan.type !== 'emptyDir') {
      await setAccess(volume, plan.group);
      await writePayload(volume, plan.payload, { nowMs: clock.now(), group: plan.group });
    } else if (!finished) {
      await setAccess(volume, plan.group);
      await this.#markReady(name);
    }
    return path;
  }

  async #mountTmpfs(path: string, sizeBytes: number): Promise<void> {
    const { mounts, trace = () => undefined } = this.#dependencies;
    trace(`mount tmpfs ${path}`);
    await mounts.mountTmpfs(path, { sizeBytes, mode: volumeMode, noswap: true });
  }

  async #isTmpfs(path: string, subject: string): Promise<boolean> {
    // One reading for all volumes of the pod: only this run mounts below its directory.
    this.#mountTable ??= await this.#dependencies.mounts.list();
    const top = this.#mountTable.findLast((mount) => mount.target === path);
    if (top === undefined) return false;
    if (top.fsType === 'tmpfs') return true;
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
