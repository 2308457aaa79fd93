import test from 'ava';
import type { Node, NodeStatus } from '../../api/node.ts';
import { settle } from '../../base/fake-clock.ts';
import { KnownNode } from './node-api.ts';
import { csiUniqueName, VolumesInUse } from './volumes-in-use.ts';

const signal = new AbortController().signal;
const disk = csiUniqueName('a.example.com', 'disk-1');

function bench() {
  const known = new KnownNode();
  let wakes = 0;
  const inUse = new VolumesInUse({
    known,
    wake: () => {
      wakes++;
    },
  });
  const show = (status: NodeStatus): void => {
    const node: Node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', uid: 'u' }, spec: {}, status };
    known.answered(node);
  };
  return { inUse, show, wakes: () => wakes };
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await settle();
  return settled;
}

test('a volume is in use from before it is reported until its last pod lets it go', async (t) => {
  const { inUse, show, wakes } = bench();
  t.is(inUse.names, undefined, 'what a predecessor mounted is not known yet');
  inUse.restore([]);
  t.deepEqual(inUse.names, []);
  const held = inUse.hold({ uniqueName: disk, podUid: 'a' }, signal);
  t.deepEqual(inUse.names, ['kubernetes.io/csi/a.example.com^disk-1']);
  t.is(wakes(), 2);
  t.false(await isSettled(held));
  show({ volumesInUse: ['other'] });
  t.false(await isSettled(held));
  show({ volumesInUse: ['other', disk] });
  await held;
  await inUse.hold({ uniqueName: disk, podUid: 'b' }, signal);
  t.is(wakes(), 2, 'nothing new to tell');
  inUse.release({ uniqueName: disk, podUid: 'a' });
  t.deepEqual(inUse.names, [disk]);
  inUse.release({ uniqueName: disk, podUid: 'b' });
  t.deepEqual([inUse.names, wakes()], [[], 3]);
  inUse.release({ uniqueName: disk, podUid: 'b' });
  t.is(wakes(), 3);
});

test('what a predecessor left mounted is in use at once', (t) => {
  const { inUse } = bench();
  inUse.restore([{ uniqueName: disk, podUid: 'a' }]);
  t.deepEqual(inUse.names, [disk]);
});

test('the device of a volume is told when the controller attached it', async (t) => {
  const { inUse, show } = bench();
  const attached = inUse.attached(disk, signal);
  show({ volumesAttached: [{ name: 'other', devicePath: '/dev/x' }] });
  t.false(await isSettled(attached));
  show({ volumesAttached: [{ name: disk, devicePath: '' }] });
  t.is(await attached, '');
});

test('waiting ends with its signal, also one that was aborted before', async (t) => {
  const { inUse } = bench();
  const scope = new AbortController();
  const held = inUse.hold({ uniqueName: disk, podUid: 'a' }, scope.signal);
  const reason = new Error('the pod goes');
  scope.abort(reason);
  t.is(await t.throwsAsync(held), reason);
  t.is(await t.throwsAsync(inUse.attached(disk, scope.signal)), reason);
});
