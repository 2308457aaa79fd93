import test from 'ava';
import fc from 'fast-check';
import type { Pod } from '../../api/core.ts';
import { apiPod, container } from '../eviction/evictable-pod.fake.ts';
import { isPreemptable, podsToPreempt } from './preemption.ts';

const critical = apiPod('critical', { priority: 2_000_000_000 });
const nano = 1_000_000_000n;
const shortOf = (amounts: Record<string, number>): Map<string, bigint> =>
  new Map(Object.entries(amounts).map(([name, amount]) => [name, BigInt(amount) * nano]));

const bestEffort = (name: string): Pod => apiPod(name);
const burstable = (name: string, memory: number, cpu = 0): Pod =>
  apiPod(name, { containers: [container('main', { memory: String(memory), ...(cpu ? { cpu: String(cpu) } : {}) })] });
const guaranteed = (name: string, memory: number): Pod => {
  const all = { memory: String(memory), cpu: '1' };
  return apiPod(name, { containers: [container('main', all, all)] });
};
const names = (pods: Pod[] | undefined): string[] | undefined => pods?.map(({ metadata }) => metadata.name);

test('who may be ended for whom', (t) => {
  const plain = apiPod('plain');
  t.true(isPreemptable(critical, plain));
  t.false(isPreemptable(plain, plain));
  t.true(isPreemptable(apiPod('p', { priority: 2 }), apiPod('q', { priority: 1 })));
  t.false(isPreemptable(apiPod('p', { priority: 1 }), apiPod('q', { priority: 1 })));
  t.false(isPreemptable(apiPod('static', {}, 'file'), apiPod('static2', {}, 'file')));
  t.true(isPreemptable(apiPod('static', {}, 'file'), plain));
});

test('weaker classes first, and of a class the pod that is closest', (t) => {
  const pods = [guaranteed('g', 100), burstable('small', 60), burstable('large', 500), burstable('fits', 120)];
  t.deepEqual(names(podsToPreempt(critical, pods, shortOf({ memory: 100 }))), ['fits']);
});

test('a guaranteed pod goes only when all others are not enough', (t) => {
  const pods = [guaranteed('g', 100), burstable('b', 50)];
  t.deepEqual(names(podsToPreempt(critical, pods, shortOf({ memory: 50 }))), ['b']);
  t.deepEqual(names(podsToPreempt(critical, pods, shortOf({ memory: 100 }))), ['g']);
  t.deepEqual(names(podsToPreempt(critical, pods, shortOf({ memory: 120 }))), ['b', 'g']);
});

test('places for pods are taken from best-effort ones', (t) => {
  const pods = [burstable('b', 1), bestEffort('e1'), bestEffort('e2')];
  t.deepEqual(names(podsToPreempt(critical, pods, shortOf({ pods: 1 })))?.length, 1);
  t.true(names(podsToPreempt(critical, pods, shortOf({ pods: 1 })))?.[0]?.startsWith('e'));
});

test('several resources at once weigh alike', (t) => {
  const pods = [burstable('memory', 1000, 0), burstable('both', 80, 8)];
  t.deepEqual(names(podsToPreempt(critical, pods, shortOf({ memory: 80, cpu: 8 }))), ['both']);
});

test('nobody goes when it would not be enough', (t) => {
  const pods = [burstable('b', 10), apiPod('also-critical', { priority: 2_000_000_001 })];
  t.is(podsToPreempt(critical, pods, shortOf({ memory: 100 })), undefined);
});

test('nothing missing: nobody goes', (t) => {
  t.deepEqual(podsToPreempt(critical, [burstable('b', 10)], new Map()), []);
});

test('whoever goes is enough, and of one class nobody goes in vain', (t) => {
  const pod = fc.record({ memory: fc.nat(50), cpu: fc.nat(5) });
  const wanted = fc.record({ memory: fc.nat(120), cpu: fc.nat(10) });
  fc.assert(
    fc.property(fc.array(pod, { maxLength: 7 }), wanted, (drawn, missing) => {
      const pods = drawn.map(({ memory, cpu }, i) => burstable(`p${i}`, memory + 1, cpu));
      const chosen = podsToPreempt(critical, pods, shortOf(missing));
      const sum = (from: Pod[], key: 'memory' | 'cpu'): number =>
        from.reduce(
          (total, each) => total + (key === 'memory' ? 1 : 0) + drawn[Number(each.metadata.name.slice(1))]![key],
          0,
        );
      const isEnough = (from: Pod[]): boolean =>
        sum(from, 'memory') >= missing.memory && sum(from, 'cpu') >= missing.cpu;
      t.is(chosen !== undefined, isEnough(pods));
      if (chosen === undefined) return;
      t.true(isEnough(chosen));
      t.is(new Set(chosen).size, chosen.length);
      t.true(chosen.length === 0 || !isEnough(chosen.slice(0, -1)), 'the last one was needed');
    }),
  );
});
