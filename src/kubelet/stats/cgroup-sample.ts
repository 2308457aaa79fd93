/**
 * What one cgroup used at one moment, from the text of its files: v1 and v2 names mapped to one shape.
 * Layer: kubelet/stats (pure: the files come through `read`). Numbers that a kernel does not have are undefined; nothing
 * is made up. 64-bit counters become numbers: exact up to 2^53, to 16 ns (or bytes) beyond.
 * Source: vendor/github.com/google/cadvisor/container/libcontainer/handler.go, Documentation/admin-guide/cgroup-v2.rst,
 * cgroup-v1/{memory,cpuacct,blkio-controller,pids}.rst.
 */

/** `usage`: CPU and memory; `pressure` adds PSI and processes; `details` all that /metrics/cadvisor shows. */
export type SampleDepth = 'usage' | 'pressure' | 'details';

export interface CgroupSample {
  /** Clock milliseconds. */
  readonly timeMs: number;
  readonly cpu: CpuSample | undefined;
  readonly memory: MemorySample | undefined;
  /** Only v2, and only where the kernel counts it. */
  readonly pressure: { readonly cpu?: Psi; readonly memory?: Psi; readonly io?: Psi };
  readonly processes: number | undefined;
  readonly details: DetailSample | undefined;
}

/** Nanoseconds since the cgroup was made. */
export interface CpuSample {
  readonly usageNs: number;
  readonly userNs: number | undefined;
  readonly systemNs: number | undefined;
}

/** Bytes; a limit is undefined when there is none. */
export interface MemorySample {
  readonly usageBytes: number;
  /** Usage without the file pages that the kernel would give back first. */
  readonly workingSetBytes: number;
  readonly rssBytes: number | undefined;
  readonly cacheBytes: number | undefined;
  readonly mappedFileBytes: number | undefined;
  readonly limitBytes: number | undefined;
  readonly pageFaults: number | undefined;
  readonly majorPageFaults: number | undefined;
  readonly swapBytes: number | undefined;
  /** Of swap alone; 0 when swap is forbidden. */
  readonly swapLimitBytes: number | undefined;
}

export interface Psi {
  readonly some: PsiLine;
  readonly full: PsiLine;
}

/** Averages are percent. */
export interface PsiLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalNs: number;
}

export interface DetailSample {
  readonly cfs:
    | { readonly periods: number; readonly throttledPeriods: number; readonly throttledNs: number }
    | undefined;
  readonly cpuPeriodMicros: number | undefined;
  /** undefined without a quota. */
  readonly cpuQuotaMicros: number | undefined;
  /** As v1 counts them: 2 to 262144. */
  readonly cpuShares: number | undefined;
  readonly memoryFailures: number | undefined;
  readonly oomKills: number | undefined;
  readonly threads: number | undefined;
  readonly threadsMax: number | undefined;
  readonly io: readonly DeviceIo[];
}

export interface DeviceIo {
  /** `major:minor` */
  readonly device: string;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/** The text of a file of the cgroup, undefined when it has none. v1 files are named with their controller's prefix. */
export type ReadCgroupFile = (controller: string, file: string) => string | undefined;

/** A value beyond this is no limit: the kernel rounds its maximum down to whole pages. */
const unlimited = 2 ** 62;
/** USER_HZ: cpuacct.stat counts in it on every architecture that Node runs on. */
const nsPerTick = 10_000_000;

export function sampleCgroup(version: 1 | 2, read: ReadCgroupFile, depth: SampleDepth, timeMs: number): CgroupSample {
  const deeper = depth !== 'usage';
  const procs = deeper ? read('pids', 'cgroup.procs') : undefined;
  return {
    timeMs,
    cpu: version === 2 ? cpuV2(read) : cpuV1(read, depth === 'details'),
    memory: version === 2 ? memoryV2(read) : memoryV1(read),
    pressure: version === 2 && deeper ? pressureOf((resource) => read('', `${resource}.pressure`)) : {},
    processes: procs === undefined ? undefined : countLines(procs),
    details: depth !== 'details' ? undefined : version === 2 ? detailsV2(read) : detailsV1(read),
  };
}

/** PSI of the machine (/proc/pressure) has the same form as a cgroup's. */
export function pressureOf(read: (resource: string) => string | undefined): CgroupSample['pressure'] {
  const of = (resource: 'cpu' | 'memory' | 'io'): Partial<CgroupSample['pressure']> => {
    const psi = parsePsi(read(resource));
    return psi === undefined ? {} : { [resource]: psi };
  };
  return { ...of('cpu'), ...of('memory'), ...of('io') };
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=12` and `full ...`; `full` of CPU is missing before Linux 5.13. */
export function parsePsi(text: string | undefined): Psi | undefined {
  const line = (kind: 'some' | 'full'): PsiLine | undefined => {
    const match = new RegExp(`^${kind} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)$`, 'm').exec(
      text ?? '',
    );
    if (match === null) return undefined;
    const [, avg10, avg60, avg300, micros] = match;
    return {
      avg10: Number(avg10),
      avg60: Number(avg60),
      avg300: Number(avg300),
      totalNs: Number(micros) * 1000,
    };
  };
  const some = line('some');
  return some && { some, full: line('full') ?? { avg10: 0, avg60: 0, avg300: 0, totalNs: 0 } };
}

function cpuV2(read: ReadCgroupFile): CpuSample | undefined {
  const stat = keyed(read('cpu', 'cpu.stat'));
  const usage = stat.get('usage_usec');
  if (usage === undefined) return undefined;
  const ns = (name: string): number | undefined => scaled(stat.get(name), 1000);
  return { usageNs: usage * 1000, userNs: ns('user_usec'), systemNs: ns('system_usec') };
}

function cpuV1(read: ReadCgroupFile, withParts: boolean): CpuSample | undefined {
  const usageNs = whole(read('cpuacct', 'cpuacct.usage'));
  if (usageNs === undefined) return undefined;
  const stat = withParts ? keyed(read('cpuacct', 'cpuacct.stat')) : undefined;
  return {
    usageNs,
    userNs: scaled(stat?.get('user'), nsPerTick),
    systemNs: scaled(stat?.get('system'), nsPerTick),
  };
}

function memoryV2(read: ReadCgroupFile): MemorySample | undefined {
  const usageBytes = whole(read('memory', 'memory.current'));
  if (usageBytes === undefined) return undefined;
  const stat = keyed(read('memory', 'memory.stat'));
  return {
    usageBytes,
    workingSetBytes: Math.max(0, usageBytes - (stat.get('inactive_file') ?? 0)),
    rssBytes: stat.get('anon'),
    cacheBytes: stat.get('file'),
    mappedFileBytes: stat.get('file_mapped'),
    limitBytes: limit(read('memory', 'memory.max')),
    pageFaults: stat.get('pgfault'),
    majorPageFaults: stat.get('pgmajfault'),
    swapBytes: whole(read('memory', 'memory.swap.current')),
    swapLimitBytes: limit(read('memory', 'memory.swap.max')),
  };
}

function memoryV1(read: ReadCgroupFile): MemorySample | undefined {
  const usageBytes = whole(read('memory', 'memory.usage_in_bytes'));
  if (usageBytes === undefined) return undefined;
  const stat = keyed(read('memory', 'memory.stat'));
  // `total_` counts the cgroups below as well, as v2 always does.
  const total = (name: string): number | undefined => stat.get(`total_${name}`) ?? stat.get(name);
  const limitBytes = limit(read('memory', 'memory.limit_in_bytes'));
  const bothBytes = limit(read('memory', 'memory.memsw.limit_in_bytes'));
  return {
    usageBytes,
    workingSetBytes: Math.max(0, usageBytes - (total('inactive_file') ?? 0)),
    rssBytes: total('rss'),
    cacheBytes: total('cache'),
    mappedFileBytes: total('mapped_file'),
    limitBytes,
    pageFaults: total('pgfault'),
    majorPageFaults: total('pgmajfault'),
    swapBytes: total('swap'),
    swapLimitBytes: bothBytes === undefined ? undefined : Math.max(0, bothBytes - (limitBytes ?? 0)),
  };
}

function detailsV2(read: ReadCgroupFile): DetailSample {
  const [quota, period] = (read('cpu', 'cpu.max') ?? '').trim().split(' ');
  const stat = keyed(read('cpu', 'cpu.stat'));
  const events = keyed(read('memory', 'memory.events'));
  const weight = whole(read('cpu', 'cpu.weight'));
  const io = (read('blkio', 'io.stat') ?? '').split('\n').flatMap((line) => {
    const [device = '', ...pairs] = line.split(' ');
    if (!isDevice(device)) return [];
    const value = (name: string): number =>
      whole(pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1)) ?? 0;
    return [
      {
        device,
        readBytes: value('rbytes'),
        writeBytes: value('wbytes'),
        reads: value('rios'),
        writes: value('wios'),
      },
    ];
  });
  return {
    cfs: cfsOf(stat, scaled(stat.get('throttled_usec'), 1000)),
    cpuPeriodMicros: whole(period),
    cpuQuotaMicros: whole(quota),
    // The inverse of what runtimes make of shares: 1 + (shares - 2) * 9999 / 262142.
    cpuShares: weight === undefined ? undefined : Math.round(2 + ((weight - 1) * 262142) / 9999),
    memoryFailures: events.get('max'),
    oomKills: events.get('oom_kill'),
    threads: whole(read('pids', 'pids.current')),
    threadsMax: limit(read('pids', 'pids.max')),
    io,
  };
}

function detailsV1(read: ReadCgroupFile): DetailSample {
  const stat = keyed(read('cpu', 'cpu.stat'));
  return {
    cfs: cfsOf(stat, stat.get('throttled_time')),
    cpuPeriodMicros: whole(read('cpu', 'cpu.cfs_period_us')),
    // -1 without a quota.
    cpuQuotaMicros: whole(read('cpu', 'cpu.cfs_quota_us')),
    cpuShares: whole(read('cpu', 'cpu.shares')),
    memoryFailures: whole(read('memory', 'memory.failcnt')),
    oomKills: keyed(read('memory', 'memory.oom_control')).get('oom_kill'),
    threads: whole(read('pids', 'pids.current')),
    threadsMax: limit(read('pids', 'pids.max')),
    io: blkioV1(
      read('blkio', 'blkio.throttle.io_service_bytes_recursive'),
      read('blkio', 'blkio.throttle.io_serviced_recursive'),
    ),
  };
}

/** `8:0 Read 4096` lines of two files. */
function blkioV1(bytes: string | undefined, operations: string | undefined): DeviceIo[] {
  const devices = new Map<string, { -readonly [Key in keyof DeviceIo]: DeviceIo[Key] }>();
  const take = (text: string | undefined, read: 'readBytes' | 'reads', write: 'writeBytes' | 'writes'): void => {
    for (const line of (text ?? '').split('\n')) {
      const [device = '', operation, count] = line.split(' ');
      const value = whole(count);
      if (!isDevice(device) || value === undefined) continue;
      const io = devices.get(device) ?? { device, readBytes: 0, writeBytes: 0, reads: 0, writes: 0 };
      if (operation === 'Read') io[read] = value;
      if (operation === 'Write') io[write] = value;
      devices.set(device, io);
    }
  };
  take(bytes, 'readBytes', 'writeBytes');
  take(operations, 'reads', 'writes');
  return [...devices.values()];
}

function cfsOf(stat: ReadonlyMap<string, number>, throttledNs: number | undefined): DetailSample['cfs'] {
  const periods = stat.get('nr_periods');
  if (periods === undefined) return undefined;
  return { periods, throttledPeriods: stat.get('nr_throttled') ?? 0, throttledNs: throttledNs ?? 0 };
}

/** A flat keyed file: `name value` lines. */
function keyed(text: string | undefined): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of (text ?? '').split('\n')) {
    const space = line.indexOf(' ');
    const value = space < 0 ? undefined : whole(line.slice(space + 1));
    if (value !== undefined) values.set(line.slice(0, space), value);
  }
  return values;
}

/** A number without sign or fraction; `max`, -1 and anything else are undefined. */
function whole(text: string | undefined): number | undefined {
  const trimmed = text?.trim() ?? '';
  return /^\d{1,20}$/.test(trimmed) ? Number(trimmed) : undefined;
}

function limit(text: string | undefined): number | undefined {
  const value = whole(text);
  return value === undefined || value > unlimited ? undefined : value;
}

const scaled = (value: number | undefined, factor: number): number | undefined =>
  value === undefined ? undefined : value * factor;

const isDevice = (text: string): boolean => /^\d+:\d+$/.test(text);

function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++;
  return count;
}
