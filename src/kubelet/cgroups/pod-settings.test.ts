/** What a pod's cgroup is set to: the kubelet's formulas for the three classes, and what counts as a limit. */
import test from 'ava';
import fc from 'fast-check';
import type { Container, Pod, PodSpec } from '../../api/core.ts';
import { makePod, named, sidecar } from '../plan/planned-pod.fake.ts';
import { cpuWeight, fileValues, saysSame } from './cgroup-settings.ts';
import { burstableMilliCores, podSettings } from './pod-settings.ts';

const context = {
  enforceCpuQuota: true,
  cpuQuotaPeriodUs: 100_000,
  podPidsLimit: -1,
  hugePageSizes: ['2MB', '1GB'],
};

const files = (pod: Pod, more: Partial<typeof context> = {}): Record<string, string> =>
  Object.fromEntries(fileValues(podSettings(pod, { ...context, ...more })).map(({ file, value }) => [file, value]));

const box = (requests: Record<string, string>, limits: Record<string, string> = {}, name = 'a'): Container =>
  named(name, { resources: { requests, limits } });
const pod = (containers: Container[], more: Partial<PodSpec> = {}): Pod => makePod({ containers, ...more });

const noHugePages = {
  'hugetlb.2MB.max': '0',
  'hugetlb.2MB.rsvd.max': '0',
  'hugetlb.1GB.max': '0',
  'hugetlb.1GB.rsvd.max': '0',
};

test('weights are those of the kubelet', (t) => {
  // getCPUWeight: 1 + (shares - 2) * 9999 / 262142, in whole numbers.
  const expected = [
    [2, 1],
    [3, 1],
    [28, 1],
    [29, 2],
    [102, 4],
    [1024, 39],
    [2048, 79],
    [4096, 157],
    [131_072, 5000],
    [262_143, 9999],
    [262_144, 10_000],
    [999_999, 10_000],
    [0, 1],
  ] as const;
  t.deepEqual(
    expected.map(([shares]) => cpuWeight(shares)),
    expected.map(([, weight]) => weight),
  );
});

test('Guaranteed: weight, quota and memory of what it has', (t) => {
  const both = { cpu: '500m', memory: '64Mi' };
  t.deepEqual(files(pod([box(both, both)])), {
    'cpu.weight': '20',
    'cpu.max': '50000 100000',
    'memory.max': '67108864',
    'pids.max': 'max',
    ...noHugePages,
  });
});

test('BestEffort: the least weight, no limit', (t) => {
  t.deepEqual(files(pod([named('a')]), { podPidsLimit: 100 }), {
    'cpu.weight': '1',
    'cpu.max': 'max 100000',
    'memory.max': 'max',
    'pids.max': '100',
    ...noHugePages,
  });
});

test('Burstable: limits only where every container has one', (t) => {
  const limited = box({ cpu: '100m' }, { cpu: '200m', memory: '10Mi' }, 'a');
  const half = box({ cpu: '100m' }, { memory: '1000001' }, 'b');
  const values = files(pod([limited, half]));
  t.is(values['cpu.weight'], '8');
  t.is(values['cpu.max'], 'max 100000');
  t.is(values['memory.max'], String(10 * 2 ** 20 + 1_000_001));
  // One that runs before the others counts as well.
  const before = { initContainers: [named('i')] };
  t.is(files(pod([limited], before))['cpu.max'], 'max 100000');
  t.is(files(pod([limited], before))['memory.max'], 'max');
  t.is(files(pod([limited]))['cpu.max'], '20000 100000');
});

test('init containers count with their most, sidecars with the main ones', (t) => {
  const main = box({ cpu: '100m' }, { cpu: '100m', memory: '10Mi' });
  const init = box({ cpu: '300m' }, { cpu: '300m', memory: '30Mi' }, 'i');
  const side = sidecar('s', { resources: { requests: { cpu: '50m' }, limits: { cpu: '50m', memory: '5Mi' } } });
  t.is(files(pod([main], { initContainers: [init] }))['cpu.max'], '30000 100000');
  t.is(files(pod([main], { initContainers: [side, init] }))['cpu.max'], '35000 100000');
  t.is(files(pod([main], { initContainers: [side] }))['memory.max'], String(15 * 2 ** 20));
});

test('what the pod says itself is its limit, whatever its containers say', (t) => {
  const resources = { requests: { cpu: '1', memory: '64Mi' }, limits: { cpu: '2', memory: '128Mi' } };
  const values = files(pod([named('a'), named('b')], { resources }));
  t.is(values['cpu.weight'], '39');
  t.is(values['cpu.max'], '200000 100000');
  t.is(values['memory.max'], String(128 * 2 ** 20));
  t.is(files(pod([named('a')], { resources: { requests: { cpu: '1' } } }))['cpu.max'], 'max 100000');
});

test('overhead is the pods own', (t) => {
  const limited = box({ cpu: '1', memory: '1Mi' }, { cpu: '1', memory: '1Mi' });
  const values = files(pod([limited], { overhead: { cpu: '250m', memory: '3Mi' } }));
  t.is(values['cpu.max'], '125000 100000');
  t.is(values['memory.max'], String(4 * 2 ** 20));
});

test('quotas: not enforced, another period, no less than a millisecond', (t) => {
  const both = { cpu: '500m', memory: '64Mi' };
  t.is(files(pod([box(both, both)]), { enforceCpuQuota: false })['cpu.max'], 'max 100000');
  t.is(files(pod([box(both, both)]), { cpuQuotaPeriodUs: 10_000 })['cpu.max'], '5000 10000');
  const little = { cpu: '1m', memory: '1Mi' };
  t.is(files(pod([box(little, little)]))['cpu.max'], '1000 100000');
});

test('huge pages are limited to what is requested, of each size', (t) => {
  const huge = { 'hugepages-2Mi': '8Mi', memory: '1Mi', cpu: '1' };
  const values = files(pod([box(huge, huge), box(huge, huge, 'b')]));
  t.is(values['hugetlb.2MB.max'], String(16 * 2 ** 20));
  t.is(values['hugetlb.2MB.rsvd.max'], String(16 * 2 ** 20));
  t.is(values['hugetlb.1GB.max'], '0');
});

test('amounts that no kernel takes are no limit, and never no number', (t) => {
  const much = { cpu: '9e17', memory: '9e30' };
  const values = files(pod([box(much, much)]), { podPidsLimit: Number.MAX_SAFE_INTEGER });
  t.deepEqual([values['cpu.max'], values['memory.max'], values['pids.max']], ['max 100000', 'max', 'max']);
  t.is(values['cpu.weight'], '10000');
  t.is(files(pod([box({}, { memory: '4Ei' })]))['memory.max'], String(2n ** 62n));
});

test('a Burstable pod adds what it requests to its class, others nothing', (t) => {
  const both = { cpu: '500m', memory: '64Mi' };
  t.is(burstableMilliCores(pod([box({ cpu: '250m' })])), 250);
  t.is(burstableMilliCores(pod([box(both, both)])), 0);
  t.is(burstableMilliCores(pod([named('a')])), 0);
});

test('whatever is requested, the weight is one that the kernel takes', (t) => {
  const amount = fc
    .tuple(fc.nat(), fc.nat(999), fc.constantFrom('', 'n', 'u', 'm', 'k', 'M', 'G'))
    .map(([whole, part, suffix]) => `${whole}.${part}${suffix}`);
  fc.assert(
    fc.property(amount, fc.option(amount), (request, limit) => {
      const values = files(pod([box({ cpu: request }, limit === null ? {} : { cpu: limit })]));
      const weight = Number(values['cpu.weight']);
      return (
        Number.isInteger(weight) &&
        weight >= 1 &&
        weight <= 10_000 &&
        /^(max|\d{4,14}) 100000$/.test(values['cpu.max'] ?? '')
      );
    }),
  );
  t.pass();
});

test('a value that the kernel keeps in whole pages is the same', (t) => {
  t.true(saysSame('memory.max', '999424', '1000000'));
  t.true(saysSame('memory.max', '983040', '1000000'));
  t.false(saysSame('memory.max', '995328', '1000000'));
  t.false(saysSame('memory.max', 'max', '1000000'));
  t.false(saysSame('memory.max', undefined, '1000000'));
  t.true(saysSame('cpu.max', 'max 100000', 'max 100000'));
  t.false(saysSame('cpu.weight', '1', '2'));
  t.false(saysSame('cpuset.cpus', '0-1', '0'));
});
