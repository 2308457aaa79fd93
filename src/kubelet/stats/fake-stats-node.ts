/**
 * A machine with pods for tests of the statistics: the text of its kernel files for cgroup v1 or v2, and a runtime that
 * names processes. Recorded on Linux 6.18 (v1, this project's CI machine) and in the form of Linux 6.12 (v2, Debian 13).
 * Layer: kubelet/stats (test support). Must not be imported by production code.
 */
import type { Pod } from '../../api/core.ts';
import { CriError, GrpcStatus } from '../../cri/cri-error.ts';
import type * as cri from '../../cri/messages.generated.ts';
import type { ContainerRecord } from '../plan/runtime-state.ts';
import type { ServedPod, ServedPods } from '../server/served-pods.ts';
import type { FilesystemUsage, HostFiles } from './host-files.ts';
import type { UsageSamplerOptions } from './usage-sample.ts';

export const gib = 1024 ** 3;
export const filesystem: FilesystemUsage = {
  capacityBytes: 100 * gib,
  availableBytes: 60 * gib,
  usedBytes: 35 * gib,
  inodes: 1000,
  inodesFree: 900,
};

const machine: Record<string, string> = {
  '/proc/stat': 'cpu  1000 50 500 90000 10 7 3 2 0 0\ncpu0 1000 50 500 90000 10 7 3 2 0 0\nbtime 1767220000\n',
  '/proc/meminfo': [
    'MemTotal:        8000000 kB',
    'Buffers:           10000 kB',
    'Cached:          3000000 kB',
    'SwapCached:            0 kB',
    'Inactive(file):  2000000 kB',
    'SwapTotal:        500000 kB',
    'SwapFree:         400000 kB',
    'AnonPages:       1500000 kB',
  ].join('\n'),
  '/proc/vmstat': 'nr_free_pages 3244967\npgfault 471737674\npgmajfault 12590\n',
  '/proc/loadavg': '1.36 3.49 4.53 2/3518 3715089\n',
  '/proc/sys/kernel/pid_max': '32768\n',
  '/proc/sys/kernel/threads-max': '31000\n',
  '/sys/devices/system/cpu/online': '0-1\n',
  '/proc/partitions': 'major minor  #blocks  name\n\n 254        0  268435456 vda\n',
};

const networkTable = (bytes: number): string =>
  [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo: 2888226011  915226    0    0    0     0          0         0 2888226011  915226    0    0    0     0       0          0',
    `  eth0: ${bytes}   48395    1    2    0     0          0         0  ${bytes * 2}   32786    3    4    0     0       0          0`,
    ' vethab:       1       1    0    0    0     0          0         0        1       1    0    0    0     0       0          0',
  ].join('\n');

const v1Mounts = ['cpu', 'cpuacct', 'memory', 'blkio', 'pids']
  .map(
    (name, index) => `${32 + index} 31 0:${30 + index} / /sys/fs/cgroup/${name} rw,relatime - cgroup cgroup rw,${name}`,
  )
  .concat('41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw')
  .join('\n');

const v2Mounts =
  '26 25 254:0 / / rw,relatime - ext4 /dev/vda rw\n31 26 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate';

/** Files of one v1 cgroup, by controller. @param scale multiplies the counters */
export const v1Files = (scale: number): Record<string, string> => ({
  'cpuacct/cpuacct.usage': `${scale * 1_500_000_000}\n`,
  'cpuacct/cpuacct.stat': `user ${scale * 100}\nsystem ${scale * 50}\n`,
  'cpu/cpu.stat': `nr_periods ${scale * 10}\nnr_throttled ${scale}\nthrottled_time ${scale * 7_000_000}\nnr_bursts 0\nburst_time 0\n`,
  'cpu/cpu.cfs_period_us': '100000\n',
  'cpu/cpu.cfs_quota_us': '50000\n',
  'cpu/cpu.shares': '512\n',
  'memory/memory.usage_in_bytes': `${scale * 10_000_000}\n`,
  'memory/memory.limit_in_bytes': '83886080\n',
  'memory/memory.memsw.limit_in_bytes': '83886080\n',
  'memory/memory.failcnt': '3\n',
  'memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
  'memory/memory.stat': [
    'cache 1',
    'rss 1',
    'inactive_file 1',
    'hierarchical_memory_limit 83886080',
    `total_cache ${scale * 4_000_000}`,
    `total_rss ${scale * 5_000_000}`,
    `total_mapped_file ${scale * 1000}`,
    `total_swap ${scale * 4096}`,
    `total_pgfault ${scale * 700}`,
    `total_pgmajfault ${scale * 7}`,
    `total_inactive_file ${scale * 3_000_000}`,
  ].join('\n'),
  'pids/pids.current': '4\n',
  'pids/pids.max': 'max\n',
  'pids/cgroup.procs': '10\n11\n',
  'blkio/blkio.throttle.io_service_bytes_recursive':
    '254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 8192\nTotal 12288\n',
  'blkio/blkio.throttle.io_serviced_recursive': '254:0 Read 1\n254:0 Write 2\nTotal 3\n',
});

export const v2Files = (scale: number): Record<string, string> => ({
  'cpu.stat': [
    `usage_usec ${scale * 1_500_000}`,
    `user_usec ${scale * 1_000_000}`,
    `system_usec ${scale * 500_000}`,
    'core_sched.force_idle_usec 0',
    `nr_periods ${scale * 10}`,
    `nr_throttled ${scale}`,
    `throttled_usec ${scale * 7_000}`,
  ].join('\n'),
  'cpu.max': '50000 100000\n',
  'cpu.weight': '20\n',
  'cpu.pressure':
    'some avg10=1.50 avg60=0.20 avg300=0.03 total=123456\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=456\n',
  'memory.pressure':
    'some avg10=0.00 avg60=0.00 avg300=0.00 total=10\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n',
  'io.pressure': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=8\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n',
  'memory.current': `${scale * 10_000_000}\n`,
  'memory.max': '83886080\n',
  'memory.swap.current': `${scale * 4096}\n`,
  'memory.swap.max': '0\n',
  'memory.events': 'low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n',
  'memory.stat': [
    `anon ${scale * 5_000_000}`,
    `file ${scale * 4_000_000}`,
    `file_mapped ${scale * 1000}`,
    `inactive_file ${scale * 3_000_000}`,
    `pgfault ${scale * 700}`,
    `pgmajfault ${scale * 7}`,
  ].join('\n'),
  'pids.current': '4\n',
  'pids.max': 'max\n',
  'cgroup.procs': '10\n11\n',
  'io.stat': '254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n',
});

export interface FakePodOptions {
  name?: string;
  uid?: string;
  hostNetwork?: boolean;
  containers?: string[];
  spec?: Partial<Pod['spec']>;
}

/** Pods lie in cgroups as Keelson and the kubelet make them with the cgroupfs driver, containers one below. */
export class FakeStatsNode {
  readonly files = new Map<string, string>(Object.entries(machine));
  readonly pods: ServedPod[] = [];
  /** Names of the CRI calls. */
  readonly calls: string[] = [];
  /** Containers whose process the runtime does not name. */
  readonly nameless = new Set<string>();
  readonly version: 1 | 2;
  #nextPid = 100;
  readonly #processes = new Map<string, number>();

  constructor(version: 1 | 2) {
    this.version = version;
    this.files.set('/proc/self/mountinfo', version === 1 ? v1Mounts : v2Mounts);
    this.files.set('/proc/self/net/dev', networkTable(1000));
    this.files.set('/proc/self/cgroup', this.#membership('/system.slice/kubelet.service'));
    this.addCgroup('/system.slice/kubelet.service', 2);
    this.addCgroup('/kubepods', 9);
    if (version === 2) {
      // The root cgroup counts no memory of its own.
      this.files.set('/sys/fs/cgroup/cpu.stat', 'usage_usec 99000000\nuser_usec 66000000\nsystem_usec 33000000\n');
      for (const resource of ['cpu', 'memory', 'io']) {
        this.files.set(`/proc/pressure/${resource}`, v2Files(1)[`${resource}.pressure`] ?? '');
      }
    } else this.files.set('/sys/fs/cgroup/cpuacct/cpuacct.usage', '99000000000\n');
  }

  addCgroup(path: string, scale: number): void {
    const files = this.version === 1 ? v1Files(scale) : v2Files(scale);
    for (const [name, text] of Object.entries(files)) {
      const [controller = '', file = ''] = name.split('/');
      const full = this.version === 1 ? `/sys/fs/cgroup/${controller}${path}/${file}` : `/sys/fs/cgroup${path}/${name}`;
      this.files.set(full, text);
    }
  }

  removeCgroup(path: string): void {
    for (const file of this.files.keys()) if (file.includes(`${path}/`)) this.files.delete(file);
  }

  addPod({
    name = 'web',
    uid = `uid-${name}`,
    hostNetwork = false,
    containers = ['main'],
    spec = {},
  }: FakePodOptions = {}): ServedPod {
    const createdAtMs = Date.UTC(2026, 0, 1);
    const cgroup = `/kubepods/burstable/pod${uid}`;
    this.addCgroup(cgroup, 3);
    this.#addProcess(`${name}-sandbox`, `${cgroup}/${name}-sandbox`);
    const served: ServedPod = {
      pod: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { namespace: 'default', name, uid },
        spec: { containers: [], ...spec },
      },
      status: { phase: 'Running', conditions: [] },
      state: {
        sandboxes: [{ id: `${name}-sandbox`, attempt: 0, ready: true, createdAtMs, ips: ['10.0.0.1'], hostNetwork }],
        containers: containers.map((container) => {
          const id = `${name}-${container}-id`;
          this.addCgroup(`${cgroup}/${id}`, 1);
          this.#addProcess(id, `${cgroup}/${id}`);
          return containerRecord(id, container, `${name}-sandbox`, createdAtMs);
        }),
      },
    };
    this.pods.push(served);
    return served;
  }

  get hostFiles(): HostFiles {
    return {
      read: (path) => this.files.get(path),
      filesystem: async (path) => (path.startsWith('/gone') ? undefined : filesystem),
    };
  }

  get served(): ServedPods {
    return { list: () => this.pods, find: () => undefined };
  }

  get runtime(): UsageSamplerOptions['runtime'] {
    const info = (id: string): Record<string, string> => {
      const pid = this.#processes.get(id);
      if (pid === undefined) throw CriError.fromStatus('ContainerStatus', GrpcStatus.notFound, 'no such container');
      const named = this.nameless.has(id) ? {} : { pid };
      return {
        info: JSON.stringify({ ...named, image: id.endsWith('-sandbox') ? 'registry.k8s.io/pause:3.10' : undefined }),
      };
    };
    return {
      containerStatus: async ({ containerId = '', verbose }) => {
        this.calls.push(`containerStatus ${containerId} ${verbose}`);
        return { status: undefined, info: info(containerId) };
      },
      podSandboxStatus: async ({ podSandboxId = '', verbose }) => {
        this.calls.push(`podSandboxStatus ${podSandboxId} ${verbose}`);
        return { status: undefined, info: info(podSandboxId), containersStatuses: [], timestamp: 0 };
      },
      listContainerStats: async () => {
        this.calls.push('listContainerStats');
        return {
          stats: this.pods.flatMap(({ state }) => state.containers.map((container) => containerStats(container.id))),
        };
      },
    };
  }

  #membership(path: string): string {
    return this.version === 2
      ? `0::${path}\n`
      : ['8:pids', '7:blkio', '4:memory', '2:cpuacct', '1:cpu', '0:'].map((line) => `${line}:${path}\n`).join('');
  }

  #addProcess(id: string, cgroup: string): void {
    const pid = this.#nextPid++;
    this.#processes.set(id, pid);
    this.files.set(`/proc/${pid}/cgroup`, this.#membership(cgroup));
    this.files.set(`/proc/${pid}/net/dev`, networkTable(500));
  }
}

export function containerRecord(id: string, name: string, sandboxId: string, createdAtMs: number): ContainerRecord {
  return {
    id,
    sandboxId,
    name,
    attempt: 0,
    phase: 'running',
    image: 'busybox:1',
    imageRef: 'busybox@sha256:0',
    createdAtMs,
    startedAtMs: createdAtMs,
    finishedAtMs: undefined,
    exitCode: 0,
    reason: '',
    message: '',
    logPath: '',
    annotations: {},
  };
}

/** As containerd answers, with a layer of 24 KiB. */
function containerStats(id: string): cri.ContainerStats {
  return {
    attributes: { id, metadata: { name: 'main', attempt: 0 }, labels: {}, annotations: {} },
    cpu: { timestamp: 1, usageCoreNanoSeconds: { value: 77 }, usageNanoCores: undefined, psi: undefined },
    memory: {
      timestamp: 1,
      workingSetBytes: { value: 88 },
      availableBytes: undefined,
      usageBytes: { value: 99 },
      rssBytes: undefined,
      pageFaults: undefined,
      majorPageFaults: undefined,
      psi: undefined,
    },
    writableLayer: {
      timestamp: 0,
      fsId: { mountpoint: '/var/lib/containerd' },
      usedBytes: { value: 24_576 },
      inodesUsed: { value: 9 },
    },
    swap: undefined,
    io: undefined,
  };
}
