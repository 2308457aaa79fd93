/**
 * A cgroup v2 hierarchy in memory that refuses what the kernel refuses: files by the controllers that the parent passes on,
 * controllers from the root downwards, no processes beside cgroups with controllers, formats and ranges of values, no
 * removal of what is in use. Also counts writes, and can be made to have processes that do not die.
 * Layer: kubelet/cgroups (test support). Source: Documentation/admin-guide/cgroup-v2.rst, kernel/cgroup/cgroup.c.
 */
import type { CgroupFiles } from './cgroup-files.ts';

interface FakeCgroup {
  passesOn: Set<string>;
  values: Map<string, string>;
  processes: Set<number>;
}

export interface FakeCgroupOptions {
  controllers?: string[];
  pageSizes?: string[];
  pageBytes?: number;
  /** Kernels before 5.14 have no cgroup.kill. */
  hasKill?: boolean;
}

const isCgroup = (path: string): string => (path === '/' ? '/' : path.replace(/\/$/, ''));
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';

export class FakeCgroupFiles implements CgroupFiles {
  /** Each write, mkdir and rmdir that was done, as a shell would say it. */
  readonly done: string[] = [];
  /** Processes that no signal ends. */
  readonly undying = new Set<number>();
  /** `path/file` -> the errno with which the next writes to it are refused. */
  readonly refuse = new Map<string, string>();
  /** Paths whose first removals fail with EBUSY: how often. */
  readonly busy = new Map<string, number>();
  readonly #cgroups = new Map<string, FakeCgroup>();
  readonly #watches = new Map<string, Set<() => void>>();
  readonly #available: Set<string>;
  readonly #pageSizes: string[];
  readonly #pageBytes: number;
  readonly #hasKill: boolean;

  constructor({
    controllers = ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids', 'rdma', 'misc'],
    pageSizes = ['2MB', '1GB'],
    pageBytes = 4096,
    hasKill = true,
  }: FakeCgroupOptions = {}) {
    this.#available = new Set(controllers);
    this.#pageSizes = pageSizes;
    this.#pageBytes = pageBytes;
    this.#hasKill = hasKill;
    this.#cgroups.set('/', { passesOn: new Set(), values: new Map(), processes: new Set() });
  }

  async read(path: string, file: string): Promise<string | undefined> {
    const cgroup = this.#cgroups.get(isCgroup(path));
    if (cgroup === undefined) return undefined;
    const has = this.#controllersOf(path);
    if (file === 'cgroup.controllers') return [...has].join(' ');
    if (file === 'cgroup.subtree_control') return [...cgroup.passesOn].join(' ');
    if (file === 'cgroup.procs') return [...cgroup.processes].join('\n');
    if (path === '/') return undefined;
    if (file === 'cgroup.events') return `populated ${this.#isPopulated(path) ? 1 : 0}\nfrozen 0`;
    if (!has.has(this.#controllerOf(file) ?? '')) return undefined;
    return cgroup.values.get(file) ?? this.#fallback(file);
  }

  async write(path: string, file: string, value: string): Promise<void> {
    const cgroup = this.#cgroups.get(isCgroup(path));
    if (cgroup === undefined) throw errno('ENOENT');
    const refused = this.refuse.get(`${path}/${file}`);
    if (refused !== undefined) throw errno(refused);
    if (file === 'cgroup.subtree_control') this.#passOn(path, cgroup, value);
    else if (file === 'cgroup.procs') this.#join(path, cgroup, Number(value));
    else if (file === 'cgroup.kill' && path !== '/' && this.#hasKill) this.#kill(path, value);
    else this.#set(path, cgroup, file, value);
    this.done.push(`echo ${value} > ${path === '/' ? '' : path}/${file}`);
  }

  async mkdir(path: string): Promise<void> {
    if (this.#cgroups.has(path)) return;
    if (!this.#cgroups.has(parentOf(path))) throw errno('ENOENT');
    this.#cgroups.set(path, { passesOn: new Set(), values: new Map(), processes: new Set() });
    this.done.push(`mkdir ${path}`);
  }

  async rmdir(path: string): Promise<void> {
    const cgroup = this.#cgroups.get(path);
    if (cgroup === undefined) return;
    const busy = this.busy.get(path) ?? 0;
    if (busy > 0) this.busy.set(path, busy - 1);
    if (busy > 0 || cgroup.processes.size > 0 || this.#below(path).length > 0) throw errno('EBUSY');
    this.#cgroups.delete(path);
    this.done.push(`rmdir ${path}`);
  }

  async children(path: string): Promise<string[] | undefined> {
    if (!this.#cgroups.has(isCgroup(path))) return undefined;
    return [...this.#cgroups.keys()]
      .filter((other) => other !== '/' && parentOf(other) === isCgroup(path))
      .map((other) => other.slice(other.lastIndexOf('/') + 1))
      .sort();
  }

  watchEvents(path: string, onChange: () => void): () => void {
    const watches = this.#watches.get(path) ?? new Set();
    this.#watches.set(path, watches.add(onChange));
    return () => void watches.delete(onChange);
  }

  /** Every path but the root, sorted. */
  paths(): string[] {
    return [...this.#cgroups.keys()].filter((path) => path !== '/').sort();
  }

  /** What was written into a cgroup, by file; undefined when it is not there. */
  valuesOf(path: string): Record<string, string> | undefined {
    const cgroup = this.#cgroups.get(path);
    return cgroup && Object.fromEntries([...cgroup.values].sort());
  }

  /** A process ends, by itself or by a signal. */
  endProcess(pid: number): void {
    if (this.undying.has(pid)) return;
    for (const [path, cgroup] of this.#cgroups) if (cgroup.processes.delete(pid)) this.#tell(path);
  }

  #controllersOf(path: string): Set<string> {
    return path === '/' ? this.#available : (this.#cgroups.get(parentOf(path))?.passesOn ?? new Set());
  }

  #below(path: string): string[] {
    return [...this.#cgroups.keys()].filter(
      (other) => other.startsWith(`${path === '/' ? '' : path}/`) && other !== '/',
    );
  }

  #isPopulated(path: string): boolean {
    return [path, ...this.#below(path)].some((one) => (this.#cgroups.get(one)?.processes.size ?? 0) > 0);
  }

  #passOn(path: string, cgroup: FakeCgroup, text: string): void {
    const next = new Set(cgroup.passesOn);
    for (const word of text.split(' ')) {
      const [sign, name] = [word[0], word.slice(1)];
      if (sign === '+') {
        if (!this.#controllersOf(path).has(name)) throw errno('ENOENT');
        next.add(name);
      } else if (sign === '-') {
        const used = this.#below(path).some((one) => this.#cgroups.get(one)?.passesOn.has(name));
        if (used) throw errno('EBUSY');
        next.delete(name);
      } else throw errno('EINVAL');
    }
    if (path !== '/' && next.size > 0 && cgroup.processes.size > 0) throw errno('EBUSY');
    for (const name of cgroup.passesOn) {
      if (next.has(name)) continue;
      for (const child of this.#below(path)) {
        const { values } = this.#cgroups.get(child) ?? { values: new Map<string, string>() };
        for (const file of values.keys()) if (this.#controllerOf(file) === name) values.delete(file);
      }
    }
    cgroup.passesOn = next;
  }

  #join(path: string, cgroup: FakeCgroup, pid: number): void {
    if (path !== '/' && cgroup.passesOn.size > 0) throw errno('EBUSY');
    for (const other of this.#cgroups.values()) other.processes.delete(pid);
    cgroup.processes.add(pid);
    this.#tell(path);
  }

  #kill(path: string, value: string): void {
    if (value !== '1') throw errno('EINVAL');
    const pids = [path, ...this.#below(path)].flatMap((one) => [...(this.#cgroups.get(one)?.processes ?? [])]);
    // As the kernel does it: the processes end a moment later.
    setImmediate(() => {
      for (const pid of pids) this.endProcess(pid);
    });
  }

  #set(path: string, cgroup: FakeCgroup, file: string, value: string): void {
    const controller = this.#controllerOf(file);
    if (controller === undefined || path === '/' || !this.#controllersOf(path).has(controller)) throw errno('ENOENT');
    cgroup.values.set(file, this.#kept(file, value));
  }

  /** What a read gives back. */
  #kept(file: string, value: string): string {
    if (file === 'cpuset.cpus') {
      if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(value)) throw errno('EINVAL');
      return value;
    }
    if (file === 'cpu.weight') {
      if (!/^\d+$/.test(value)) throw errno('EINVAL');
      if (Number(value) < 1 || Number(value) > 10_000) throw errno('ERANGE');
      return value;
    }
    if (file === 'cpu.max') {
      const [, quota, period = '100000'] = /^(max|\d+)(?: (\d+))?$/.exec(value) ?? [];
      if (quota === undefined || Number(period) < 1000 || Number(period) > 1_000_000) throw errno('EINVAL');
      if (quota !== 'max' && (Number(quota) < 1000 || Number(quota) >= 2 ** 44)) throw errno('EINVAL');
      return `${quota} ${period}`;
    }
    if (value === 'max') return value;
    if (!/^\d+$/.test(value) || BigInt(value) >= 2n ** 64n) throw errno('EINVAL');
    if (file === 'pids.max') {
      if (Number(value) > 4_194_304) throw errno('EINVAL');
      return value;
    }
    return String(BigInt(value) - (BigInt(value) % BigInt(this.#pageBytes)));
  }

  #controllerOf(file: string): string | undefined {
    if (file === 'cpuset.cpus') return 'cpuset';
    if (file === 'cpu.weight' || file === 'cpu.max') return 'cpu';
    if (file === 'memory.max') return 'memory';
    if (file === 'pids.max') return 'pids';
    const size = /^hugetlb\.(\w+?)(?:\.rsvd)?\.max$/.exec(file)?.[1];
    return size !== undefined && this.#pageSizes.includes(size) ? 'hugetlb' : undefined;
  }

  #fallback(file: string): string {
    return { 'cpuset.cpus': '', 'cpu.weight': '100', 'cpu.max': 'max 100000' }[file] ?? 'max';
  }

  #tell(path: string): void {
    for (let at = path; at !== '/'; at = parentOf(at)) for (const onChange of this.#watches.get(at) ?? []) onChange();
  }
}

function errno(code: string): Error {
  return Object.assign(new Error(code), { code });
}
