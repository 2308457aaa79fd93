/** What a pod was given: taken from its spec, put in its place, written and read. */
import test from 'ava';
import fc from 'fast-check';
import type { Pod, ResourceRequirements } from '../../api/core.ts';
import { makePod, named } from '../plan/planned-pod.fake.ts';
import {
  allocationOf,
  formatAllocation,
  isEmptyAllocation,
  parseAllocation,
  sameAllocation,
  sameResources,
  withAllocation,
} from './allocation.ts';

const amount = fc.constantFrom('0', '1', '1000m', '250m', '64Mi', '67108864', '1.5Gi', '2e3');
const list = fc.dictionary(fc.constantFrom('cpu', 'memory', 'example.com/gpu'), amount, { noNullPrototype: true });
const requirements: fc.Arbitrary<ResourceRequirements> = fc.record(
  { requests: list, limits: list },
  { requiredKeys: [] },
);
const podOf = fc
  .record({
    inits: fc.array(requirements, { maxLength: 2 }),
    mains: fc.array(requirements, { minLength: 1, maxLength: 3 }),
    own: fc.option(requirements),
  })
  .map(
    ({ inits, mains, own }): Pod =>
      makePod({
        initContainers: inits.map((resources, index) => named(`i${index}`, { resources })),
        containers: mains.map((resources, index) => named(`constructor${index}`, { resources })),
        ...(own === null ? {} : { resources: own }),
      }),
  );

test('a pod with its own allocation is the same object', (t) => {
  fc.assert(fc.property(podOf, (pod) => withAllocation(pod, allocationOf(pod)) === pod));
  t.pass();
});

test('the allocation replaces every resource and nothing else; what is written reads the same', (t) => {
  fc.assert(
    fc.property(podOf, podOf, (pod, other) => {
      const given = allocationOf(other);
      const result = withAllocation(pod, given);
      t.true(sameResources(result.spec.resources, other.spec.resources));
      for (const { name, resources } of [...result.spec.containers, ...(result.spec.initContainers ?? [])]) {
        const was = allocationOf(pod).containers.get(name);
        t.true(sameResources(resources, given.containers.get(name) ?? was));
      }
      t.deepEqual(
        result.spec.containers.map(({ resources: _, ...rest }) => rest),
        pod.spec.containers.map(({ resources: _, ...rest }) => rest),
      );
      t.is(withAllocation(result, given), result);
      const read = parseAllocation(formatAllocation(given));
      t.true(read !== undefined && sameAllocation(read, given));
    }),
  );
});

test('amounts are compared by value', (t) => {
  t.true(sameResources({ requests: { cpu: '1', memory: '64Mi' } }, { requests: { memory: '65536Ki', cpu: '1000m' } }));
  t.true(sameResources({ requests: {} }, undefined));
  t.false(sameResources({ requests: { cpu: '1' } }, { limits: { cpu: '1' } }));
  t.false(sameResources({ requests: { cpu: '1' } }, { requests: { cpu: '1', memory: '0' } }));
  t.false(sameResources({ requests: { cpu: '1' } }, { requests: { constructor: '1' } }));
});

test('a pod that asks for nothing has an empty allocation', (t) => {
  t.true(isEmptyAllocation(allocationOf(makePod({ containers: [named('c', { resources: { limits: {} } })] }))));
  t.false(isEmptyAllocation(allocationOf(makePod({ containers: [named('c')], resources: { limits: { cpu: '1' } } }))));
});

for (const text of [
  '',
  'null',
  '[]',
  '{}',
  '{"containers":{}}',
  '{"containers":[null]}',
  '{"containers":[{"name":1}]}',
  '{"containers":[{"name":"c"},{"name":"c"}]}',
  '{"containers":[{"name":"c","requests":{"cpu":1}}]}',
  '{"containers":[{"name":"c","requests":{"cpu":"-1"}}]}',
  '{"containers":[{"name":"c","requests":["1"]}]}',
  '{"containers":[{"name":"c","limits":{"cpu":"many"}}]}',
  '{"pod":[],"containers":[]}',
]) {
  test(`${text || 'an empty text'} is no allocation`, (t) => {
    t.is(parseAllocation(text), undefined);
  });
}

test('any text is read without a throw', (t) => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => void parseAllocation(text)));
  t.pass();
});
