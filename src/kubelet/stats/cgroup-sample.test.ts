import test from 'ava';
import fc from 'fast-check';
import { type CgroupSample, parsePsi, type ReadCgroupFile, sampleCgroup } from './cgroup-sample.ts';
import { v1Files, v2Files } from './fake-stats-node.ts';

const reader =
  (files: Record<string, string | undefined>, version: 1 | 2): ReadCgroupFile =>
  (controller, file) =>
    files[version === 1 ? `${controller}/${file}` : file];

const common: Partial<CgroupSample> = {
  timeMs: 7,
  cpu: { usageNs: 3e9, userNs: 2e9, systemNs: 1e9 },
  memory: {
    usageBytes: 20_000_000,
    workingSetBytes: 14_000_000,
    rssBytes: 10_000_000,
    cacheBytes: 8_000_000,
    mappedFileBytes: 2000,
    limitBytes: 83_886_080,
    pageFaults: 1400,
    majorPageFaults: 14,
    swapBytes: 8192,
    swapLimitBytes: 0,
  },
  processes: 2,
};

const details = {
  cfs: { periods: 20, throttledPeriods: 2, throttledNs: 14_000_000 },
  cpuPeriodMicros: 100_000,
  cpuQuotaMicros: 50_000,
  memoryFailures: 3,
  oomKills: 2,
  threads: 4,
  threadsMax: undefined,
  io: [{ device: '254:0', readBytes: 4096, writeBytes: 8192, reads: 1, writes: 2 }],
};

test('the same figures from the files of v1', (t) => {
  t.deepEqual(sampleCgroup(1, reader(v1Files(2), 1), 'details', 7), {
    ...common,
    pressure: {},
    details: { ...details, cpuShares: 512 },
  } as CgroupSample);
});

test('the same figures from the files of v2', (t) => {
  const sample = sampleCgroup(2, reader(v2Files(2), 2), 'details', 7);
  t.like(sample, common);
  t.deepEqual(sample.details, { ...details, cpuShares: 500 });
  t.deepEqual(sample.pressure.cpu, {
    some: { avg10: 1.5, avg60: 0.2, avg300: 0.03, totalNs: 123_456_000 },
    full: { avg10: 0.1, avg60: 0, avg300: 0, totalNs: 456_000 },
  });
  t.deepEqual(Object.keys(sample.pressure), ['cpu', 'memory', 'io']);
});

test('a limit that is none is undefined, on both versions', (t) => {
  const v1 = { ...v1Files(1), 'memory/memory.limit_in_bytes': '9223372036854771712\n', 'cpu/cpu.cfs_quota_us': '-1\n' };
  const one = sampleCgroup(1, reader(v1, 1), 'details', 0);
  t.is(one.memory?.limitBytes, undefined);
  t.is(one.details?.cpuQuotaMicros, undefined);
  const v2 = { ...v2Files(1), 'memory.max': 'max\n', 'memory.swap.max': 'max\n', 'cpu.max': 'max 100000\n' };
  const two = sampleCgroup(2, reader(v2, 2), 'details', 0);
  t.is(two.memory?.limitBytes, undefined);
  t.is(two.memory?.swapLimitBytes, undefined);
  t.is(two.details?.cpuQuotaMicros, undefined);
  t.is(two.details?.cpuPeriodMicros, 100_000);
});

test('the working set is never negative', (t) => {
  const files = { ...v2Files(1), 'memory.stat': 'inactive_file 99999999999\n' };
  t.is(sampleCgroup(2, reader(files, 2), 'usage', 0).memory?.workingSetBytes, 0);
});

test('v1 without hierarchy and without swap accounting', (t) => {
  const files = {
    ...v1Files(1),
    'memory/memory.stat': 'cache 40\nrss 50\ninactive_file 30\npgfault 7\n',
    'memory/memory.memsw.limit_in_bytes': undefined,
  };
  const { memory } = sampleCgroup(1, reader(files, 1), 'usage', 0);
  t.like(memory, { rssBytes: 50, cacheBytes: 40, workingSetBytes: 9_999_970, swapBytes: undefined });
  t.is(memory?.swapLimitBytes, undefined);
});

test('a shallow look reads no file that it does not need', (t) => {
  for (const version of [1, 2] as const) {
    const asked: string[] = [];
    const files = version === 1 ? v1Files(1) : v2Files(1);
    const read: ReadCgroupFile = (controller, file) => {
      asked.push(file);
      return reader(files, version)(controller, file);
    };
    const sample = sampleCgroup(version, read, 'usage', 0);
    t.true(asked.length <= 6, asked.join(' '));
    t.is(sample.processes, undefined);
    t.is(sample.details, undefined);
    t.deepEqual(sample.pressure, {});
  }
});

test('a cgroup without files has no figures', (t) => {
  for (const version of [1, 2] as const) {
    const sample = sampleCgroup(version, () => undefined, 'details', 0);
    t.is(sample.cpu, undefined);
    t.is(sample.memory, undefined);
    t.deepEqual(sample.details?.io, []);
  }
});

test('PSI of a kernel that has no full line for CPU', (t) => {
  const psi = parsePsi('some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n');
  t.is(psi?.some.totalNs, 5000);
  t.is(psi?.full.totalNs, 0);
  t.is(parsePsi(undefined), undefined);
  t.is(parsePsi('some avg10=x'), undefined);
});

test('whatever the files hold, figures are whole and not negative', (t) => {
  const word = fc.oneof(fc.string(), fc.constantFrom('-1', 'max', '1e9', '0x10', ' 12', '99999999999999999999'));
  fc.assert(
    fc.property(fc.constantFrom(1 as const, 2 as const), word, (version, text) => {
      const sample = sampleCgroup(version, () => `usage_usec ${text}\n${text}`, 'details', 0);
      const numbers = JSON.stringify(sample).match(/:(-?[\d.eE+-]+)/g) ?? [];
      return numbers.every((number) => Number(number.slice(1)) >= 0);
    }),
  );
  t.pass();
});
