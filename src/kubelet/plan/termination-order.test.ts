import test from 'ava';
import { makePod, named, sidecar } from './planned-pod.fake.ts';
import { terminationOrder } from './termination-order.ts';

test('sidecars wait for the main containers and for the sidecars after them', (t) => {
  const initContainers = [sidecar('s1'), named('i'), sidecar('s2'), sidecar('s3')];
  const order = terminationOrder(makePod({ initContainers, containers: [named('a'), named('b')] }));
  t.deepEqual(
    [...order],
    [
      ['s3', ['a', 'b']],
      ['s2', ['a', 'b', 's3']],
      ['s1', ['a', 'b', 's3', 's2']],
    ],
  );
});

test('without sidecars nobody waits', (t) => {
  t.is(terminationOrder(makePod({ initContainers: [named('i')], containers: [named('a')] })).size, 0);
});
