import test from 'ava';
import fc from 'fast-check';
import type { Pod, ResourceRequirements } from '../../api/core.ts';
import { formatQuantity } from '../../config/quantity.ts';
import { podLimits, podRequests } from './pod-requests.ts';
import {
  containerResources,
  cpuQuota,
  cpuShares,
  oomScoreAdj,
  pageSizeName,
  qosClass,
  sandboxResources,
} from './resources.ts';

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
  ['nothing', {}, { cpuShares: 2, cpuQuota: 0, memoryLimitInBytes: 0 }],
  ['a request', { requests: { cpu: '250m' } }, { cpuShares: 256, cpuQuota: 0, memoryLimitInBytes: 0 }],
  [
    'a limit is the request as well',
    { limits: { cpu: '1', memory: '1Mi' } },
    { cpuShares: 1024, cpuQuota: 100_000, memoryLimitInBytes: 2 ** 20 },
  ],
  [
    'a request of 0 stays 0',
    { limits: { cpu: '1' }, requests: { cpu: '0' } },
    { cpuShares: 2, cpuQuota: 100_000, memoryLimitInBytes: 0 },
  ],
  [
    'fractions round up',
    { limits: { cpu: '0.0005', memory: '1.5' } },
    { cpuShares: 2, cpuQuota: 1000, memoryLimitInBytes: 2 },
  ],
] as const) {
  test(`container resources: ${what}`, (t) => t.like(resourcesOf(resources as ResourceRequirements), expected));
}

test('cpuCFSQuota: false sets no quota', (t) => {
  const one = pod({ limits: { cpu: '1' } });
  const free = { ...node, enforceCpuQuota: false };
  t.is(containerResources(one, one.spec.containers[0]!, free).cpuQuota, 0);
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

const withInit = (main: ResourceRequirements, init: (ResourceRequirements & { sidecar?: boolean })[]): Pod => {
  const one = pod(main);
  one.spec.initContainers = init.map(({ sidecar, ...resources }, i) => ({
    name: `i${i}`,
    image: 'i',
    resources,
    ...(sidecar ? { restartPolicy: 'Always' as const } : {}),
  }));
  return one;
};
const cpuOf = (one: Pod): string => formatQuantity({ nanos: podRequests(one).get('cpu') ?? 0n, format: 'DecimalSI' });
const cpu = (amount: string, sidecar = false) => ({ requests: { cpu: amount }, sidecar });

for (const [what, main, init, expected] of [
  ['the sum of main containers', '1', [], '1'],
  ['an init container that wants more', '1', [cpu('3')], '3'],
  ['an init container that wants less', '1', [cpu('500m')], '1'],
  ['sidecars beside the main ones', '1', [cpu('200m', true), cpu('300m', true)], '1500m'],
  ['an init container after a sidecar', '1', [cpu('200m', true), cpu('2')], '2200m'],
  ['an init container before a sidecar', '1', [cpu('2'), cpu('200m', true)], '2'],
] as const) {
  test(`requests of a pod: ${what}`, (t) => {
    t.is(cpuOf(withInit({ requests: { cpu: main } }, init as never)), expected);
  });
}

test('requests of a pod: what it says itself goes first, overhead comes on top', (t) => {
  const one = withInit({ requests: { cpu: '1', memory: '1Gi' } }, []);
  one.spec.overhead = { cpu: '250m', memory: '10Mi' };
  one.spec.resources = { requests: { cpu: '4' }, limits: { cpu: '5' } };
  t.is(cpuOf(one), '4250m');
  t.is(podRequests(one).get('memory'), BigInt(2 ** 30 + 10 * 2 ** 20) * 1_000_000_000n);
  // Overhead makes no limit where there is none.
  t.is(podLimits(one).get('cpu'), 5_250_000_000n);
  t.false(podLimits(one).has('memory'));
});

test('requests of a pod are never less than those of any of its containers', (t) => {
  const amount = fc.integer({ min: 0, max: 5000 });
  fc.assert(
    fc.property(
      amount,
      fc.array(fc.record({ milli: amount, sidecar: fc.boolean() }), { maxLength: 6 }),
      (main, inits) => {
        const total = podRequests(
          withInit(
            { requests: { cpu: `${main}m` } },
            inits.map(({ milli, sidecar }) => cpu(`${milli}m`, sidecar)),
          ),
        );
        const milli = Number((total.get('cpu') ?? 0n) / 1_000_000n);
        const sidecars = inits.filter(({ sidecar }) => sidecar).reduce((sum, { milli: each }) => sum + each, 0);
        // By the definition: the most of what runs at any time.
        let before = 0;
        let most = main + sidecars;
        for (const { milli: each, sidecar } of inits) {
          most = Math.max(most, before + each);
          if (sidecar) before += each;
        }
        return milli === most;
      },
    ),
  );
  t.pass();
});

for (const [what, one, expected] of [
  ['init containers count', withInit({ limits: both }, [{}]), 'Burstable'],
  ['equal init containers', withInit({ limits: both }, [{ limits: both }]), 'Guaranteed'],
  ['only an init container asks', withInit({}, [{ requests: { cpu: '1' } }]), 'Burstable'],
] as const) {
  test(`quality of service: ${what} is ${expected}`, (t) => t.is(qosClass(one), expected));
}

test('quality of service: pod-level resources decide alone, and what the API server said before all', (t) => {
  const one = pod(undefined);
  one.spec.resources = { limits: both, requests: both };
  t.is(qosClass(one), 'Guaranteed');
  one.spec.resources = { requests: { cpu: '1' } };
  t.is(qosClass(one), 'Burstable');
  one.status = { phase: 'Running', conditions: [], qosClass: 'BestEffort' };
  t.is(qosClass(one), 'BestEffort');
});

test('oom_score_adj: a sidecar does not go before the main containers', (t) => {
  const one = withInit({ requests: { memory: '2Gi' } }, [
    { requests: { memory: '1Gi' }, sidecar: true },
    { requests: { memory: '1Gi' } },
  ]);
  const [sidecar, plain] = one.spec.initContainers ?? [];
  t.is(oomScoreAdj(one, one.spec.containers[0]!, node.memoryBytes), 500);
  t.is(oomScoreAdj(one, sidecar!, node.memoryBytes), 500);
  t.is(oomScoreAdj(one, plain!, node.memoryBytes), 750);
});

test('oom_score_adj: what the pod requests beyond its containers is shared by them', (t) => {
  const one = pod({ requests: { memory: '1Gi' } }, undefined);
  one.spec.resources = { requests: { memory: '3Gi' } };
  t.is(oomScoreAdj(one, one.spec.containers[0]!, node.memoryBytes), 500);
  t.is(oomScoreAdj(one, one.spec.containers[1]!, node.memoryBytes), 750);
});

test('a container without limits has those of its pod', (t) => {
  const one = pod({ limits: { cpu: '1' } }, undefined);
  one.spec.resources = { limits: { cpu: '2', memory: '1Gi' } };
  const [own, none] = one.spec.containers.map((container) => containerResources(one, container, node));
  t.like(own, { cpuQuota: 100_000, memoryLimitInBytes: 2 ** 30 });
  t.like(none, { cpuQuota: 200_000, cpuShares: 2048, memoryLimitInBytes: 2 ** 30 });
});

test('huge pages: every size of the node has a limit, 0 unless asked for', (t) => {
  const one = pod({ limits: { cpu: '1', 'hugepages-2Mi': '8Mi', 'hugepages-32Mi': '32Mi' } });
  const sizes = { ...node, hugePageSizes: ['2MB', '1GB'] };
  const expected = [
    { pageSize: '2MB', limit: 8 * 2 ** 20 },
    { pageSize: '1GB', limit: 0 },
  ];
  t.deepEqual(containerResources(one, one.spec.containers[0]!, sizes).hugepageLimits, expected);
  t.deepEqual(resourcesOf({}).hugepageLimits, []);
  one.spec.resources = { limits: { 'hugepages-1Gi': '2Gi' } };
  t.is(containerResources(one, one.spec.containers[0]!, sizes).hugepageLimits?.[1]?.limit, 2 * 2 ** 30);
});

const v2 = { ...node, unifiedCgroups: true, swapController: true, swapBytes: 2 ** 30 };
for (const [what, resources, facts, expected] of [
  [
    'cgroup v2: no swap, and all of a container ends at once',
    {},
    v2,
    { 'memory.oom.group': '1', 'memory.swap.max': '0' },
  ],
  ['without a swap controller', {}, { ...v2, swapController: false }, { 'memory.oom.group': '1' }],
  ['singleProcessOOMKill', {}, { ...v2, singleProcessOomKill: true }, { 'memory.swap.max': '0' }],
  [
    'LimitedSwap: a quarter of the memory is a quarter of the swap',
    { requests: { memory: '1Gi' } },
    { ...v2, swapBehavior: 'LimitedSwap' as const },
    { 'memory.oom.group': '1', 'memory.swap.max': String(2 ** 28) },
  ],
  [
    'LimitedSwap: not for Guaranteed containers',
    { limits: both },
    { ...v2, swapBehavior: 'LimitedSwap' as const },
    { 'memory.oom.group': '1', 'memory.swap.max': '0' },
  ],
  ['cgroup v1', {}, node, undefined],
] as const) {
  test(`unified: ${what}`, (t) => {
    const one = pod(resources as ResourceRequirements);
    one.metadata.annotations = { 'kubernetes.io/config.source': 'api' };
    t.deepEqual(containerResources(one, one.spec.containers[0]!, facts).unified, expected);
  });
}

test('LimitedSwap: critical pods do not swap', (t) => {
  const one = pod({ requests: { memory: '1Gi' } });
  const facts = { ...v2, swapBehavior: 'LimitedSwap' as const };
  t.is(containerResources(one, one.spec.containers[0]!, facts).unified?.['memory.swap.max'], '0');
});

test('cgroup v1 with swap accounting: memory and swap together have the limit of memory', (t) => {
  const one = pod({ limits: { memory: '1Mi' } });
  const facts = { ...node, swapController: true };
  t.is(containerResources(one, one.spec.containers[0]!, facts).memorySwapLimitInBytes, 2 ** 20);
});

test('the sandbox is told the sum and its overhead', (t) => {
  const one = withInit({ limits: both }, [{ limits: { cpu: '500m' }, requests: { cpu: '500m' }, sidecar: true }]);
  one.spec.containers[0]!.resources!.requests = both;
  one.spec.overhead = { cpu: '250m', memory: '8Mi' };
  t.like(sandboxResources(one, node), {
    resources: { cpuShares: 1536, cpuQuota: 150_000, memoryLimitInBytes: 2 ** 30 },
    overhead: { cpuShares: 256, cpuQuota: 25_000, memoryLimitInBytes: 8 * 2 ** 20 },
  });
  t.deepEqual(sandboxResources(pod(undefined), node).overhead, {});
});

for (const [bytes, name] of [
  [2 ** 21, '2MB'],
  [2 ** 30, '1GB'],
  [2 ** 16, '64KB'],
] as const) {
  test(`a page of ${bytes} bytes is ${name}`, (t) => t.is(pageSizeName(bytes), name));
}
