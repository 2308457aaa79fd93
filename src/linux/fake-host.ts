/**
 * Stateful stand-ins for mounts and sysctls.
 * Layer: linux (pure, test support). They keep no files: whether a target exists is the caller's to know.
 */
import type { HugetlbfsOptions, MountInfo, Mounts, Sysctls, TmpfsOptions } from './host.ts';
import { KernelError } from './kernel-error.ts';
import { netSysctlPath, sysctlPath } from './sysctl-path.ts';

const ENOENT = 2;
const EBUSY = 16;
const EINVAL = 22;

export interface FakeMount extends MountInfo {
  tmpfs: TmpfsOptions | undefined;
  hugetlbfs?: HugetlbfsOptions;
}

type MountCall = 'mountTmpfs' | 'mountHugetlbfs' | 'makeShared' | 'bind' | 'unmount';

export class FakeMounts implements Mounts {
  /** In the order of mounting. */
  readonly mounts: FakeMount[] = [];
  /** Targets that something uses: unmounting them without `lazy` is EBUSY. */
  readonly busy = new Set<string>();
  /** When set, asked before each change; an error it returns is thrown. */
  intercept: ((call: MountCall, target: string) => Error | undefined) | undefined;
  /** Sizes that the kernel has pools of. */
  hugePageSizes: number[] = [2 * 2 ** 20];
  #nextId = 100;

  async mountTmpfs(target: string, options: TmpfsOptions): Promise<void> {
    this.#intercepted('mountTmpfs', target);
    if (options.sizeBytes !== undefined && !(Number.isSafeInteger(options.sizeBytes) && options.sizeBytes > 0)) {
      throw new KernelError(EINVAL, 'mount', `mount tmpfs ${target}`);
    }
    const mount = { root: '/', target, fsType: 'tmpfs', source: 'tmpfs', readOnly: false, shared: false };
    this.#add({ ...mount, tmpfs: { ...options } });
  }

  async mountHugetlbfs(target: string, options: HugetlbfsOptions): Promise<void> {
    this.#intercepted('mountHugetlbfs', target);
    if (!this.hugePageSizes.includes(options.pageSizeBytes)) {
      throw new KernelError(EINVAL, 'mount', `mount hugetlbfs ${target}`);
    }
    const mount = { root: '/', target, fsType: 'hugetlbfs', source: 'nodev', readOnly: false, shared: false };
    this.#add({ ...mount, tmpfs: undefined, hugetlbfs: { ...options } });
  }

  async makeShared(target: string): Promise<void> {
    this.#intercepted('makeShared', target);
    const mount = this.mounts.findLast((candidate) => candidate.target === target);
    if (mount === undefined) throw new KernelError(EINVAL, 'mount', `mount --make-shared ${target}`);
    mount.shared = true;
  }

  async bind(source: string, target: string, options: { recursive?: boolean; readOnly?: boolean } = {}): Promise<void> {
    this.#intercepted('bind', target);
    const readOnly = options.readOnly === true;
    const below = this.mounts.filter((mount) => mount.target.startsWith(`${source}/`));
    const mount = { root: source, target, fsType: 'ext4', source: '/dev/fake', readOnly, shared: false };
    this.#add({ ...mount, tmpfs: undefined });
    if (!options.recursive) return;
    for (const mount of below) this.#add({ ...mount, target: target + mount.target.slice(source.length), readOnly });
  }

  async unmount(target: string, options: { lazy?: boolean } = {}): Promise<void> {
    this.#intercepted('unmount', target);
    const at = this.mounts.findLastIndex((mount) => mount.target === target);
    if (at < 0) throw new KernelError(EINVAL, 'umount2', `umount ${target}`);
    const below = this.mounts.filter((mount) => mount.target.startsWith(`${target}/`));
    if (!options.lazy && (this.busy.has(target) || below.length > 0))
      throw new KernelError(EBUSY, 'umount2', `umount ${target}`);
    this.mounts.splice(at, 1);
    for (const mount of below) this.mounts.splice(this.mounts.indexOf(mount), 1);
  }

  async list(): Promise<MountInfo[]> {
    return this.mounts.map(({ tmpfs: _, hugetlbfs: __, ...mount }) => mount);
  }

  #add(mount: Omit<FakeMount, 'mountId'>): void {
    this.mounts.push({ ...mount, mountId: this.#nextId++ });
  }

  #intercepted(call: MountCall, target: string): void {
    const error = this.intercept?.(call, target);
    if (error) throw error;
  }
}

export class FakeSysctls implements Sysctls {
  /** Path below /proc/sys -> value, of the agent's own namespaces. A name that is not here does not exist. */
  readonly values: Map<string, string>;
  /** What was written inside other namespaces: their path -> sysctl path -> value. */
  readonly inNetns = new Map<string, Map<string, string>>();
  /** Whether a namespace exists; all do unless a test says otherwise. */
  netnsExists: (netnsPath: string) => boolean = () => true;

  constructor(
    values: Readonly<Record<string, string>> = { 'net/ipv4/ip_forward': '0', 'net/ipv6/conf/all/forwarding': '0' },
  ) {
    this.values = new Map(Object.entries(values).map(([name, value]) => [sysctlPath(name), value]));
  }

  async read(name: string): Promise<string> {
    const value = this.values.get(sysctlPath(name));
    if (value === undefined) throw new KernelError(ENOENT, 'open', `sysctl ${name}`);
    return value;
  }

  async write(name: string, value: string): Promise<void> {
    await this.read(name);
    this.values.set(sysctlPath(name), value.trim());
  }

  async writeInNetns(netnsPath: string, name: string, value: string): Promise<void> {
    const path = netSysctlPath(name);
    if (!this.netnsExists(netnsPath)) throw new KernelError(ENOENT, 'open', `sysctl ${name} in ${netnsPath}`);
    const values = this.inNetns.get(netnsPath) ?? new Map<string, string>();
    values.set(path, value.trim());
    this.inNetns.set(netnsPath, values);
  }
}
