import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { admitPods } from './admission.ts';

const pods = ['a', 'b', 'c'].map(
  (name): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid: name },
    spec: { containers: [{ name: 'c', image: 'busybox' }] },
  }),
);

test('pods beyond maxPods are rejected, and never those that run already', (t) => {
  const { admitted, rejected } = admitPods(pods, (uid) => uid === 'c', 2);
  t.deepEqual(
    admitted.map(({ metadata }) => metadata.name),
    ['c', 'a'],
  );
  t.deepEqual(
    rejected.map(({ pod, reason }) => [pod.metadata.name, reason]),
    [['b', 'OutOfpods']],
  );
});

test('a node with room takes all', (t) => t.is(admitPods(pods, () => false, 110).rejected.length, 0));
