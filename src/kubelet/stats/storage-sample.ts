/**
 * One look at the disks: the node's filesystem, the runtime's images, the writable layers and logs of containers, the
 * volumes of pods.
 * Layer: kubelet/stats (edge: CRI and disk, asynchronous and a few at a time). A part that cannot be read is missing and
 * named in `problems`; the rest still counts. Source: pkg/kubelet/stats/{cri_stats_provider,host_stats_provider}.go.
 */
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type * as cri from '../../cri/messages.generated.ts';
import type { ImageService, RuntimeService } from '../../cri/service.ts';
import { errorLine } from '../../observe/keelson-error.ts';
import { containerLogPath, podLogDirectory } from '../plan/log-paths.ts';
import type { ServedPod, ServedPods } from '../server/served-pods.ts';
import { podDirectory } from '../volumes/volume-paths.ts';
import { type DiskUsage, filesUsage, fileUsage } from './disk-usage.ts';
import type { DriverVolumeMeter, DriverVolumeUsage } from './driver-volume-usage.ts';
import type { FilesystemUsage, HostFiles } from './host-files.ts';
import type { VolumeMeter, VolumeUsage } from './volume-usage.ts';

export interface LayerUsage {
  readonly usedBytes: number | undefined;
  readonly inodes: number | undefined;
  /** That the layer lies on. */
  readonly filesystem: FilesystemUsage | undefined;
}

export interface StorageSample {
  readonly timeMs: number;
  /** Of the kubelet's root directory. */
  readonly nodeFs: FilesystemUsage | undefined;
  readonly imageFs: LayerUsage | undefined;
  /** By container ID. */
  readonly layers: ReadonlyMap<string, LayerUsage>;
  /** By container ID. */
  readonly logs: ReadonlyMap<string, DiskUsage>;
  /** The file behind /etc/hosts, by pod UID. */
  readonly etcHosts: ReadonlyMap<string, DiskUsage>;
  /** By pod UID. */
  readonly volumes: ReadonlyMap<string, readonly VolumeUsage[]>;
  /** Volumes that drivers mounted, by pod UID. */
  readonly driverVolumes: ReadonlyMap<string, readonly DriverVolumeUsage[]>;
  readonly problems: readonly string[];
}

export interface StorageSamplerOptions {
  readonly pods: ServedPods;
  readonly runtime: Pick<RuntimeService, 'listContainerStats'>;
  readonly images: Pick<ImageService, 'imageFsInfo'>;
  readonly files: HostFiles;
  readonly clock: Clock;
  /** undefined: volumes are not measured. */
  readonly volumes: VolumeMeter | undefined;
  /** Likewise. */
  readonly driverVolumes?: DriverVolumeMeter | undefined;
  readonly rootDir: string;
  readonly podLogDir: string;
}

const callTimeoutMs = 10_000;
const parallelPods = 4;
/** How long an answer waits for volumes that are measured for the first time. */
export const volumePatienceMs = 1_000;

/** Pods that run, of which alone there are statistics. */
export const shownPods = (pods: ServedPods): ServedPod[] =>
  pods.list().filter(({ state }) => state.containers.some(({ phase }) => phase === 'running'));

export async function sampleStorage(options: StorageSamplerOptions): Promise<StorageSample> {
  const { files, clock, runtime, images, rootDir } = options;
  const problems: string[] = [];
  const part = async <T>(name: string, read: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      problems.push(`${name}: ${errorLine(error)}`);
      return undefined;
    }
  };
  const filesystems = new Map<string, Promise<FilesystemUsage | undefined>>();
  const filesystem = (path: string): Promise<FilesystemUsage | undefined> => {
    const known = filesystems.get(path) ?? part(`filesystem of ${path}`, () => files.filesystem(path));
    filesystems.set(path, known);
    return known;
  };
  const layer = async (usage: cri.FilesystemUsage): Promise<LayerUsage> => ({
    usedBytes: usage.usedBytes?.value,
    inodes: usage.inodesUsed?.value,
    filesystem: usage.fsId?.mountpoint ? await filesystem(usage.fsId.mountpoint) : undefined,
  });
  const shown = shownPods(options.pods);
  const pods = shown.map(({ pod }) => pod);
  const [nodeFs, imageInfo, containerStats, own, volumes, driverVolumes] = await Promise.all([
    filesystem(rootDir),
    part('images', () => images.imageFsInfo({}, { timeoutMs: callTimeoutMs })),
    part('writable layers', () => runtime.listContainerStats({}, { timeoutMs: callTimeoutMs })),
    ownFiles(options, shown, part),
    part('volumes', async () => options.volumes?.read(pods, volumePatienceMs)),
    part('volumes of drivers', async () => options.driverVolumes?.read(pods, volumePatienceMs)),
  ]);
  const layers = new Map<string, LayerUsage>();
  for (const { attributes, writableLayer } of containerStats?.stats ?? []) {
    if (attributes && writableLayer) layers.set(attributes.id, await layer(writableLayer));
  }
  const [image] = imageInfo?.imageFilesystems ?? [];
  return {
    timeMs: clock.now(),
    nodeFs,
    imageFs: image && (await layer(image)),
    layers,
    ...own,
    volumes: volumes ?? new Map(),
    driverVolumes: driverVolumes ?? new Map(),
    problems,
  };
}

async function ownFiles(
  { rootDir, podLogDir }: Pick<StorageSamplerOptions, 'rootDir' | 'podLogDir'>,
  shown: readonly ServedPod[],
  part: <T>(name: string, read: () => Promise<T>) => Promise<T | undefined>,
): Promise<{ logs: Map<string, DiskUsage>; etcHosts: Map<string, DiskUsage> }> {
  const logs = new Map<string, DiskUsage>();
  const etcHosts = new Map<string, DiskUsage>();
  const queue = [...shown];
  const readPod = async ({ metadata }: ServedPod['pod'], { containers }: ServedPod['state']): Promise<void> => {
    const directory = podLogDirectory(podLogDir, metadata);
    for (const { id, name, phase } of containers) {
      if (phase !== 'running') continue;
      // The folder holds the logs of all instances of the container.
      const usage = await filesUsage(join(directory, containerLogPath(name, 0), '..'));
      if (usage !== undefined) logs.set(id, usage);
    }
    const hosts = await fileUsage(join(rootDir, ...podDirectory(metadata.uid), 'etc-hosts'));
    if (hosts !== undefined) etcHosts.set(metadata.uid, hosts);
  };
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const { pod, state } = next;
      await part(`logs of ${pod.metadata.namespace}/${pod.metadata.name}`, () => readPod(pod, state));
    }
  };
  await Promise.all(Array.from({ length: parallelPods }, work));
  return { logs, etcHosts };
}
