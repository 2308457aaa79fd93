import test from 'ava';
import fc from 'fast-check';
import { ApiError } from './api-error.ts';
import type { Parse } from './client.ts';
import {
  checkCsiDriverName,
  projectNfsSource,
  projectPersistentVolume,
  projectPersistentVolumeClaim,
} from './persistent-volume.ts';
import { createPersistentVolumeClient } from './persistent-volume-client.ts';
import { ObjectShapeError, RawObject } from './raw-object.ts';

const claim = (change: { metadata?: object; spec?: object; status?: object } = {}): object => ({
  metadata: { namespace: 'default', name: 'data', uid: 'u1', ...change.metadata },
  spec: { accessModes: ['ReadWriteOnce'], volumeName: 'pv-1', ...change.spec },
  status: { phase: 'Bound', capacity: { storage: '1Gi' }, ...change.status },
});
const volume = (spec: object): object => ({ metadata: { name: 'pv-1', uid: 'u2' }, spec });

test('a claim as a node reads it', (t) => {
  const metadata = {
    deletionTimestamp: '2026-01-01T00:00:00Z',
    finalizers: ['kubernetes.io/pvc-protection'],
    ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid: 'p', controller: true }],
  };
  const spec = { volumeMode: 'Block', resources: { requests: { storage: '2Gi' } } };
  t.like(projectPersistentVolumeClaim(claim({ metadata, spec })), {
    metadata: { name: 'data', namespace: 'default', uid: 'u1', ...metadata },
    spec: { accessModes: ['ReadWriteOnce'], volumeName: 'pv-1', volumeMode: 'Block', requestedStorage: '2Gi' },
    status: { phase: 'Bound', capacityStorage: '1Gi' },
  });
});

test('what a new claim lacks is absent', (t) => {
  const { metadata, spec, status } = projectPersistentVolumeClaim({
    metadata: { namespace: 'default', name: 'data', uid: 'u' },
    spec: { volumeName: '' },
  });
  t.deepEqual([metadata.finalizers, metadata.ownerReferences, spec.accessModes], [[], [], []]);
  t.deepEqual([spec.volumeName, spec.volumeMode, status.phase], [undefined, 'Filesystem', '']);
});

test('each source of a PersistentVolume', (t) => {
  const spec = (source: object) => projectPersistentVolume(volume(source)).spec;
  t.deepEqual(spec({ hostPath: { path: '/x', type: 'Directory' } }).hostPath, { path: '/x', type: 'Directory' });
  t.deepEqual(spec({ local: { path: '/x', fsType: '' } }).local, { path: '/x', fsType: undefined });
  t.deepEqual(spec({ nfs: { server: 'a', path: '/x', readOnly: true } }).nfs, {
    server: 'a',
    path: '/x',
    readOnly: true,
  });
  t.like(
    spec({
      csi: { driver: 'A.example.com', volumeHandle: '../h', nodeStageSecretRef: { namespace: 'n', name: 's' } },
    }).csi,
    {
      driver: 'A.example.com',
      volumeHandle: '../h',
      readOnly: false,
      volumeAttributes: {},
      nodeStageSecretRef: { namespace: 'n', name: 's' },
      nodePublishSecretRef: undefined,
    },
  );
  t.is(spec({ iscsi: { lun: 0 } }).otherSource, 'iscsi');
  t.is(spec({}).otherSource, undefined);
});

test('who may have a PersistentVolume, and where', (t) => {
  const required = { nodeSelectorTerms: [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] }] };
  const { spec } = projectPersistentVolume(
    volume({
      capacity: { storage: '1Gi' },
      claimRef: { namespace: 'default', name: 'data', uid: 'u1', kind: 'PersistentVolumeClaim' },
      mountOptions: ['ro'],
      nodeAffinity: { required },
    }),
  );
  t.like(spec, {
    capacityStorage: '1Gi',
    claimRef: { namespace: 'default', name: 'data', uid: 'u1' },
    mountOptions: ['ro'],
    requiredNodes: {
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }], matchFields: [] }],
    },
  });
});

for (const [what, object, field] of [
  ['a path as a volume', claim({ spec: { volumeName: '../../etc' } }), 'spec.volumeName'],
  ['a path as a name', claim({ metadata: { name: 'a/b' } }), 'metadata.name'],
  ['a namespace with dots', claim({ metadata: { namespace: '..' } }), 'metadata.namespace'],
  ['an unknown mode', claim({ spec: { volumeMode: 'Tape' } }), 'spec.volumeMode'],
  ['a capacity that is none', claim({ status: { capacity: { storage: 'much' } } }), 'status.capacity.storage'],
  ['access modes that are no list', claim({ spec: { accessModes: 'all' } }), 'spec.accessModes'],
] as const) {
  test(`refused in a claim: ${what}`, (t) => {
    const error = t.throws(() => projectPersistentVolumeClaim(object), { instanceOf: ObjectShapeError });
    t.is(error?.object, field);
  });
}

for (const [what, spec, field] of [
  ['a driver that is a path', { csi: { driver: '../x', volumeHandle: 'h' } }, 'spec.csi.driver'],
  ['a driver of 64 characters', { csi: { driver: 'a'.repeat(64), volumeHandle: 'h' } }, 'spec.csi.driver'],
  ['no volume handle', { csi: { driver: 'a', volumeHandle: '' } }, 'spec.csi.volumeHandle'],
  [
    'a secret that is a path',
    { csi: { driver: 'a', volumeHandle: 'h', nodePublishSecretRef: { namespace: 'n', name: '../s' } } },
    'spec.csi.nodePublishSecretRef.name',
  ],
  ['no path', { local: {} }, 'spec.local.path'],
  ['a hostPath of an unknown type', { hostPath: { path: '/x', type: 'Pipe' } }, 'spec.hostPath.type'],
  ['mount options that are no texts', { mountOptions: [1] }, 'spec.mountOptions[0]'],
  ['a negative capacity', { capacity: { storage: '-1' } }, 'spec.capacity.storage'],
] as const) {
  test(`refused in a PersistentVolume: ${what}`, (t) => {
    const error = t.throws(() => projectPersistentVolume(volume(spec)), { instanceOf: ObjectShapeError });
    t.is(error?.object, field);
  });
}

test('whatever comes is read or refused by name', (t) => {
  const settled = (read: () => unknown): boolean => {
    try {
      read();
      return true;
    } catch (error) {
      return error instanceof ObjectShapeError;
    }
  };
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (spec, source) => {
      const all = { ...claim(), spec, status: source };
      const sources = { hostPath: source, local: source, nfs: source, csi: source };
      return (
        settled(() => projectPersistentVolumeClaim(all)) &&
        settled(() => projectPersistentVolume(volume(sources))) &&
        settled(() => projectPersistentVolume({ metadata: { name: 'pv-1' }, spec })) &&
        settled(() => projectNfsSource(new RawObject({ server: spec, path: source })))
      );
    }),
  );
  t.deepEqual(checkCsiDriverName('Ebs.CSI.aws.com'), []);
});

test('the client reads by name, and what is not there is not there', async (t) => {
  const paths: string[] = [];
  const patches: unknown[] = [];
  const client = createPersistentVolumeClient({
    async patch<T>(path: string, type: string, body: object, parse: Parse<T>): Promise<T> {
      patches.push([path, type, body]);
      return parse({});
    },
    async get<T>(path: string, parse: Parse<T>): Promise<T> {
      paths.push(path);
      if (path.endsWith('missing')) throw new ApiError('API_NOT_FOUND', 'not found', { status: 404 });
      if (path.endsWith('hidden')) throw new ApiError('API_FORBIDDEN', 'forbidden', { status: 403 });
      return parse(path.includes('persistentvolumes/') ? volume({ nfs: { server: 'a', path: '/x' } }) : claim());
    },
  });
  const { signal } = new AbortController();
  t.is((await client.claim('default', 'data', signal))?.metadata.uid, 'u1');
  t.is((await client.volume('pv-1', signal))?.spec.nfs?.server, 'a');
  t.is(await client.claim('default', 'missing', signal), undefined);
  t.is(await client.volume('missing', signal), undefined);
  await t.throwsAsync(client.volume('hidden', signal), { code: 'API_FORBIDDEN' });
  await t.throwsAsync(async () => client.claim('default', '../secrets/x', signal), { code: 'API_NAME' });
  await client.patchClaimStatus('default', 'data', { capacity: { storage: '2Gi' } });
  const body = { status: { capacity: { storage: '2Gi' } } };
  t.deepEqual(patches, [['/api/v1/namespaces/default/persistentvolumeclaims/data/status', 'strategic', body]]);
  t.deepEqual(paths.slice(0, 2), [
    '/api/v1/namespaces/default/persistentvolumeclaims/data',
    '/api/v1/persistentvolumes/pv-1',
  ]);
});
