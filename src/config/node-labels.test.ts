/** --node-labels and --register-with-taints: what a node may give itself. */
import test from 'ava';
import { checkNodeLabel, parseNodeLabels, parseTaints } from './node-labels.ts';

test('labels', (t) => {
  t.deepEqual(parseNodeLabels(''), { labels: new Map(), problems: [] });
  const { labels, problems } = parseNodeLabels('a=b, c=,d,,a=e');
  t.deepEqual(
    [...labels],
    [
      ['a', 'e'],
      ['c', ''],
    ],
  );
  t.deepEqual(problems, ['"d" must be written key=value']);
});

test('labels that NodeRestriction refuses are refused here', (t) => {
  for (const key of [
    'disk',
    'example.com/x',
    'kubernetes.io/hostname',
    'topology.kubernetes.io/zone',
    'x.node.kubernetes.io/y',
    'x.kubelet.kubernetes.io/y',
    'notkubernetes.io/x',
  ]) {
    t.deepEqual(checkNodeLabel(key, 'v'), [], key);
  }
  for (const key of [
    'node-restriction.kubernetes.io/x',
    'node-role.kubernetes.io/worker',
    'kubernetes.io/x',
    'k8s.io/x',
    'a.k8s.io/x',
    '',
    '-bad',
    'a/b/c',
  ]) {
    t.not(checkNodeLabel(key, 'v').length, 0, key);
  }
  t.not(checkNodeLabel('a', 'not ok').length, 0);
});

test('taints', (t) => {
  t.deepEqual(parseTaints(''), { taints: [], problems: [] });
  t.deepEqual(parseTaints('a=b:NoSchedule, a:NoExecute,c=:PreferNoSchedule').taints, [
    { key: 'a', value: 'b', effect: 'NoSchedule' },
    { key: 'a', effect: 'NoExecute' },
    { key: 'c', effect: 'PreferNoSchedule' },
  ]);
  for (const bad of [
    'a',
    'a=b',
    'a:',
    ':NoSchedule',
    'a:noschedule',
    'a=b=c:NoSchedule',
    'a:NoSchedule:x',
    'a=b c:NoSchedule',
  ]) {
    t.not(parseTaints(bad).problems.length, 0, bad);
  }
  t.deepEqual(parseTaints('a=1:NoSchedule,a=2:NoSchedule').problems, ['a:NoSchedule is given twice']);
});
