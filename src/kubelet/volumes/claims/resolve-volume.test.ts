import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { ApiError } from '../../../api/api-error.ts';
import type { Pod } from '../../../api/core.ts';
import { FakeClock, settle } from '../../../base/fake-clock.ts';
import { silentLogger } from '../../../observe/logger.ts';
import type { ResolvedVolume } from '../volume-driver.ts';
import { VolumeError } from '../volume-error.ts';
import type { NodeIdentity } from './bound-volume.ts';
import { ClaimedVolumes } from './claimed-volumes.ts';
import { claimVolume, FakeClaims, forbidden, podWith, rawClaim, rawVolume } from './claims.fake.ts';
import { createVolumeResolver } from './resolve-volume.ts';

const signal = new AbortController().signal;

function bench(rootDir = '/nowhere') {
  const api = new FakeClaims();
  const claimed = new ClaimedVolumes();
  const clock = new FakeClock();
  const node: { identity: NodeIdentity } = { identity: { name: 'n1', labels: { 'kubernetes.io/hostname': 'n1' } } };
  const resolver = createVolumeResolver({
    client: api,
    claimed,
    node: () => node.identity,
    rootDir,
    clock,
    log: silentLogger,
  });
  const resolve = (pod: Pod, index = 0): Promise<ResolvedVolume> => {
    const volume = pod.spec.volumes?.[index];
    if (volume === undefined) throw new Error('no such volume');
    return resolver(volume, pod, signal);
  };
  const refusal = async (pod: Pod): Promise<string> => {
    try {
      await resolve(pod);
    } catch (error) {
      if (error instanceof VolumeError) return `${error.code} ${error.message}`;
      throw error;
    }
    return 'resolved';
  };
  return { api, claimed, clock, node, resolve, refusal };
}

const web = podWith('web', [claimVolume('data')]);

test('a claim bound to a hostPath becomes that path', async (t) => {
  const { api, resolve } = bench();
  api.add('data', rawVolume('data', { hostPath: { path: '/srv/x', type: 'Directory' } }));
  t.like(await resolve(web), { kind: 'hostPath', path: '/srv/x', type: 'Directory', readOnly: false });
  const reader = podWith('reader', [claimVolume('data', true)]);
  t.like(await resolve(reader), { kind: 'hostPath', path: '/srv/x', type: 'Directory', readOnly: true });
});

test('local, nfs and csi volumes go to their drivers under the name of the PersistentVolume', async (t) => {
  const { api, claimed, resolve } = bench();
  const described = async (spec: Record<string, unknown>, readOnly = false) => {
    api.add('data', rawVolume('data', spec));
    claimed.forget('uid-web');
    const pod = podWith('web', [claimVolume('data', readOnly)]);
    pod.spec.securityContext = { fsGroup: 7 };
    const found = await resolve(pod);
    if (found.kind !== 'driver') return found;
    const { pod: _, ...volume } = found.volume;
    return { driver: found.driver, ...volume };
  };
  const common = {
    subject: 'pod default/web: volume data',
    name: 'data',
    specName: 'pv-data',
    mode: 'Filesystem',
    readOnly: false,
    mountOptions: [],
    accessModes: ['ReadWriteOnce'],
    fsGroup: 7,
  };
  t.like(await described({ local: { path: '/mnt/disk' }, mountOptions: ['noatime'] }), {
    ...common,
    driver: 'kubernetes.io~local-volume',
    mountOptions: ['noatime'],
    source: { path: '/mnt/disk' },
  });
  const nfs = { server: 'files', path: '/export' };
  t.like(await described({ nfs }), { ...common, driver: 'kubernetes.io~nfs', source: nfs });
  t.like(await described({ nfs: { ...nfs, readOnly: true } }), { readOnly: true });
  t.like(await described({ nfs }, true), { readOnly: true });
  t.like(await described({ csi: { driver: 'a.example.com', volumeHandle: 'h/1', readOnly: true } }), {
    ...common,
    driver: 'kubernetes.io~csi',
    source: {
      type: 'persistent',
      csi: { driver: 'a.example.com', volumeHandle: 'h/1', readOnly: true },
      claim: { namespace: 'default', name: 'data', uid: 'claim-data' },
      capacity: { volume: '1Gi', claimStatus: undefined },
    },
  });
  t.deepEqual(claimed.of('uid-web'), [
    {
      name: 'data',
      claim: { namespace: 'default', name: 'data' },
      driver: 'kubernetes.io~csi',
      specName: 'pv-data',
    },
  ]);
});

for (const [annotation, gid] of [
  ['1234', 1234],
  ['0', 0],
  ['2147483647', 2 ** 31 - 1],
  ['2147483648', undefined],
  ['-1', undefined],
  ['12 34', undefined],
  ['staff', undefined],
  ['', undefined],
] as const) {
  test(`the group of a PersistentVolume: ${JSON.stringify(annotation)}`, async (t) => {
    for (const source of [{ hostPath: { path: '/srv/x' } }, { nfs: { server: 'files', path: '/export' } }]) {
      const { api, resolve } = bench();
      const volume = rawVolume('data', source) as { metadata: object };
      const metadata = { ...volume.metadata, annotations: { 'pv.beta.kubernetes.io/gid': annotation } };
      api.add('data', { ...volume, metadata });
      t.is((await resolve(web)).gid, gid);
    }
  });
}

test('inline nfs and csi volumes need no claim', async (t) => {
  const { api, claimed, resolve } = bench();
  const csi = { driver: 'a.example.com', volumeAttributes: { a: 'b' } };
  const pod = podWith('web', [
    { name: 'files', nfs: { server: '10.0.0.1', path: '/x', readOnly: true } },
    { name: 'own', csi },
  ]);
  t.like(await resolve(pod), {
    driver: 'kubernetes.io~nfs',
    volume: { specName: 'files', source: { server: '10.0.0.1', path: '/x' }, readOnly: true },
  });
  t.like(await resolve(pod, 1), {
    driver: 'kubernetes.io~csi',
    volume: { specName: 'own', source: { type: 'inline', csi }, readOnly: false },
  });
  t.deepEqual(api.reads, []);
  t.deepEqual(
    claimed.of('uid-web').map(({ claim }) => claim),
    [undefined, undefined],
  );
});

const deleted = { deletionTimestamp: '2026-01-01T00:00:00Z' };

for (const [name, claim, volume, expected] of [
  ['no claim', undefined, undefined, /failed to fetch PVC from API server: persistentvolumeclaim "data" not found/],
  ['an unbound claim', { status: { phase: 'Pending' } }, {}, /error processing PVC default\/data: PVC is not bound/],
  ['a claim without status', { status: { phase: undefined } }, {}, /PVC is not bound/],
  ['a lost claim', { status: { phase: 'Lost' } }, {}, /PVC is not bound/],
  ['a claim that names no volume', { spec: { volumeName: '' } }, {}, /PVC has empty pvc.Spec.VolumeName/],
  ['a claim that goes', { metadata: { ...deleted, finalizers: [] } }, {}, /PVC is being deleted/],
  ['no PersistentVolume', {}, undefined, /failed to fetch PV pv-data .*"pv-data" not found/],
  ['a PersistentVolume of nobody', {}, { claimRef: undefined }, /nil pv.Spec.ClaimRef/],
  ["another claim's", {}, { claimRef: { uid: 'other' } }, /ClaimRef.UID other does not point to claim.UID claim-data/],
  [
    'a device as files',
    {},
    { volumeMode: 'Block' },
    /volume data has volumeMode Block, but is specified in volumeMounts/,
  ],
  [
    "another node's volume",
    {},
    {
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['n2'] }] },
          ],
        },
      },
    },
    /NodeAffinity check failed for volume "pv-data" : no matching NodeSelectorTerms/,
  ],
  ['mount options on a hostPath', {}, { mountOptions: ['ro'] }, /Mount options are not supported for this volume type/],
] as const) {
  test(`refused: ${name}`, async (t) => {
    const { api, refusal } = bench();
    if (claim !== undefined) api.claims.set('data', rawClaim('data', claim));
    if (volume !== undefined) {
      api.volumes.set('pv-data', rawVolume('data', { hostPath: { path: '/srv' }, ...volume }));
    }
    const said = await refusal(web);
    t.regex(said, /^VOLUME_CLAIM /);
    t.regex(said, expected);
  });
}

test('a claim that goes, but is protected, serves the pods that have it', async (t) => {
  const { api, resolve } = bench();
  api.add('data', rawVolume('data'), rawClaim('data', { metadata: deleted }));
  t.like(await resolve(web), { kind: 'hostPath' });
});

test('a file system is no device, and a hostPath never is one', async (t) => {
  const { api, refusal } = bench();
  const pod = podWith('web', [claimVolume('data')], ['data']);
  api.add('data');
  t.regex(await refusal(pod), /volumeMode Filesystem, but is specified in volumeDevices/);
  api.add('data', rawVolume('data', { hostPath: { path: '/dev/sda' }, volumeMode: 'Block' }));
  t.regex(await refusal(pod), /hostPath volume has no device/);
});

test('the affinity of a volume is not judged before the Node is known', async (t) => {
  const { api, node, resolve } = bench();
  const required = { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'Exists' }] }] };
  api.add('data', rawVolume('data', { local: { path: '/mnt' }, nodeAffinity: { required } }));
  node.identity = { name: 'n1', labels: undefined };
  t.like(await resolve(web), { kind: 'driver' });
});

test('sources of drivers that were part of Kubernetes are refused with what took their place', async (t) => {
  const { api, refusal, resolve } = bench();
  api.add('data', rawVolume('data', { iscsi: { targetPortal: '10.0.0.1' } }));
  t.regex(await refusal(web), /^VOLUME_UNSUPPORTED .*"pv-data" is of the type iscsi/);
  const error = await t.throwsAsync(resolve(web), { instanceOf: VolumeError });
  t.is(error?.fix, 'use the CSI driver iscsi.csi.k8s.io');
  api.add('data', rawVolume('data', { holographic: {} }));
  t.regex(await refusal(web), /^VOLUME_UNSUPPORTED .*of the type unknown/);
});

test("a generic ephemeral volume's claim must be the pod's own", async (t) => {
  const { api, refusal } = bench();
  const pod = podWith('web', [{ name: 'scratch', ephemeral: {} }]);
  t.regex(await refusal(pod), /persistentvolumeclaim "web-scratch" not found/);
  api.add('web-scratch');
  t.regex(await refusal(pod), /PVC default\/web-scratch was not created for pod default\/web \(pod is not owner\)/);
  const owned = (uid: string, controller: boolean) =>
    rawClaim('web-scratch', {
      metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid, controller }] },
    });
  api.claims.set('web-scratch', owned('uid-web-before', true));
  t.regex(await refusal(pod), /pod is not owner/);
  api.claims.set('web-scratch', owned('uid-web', false));
  t.regex(await refusal(pod), /pod is not owner/);
  api.claims.set('web-scratch', owned('uid-web', true));
  t.is(await refusal(pod), 'resolved');
});

test('an unbound claim is read at each try, a bound one once a minute', async (t) => {
  const { api, clock, refusal } = bench();
  api.add('data', rawVolume('data'), rawClaim('data', { status: { phase: 'Pending' } }));
  await refusal(web);
  await refusal(web);
  t.deepEqual(api.reads.splice(0), ['claim data', 'claim data']);
  api.add('data');
  for (let i = 0; i < 3; i++) t.is(await refusal(web), 'resolved');
  t.deepEqual(api.reads.splice(0), ['claim data', 'volume pv-data']);
  await clock.advance(60_000);
  t.is(await refusal(web), 'resolved');
  t.deepEqual(api.reads, ['claim data', 'volume pv-data']);
});

test('the capacity that a claim was grown to is seen when it is read again', async (t) => {
  const { api, clock, resolve } = bench();
  const csi = { driver: 'a.example.com', volumeHandle: 'h' };
  api.add('data', rawVolume('data', { csi }));
  await resolve(web);
  api.add('data', rawVolume('data', { csi, capacity: { storage: '2Gi' } }));
  await clock.advance(60_000);
  t.like(await resolve(web), { volume: { source: { capacity: { volume: '2Gi' } } } });
});

test('a pod that runs is not disturbed by an API server that does not answer, but by a claim that is gone', async (t) => {
  const { api, clock, refusal } = bench();
  api.add('data');
  t.is(await refusal(web), 'resolved');
  await clock.advance(60_000);
  api.errors.push(new ApiError('API_UNREACHABLE', 'connect ECONNREFUSED'));
  t.is(await refusal(web), 'resolved');
  t.is(await refusal(web), 'resolved', 'the next one asks again');
  t.is(api.reads.length, 5);
  await clock.advance(60_000);
  api.claims.delete('data');
  t.regex(await refusal(web), /not found/);
});

test('an API server that does not answer at first is named', async (t) => {
  const { api, refusal } = bench();
  api.add('data');
  api.errors.push(new ApiError('API_UNREACHABLE', 'connect ECONNREFUSED'));
  t.regex(await refusal(web), /failed to fetch PVC from API server: connect ECONNREFUSED/);
});

test('a refusal of the Node authoriser that passes is waited for, one that stays is told', async (t) => {
  const { api, clock, refusal } = bench();
  api.add('data');
  api.errors.push(forbidden(), forbidden());
  const waited = async (): Promise<string> => {
    const answer = refusal(web);
    for (let i = 0; i < 10; i++) {
      await settle();
      await clock.advance(1_500);
    }
    return answer;
  };
  t.is(await waited(), 'resolved');
  await clock.advance(60_000);
  const other = bench();
  other.api.add('data');
  for (let i = 0; i < 6; i++) other.api.errors.push(forbidden());
  const answer = other.refusal(web);
  for (let i = 0; i < 10; i++) {
    await settle();
    await other.clock.advance(1_500);
  }
  t.regex(await answer, /failed to fetch PVC from API server: no relationship found/);
});

test('ReadWriteOncePod: the second pod waits until the first is gone', async (t) => {
  const { api, claimed, refusal } = bench();
  const once = { accessModes: ['ReadWriteOncePod'] };
  api.add('data', rawVolume('data', { hostPath: { path: '/srv' }, ...once }));
  const second = podWith('second', [claimVolume('data')]);
  t.is(await refusal(web), 'resolved');
  t.is(await refusal(web), 'resolved', 'the pod itself may ask again');
  t.regex(await refusal(second), /ReadWriteOncePod access mode and is already in use by another pod/);
  claimed.forget('uid-web');
  t.is(await refusal(second), 'resolved');
});

test('ReadWriteOncePod: what a killed predecessor mounted counts as well', async (t) => {
  const rootDir = await mkdtemp(join(tmpdir(), 'keelson-claims-'));
  t.teardown(() => rm(rootDir, { recursive: true }));
  const { api, refusal } = bench(rootDir);
  api.add('data', rawVolume('data', { local: { path: '/mnt' }, accessModes: ['ReadWriteOncePod'] }));
  const before = join(rootDir, 'pods', 'uid-before', 'volumes', 'kubernetes.io~local-volume', 'pv-data');
  await mkdir(before, { recursive: true });
  t.regex(await refusal(web), /already in use by another pod/);
  await rm(before, { recursive: true });
  t.is(await refusal(web), 'resolved');
});

test('two pods share a volume of any other access mode', async (t) => {
  const { api, refusal } = bench();
  api.add('data');
  t.is(await refusal(web), 'resolved');
  t.is(await refusal(podWith('second', [claimVolume('data')])), 'resolved');
});

test('without an API server there are no claims', async (t) => {
  const resolver = createVolumeResolver({
    client: undefined,
    claimed: new ClaimedVolumes(),
    node: () => ({ name: 'n1', labels: undefined }),
    rootDir: '/nowhere',
    clock: new FakeClock(),
    log: silentLogger,
  });
  await t.throwsAsync(resolver(claimVolume('data'), web, signal), { message: /this node has none/ });
});
