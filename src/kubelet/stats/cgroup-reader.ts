/**
 * Reads the files of cgroups where they are mounted.
 * Layer: kubelet/stats (edge by way of HostFiles). What the files mean is cgroup-sample.ts'.
 */
import { type CgroupMounts, cgroupDirectory, cgroupPath, parseCgroupMounts, parseMembership } from './cgroup-paths.ts';
import { type CgroupSample, type SampleDepth, sampleCgroup } from './cgroup-sample.ts';
import type { HostFiles } from './host-files.ts';

export class CgroupReader {
  readonly #files: HostFiles;
  #mounts: CgroupMounts | undefined;

  constructor(files: HostFiles) {
    this.#files = files;
  }

  /** Read once: a node does not move its cgroup hierarchies. */
  mounts(): CgroupMounts {
    this.#mounts ??= parseCgroupMounts(this.#files.read('/proc/self/mountinfo') ?? '');
    return this.#mounts;
  }

  /** The cgroup of this daemon. */
  own(mounts: CgroupMounts): string | undefined {
    const text = this.#files.read('/proc/self/cgroup');
    return text === undefined ? undefined : cgroupPath(mounts, parseMembership(text));
  }

  /** One file; undefined when the hierarchy, the cgroup or the file is not there. */
  file(mounts: CgroupMounts, controller: string, path: string, name: string): string | undefined {
    const directory = cgroupDirectory(mounts, controller, path);
    return directory === undefined ? undefined : this.#files.read(`${directory}/${name}`);
  }

  /** undefined when the cgroup is gone, or nothing is counted for it. */
  sample(mounts: CgroupMounts, path: string, depth: SampleDepth, timeMs: number): CgroupSample | undefined {
    if (mounts.version === undefined) return undefined;
    const read = (controller: string, name: string): string | undefined => this.file(mounts, controller, path, name);
    const sample = sampleCgroup(mounts.version, read, depth, timeMs);
    return sample.cpu === undefined && sample.memory === undefined ? undefined : sample;
  }
}
