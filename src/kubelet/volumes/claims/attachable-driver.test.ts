import test from 'ava';
import type { NodeStatus } from '../../../api/node.ts';
import { FakeClock, settle } from '../../../base/fake-clock.ts';
import { KnownNode } from '../../node/node-api.ts';
import { VolumesInUse } from '../../node/volumes-in-use.ts';
import { driverVolume } from '../driver-bench.fake.ts';
import type { VolumeDriver } from '../volume-driver.ts';
import { AttachableDriver } from './attachable-driver.ts';
import type { CsiSource } from './csi-source.ts';

const signal = new AbortController().signal;
const name = 'kubernetes.io/csi/a.example.com^disk-1';

const source = (driver: string): CsiSource => ({
  type: 'persistent',
  csi: { driver, volumeHandle: 'disk-1', readOnly: false, volumeAttributes: {} },
  claim: { namespace: 'default', name: 'data', uid: 'c' },
  capacity: { volume: '1Gi', claimStatus: '1Gi' },
});

function bench() {
  const known = new KnownNode();
  const clock = new FakeClock();
  const calls: string[] = [];
  const inUse = new VolumesInUse({ known, wake: () => undefined });
  const driver: VolumeDriver<CsiSource> = {
    directory: 'kubernetes.io~csi',
    async setUp({ pod }) {
      calls.push(`setUp ${pod.metadata.uid}, in use: ${inUse.names?.join() ?? 'unknown'}`);
      return { hostPath: '/x', ownership: 'leave' };
    },
    async tearDown(podUid, specName) {
      calls.push(`tearDown ${podUid} ${specName}, in use: ${inUse.names?.join() ?? 'unknown'}`);
    },
  };
  const attachable = new AttachableDriver({
    driver,
    inUse,
    isAttachable: async (asked) => asked === 'a.example.com',
    clock,
  });
  const show = (status: NodeStatus): void =>
    known.answered({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', uid: 'u' }, spec: {}, status });
  return { attachable, inUse, clock, calls, show };
}

test('an attachable volume is mounted when the Node says that it is in use and attached', async (t) => {
  const { attachable, inUse, calls, show } = bench();
  attachable.restore([]);
  const made = attachable.setUp(driverVolume('web', source('a.example.com')), signal);
  await settle();
  t.deepEqual([calls, inUse.names], [[], [name]]);
  show({ volumesInUse: [name] });
  await settle();
  t.deepEqual(calls, []);
  show({ volumesInUse: [name], volumesAttached: [{ name, devicePath: '' }] });
  t.deepEqual(await made, { hostPath: '/x', ownership: 'leave' });
  // A Node that was made anew tells of nothing for a while; the pod runs on.
  show({});
  await attachable.setUp(driverVolume('web', source('a.example.com')), signal);
  await attachable.tearDown('uid-web', 'pv-1', signal);
  const setUp = `setUp uid-web, in use: ${name}`;
  t.deepEqual(calls, [setUp, setUp, `tearDown uid-web pv-1, in use: ${name}`]);
  t.deepEqual(inUse.names, []);
});

test('other drivers and inline volumes wait for nobody', async (t) => {
  const { attachable, inUse, calls } = bench();
  attachable.restore([]);
  await attachable.setUp(driverVolume('web', source('b.example.com')), signal);
  await attachable.setUp(driverVolume('own', { type: 'inline', csi: { driver: 'a.example.com' } }), signal);
  t.is(calls.length, 2);
  t.deepEqual(inUse.names, []);
});

test('a controller that says nothing is named after a while; a pod that goes then uses nothing', async (t) => {
  const { attachable, inUse, clock, show } = bench();
  attachable.restore([]);
  const made = attachable.setUp(driverVolume('web', source('a.example.com')), signal);
  show({ volumesInUse: [name] });
  await settle();
  await clock.advance(15_000);
  await t.throwsAsync(made, {
    code: 'VOLUME_TIMEOUT',
    message: `Volume not attached according to node status for volume "${name}"`,
  });
  t.deepEqual(inUse.names, [name], 'it stays wanted');
  attachable.forget('uid-web');
  t.deepEqual(inUse.names, []);
});

test('what a predecessor mounted stays in use until it is torn down', async (t) => {
  const { attachable, inUse } = bench();
  t.is(inUse.names, undefined);
  attachable.restore([
    { podUid: 'uid-a', specName: 'pv-1', driverName: 'a.example.com', volumeHandle: 'disk-1' },
    { podUid: 'uid-b', specName: 'pv-1', driverName: 'a.example.com', volumeHandle: 'disk-1' },
  ]);
  t.deepEqual(inUse.names, [name]);
  await attachable.tearDown('uid-a', 'pv-1', signal);
  t.deepEqual(inUse.names, [name]);
  await attachable.tearDown('uid-b', 'pv-1', signal);
  t.deepEqual(inUse.names, []);
});

test('a volume that could not be unmounted stays in use', async (t) => {
  const { inUse, clock } = bench();
  const failing: VolumeDriver<CsiSource> = {
    directory: 'kubernetes.io~csi',
    setUp: () => Promise.reject(new Error('unused')),
    tearDown: () => Promise.reject(new Error('busy')),
  };
  const attachable = new AttachableDriver({ driver: failing, inUse, isAttachable: async () => true, clock });
  attachable.restore([{ podUid: 'uid-a', specName: 'pv-1', driverName: 'a.example.com', volumeHandle: 'disk-1' }]);
  await t.throwsAsync(attachable.tearDown('uid-a', 'pv-1', signal), { message: 'busy' });
  t.deepEqual(inUse.names, [name]);
});
