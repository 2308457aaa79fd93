import test from 'ava';
import { evictionThresholds } from '../node/eviction-thresholds.ts';
import { apiPod, container, containerStats, fs, memory, podStats } from './evictable-pod.fake.ts';
import { evictionText } from './eviction-message.ts';

const thresholds = evictionThresholds({
  evictionHard: new Map([
    ['nodefs.available', '10%'],
    ['imagefs.available', '15%'],
    ['nodefs.inodesFree', '5%'],
    ['memory.available', '100Mi'],
    ['pid.available', '1k'],
  ]),
});
const observations = {
  'nodefs.available': { available: 50 * 1024, capacity: 1024 * 1024 },
  'nodefs.inodesFree': { available: 40, capacity: 1000 },
  'memory.available': { available: 52_428_801, capacity: 2 ** 33 },
  'pid.available': { available: 12_000, capacity: 32_768 },
};

test('memory: threshold, what is left, each container above its request', (t) => {
  const pod = apiPod('web', {
    containers: [container('app', { memory: '64Mi' }), container('within', { memory: '1Gi' }), container('free')],
    ephemeralContainers: [{ name: 'debug', image: 'busybox' }],
  });
  const stats = podStats('web', {
    memory: memory(2 ** 30),
    containers: [
      containerStats('app', { memory: memory(128 * 1024 ** 2) }),
      containerStats('within', { memory: memory(1024) }),
      containerStats('free', { memory: memory(3000) }),
      containerStats('debug', { memory: memory(2 ** 30) }),
    ],
  });
  t.deepEqual(evictionText(pod, stats, { resource: 'memory', thresholds, observations }), {
    message:
      'The node was low on resource: memory. Threshold quantity: 100Mi, available: 52428801. ' +
      'Container app was using 128Mi, request is 64Mi, has larger consumption of memory. ' +
      'Container free was using 3000, request is 0, has larger consumption of memory. ',
    annotations: {
      offending_containers: 'app,free',
      offending_containers_usage: '128Mi,3000',
      starved_resource: 'memory',
    },
  });
});

test('storage: layer and logs; a share of the disk reads in bytes', (t) => {
  const stats = podStats('web', { containers: [containerStats('main', { rootfs: fs(8192), logs: fs(4096) })] });
  t.is(
    evictionText(apiPod('web'), stats, { resource: 'ephemeral-storage', thresholds, observations }).message,
    'The node was low on resource: ephemeral-storage. Threshold quantity: 104857, available: 50Ki. ' +
      'Container main was using 12Ki, request is 0, has larger consumption of ephemeral-storage. ',
  );
});

test('a container whose logs were not measured is not blamed', (t) => {
  const stats = podStats('web', { containers: [containerStats('main', { rootfs: fs(8192) })] });
  const { message, annotations } = evictionText(apiPod('web'), stats, {
    resource: 'ephemeral-storage',
    thresholds,
    observations,
  });
  t.false(message.includes('Container'));
  t.is(annotations.offending_containers, '');
});

test('inodes and process IDs count in plain numbers and blame nobody', (t) => {
  const stats = podStats('web', { containers: [containerStats('main', { rootfs: fs(1, 1), logs: fs(1, 1) })] });
  const text = (resource: 'inodes' | 'pids'): string =>
    evictionText(apiPod('web'), stats, { resource, thresholds, observations }).message;
  t.is(text('inodes'), 'The node was low on resource: inodes. Threshold quantity: 50, available: 40. ');
  t.is(text('pids'), 'The node was low on resource: pids. Threshold quantity: 1k, available: 12k. ');
});

test('a pod that asks as a whole is named, too', (t) => {
  const pod = apiPod('web', { resources: { requests: { memory: '1Mi' } } });
  const stats = podStats('web', { memory: memory(2 * 1024 ** 2), containers: [] });
  const { message, annotations } = evictionText(pod, stats, { resource: 'memory', thresholds: [], observations });
  t.is(
    message,
    'The node was low on resource: memory. ' +
      'Pod web was using 2Mi, request is 1Mi, has larger consumption of memory. ',
  );
  t.like(annotations, { offending_pod: 'web', offending_pod_usage: '2Mi' });
});

test('without figures the message ends after the threshold', (t) => {
  const { message, annotations } = evictionText(apiPod('web'), undefined, {
    resource: 'memory',
    thresholds,
    observations,
  });
  t.is(message, 'The node was low on resource: memory. Threshold quantity: 100Mi, available: 52428801. ');
  t.deepEqual(annotations, {});
});
