/** What containers are given of volumes when they start: images that are pulled, parts, env files, and what fails with which reason. */
import test, { type ExecutionContext } from 'ava';
import type { Volume } from '../../api/core.ts';
import type { PodVolume } from '../plan/pod-volume.ts';
import { VolumeError } from '../volumes/volume-error.ts';
import { noVolumes } from './no-volumes.fake.ts';
import type { PodVolumes } from './pod-context.ts';
import { busybox, podNode, staticPod } from './pod-node.fake.ts';

const data: PodVolume = { kind: 'path', hostPath: '/k/data', readOnly: false, relabel: true };

async function nodeWith(t: ExecutionContext, volumes: Record<string, PodVolume>, edge: Partial<PodVolumes> = {}) {
  return podNode(t, {
    volumes: () => ({ ...noVolumes, mount: async () => new Map(Object.entries(volumes)), ...edge }),
  });
}

const named = (...names: string[]): Volume[] => names.map((name) => ({ name, emptyDir: {} }));

test('parts of volumes are bound before the container is made, with its variables', async (t) => {
  const asked: unknown[] = [];
  const node = await nodeWith(
    t,
    { data },
    {
      bindSubPaths: async (...args) => {
        asked.push(args);
        return new Map([[1, '/k/bound']]);
      },
    },
  );
  const volumeMounts = [
    { name: 'data', mountPath: '/all' },
    { name: 'data', mountPath: '/part', subPathExpr: 'of/$(POD)' },
  ];
  const env = [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }];
  node.set(staticPod('web', { containers: [busybox('main', { volumeMounts, env })], volumes: named('data') }));
  await node.start();
  await node.until('it runs', () => node.running('main') !== undefined);
  t.deepEqual(asked, [['uid-web', 'main', [{ index: 1, volume: 'data', subPath: 'of/web', volumePath: '/k/data' }]]]);
  const mounts = node.running('main')?.config.mounts ?? [];
  t.deepEqual(
    mounts.slice(0, 2).map(({ hostPath }) => hostPath),
    ['/k/data', '/k/bound'],
  );
});

test('a part that cannot be bound is the configuration of the container that is wrong, and is tried again', async (t) => {
  let broken = true;
  const node = await nodeWith(
    t,
    { data },
    {
      bindSubPaths: async () => {
        if (broken) throw new VolumeError('VOLUME_SUB_PATH', 'it leads out of the volume', { object: 'x' });
        return new Map([[0, '/k/bound']]);
      },
    },
  );
  const volumeMounts = [{ name: 'data', mountPath: '/part', subPath: 'a' }];
  node.set(staticPod('web', { containers: [busybox('main', { volumeMounts })], volumes: named('data') }));
  await node.start();
  const waiting = () => node.container('web', 'main')?.state.waiting;
  await node.until('it is told', () => waiting()?.reason === 'CreateContainerConfigError', 100);
  t.is(waiting()?.message, 'container main: it leads out of the volume');
  broken = false;
  await node.until('it runs', () => node.running('main') !== undefined, 1000);
});

test('files of before keep no container from starting again; what is missing is told until it is there', async (t) => {
  let stale: Error | undefined;
  const node = await nodeWith(t, {}, { mount: async () => new Map([['data', { ...data, stale }]]) });
  const main = busybox('main', { volumeMounts: [{ name: 'data', mountPath: '/d' }] });
  node.set(staticPod('web', { containers: [main], volumes: named('data') }));
  const kubelet = await node.start();
  const error = (): string | undefined => kubelet.status().pods[0]?.error;
  await node.until('it runs', () => node.running('main') !== undefined);
  const first = node.running('main')?.id;
  stale = new VolumeError('VOLUME_OBJECT_MISSING', 'configMap team/c does not exist', { object: 'volume data' });
  node.exit('main', 1);
  await node.until('it runs again', () => ![undefined, first].includes(node.running('main')?.id), 1000);
  await node.until('it is told', () => /does not exist/.test(error() ?? ''), 100);
  t.true(node.events.some((event) => event.includes('FailedMount: volume data: configMap team/c does not exist')));
  stale = undefined;
  await node.until('nothing is missing', () => error() === undefined, 1000);
});

test('variables come from files that an init container wrote', async (t) => {
  const node = await nodeWith(
    t,
    { data },
    { readEnvFile: async (path, name) => (path === '/k/data' && name === 'env' ? "TOKEN='x'" : undefined) },
  );
  const env = [{ name: 'T', valueFrom: { fileKeyRef: { volumeName: 'data', path: 'env', key: 'TOKEN' } } }];
  node.set(staticPod('web', { containers: [busybox('main', { env })], volumes: named('data') }));
  await node.start();
  await node.until('it runs', () => node.running('main') !== undefined);
  const variables = node.running('main')?.config.envs ?? [];
  t.deepEqual(
    variables.filter(({ key }) => key === 'T').map(({ value }) => Buffer.from(value).toString()),
    ['x'],
  );
});

test('an image volume is pulled for the container that mounts it; its failure keeps no other container', async (t) => {
  const node = await nodeWith(t, {
    good: { kind: 'image', reference: 'docker.io/library/busybox:latest', pullPolicy: 'IfNotPresent' },
    gone: { kind: 'image', reference: 'r/gone:1', pullPolicy: 'Never' },
  });
  const mount = (name: string, subPath?: string) => ({
    volumeMounts: [{ name, mountPath: '/i', ...(subPath ? { subPath } : {}) }],
  });
  node.set(
    staticPod('web', {
      containers: [busybox('bad', mount('gone')), busybox('main', mount('good', 'bin'))],
      volumes: named('good', 'gone'),
    }),
  );
  await node.start();
  await node.until('it runs', () => node.running('main') !== undefined);
  const [mounted] = node.running('main')?.config.mounts ?? [];
  t.like(mounted, { containerPath: '/i', readonly: true, imageSubPath: 'bin', hostPath: '' });
  t.is(mounted?.image?.userSpecifiedImage, 'docker.io/library/busybox:latest');
  t.regex(node.running('main')?.config.annotations['keelson.dev/image-volumes'] ?? '', /^\["sha256:/);
  const waiting = () => node.container('web', 'bad')?.state.waiting;
  await node.until('it is told', () => waiting()?.reason === 'ErrImageNeverPull', 100);
  t.regex(waiting()?.message ?? '', /r\/gone:1/);
});

test('a part of an image is refused where the runtime would mount the whole', async (t) => {
  const reference = 'docker.io/library/busybox:latest';
  const node = await nodeWith(t, {
    image: { kind: 'image', reference, pullPolicy: 'IfNotPresent', partsRefused: 'containerd 2.1.9 does not' },
  });
  const volumeMounts = [{ name: 'image', mountPath: '/i', subPath: 'bin' }];
  node.set(staticPod('web', { containers: [busybox('main', { volumeMounts })], volumes: named('image') }));
  await node.start();
  const waiting = () => node.container('web', 'main')?.state.waiting;
  await node.until('it is told', () => waiting()?.reason === 'CreateContainerConfigError', 100);
  t.regex(waiting()?.message ?? '', /2\.1\.9 does not/);
});
