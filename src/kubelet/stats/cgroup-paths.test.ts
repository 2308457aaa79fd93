import test from 'ava';
import fc from 'fast-check';
import {
  cgroupDirectory,
  cgroupPath,
  parseCgroupMounts,
  parseMembership,
  podCgroupOf,
  podsCgroupOf,
} from './cgroup-paths.ts';

const v1 = parseCgroupMounts(
  [
    '31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755',
    '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct',
    '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
    '36 31 0:32 / /mnt/memory rw,relatime - cgroup cgroup rw,memory',
    '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
  ].join('\n'),
);
const v2 = parseCgroupMounts('31 26 0:27 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate');

test('a v2 mount beside a v1 hierarchy of memory does not make the machine v2', (t) => {
  t.is(v1.version, 1);
  t.is(v2.version, 2);
  t.is(parseCgroupMounts('').version, undefined);
});

test('controllers that share a hierarchy share its directory, and the first of two mounts counts', (t) => {
  t.is(cgroupDirectory(v1, 'cpu', '/a'), '/sys/fs/cgroup/cpu,cpuacct/a');
  t.is(cgroupDirectory(v1, 'cpuacct', '/a'), '/sys/fs/cgroup/cpu,cpuacct/a');
  t.is(cgroupDirectory(v1, 'memory', '/'), '/sys/fs/cgroup/memory');
  t.is(cgroupDirectory(v1, 'pids', '/a'), undefined);
  t.is(cgroupDirectory(v2, 'anything', '/a/b'), '/sys/fs/cgroup/a/b');
});

test('a mount that shows a part of the hierarchy shows only what is in it', (t) => {
  const part = parseCgroupMounts('31 26 0:27 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw');
  t.is(cgroupDirectory(part, '', '/docker/x/pod'), '/sys/fs/cgroup/pod');
  t.is(cgroupDirectory(part, '', '/docker/x'), '/sys/fs/cgroup');
  t.is(cgroupDirectory(part, '', '/docker/xy'), undefined);
});

test('a cgroup outside the namespace is no path of ours', (t) => {
  t.is(cgroupDirectory(v2, '', '/../other'), undefined);
});

test('the membership of a process', (t) => {
  const membership = parseMembership('9:name=systemd:/s\n4:memory:/a:b\n2:cpu,cpuacct:/c\n0::/u\nnonsense\n');
  t.is(cgroupPath(v1, membership), '/a:b');
  t.is(cgroupPath(v2, membership), '/u');
  t.is(membership.controllers.get('cpuacct'), '/c');
  t.is(cgroupPath(v1, parseMembership('0::/u')), undefined);
});

test('the pod of a container path, for both cgroup drivers', (t) => {
  const uid = '0a1b-2c';
  t.is(podCgroupOf(`/kubepods/burstable/pod${uid}/abc`, uid), `/kubepods/burstable/pod${uid}`);
  const slice = '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b_2c.slice';
  t.is(podCgroupOf(`${slice}/cri-containerd-abc.scope`, uid), slice);
  t.is(
    podCgroupOf(`/kubepods.slice/kubepods-pod0a1b_2c.slice/x.scope`, uid),
    '/kubepods.slice/kubepods-pod0a1b_2c.slice',
  );
  t.is(podCgroupOf('/k8s.io/abc', uid), undefined);
  t.is(podCgroupOf(`/kubepods/podother${uid}/abc`, uid), undefined);
  t.is(podCgroupOf('/', uid), undefined);
});

test('the cgroup of all pods', (t) => {
  t.is(podsCgroupOf('/kubepods/burstable/podx/abc'), '/kubepods');
  t.is(podsCgroupOf('/mine.slice/kubepods.slice/x'), '/mine.slice/kubepods.slice');
  t.is(podsCgroupOf('/k8s.io/abc'), undefined);
});

test('any text is read without an error', (t) => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (mounts, membership) => {
      const path = cgroupPath(parseCgroupMounts(mounts), parseMembership(membership));
      return path === undefined || path.startsWith('/');
    }),
  );
  t.pass();
});
