/**
 * The other edges to the kernel that roles are handed: mounts, sysctls inside a network namespace, sd_notify.
 * Layer: linux (pure types). The real ones are in src/kernel, the fakes beside this file.
 */

/** One line of /proc/self/mountinfo (proc(5)). */
export interface MountInfo {
  mountId: number;
  /** Path in the filesystem that forms the root of this mount; `/` unless it is a bind mount of a subtree. */
  root: string;
  target: string;
  fsType: string;
  source: string;
  readOnly: boolean;
  /** Whether mounts made here appear in its peers, such as a container's copy (MS_SHARED). */
  shared: boolean;
}

export interface TmpfsOptions {
  /** Bytes; the kernel's default (half of memory) when absent. */
  sizeBytes?: number;
  /** Permission bits of the root directory, e.g. 0o777. */
  mode?: number;
  /** Keep pages out of swap (Linux >= 6.3); ignored where the kernel does not know it. */
  noswap?: boolean;
}

export interface HugetlbfsOptions {
  /** Bytes; one of the sizes that the kernel has pools of. */
  pageSizeBytes: number;
  /** Bytes, rounded down to whole pages; unlimited when absent. */
  sizeBytes?: number;
  /** Permission bits of the root directory. */
  mode?: number;
}

export interface Mounts {
  /** Mounts a tmpfs with nosuid,nodev on `target`, an existing directory. Throws KernelError. */
  mountTmpfs(target: string, options: TmpfsOptions): Promise<void>;
  /** Mounts a hugetlbfs with nosuid,nodev on `target`, an existing directory. Throws KernelError. */
  mountHugetlbfs(target: string, options: HugetlbfsOptions): Promise<void>;
  /** `mount --make-shared`: what is mounted at or below this mount point from now on shows in its copies, and back. */
  makeShared(target: string): Promise<void>;
  /** `mount --bind` (with MS_REC when `recursive`); `readOnly` remounts it so. */
  bind(source: string, target: string, options?: { recursive?: boolean; readOnly?: boolean }): Promise<void>;
  /** Unmounts the topmost mount at `target` without following a symlink (UMOUNT_NOFOLLOW); `lazy` is MNT_DETACH. */
  unmount(target: string, options?: { lazy?: boolean }): Promise<void>;
  /** The mount table of the agent's mount namespace. */
  list(): Promise<MountInfo[]>;
}

export interface Sysctls {
  /** @param name dotted or slashed, e.g. `net/ipv4/ip_forward`; returns the trimmed value. */
  read(name: string): Promise<string>;
  write(name: string, value: string): Promise<void>;
  /** Writes below /proc/sys/net inside another network namespace, on a thread of its own. */
  writeInNetns(netnsPath: string, name: string, value: string): Promise<void>;
}
