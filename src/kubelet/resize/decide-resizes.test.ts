/** Who gets what he asks for: never more than the node has, in turn, and the same when asked again. */
import test from 'ava';
import fc from 'fast-check';
import type { Pod, ResourceRequirements } from '../../api/core.ts';
import { makePod, named } from '../plan/planned-pod.fake.ts';
import { podRequests } from '../plan/pod-requests.ts';
import { decideResizes, inTurn, type ResizeContext, type ResizeWish } from './decide-resizes.ts';
import { sumOfRequests } from './held-resources.ts';

const node = { memoryBytes: 2 ** 33, enforceCpuQuota: true, cpuQuotaPeriodUs: 100_000 };
const allocatable = { cpu: '2', memory: '4Gi' };
const cpu = (milli: number): ResourceRequirements => ({ requests: { cpu: `${milli}m`, memory: '1Mi' } });

function podOf(uid: string, resources: ResourceRequirements, more: Partial<Pod['spec']> = {}): Pod {
  const pod = makePod({ containers: [named('c', { resources })], ...more });
  return { ...pod, metadata: { ...pod.metadata, uid, annotations: { 'kubernetes.io/config.source': 'api' } } };
}

function wish(uid: string, from: number, to: number, more: Partial<Pod['spec']> = {}, sinceMs?: number): ResizeWish {
  const allocated = podOf(uid, cpu(from), more);
  const desired = podOf(uid, cpu(to), more);
  return { desired, allocated, held: podRequests(allocated), deferredSinceMs: sinceMs };
}

const contextOf = (wishes: readonly ResizeWish[], others: Pod[] = []): ResizeContext => {
  const inUse = sumOfRequests(others);
  for (const { held } of wishes) for (const [name, nanos] of held) inUse.set(name, (inUse.get(name) ?? 0n) + nanos);
  return { allocatable, inUse, node };
};

const verdicts = (wishes: ResizeWish[], others: Pod[] = []): Record<string, string> =>
  Object.fromEntries(
    decideResizes(wishes, contextOf(wishes, others)).map(({ pod, verdict }) => [pod.metadata.uid, verdict]),
  );

test('room is given in turn: what shrinks, priority, class, who waits longest', (t) => {
  const guaranteed = (uid: string): ResizeWish => {
    const sized = (milli: number): ResourceRequirements => ({
      requests: { cpu: `${milli}m`, memory: '1Mi' },
      limits: { cpu: `${milli}m`, memory: '1Mi' },
    });
    const [allocated, desired] = [podOf(uid, sized(100)), podOf(uid, sized(200))];
    return { desired, allocated, held: podRequests(allocated), deferredSinceMs: undefined };
  };
  const wishes = [
    wish('new', 100, 200),
    wish('late', 100, 200, {}, 2_000),
    wish('early', 100, 200, {}, 1_000),
    guaranteed('guaranteed'),
    wish('important', 100, 200, { priority: 10 }),
    wish('shrinks', 200, 100),
  ];
  const order = ['shrinks', 'important', 'guaranteed', 'early', 'late', 'new'];
  t.deepEqual(
    inTurn(wishes).map(({ desired }) => desired.metadata.uid),
    order,
  );
  t.deepEqual(
    inTurn(wishes.toReversed()).map(({ desired }) => desired.metadata.uid),
    order,
  );
});

test('who comes first takes the room; a smaller wish may still fit behind a larger one', (t) => {
  const wishes = [wish('low', 500, 900), wish('high', 500, 1_300, { priority: 5 }), wish('small', 500, 550)];
  t.deepEqual(verdicts(wishes), { high: 'Deferred', low: 'accepted', small: 'accepted' });
  t.deepEqual(verdicts([wish('low', 500, 900), wish('high', 500, 1_000, { priority: 5 })], [podOf('x', cpu(500))]), {
    high: 'accepted',
    low: 'Deferred',
  });
});

test('what one gives back another may have only when it is given back', (t) => {
  t.deepEqual(verdicts([wish('a', 1_500, 500), wish('b', 500, 1_500)]), { a: 'accepted', b: 'Deferred' });
});

test('on a node that is overcommitted a pod may shrink, and not grow', (t) => {
  const others = [podOf('static', cpu(2_000))];
  t.deepEqual(verdicts([wish('a', 500, 400), wish('b', 500, 501)], others), { a: 'accepted', b: 'Deferred' });
});

test('under memory pressure nothing grows but what is critical', (t) => {
  const wishes = [wish('a', 100, 200), wish('b', 200, 100), wish('c', 100, 200, { priority: 2_000_000_000 })];
  const context = { ...contextOf(wishes), pressures: ['DiskPressure'] as const };
  const told = decideResizes(wishes, context).map((decision) => [
    decision.pod.metadata.uid,
    decision.verdict,
    'message' in decision ? decision.message : '',
  ]);
  t.deepEqual(told, [
    ['b', 'accepted', ''],
    ['c', 'accepted', ''],
    ['a', 'Deferred', 'The node had condition: [DiskPressure]. '],
  ]);
});

test('memory that a container may swap cannot be resized', (t) => {
  const swapping = { ...node, unifiedCgroups: true, swapController: true, swapBehavior: 'LimitedSwap' as const };
  const sized = (memory: string): ResourceRequirements => ({ requests: { memory }, limits: { memory: '1Gi' } });
  const [allocated, desired] = [podOf('a', sized('64Mi')), podOf('a', sized('128Mi'))];
  const one = { desired, allocated, held: podRequests(allocated), deferredSinceMs: undefined };
  const [decision] = decideResizes([one], { ...contextOf([one]), node: swapping });
  t.like(decision, { verdict: 'Infeasible', message: 'In-place resize of containers with swap is not supported.' });
  t.is(decideResizes([one], contextOf([one]))[0]?.verdict, 'accepted');
});

const wishArbitrary = fc.record({
  from: fc.integer({ min: 0, max: 1_200 }),
  to: fc.integer({ min: 0, max: 2_500 }),
  extra: fc.integer({ min: 0, max: 300 }),
  priority: fc.constantFrom(0, 1, 2),
});

test('the node never gives more than it has, whoever asks for what; asked again, nobody who waits gets more', (t) => {
  fc.assert(
    fc.property(fc.array(wishArbitrary, { maxLength: 6 }), fc.integer({ min: 0, max: 2_000 }), (list, other) => {
      const limit = 2_000_000_000n;
      const wishes = list.map(({ from, to, extra, priority }, index) => {
        const one = wish(`u${index}`, from, to, { priority });
        // It still holds more than it was given: it shrinks.
        return { ...one, held: podRequests(podOf(`u${index}`, cpu(from + extra))) };
      });
      const context = contextOf(wishes, [podOf('other', cpu(other))]);
      const before = context.inUse.get('cpu') ?? 0n;
      const decisions = decideResizes(wishes, context);
      t.is(decisions.length, wishes.length);
      let after = before;
      const again: ResizeWish[] = [];
      for (const decision of decisions) {
        const { desired, held, ...rest } = wishes.find(
          (each) => each.desired.metadata.uid === decision.pod.metadata.uid,
        )!;
        const [has, asked] = [held.get('cpu') ?? 0n, podRequests(desired).get('cpu') ?? 0n];
        if (decision.verdict === 'Infeasible') t.true(asked > limit);
        if (decision.verdict !== 'accepted') again.push({ desired, held, ...rest });
        else if (asked > has) after += asked - has;
      }
      t.true(after <= limit || after === before, `${before} -> ${after}`);
      // Nothing changed but that those who were given something have it.
      const held = new Map(context.inUse).set('cpu', after);
      for (const { verdict } of decideResizes(again, { ...context, inUse: held })) t.not(verdict, 'accepted');
    }),
    { numRuns: 2_000 },
  );
});
