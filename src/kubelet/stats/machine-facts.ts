/**
 * What /metrics/cadvisor says of the machine itself: cores, memory, identity, the filesystem below the root directory,
 * and names of block devices.
 * Layer: kubelet/stats. Measured by node-measurements.ts, as the Node's own capacity is.
 */
import { dirname } from 'node:path';
import { parseMountInfo } from '../../linux/mountinfo.ts';
import { type HostReader, measureNode, readNodeIdentity } from '../node/node-measurements.ts';
import type { NodeIdentity } from '../node/node-status.ts';
import type { FilesystemUsage, HostFiles } from './host-files.ts';

export interface MachineFacts {
  readonly cores: number | undefined;
  readonly memoryBytes: number | undefined;
  readonly swapBytes: number;
  readonly identity: Pick<NodeIdentity, 'machineID' | 'systemUUID' | 'bootID'>;
  readonly filesystems: readonly { readonly device: string; readonly usage: FilesystemUsage }[];
  readonly devices: DeviceNames;
}

/** Names of block devices by `major:minor`. */
export type DeviceNames = ReadonlyMap<string, string>;

/** Reads on request; the identity, which lasts until a reboot, once. */
export function machineFactsReader(host: HostReader, files: HostFiles, rootDir: string): () => Promise<MachineFacts> {
  let identity: Promise<NodeIdentity> | undefined;
  return async () => {
    identity ??= readNodeIdentity(host);
    const [known, { machine, swapBytes }, usage] = await Promise.all([
      identity,
      measureNode(host, rootDir, undefined),
      files.filesystem(rootDir),
    ]);
    const device = deviceOf(files.read('/proc/self/mountinfo') ?? '', rootDir);
    return {
      cores: machine.cores,
      memoryBytes: machine.memoryBytes,
      swapBytes,
      identity: known,
      filesystems: usage === undefined || device === undefined ? [] : [{ device, usage }],
      devices: parsePartitions(files.read('/proc/partitions') ?? ''),
    };
  };
}

/** The source of the mount that a path lies on: of the mounts at its nearest mount point the last, which covers the others. */
export function deviceOf(mountinfo: string, path: string): string | undefined {
  const sources = new Map(parseMountInfo(mountinfo).map(({ target, source }) => [target, source]));
  for (let at = path; ; at = dirname(at)) {
    const source = sources.get(at);
    if (source !== undefined || at === dirname(at)) return source;
  }
}

/** @param text of /proc/partitions: `major minor #blocks name` */
export function parsePartitions(text: string): DeviceNames {
  return new Map(
    text.split('\n').flatMap((line) => {
      const match = /^\s*(\d+)\s+(\d+)\s+\d+\s+(\S+)$/.exec(line);
      return match === null ? [] : [[`${match[1]}:${match[2]}`, match[3] ?? ''] as const];
    }),
  );
}
