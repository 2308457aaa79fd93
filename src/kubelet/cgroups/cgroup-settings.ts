/**
 * What a cgroup is set to, and how that is written into the files of cgroup v2.
 * Layer: kubelet/cgroups (pure). Source: Documentation/admin-guide/cgroup-v2.rst; getCPUWeight in
 * pkg/kubelet/cm/cgroup_manager_linux.go. Knows no pods and no driver.
 */

/** A number of whole units, or `max` for no limit. */
export type Limit = number | 'max';

/** What is left out stays as it is. */
export interface CgroupSettings {
  /** 1 to 10000. */
  readonly cpuWeight?: number;
  /** Microseconds of CPU in each period of microseconds. */
  readonly cpuMax?: { readonly quotaUs: Limit; readonly periodUs: number };
  /** Bytes; the kernel rounds them down to whole pages. */
  readonly memoryMax?: Limit;
  readonly pidsMax?: Limit;
  /** Bytes by page size as the kernel names it: `2MB`. */
  readonly hugetlbMax?: ReadonlyMap<string, Limit>;
  /** A list of CPUs: `0-3,7`. */
  readonly cpus?: string;
}

/** The kernel's default. */
export const defaultPeriodUs = 100_000;

/** The largest quota that the kernel takes is 2^44 microseconds (kernel/sched: MAX_BW). */
const maxQuotaUs = 2 ** 44 - 1;
/** page_counter: more is no limit. */
const maxBytes = 2 ** 63;
/** PIDS_MAX of kernel/cgroup/pids.c, from which on a number is refused: PID_MAX_LIMIT + 1. */
const maxPids = 4_194_305;

/** The kubelet's way from cpu.shares (2 to 262144) to cpu.weight (1 to 10000). Newer runtimes have another one. */
export function cpuWeight(shares: number): number {
  const within = Math.min(Math.max(shares, 2), 262_144);
  return 1 + Math.floor(((within - 2) * 9999) / 262_142);
}

export interface FileValue {
  readonly file: string;
  readonly value: string;
  /** The controller that the file is there by. */
  readonly controller: string;
}

/** The files and texts of these settings, in a fixed order. */
export function fileValues(settings: CgroupSettings): FileValue[] {
  const { cpuWeight: weight, cpuMax, memoryMax, pidsMax, hugetlbMax, cpus } = settings;
  const values: FileValue[] = [];
  const add = (controller: string, file: string, value: string): void => void values.push({ controller, file, value });
  if (cpus !== undefined) add('cpuset', 'cpuset.cpus', cpus);
  if (weight !== undefined) add('cpu', 'cpu.weight', String(weight));
  if (cpuMax !== undefined) add('cpu', 'cpu.max', `${limitText(cpuMax.quotaUs, maxQuotaUs)} ${cpuMax.periodUs}`);
  if (memoryMax !== undefined) add('memory', 'memory.max', limitText(memoryMax, maxBytes));
  if (pidsMax !== undefined) add('pids', 'pids.max', limitText(pidsMax, maxPids));
  for (const [size, limit] of hugetlbMax ?? []) {
    // `rsvd` limits what is promised by mmap, not only what is touched.
    for (const file of [`hugetlb.${size}.max`, `hugetlb.${size}.rsvd.max`])
      add('hugetlb', file, limitText(limit, maxBytes));
  }
  return values;
}

/** From `most` on it is no limit. */
function limitText(limit: Limit, most: number): string {
  return limit === 'max' || limit >= most ? 'max' : BigInt(Math.trunc(limit)).toString();
}

/** Whether a file says what was written into it: the kernel keeps whole pages of memory, of whatever size they are here. */
export function saysSame(file: string, actual: string | undefined, wanted: string): boolean {
  if (actual === undefined) return false;
  if (actual === wanted) return true;
  if (file === 'cpuset.cpus') return false;
  const [a, b] = [Number(actual), Number(wanted)];
  if (!/^(memory|hugetlb)\./.test(file) || !Number.isInteger(a) || !Number.isInteger(b)) return false;
  return pageSizes.some((size) => a === b - (b % size));
}

const pageSizes = [4096, 16_384, 65_536];
