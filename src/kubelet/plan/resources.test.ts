import test from 'ava';
import fc from 'fast-check';
import type { Pod, ResourceRequirements } from '../../api/core.ts';
import { containerResources, cpuQuota, cpuShares, oomScoreAdj, qosClass } from './resources.ts';

const pod = (...resources: (ResourceRequirements | undefined)[]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'team', uid: 'u1' },
  spec: {
    containers: resources.map((each, i) => ({ name: `c${i}`, image: 'i', ...(each ? { resources: each } : {}) })),
  },
});
const node = { memoryBytes: 4 * 2 ** 30, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 };
const resourcesOf = (resources: ResourceRequirements) => {
  const one = pod(resources);
  return containerResources(one, one.spec.containers[0]!, node);
};

for (const [milliCores, shares] of [
  [0, 2],
  [1, 2],
  [2, 2],
  [100, 102],
  [1000, 1024],
  [256_000, 262_144],
  [1_000_000, 262_144],
] as const) {
  test(`${milliCores} millicores are ${shares} shares`, (t) => t.is(cpuShares(milliCores), shares));
}

for (const [milliCores, periodUs, quotaUs] of [
  [0, 100_000, 0],
  [1, 100_000, 1000],
  [10, 100_000, 1000],
  [500, 100_000, 50_000],
  [1500, 100_000, 150_000],
  [500, 5_000, 2_500],
] as const) {
  test(`${milliCores} millicores at ${periodUs} us are a quota of ${quotaUs} us`, (t) => {
    t.is(cpuQuota(milliCores, periodUs), quotaUs);
  });
}

test("shares and quota never leave the kernel's range, and more is never less", (t) => {
  fc.assert(
    fc.property(fc.nat(10_000_000), fc.nat(10_000_000), (a, b) => {
      const [less, more] = a < b ? [a, b] : [b, a];
      t.true(cpuShares(less) >= 2 && cpuShares(more) <= 262_144 && cpuShares(less) <= cpuShares(more));
      t.true(less === 0 || cpuQuota(less, 100_000) >= 1000);
    }),
  );
});

for (const [what, resources, expected] of [
  ['nothing', {}, { cpuShares: 2, cpuQuotaUs: 0, memoryLimitBytes: 0 }],
  ['a request', { requests: { cpu: '250m' } }, { cpuShares: 256, cpuQuotaUs: 0, memoryLimitBytes: 0 }],
  [
    'a limit is the request as well',
    { limits: { cpu: '1', memory: '1Mi' } },
    { cpuShares: 1024, cpuQuotaUs: 100_000, memoryLimitBytes: 2 ** 20 },
  ],
  [
    'a request of 0 stays 0',
    { limits: { cpu: '1' }, requests: { cpu: '0' } },
    { cpuShares: 2, cpuQuotaUs: 100_000, memoryLimitBytes: 0 },
  ],
  [
    'fractions round up',
    { limits: { cpu: '0.0005', memory: '1.5' } },
    { cpuShares: 2, cpuQuotaUs: 1000, memoryLimitBytes: 2 },
  ],
] as const) {
  test(`container resources: ${what}`, (t) => t.like(resourcesOf(resources as ResourceRequirements), expected));
}

test('cpuCFSQuota: false sets no quota', (t) => {
  const one = pod({ limits: { cpu: '1' } });
  const free = { ...node, enforceCpuQuota: false };
  t.is(containerResources(one, one.spec.containers[0]!, free).cpuQuotaUs, 0);
});

const both = { cpu: '1', memory: '1Gi' };
for (const [what, containers, expected] of [
  ['nothing asked', [undefined], 'BestEffort'],
  ['zeros asked', [{ requests: { cpu: '0' }, limits: { memory: '0' } }], 'BestEffort'],
  ['limits only', [{ limits: both }], 'Guaranteed'],
  ['equal amounts', [{ limits: both, requests: { cpu: '1000m', memory: '1024Mi' } }], 'Guaranteed'],
  ['less requested', [{ limits: both, requests: { cpu: '500m', memory: '1Gi' } }], 'Burstable'],
  ['a request of 0 under a limit', [{ limits: both, requests: { cpu: '0', memory: '1Gi' } }], 'Burstable'],
  ['memory only', [{ limits: { memory: '1Gi' } }], 'Burstable'],
  ['one of two', [{ limits: both }, undefined], 'Burstable'],
  ['both of two', [{ limits: both }, { limits: both }], 'Guaranteed'],
  ['storage does not count', [{ requests: { 'ephemeral-storage': '1Gi' } }], 'BestEffort'],
] as const) {
  test(`quality of service: ${what} is ${expected}`, (t) => {
    t.is(qosClass(pod(...(containers as readonly (ResourceRequirements | undefined)[]))), expected);
  });
}

for (const [what, one, expected] of [
  ['Guaranteed', pod({ limits: both }), -997],
  ['BestEffort', pod(undefined), 1000],
  ['a quarter of the node', pod({ requests: { memory: '1Gi' } }), 750],
  ['all of the node', pod({ requests: { memory: '4Gi' } }), 3],
  ['more than the node', pod({ requests: { memory: '40Gi' } }), 3],
  ['next to nothing', pod({ requests: { memory: '1' } }), 999],
  ['burstable by CPU', pod({ requests: { cpu: '1' } }), 999],
] as const) {
  test(`oom_score_adj: ${what} is ${expected}`, (t) => {
    t.is(oomScoreAdj(one, one.spec.containers[0]!, node.memoryBytes), expected);
  });
}

test('oom_score_adj: a node-critical pod goes last, whatever it asks for', (t) => {
  const critical = pod(undefined);
  critical.spec.priorityClassName = 'system-node-critical';
  t.is(oomScoreAdj(critical, critical.spec.containers[0]!, node.memoryBytes), -997);
  critical.spec.priorityClassName = 'system-cluster-critical';
  critical.spec.priority = 2_000_000_000;
  t.is(oomScoreAdj(critical, critical.spec.containers[0]!, node.memoryBytes), 1000);
});
