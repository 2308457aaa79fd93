import test from 'ava';
import type { Pod } from '../../api/core.ts';
import { apiPod, container, containerStats, fs, podStats } from './evictable-pod.fake.ts';
import { exceededLimit, hasLocalLimits } from './local-storage-limits.ts';

const oneDisk = { dedicatedImageFs: false };
const limited = (limit: string): Pod =>
  apiPod('web', { containers: [container('main', {}, { 'ephemeral-storage': limit }), container('free')] });
const mi = 1024 ** 2;

test('an emptyDir above its sizeLimit', (t) => {
  const pod = apiPod('web', {
    volumes: [
      { name: 'free', emptyDir: {} },
      { name: 'zero', emptyDir: { sizeLimit: '0' } },
      { name: 'cache', emptyDir: { sizeLimit: '1024Ki' } },
    ],
  });
  const volume = (name: string, bytes: number) => ({ ...fs(bytes), name });
  const stats = (bytes: number) =>
    podStats('web', { volume: [volume('free', 9e9), volume('zero', 9e9), volume('cache', bytes)] });
  t.true(hasLocalLimits(pod));
  t.is(exceededLimit(pod, stats(mi), oneDisk), undefined, 'exactly the limit is allowed');
  t.deepEqual(exceededLimit(pod, stats(mi + 1), oneDisk), {
    signal: 'emptydirfs.limit',
    message: 'Usage of EmptyDir volume "cache" exceeds the limit "1Mi". ',
  });
  t.is(exceededLimit(pod, podStats('web'), oneDisk), undefined, 'not measured yet');
});

test('a pod above the sum of its limits', (t) => {
  const stats = (bytes: number) => podStats('web', { 'ephemeral-storage': fs(bytes) });
  t.true(hasLocalLimits(limited('1Mi')));
  t.is(exceededLimit(limited('1Mi'), stats(mi), oneDisk), undefined);
  t.deepEqual(exceededLimit(limited('1Mi'), stats(mi + 1), oneDisk), {
    signal: 'ephemeralpodfs.limit',
    message: 'Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ',
  });
});

test('a container above its own limit: logs, and its layer where that lies on the same disk', (t) => {
  const main = containerStats('main', { rootfs: fs(mi), logs: fs(1) });
  const stats = podStats('web', { containers: [containerStats('free', { rootfs: fs(9e9), logs: fs(9e9) }), main] });
  t.deepEqual(exceededLimit(limited('1Mi'), stats, oneDisk), {
    signal: 'ephemeralcontainerfs.limit',
    message: 'Container main exceeded its local ephemeral storage limit "1Mi". ',
  });
  t.is(exceededLimit(limited('1Mi'), stats, { dedicatedImageFs: true }), undefined);
});

test('pods without limits need no measuring', (t) => {
  t.false(hasLocalLimits(apiPod('web')));
  t.false(hasLocalLimits(apiPod('web', { volumes: [{ name: 'a', emptyDir: {} }] })));
  t.false(hasLocalLimits(apiPod('web', { containers: [container('main', { 'ephemeral-storage': '1' })] })));
});
