/**
 * What the machine says of itself: identity once, and memory, disks, processes and huge pages at each status sync.
 * Layer: kubelet/node. Parsing is pure; files and filesystems come through an injected reader (host-reader.ts is the
 * real one). A part that cannot be read is undefined and named in `problems`: the rest still counts.
 * Rules: vendor/github.com/google/cadvisor/machine, pkg/kubelet/stats/pidlimit, opencontainers/cgroups/fs2/memory.go.
 */
import { errorLine } from '../../observe/keelson-error.ts';
import type { MachineCapacity } from './node-resources.ts';
import type { NodeIdentity } from './node-status.ts';
import type { SignalObservation, SignalObservations } from './pressure.ts';

/** The edge. Throws errno errors of Node's. */
export interface HostReader {
  /** The text of a file of /proc, /sys or /etc. */
  readText(path: string): Promise<string>;
  names(directory: string): Promise<string[]>;
  filesystem(path: string): Promise<FilesystemSize>;
  /** `uname -r` */
  kernelVersion(): string;
  /** Go's name. */
  architecture(): string;
}

export interface FilesystemSize {
  readonly capacityBytes: number;
  /** What an unprivileged writer may still take. */
  readonly availableBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
}

export interface NodeMeasurements {
  readonly machine: MachineCapacity;
  readonly swapBytes: number;
  readonly observations: SignalObservations;
  /** One line for each part that could not be read. */
  readonly problems: readonly string[];
}

/** Never rejects: what the machine has not is empty. The kubelet reads it once, as it lasts until a reboot. */
export async function readNodeIdentity(host: HostReader): Promise<NodeIdentity> {
  const first = async (...paths: string[]): Promise<string> => {
    for (const path of paths) {
      try {
        return (await host.readText(path)).replaceAll('\0', '').trim();
      } catch {
        // Each of these files is missing on some machine; the next one is asked.
      }
    }
    return '';
  };
  const [machineID, bootID, systemUUID, osRelease] = await Promise.all([
    first('/etc/machine-id', '/var/lib/dbus/machine-id'),
    first('/proc/sys/kernel/random/boot_id'),
    first(
      '/sys/class/dmi/id/product_uuid',
      '/proc/device-tree/system-id',
      '/proc/device-tree/vm,uuid',
      '/etc/machine-id',
    ),
    first('/etc/os-release', '/usr/lib/os-release'),
  ]);
  return {
    machineID,
    systemUUID,
    bootID,
    kernelVersion: host.kernelVersion(),
    osImage: osRelease === '' ? 'Unknown' : prettyName(osRelease),
    architecture: host.architecture(),
  };
}

/**
 * One measurement. `imageFsPath` is the mountpoint of CRI ImageFsInfo, undefined until the runtime has told it.
 * @param rootDir of the kubelet: the filesystem below it is nodefs and the Node's ephemeral storage
 */
export async function measureNode(
  host: HostReader,
  rootDir: string,
  imageFsPath: string | undefined,
): Promise<NodeMeasurements> {
  const problems: string[] = [];
  const part = parts(problems);
  const [signals, cores, hugePages] = await Promise.all([
    measureSignals(host, rootDir, imageFsPath),
    part('CPUs', async () => countCpus(await host.readText('/sys/devices/system/cpu/online'))),
    part('huge pages', () => readHugePages(host)),
  ]);
  const { memory, nodefs, observations } = signals;
  return {
    machine: {
      cores,
      memoryBytes: memory?.totalBytes,
      ephemeralStorageBytes: nodefs?.capacityBytes,
      hugePages: hugePages ?? [],
    },
    swapBytes: memory?.swapBytes ?? 0,
    observations,
    problems: [...signals.problems, ...problems],
  };
}

export interface SignalMeasurements {
  readonly memory: Meminfo | undefined;
  readonly nodefs: FilesystemSize | undefined;
  readonly observations: SignalObservations;
  readonly problems: readonly string[];
}

/** Only what evictions are decided by: some small files of /proc and the size of two filesystems. */
export async function measureSignals(
  host: HostReader,
  rootDir: string,
  imageFsPath: string | undefined,
): Promise<SignalMeasurements> {
  const problems: string[] = [];
  const part = parts(problems);
  const [memory, nodefs, imagefs, pids] = await Promise.all([
    part('memory', async () => parseMeminfo(await host.readText('/proc/meminfo'))),
    part(`filesystem of ${rootDir}`, () => host.filesystem(rootDir)),
    imageFsPath === undefined ? undefined : part(`filesystem of ${imageFsPath}`, () => host.filesystem(imageFsPath)),
    part('processes', () => readPids(host)),
  ]);
  const observations: { -readonly [Signal in keyof SignalObservations]: SignalObservation } = {};
  if (memory !== undefined) {
    observations['memory.available'] = { available: memory.availableBytes, capacity: memory.totalBytes };
  }
  if (nodefs !== undefined) {
    observations['nodefs.available'] = { available: nodefs.availableBytes, capacity: nodefs.capacityBytes };
    // btrfs and others make inodes as they go and say 0.
    if (nodefs.inodes > 0)
      observations['nodefs.inodesFree'] = { available: nodefs.inodesFree, capacity: nodefs.inodes };
  }
  if (imagefs !== undefined) {
    observations['imagefs.available'] = { available: imagefs.availableBytes, capacity: imagefs.capacityBytes };
    if (imagefs.inodes > 0) {
      observations['imagefs.inodesFree'] = { available: imagefs.inodesFree, capacity: imagefs.inodes };
    }
  }
  if (pids !== undefined) observations['pid.available'] = { available: pids.max - pids.running, capacity: pids.max };
  return { memory, nodefs, observations, problems };
}

/** Reads a part; one that fails is undefined and named in `problems`. */
function parts(problems: string[]) {
  return async <T>(name: string, read: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      problems.push(`${name}: ${errorLine(error)}`);
      return undefined;
    }
  };
}

export interface Meminfo {
  readonly totalBytes: number;
  /** Total less the working set, which is anonymous memory and those file pages that are in use. */
  readonly availableBytes: number;
  readonly swapBytes: number;
}

/** Throws TypeError when a line is missing that every kernel has. */
export function parseMeminfo(text: string): Meminfo {
  const bytes = (name: string): number => {
    const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    if (kibibytes === undefined) throw new TypeError(`/proc/meminfo has no line ${name}`);
    return Number(kibibytes) * 1024;
  };
  const totalBytes = bytes('MemTotal');
  // What the root cgroup reports: anon + file, where file is all of the page cache.
  const usage = bytes('AnonPages') + bytes('Cached') + bytes('Buffers') + bytes('SwapCached');
  const workingSet = Math.max(0, usage - bytes('Inactive\\(file\\)'));
  return { totalBytes, availableBytes: totalBytes - workingSet, swapBytes: bytes('SwapTotal') };
}

/** A CPU list such as `0-3,8`. */
export function countCpus(list: string): number {
  let count = 0;
  for (const part of list.trim().split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match === null) throw new TypeError(`${JSON.stringify(part)} is no range of CPUs`);
    count += Number(match[2] ?? match[1]) - Number(match[1]) + 1;
  }
  return count;
}

/** The text after the first PRETTY_NAME=, without quotes; `Linux` without one. */
export function prettyName(osRelease: string): string {
  return /^PRETTY_NAME=(.*)$/m.exec(osRelease)?.[1]?.replace(/^"+|"+$/g, '') ?? 'Linux';
}

async function readPids(host: HostReader): Promise<{ max: number; running: number }> {
  const [pidMax, threadsMax, loadavg] = await Promise.all([
    host.readText('/proc/sys/kernel/pid_max'),
    host.readText('/proc/sys/kernel/threads-max'),
    host.readText('/proc/loadavg'),
  ]);
  // `1.36 3.49 4.53 2/3518 3715089`: running and existing tasks.
  const tasks = /^\S+ \S+ \S+ \d+\/(\d+) /.exec(loadavg)?.[1];
  if (tasks === undefined) throw new TypeError('/proc/loadavg names no tasks');
  return { max: Math.min(Number(pidMax), Number(threadsMax)), running: Number(tasks) };
}

async function readHugePages(host: HostReader): Promise<{ pageBytes: number; pages: number }[]> {
  const directory = '/sys/kernel/mm/hugepages';
  const sizes = (await host.names(directory)).flatMap((name) => /^hugepages-(\d+)kB$/.exec(name)?.[1] ?? []);
  return Promise.all(
    sizes.map(async (kibibytes) => ({
      pageBytes: Number(kibibytes) * 1024,
      pages: Number(await host.readText(`${directory}/hugepages-${kibibytes}kB/nr_hugepages`)),
    })),
  );
}
