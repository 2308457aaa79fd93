/**
 * Where cgroups are on this machine: the mounts of the hierarchies (v1: one or more a controller; v2: one), the cgroups
 * that a process is in, and what a path says of pods. Text in, plain data out.
 * Layer: kubelet/stats (pure). Must not make cgroups; reading their files is cgroup-reader.ts'.
 * Source: proc_pid_mountinfo(5), cgroups(7), pkg/kubelet/cm/cgroup_manager_linux.go (names of pods' cgroups).
 */

export interface CgroupMount {
  /** Directory of the mount, e.g. `/sys/fs/cgroup/memory`. */
  readonly target: string;
  /** The cgroup that is mounted there, `/` but in a container. */
  readonly root: string;
}

export interface CgroupMounts {
  /** 2 when no controller that counts memory is on a v1 hierarchy; undefined without any cgroup mount. */
  readonly version: 1 | 2 | undefined;
  /** v1, by controller: `memory`, `cpuacct`, ... */
  readonly controllers: ReadonlyMap<string, CgroupMount>;
  /** The v2 hierarchy; on a machine with both it counts nothing. */
  readonly unified: CgroupMount | undefined;
}

/** The cgroups of one process, as /proc/PID/cgroup has them. */
export interface CgroupMembership {
  readonly controllers: ReadonlyMap<string, string>;
  readonly unified: string | undefined;
}

/** @param mountinfo text of /proc/self/mountinfo; of several mounts of one hierarchy the first counts */
export function parseCgroupMounts(mountinfo: string): CgroupMounts {
  const controllers = new Map<string, CgroupMount>();
  let unified: CgroupMount | undefined;
  for (const line of mountinfo.split('\n')) {
    const separator = line.indexOf(' - ');
    if (separator < 0) continue;
    const [, , , root, target] = line.slice(0, separator).split(' ');
    const [fsType, , options] = line.slice(separator + 3).split(' ');
    if (root === undefined || target === undefined) continue;
    const mount = { target, root };
    if (fsType === 'cgroup2') unified ??= mount;
    if (fsType !== 'cgroup') continue;
    // The controllers stand among the super block's options, beside `rw` and `xattr`: what is no controller is never asked for.
    for (const name of (options ?? '').split(',')) if (!controllers.has(name)) controllers.set(name, mount);
  }
  const version = controllers.has('memory') ? 1 : unified === undefined ? undefined : 2;
  return { version, controllers, unified };
}

/** @param text of /proc/PID/cgroup: `4:memory:/a` a v1 hierarchy, `0::/a` the v2 one */
export function parseMembership(text: string): CgroupMembership {
  const controllers = new Map<string, string>();
  let unified: string | undefined;
  for (const line of text.split('\n')) {
    const match = /^(\d+):([^:]*):(\/.*)$/.exec(line);
    if (match === null) continue;
    const [, hierarchy, names = '', path = '/'] = match;
    if (hierarchy === '0') unified = path;
    else for (const name of names.split(',')) controllers.set(name, path);
  }
  return { controllers, unified };
}

/** The one path by which the cgroup goes: all hierarchies agree on it for containers. */
export function cgroupPath(mounts: CgroupMounts, membership: CgroupMembership): string | undefined {
  if (mounts.version === 2) return membership.unified;
  return membership.controllers.get('memory') ?? membership.controllers.get('cpuacct');
}

/**
 * The directory of a cgroup in one hierarchy; undefined when the hierarchy is not mounted or the mount does not show the
 * cgroup. @param controller of v1; ignored on v2
 */
export function cgroupDirectory(mounts: CgroupMounts, controller: string, path: string): string | undefined {
  const mount = mounts.version === 2 ? mounts.unified : mounts.controllers.get(controller);
  // `/../x`: a cgroup beside the root of our cgroup namespace.
  if (mount === undefined || path.split('/').includes('..')) return undefined;
  const below = mount.root === '/' ? path : withoutPrefix(path, mount.root);
  return below === undefined ? undefined : `${mount.target}${below === '/' ? '' : below}`;
}

/** The pod's own cgroup when the container's lies in one; undefined where the runtime places containers without. */
export function podCgroupOf(containerPath: string, uid: string): string | undefined {
  const parent = parentOf(containerPath);
  const name = parent.slice(parent.lastIndexOf('/') + 1);
  // cgroupfs driver: `pod<uid>`; systemd: `kubepods[-qos]-pod<uid>.slice`, where a dash would mean a level.
  const isPods = name === `pod${uid}` || name.endsWith(`-pod${uid.replaceAll('-', '_')}.slice`);
  return isPods ? parent : undefined;
}

/** The cgroup of all pods, `/kubepods` or `/kubepods.slice` below the cgroup root; undefined when the path is in none. */
export function podsCgroupOf(path: string): string | undefined {
  const segments = path.split('/');
  const at = segments.findIndex((segment) => segment === 'kubepods' || segment === 'kubepods.slice');
  return at < 0 ? undefined : segments.slice(0, at + 1).join('/');
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0));
}

function withoutPrefix(path: string, prefix: string): string | undefined {
  if (path === prefix) return '/';
  return path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : undefined;
}
