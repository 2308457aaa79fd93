/** Settings as systemd's properties: what it can keep, and what is infinity for it. */
import test from 'ava';
import fc from 'fast-check';
import { cpuBits, forSystemd, sliceProperties, systemdProperties } from './systemd-properties.ts';

const infinity = 2n ** 64n - 1n;
const values = (settings: Parameters<typeof systemdProperties>[0]) =>
  Object.fromEntries(systemdProperties(settings).map(({ name, value }) => [name, value]));

test('each setting has its property; huge pages have none', (t) => {
  const settings = {
    cpuWeight: 39,
    cpuMax: { quotaUs: 20_000, periodUs: 100_000 },
    memoryMax: 67_108_864,
    pidsMax: 100,
    hugetlbMax: new Map([['2MB', 0]]),
    cpus: '0-1',
  };
  t.deepEqual(values(settings), {
    AllowedCPUs: [3],
    CPUWeight: 39n,
    CPUQuotaPeriodUSec: 100_000n,
    CPUQuotaPerSecUSec: 200_000n,
    MemoryMax: 67_108_864n,
    TasksMax: 100n,
  });
  t.deepEqual(values({}), {});
});

test('no limit is infinity, and no processes at all cannot be said', (t) => {
  t.deepEqual(values({ cpuMax: { quotaUs: 'max', periodUs: 100_000 }, memoryMax: 'max', pidsMax: 'max' }), {
    CPUQuotaPeriodUSec: 100_000n,
    CPUQuotaPerSecUSec: infinity,
    MemoryMax: infinity,
    TasksMax: infinity,
  });
  t.deepEqual(values({ memoryMax: 2 ** 63, pidsMax: 0 }), { MemoryMax: infinity, TasksMax: 1n });
});

test('a quota is rounded up to whole percents of a CPU', (t) => {
  const rounded = (quotaUs: number, periodUs: number) => forSystemd({ cpuMax: { quotaUs, periodUs } }).cpuMax?.quotaUs;
  t.is(rounded(20_000, 100_000), 20_000);
  t.is(rounded(1500, 100_000), 2000);
  t.is(rounded(12_345, 100_000), 13_000);
  t.is(rounded(1000, 1_000_000), 10_000);
  t.deepEqual(forSystemd({ cpuMax: { quotaUs: 'max', periodUs: 5000 } }), {
    cpuMax: { quotaUs: 'max', periodUs: 5000 },
  });
});

test('rounding never takes anything, adds less than a percent, and once is enough', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1000, max: 10_000_000 }),
      fc.integer({ min: 1000, max: 1_000_000 }),
      (quotaUs, periodUs) => {
        const once = forSystemd({ cpuMax: { quotaUs, periodUs } });
        const to = once.cpuMax?.quotaUs as number;
        const again = forSystemd(once).cpuMax?.quotaUs as number;
        return to >= quotaUs - 1 && to - quotaUs <= periodUs / 100 && Math.abs(again - to) <= periodUs / 100;
      },
    ),
  );
  t.pass();
});

test('CPUs as bits, the lowest first', (t) => {
  t.deepEqual(cpuBits('0'), [1]);
  t.deepEqual(cpuBits('0-7'), [255]);
  t.deepEqual(cpuBits('1,8-9,23'), [2, 3, 128]);
  t.deepEqual(cpuBits('all'), []);
});

test('a slice wants its parent and counts what it uses', (t) => {
  const names = sliceProperties('kubepods.slice').map(({ name, value }) => `${name}=${String(value)}`);
  t.true(names.includes('Wants=kubepods.slice'));
  t.true(names.includes('DefaultDependencies=false'));
  t.is(names.filter((name) => name.endsWith('Accounting=true')).length, 4);
});
