import test from 'ava';
import fc from 'fast-check';
import type { Pod } from '../../api/core.ts';
import type { EvictionSignal } from '../node/eviction-thresholds.ts';
import type { PodStats } from '../stats/summary-types.ts';
import { apiPod, container, containerStats, fs, memory, podStats } from './evictable-pod.fake.ts';
import { requestOf } from './pod-usage.ts';
import { rankPods } from './rank-pods.ts';
import { countedParts, mostUrgent, reclaimSteps } from './starved-resource.ts';

const oneDisk = { dedicatedImageFs: false };
const twoDisks = { dedicatedImageFs: true };

const asking = (name: string, requests: Record<string, string>, priority?: number): Pod =>
  apiPod(name, { containers: [container('main', requests)], ...(priority === undefined ? {} : { priority }) });

const order = (pods: Pod[], stats: PodStats[], signal: EvictionSignal, layout = oneDisk): string[] =>
  rankPods(pods, (pod) => stats.find(({ podRef }) => podRef.uid === pod.metadata.uid), signal, layout).map(
    ({ metadata }) => metadata.name,
  );

const using = (name: string, bytes: number): PodStats => podStats(name, { memory: memory(bytes) });

test('memory: who uses more than it asked for, then lower priority, then the larger excess', (t) => {
  const pods = [
    asking('within', { memory: '100' }, -5),
    asking('over', { memory: '100' }),
    asking('far-over', { memory: '100' }),
    asking('important', { memory: '100' }, 10),
    asking('exactly', { memory: '100' }),
  ];
  const stats = [
    using('within', 90),
    using('over', 110),
    using('far-over', 300),
    using('important', 900),
    using('exactly', 100),
  ];
  t.deepEqual(order(pods, stats, 'memory.available'), ['far-over', 'over', 'important', 'within', 'exactly']);
});

test('memory: a pod that nothing runs of goes first, whatever its priority', (t) => {
  const pods = [asking('big', {}), asking('none', {}, 1000)];
  t.deepEqual(order(pods, [using('big', 900)], 'memory.available'), ['none', 'big']);
});

test('process IDs: lower priority, then the larger count; usage above a request means nothing', (t) => {
  const pods = [asking('few', {}), asking('many', {}), asking('important', {}, 5)];
  const stats = [
    podStats('few', { process_stats: { process_count: 2 } }),
    podStats('many', { process_stats: { process_count: 50 } }),
    podStats('important', { process_stats: { process_count: 5000 } }),
  ];
  t.deepEqual(order(pods, stats, 'pid.available'), ['many', 'few', 'important']);
  t.deepEqual(order([...pods, asking('none', {})], stats, 'pid.available'), ['none', 'many', 'few', 'important']);
});

const disks = (name: string, layer: number, logs: number, volume: number): PodStats =>
  podStats(name, {
    containers: [containerStats('main', { rootfs: fs(layer, layer), logs: fs(logs, logs) })],
    volume: [
      { ...fs(volume, volume), name: 'scratch' },
      { ...fs(100_000, 100_000), name: 'memory' },
    ],
  });
const withVolumes = (name: string, requests: Record<string, string> = {}): Pod =>
  apiPod(name, {
    containers: [container('main', requests)],
    volumes: [
      { name: 'scratch', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
    ],
  });

for (const [signal, layout, expected] of [
  ['nodefs.available', oneDisk, ['volume', 'layer', 'logs']],
  ['imagefs.available', oneDisk, ['volume', 'layer', 'logs']],
  ['nodefs.available', twoDisks, ['volume', 'logs', 'layer']],
  ['imagefs.available', twoDisks, ['layer', 'volume', 'logs']],
  ['nodefs.inodesFree', twoDisks, ['volume', 'logs', 'layer']],
  ['imagefs.inodesFree', twoDisks, ['layer', 'volume', 'logs']],
] as const) {
  test(`${signal}, ${layout.dedicatedImageFs ? 'images on a disk of their own' : 'one disk'}: what lies there counts`, (t) => {
    const pods = ['volume', 'layer', 'logs'].map((name) => withVolumes(name));
    const stats = [disks('volume', 2, 1, 900), disks('layer', 500, 2, 3), disks('logs', 1, 50, 4)];
    t.deepEqual(order(pods, stats, signal, layout), [...expected]);
  });
}

test('disk: what was asked for is taken off, and inodes cannot be asked for', (t) => {
  const pods = [withVolumes('asked', { 'ephemeral-storage': '1000' }), withVolumes('plain')];
  const stats = [disks('asked', 900, 0, 0), disks('plain', 10, 0, 0)];
  t.deepEqual(order(pods, stats, 'nodefs.available'), ['plain', 'asked']);
  t.deepEqual(order(pods, stats, 'nodefs.inodesFree'), ['plain', 'asked'], 'as the kubelet has it');
});

test('equal pods keep their order, and ranking is a permutation that does not depend on it otherwise', (t) => {
  const pod = fc.record({ used: fc.nat(5), request: fc.nat(5), priority: fc.integer({ min: -2, max: 2 }) });
  fc.assert(
    fc.property(fc.uniqueArray(pod, { maxLength: 8, selector: (each) => JSON.stringify(each) }), (drawn) => {
      const pods = drawn.map((each, i) => asking(`p${i}`, { memory: String(each.request) }, each.priority));
      const stats = drawn.map((each, i) => using(`p${i}`, each.used));
      const ranked = order(pods, stats, 'memory.available');
      t.deepEqual([...ranked].sort(), pods.map(({ metadata }) => metadata.name).sort());
      const key = (name: string): [boolean, number, number] => {
        const { used, request, priority } = drawn[Number(name.slice(1))]!;
        return [used > request, -priority, used - request];
      };
      for (const [i, name] of ranked.entries()) {
        const next = ranked[i + 1];
        if (next !== undefined) t.true(isNotAfter(key(name), key(next)), `${name} ${next}`);
      }
    }),
  );
});

function isNotAfter([over, low, excess]: [boolean, number, number], other: [boolean, number, number]): boolean {
  if (over !== other[0]) return over;
  return low !== other[1] ? low > other[1] : excess >= other[2];
}

test('requests: the sum over containers, rounded up; overhead only beside one', (t) => {
  const spec = {
    containers: [container('a', { memory: '1.5' }), container('b')],
    overhead: { memory: '10', cpu: '1' },
  };
  const pod = apiPod('p', spec);
  t.is(requestOf(pod, 'memory'), 12);
  t.is(requestOf(pod, 'cpu'), 0);
});

test('memory is relieved before everything else, the rest in its order', (t) => {
  const threshold = (signal: EvictionSignal) => ({
    signal,
    value: { units: 1, text: '1' },
    gracePeriodMs: 0,
    minReclaim: undefined,
  });
  const signals = (...names: EvictionSignal[]) => mostUrgent(names.map(threshold))?.signal;
  t.is(signals('nodefs.available', 'memory.available'), 'memory.available');
  t.is(signals('pid.available', 'nodefs.available'), 'pid.available');
  t.is(signals(), undefined);
});

test('what may be reclaimed without pods, and what counts', (t) => {
  const both = ['deadContainers', 'unusedImages'];
  t.deepEqual(reclaimSteps('nodefs.available', oneDisk), both);
  t.deepEqual(reclaimSteps('imagefs.inodesFree', twoDisks), both);
  t.deepEqual(reclaimSteps('nodefs.inodesFree', twoDisks), []);
  t.deepEqual(reclaimSteps('memory.available', oneDisk), []);
  t.deepEqual(reclaimSteps('pid.available', oneDisk), []);
  t.deepEqual(countedParts('imagefs.available', twoDisks), ['layers']);
});
