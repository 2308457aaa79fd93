/** Suggestions: near names are found, far ones are not. */
import test from 'ava';
import fc from 'fast-check';
import { editDistance, nearestName } from './suggest.ts';

test('distance', (t) => {
  t.is(editDistance('', 'abc'), 3);
  t.is(editDistance('kitten', 'sitting'), 3);
  t.is(editDistance('maxPdos', 'maxPods'), 1);
  fc.assert(
    fc.property(
      fc.string(),
      fc.string(),
      (a, b) => editDistance(a, b) === editDistance(b, a) && (a === b) === (editDistance(a, b) === 0),
    ),
  );
});

test('nearest', (t) => {
  const names = ['maxPods', 'podCIDR', 'clusterDNS', 'clusterDomain'];
  t.is(nearestName('maxPod', names), 'maxPods');
  t.is(nearestName('MAXPODS', names), 'maxPods');
  t.is(nearestName('clusterDns', names), 'clusterDNS');
  t.is(nearestName('podCidrs', names), 'podCIDR');
  t.is(nearestName('banana', names), undefined);
  t.is(nearestName('', names), undefined);
  t.is(nearestName('x'.repeat(5000), names), undefined);
});
