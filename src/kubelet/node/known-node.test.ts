import test from 'ava';
import type { Node } from '../../api/node.ts';
import { KnownNode } from './node-api.ts';

const node = (resourceVersion: string, uid = 'u'): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'node-a', uid, resourceVersion },
  spec: {},
});

function setUp(): { known: KnownNode; heard: (string | undefined)[] } {
  const known = new KnownNode();
  const heard: (string | undefined)[] = [];
  known.onObserved(() => heard.push(known.node?.metadata.resourceVersion));
  return { known, heard };
}

test('what the watch shows is told, our own answers and their echo are not', (t) => {
  const { known, heard } = setUp();
  t.false(known.watched);
  known.observe(node('9'));
  t.true(known.watched);
  known.answered(node('12'));
  known.observe(node('12'));
  known.observe(node('10'));
  t.is(known.node?.metadata.resourceVersion, '12', 'a late event is not taken');
  known.observe(node('101'));
  t.deepEqual(heard, ['9', '101']);
});

test('after the watch broke an earlier version is believed: the API server was restored', (t) => {
  const { known } = setUp();
  known.observe(node('100'));
  known.watchLost();
  t.false(known.watched);
  known.observe(node('50'));
  t.is(known.node?.metadata.resourceVersion, '50');
});

test('a deletion concerns the Node with its uid only', (t) => {
  const { known, heard } = setUp();
  known.observe(node('1'));
  known.answered(node('5', 'successor'));
  known.observeDeleted('u');
  t.is(known.node?.metadata.uid, 'successor');
  known.observeDeleted('successor');
  t.is(known.node, undefined);
  known.observeDeleted('successor');
  t.deepEqual(heard, ['1', undefined]);
});
