/** The limits of all pods together, of the classes and of reserved cgroups. */
import test from 'ava';
import { parseQuantity, type Quantity } from '../../config/quantity.ts';
import { CgroupError } from './cgroup-error.ts';
import {
  bestEffortSettings,
  burstableSettings,
  checkReservations,
  podsSettings,
  reservedSettings,
} from './node-settings.ts';

const amounts = (list: Record<string, string>): Map<string, Quantity> =>
  new Map(Object.entries(list).map(([name, text]) => [name, parseQuantity(text)]));

const machine = {
  cores: 4,
  memoryBytes: 8 * 2 ** 30,
  pids: 32_768,
  hugePages: new Map([
    ['2MB', 64 * 2 ** 20],
    ['1GB', 0],
  ]),
  cpus: '0-3',
};
const reservations = {
  systemReserved: amounts({ cpu: '500m', memory: '1Gi', pid: '1000' }),
  kubeReserved: amounts({ cpu: '100m', memory: '512Mi', pid: '768' }),
};

test('all pods together get the capacity less what is reserved', (t) => {
  t.deepEqual(podsSettings(machine, reservations, true), {
    // 3400m are 3481 shares.
    cpuWeight: 133,
    memoryMax: 6.5 * 2 ** 30,
    pidsMax: 31_000,
    hugetlbMax: machine.hugePages,
    cpus: '0-3',
  });
});

test('without enforcement they get the capacity', (t) => {
  const { cpuWeight, memoryMax, pidsMax } = podsSettings(machine, reservations, false);
  t.deepEqual([cpuWeight, memoryMax, pidsMax], [157, 8 * 2 ** 30, 32_768]);
});

test('what is not known is not set, and nothing is below zero', (t) => {
  const settings = podsSettings(
    { ...machine, pids: undefined, cpus: undefined },
    { systemReserved: amounts({ cpu: '99', memory: '99Gi' }), kubeReserved: new Map() },
    true,
  );
  t.deepEqual(settings, { cpuWeight: 1, memoryMax: 0, hugetlbMax: machine.hugePages });
});

test('the classes: huge pages are not theirs to limit', (t) => {
  const free = new Map([['2MB', 'max']]);
  t.deepEqual(burstableSettings(1000, ['2MB']), { cpuWeight: 39, hugetlbMax: free });
  t.deepEqual(burstableSettings(0, ['2MB']), { cpuWeight: 1, hugetlbMax: free });
  t.deepEqual(bestEffortSettings(['2MB']), { cpuWeight: 1, hugetlbMax: free });
});

test('a reserved cgroup gets its amounts, a compressible one only CPU', (t) => {
  const { systemReserved } = reservations;
  t.deepEqual(reservedSettings(systemReserved, false, ['2MB']), {
    cpuWeight: 20,
    memoryMax: 2 ** 30,
    pidsMax: 1000,
    hugetlbMax: new Map([['2MB', 0]]),
  });
  t.deepEqual(reservedSettings(systemReserved, true, ['2MB']), { cpuWeight: 20 });
  t.is(reservedSettings(new Map(), false, ['2MB']), undefined);
  t.is(reservedSettings(amounts({ memory: '1Gi' }), true, []), undefined);
});

test('a machine that has less than is reserved is refused, with each resource', (t) => {
  checkReservations(machine, reservations, 100 * 2 ** 20);
  const more = { systemReserved: amounts({ cpu: '4', memory: '7Gi' }), kubeReserved: amounts({ cpu: '1m' }) };
  const error = t.throws(() => checkReservations(machine, more, 2 ** 30 + 1), { instanceOf: CgroupError });
  t.is(error?.code, 'CGROUP_RESERVATION');
  t.regex(error?.message ?? '', /4001m of cpu, but there is 4; .* of memory, but there is 8Gi/);
  t.notThrows(() => checkReservations(machine, { ...more, kubeReserved: new Map() }, 2 ** 30));
});
