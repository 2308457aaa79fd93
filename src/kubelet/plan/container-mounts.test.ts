/** Mounts and devices of containers: kinds of volumes, parts of them, who may write. */
import test from 'ava';
import type { Container, Pod, VolumeMount } from '../../api/core.ts';
import { ContainerConfigError } from './container-config-error.ts';
import { containerDevices, containerMounts, type MountContext, subPathMounts } from './container-mounts.ts';
import { type PodVolume, volumeUses } from './pod-volume.ts';

const own = { hostsFilePath: '/k/etc-hosts', terminationMessageFile: '/k/0badcafe' };
const path = (change: Partial<Extract<PodVolume, { kind: 'path' }>> = {}): PodVolume => ({
  kind: 'path',
  hostPath: '/k/data',
  readOnly: false,
  relabel: true,
  ...change,
});

function first(mount: Partial<VolumeMount>, volume: PodVolume, context: Partial<MountContext> = {}) {
  const container: Container = {
    name: 'c',
    image: 'i',
    volumeMounts: [{ name: 'data', mountPath: '/data', ...mount }],
  };
  return containerMounts(container, { ...own, volumes: new Map([['data', volume]]), ...context })[0];
}

for (const [what, mount, volume, readonly, selinuxRelabel] of [
  ['a writable volume', {}, path(), false, true],
  ['a mount that only reads', { readOnly: true }, path(), true, true],
  ['a volume that is read-only, whatever the mount says', { readOnly: false }, path({ readOnly: true }), true, true],
  ["the node's own files", {}, path({ relabel: false }), false, undefined],
] as const) {
  test(`mounted: ${what}`, (t) => {
    t.like(first(mount, volume), { hostPath: '/k/data', readonly, selinuxRelabel });
  });
}

test('a part of a volume is mounted from where it was bound', (t) => {
  const subPaths = new Map([[0, '/k/volume-subpaths/data/c/0']]);
  t.is(first({ subPath: 'a' }, path(), { subPaths })?.hostPath, '/k/volume-subpaths/data/c/0');
  t.is(first({ subPathExpr: '$(A)' }, path(), { subPaths })?.hostPath, '/k/volume-subpaths/data/c/0');
  // Never the whole volume instead.
  t.throws(() => first({ subPath: 'a' }, path()), { instanceOf: ContainerConfigError });
});

test('an image is mounted by the runtime, read-only, with the part it is asked for', (t) => {
  const images = new Map([['data', { image: 'sha256:1', userSpecifiedImage: 'r' }]]);
  const volume: PodVolume = { kind: 'image', reference: 'r', pullPolicy: undefined };
  t.deepEqual(first({ subPath: 'bin' }, volume, { images, subPaths: new Map([[0, 'bin']]) }), {
    containerPath: '/data',
    propagation: 'PROPAGATION_PRIVATE',
    readonly: true,
    selinuxRelabel: true,
    image: { image: 'sha256:1', userSpecifiedImage: 'r' },
    imageSubPath: 'bin',
  });
  t.throws(() => first({}, volume), { instanceOf: ContainerConfigError });
});

test('block volumes are devices and nothing else', (t) => {
  const device = (readOnly: boolean): PodVolume => ({ kind: 'device', hostPath: '/k/dev', readOnly });
  const devices = (volume: PodVolume, devicePath: string) =>
    containerDevices(
      { name: 'c', image: 'i', volumeDevices: [{ name: 'data', devicePath }] },
      { ...own, volumes: new Map([['data', volume]]) },
    );
  t.deepEqual(devices(device(false), '/dev/x'), [{ hostPath: '/k/dev', containerPath: '/dev/x', permissions: 'mrw' }]);
  t.like(devices(device(true), '/dev/x')[0], { permissions: 'r' });
  t.throws(() => devices(device(true), 'dev/x'), { instanceOf: ContainerConfigError, message: /absolute path/ });
  t.throws(() => devices(path(), '/dev/x'), { instanceOf: ContainerConfigError, message: /cannot find volume "data"/ });
  t.throws(() => first({}, device(true)), { instanceOf: ContainerConfigError, message: /cannot find volume "data"/ });
});

test('a termination message path that is relative counts from the root', (t) => {
  const container: Container = { name: 'c', image: 'i', terminationMessagePath: 'tmp/last' };
  t.is(containerMounts(container, { ...own, volumes: new Map() })[1]?.containerPath, '/tmp/last');
});

const parts = (mount: Partial<VolumeMount>, variables: Record<string, string> = {}) =>
  subPathMounts(
    {
      name: 'c',
      image: 'i',
      volumeMounts: [
        { name: 'v', mountPath: '/v' },
        { name: 'v', mountPath: '/w', ...mount },
      ],
    },
    new Map(Object.entries(variables)),
  );

test('parts of volumes: variables are replaced, an escaped reference stays', (t) => {
  t.deepEqual(parts({}), []);
  t.deepEqual(parts({ subPath: 'a/$(B)' }), [{ index: 1, volume: 'v', subPath: 'a/$(B)' }]);
  t.deepEqual(parts({ subPathExpr: 'a/$(B)/$$(C)' }, { B: 'b' }), [{ index: 1, volume: 'v', subPath: 'a/b/$(C)' }]);
});

for (const [mount, variables, message] of [
  [{ subPath: '/etc' }, {}, /must be a relative path/],
  [{ subPath: 'a/../../etc' }, {}, /must not contain '\.\.'/],
  [{ subPath: 'a\0b' }, {}, /NUL/],
  [{ subPathExpr: '$(A)' }, { A: '../../etc' }, /must not contain '\.\.'/],
  [{ subPathExpr: '$(A)' }, { A: '/etc' }, /must be a relative path/],
  [{ subPathExpr: '$(A)$(B)' }, { A: '.', B: './x/..' }, /must not contain '\.\.'/],
  [{ subPathExpr: '$(A)/x' }, {}, /missing value for "A"/],
  [{ subPathExpr: '$(A)/x' }, { A: '' }, /missing value for "A"/],
] as const) {
  test(`a part that is refused: ${JSON.stringify([mount, variables])}`, (t) => {
    t.throws(() => parts(mount, variables), { instanceOf: ContainerConfigError, message });
  });
}

test('volumes that are used: mounts, devices and env files of every container', (t) => {
  const fileKeyRef = { volumeName: 'env', path: 'p', key: 'K' };
  const pod: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'n', uid: 'u' },
    spec: {
      initContainers: [
        { name: 'i', image: 'i', volumeMounts: [{ name: 'a', mountPath: '/', mountPropagation: 'HostToContainer' }] },
      ],
      containers: [
        { name: 'c', image: 'i', volumeDevices: [{ name: 'b', devicePath: '/' }] },
        { name: 'd', image: 'i', env: [{ name: 'E', valueFrom: { fileKeyRef } }] },
      ],
      ephemeralContainers: [{ name: 'e', image: 'i', volumeMounts: [{ name: 'f', mountPath: '/' }] }],
    },
  };
  t.deepEqual([...volumeUses(pod).used].sort(), ['a', 'b', 'env', 'f']);
  t.deepEqual([...volumeUses(pod).propagated], ['a']);
});

test('mounts of a container become the host’s only if it is privileged', (t) => {
  t.throws(() => first({ mountPropagation: 'Bidirectional' }, path()), {
    instanceOf: ContainerConfigError,
    message: /only to privileged containers/,
  });
  t.is(first({ mountPropagation: 'HostToContainer' }, path())?.propagation, 'PROPAGATION_HOST_TO_CONTAINER');
});
