/** Names of cgroups for both drivers, there and back; UIDs that would lead elsewhere are refused. */
import test from 'ava';
import fc from 'fast-check';
import { CgroupError } from './cgroup-error.ts';
import {
  cgroupNameOf,
  cgroupPath,
  podCgroup,
  podsCgroup,
  podUidOf,
  qosCgroup,
  reservedCgroupName,
  sliceUnit,
} from './cgroup-name.ts';

const uid = '0fa5dd5b-4d4e-4f2b-9a39-1a2b3c4d5e6f';

test('each level with each driver', (t) => {
  const names = [podsCgroup([]), qosCgroup([], 'Burstable'), qosCgroup([], 'BestEffort'), qosCgroup([], 'Guaranteed')];
  t.deepEqual(
    names.map((name) => cgroupPath('cgroupfs', name)),
    ['/kubepods', '/kubepods/burstable', '/kubepods/besteffort', '/kubepods'],
  );
  t.deepEqual(
    names.map((name) => cgroupPath('systemd', name)),
    [
      '/kubepods.slice',
      '/kubepods.slice/kubepods-burstable.slice',
      '/kubepods.slice/kubepods-besteffort.slice',
      '/kubepods.slice',
    ],
  );
  t.is(cgroupPath('cgroupfs', podCgroup([], 'Guaranteed', uid)), `/kubepods/pod${uid}`);
  t.is(
    cgroupPath('systemd', podCgroup([], 'BestEffort', uid)),
    '/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0fa5dd5b_4d4e_4f2b_9a39_1a2b3c4d5e6f.slice',
  );
  t.is(cgroupPath('cgroupfs', []), '/');
  t.is(cgroupPath('systemd', []), '/');
  t.is(sliceUnit([]), '-.slice');
});

test('a root of its own goes before everything', (t) => {
  const root = cgroupNameOf('/a-b//c/');
  t.deepEqual(root, ['a-b', 'c']);
  t.is(cgroupPath('cgroupfs', podsCgroup(root)), '/a-b/c/kubepods');
  t.is(cgroupPath('systemd', podsCgroup(root)), '/a_b.slice/a_b-c.slice/a_b-c-kubepods.slice');
  t.deepEqual(cgroupNameOf('/'), []);
});

test('reserved cgroups are named in the terms of the driver', (t) => {
  t.deepEqual(reservedCgroupName('cgroupfs', '/system.slice/x'), ['system.slice', 'x']);
  t.is(cgroupPath('systemd', reservedCgroupName('systemd', '/system.slice')), '/system.slice');
  t.is(
    cgroupPath('systemd', reservedCgroupName('systemd', '/kube.slice/kube-reserved.slice')),
    '/kube.slice/kube-reserved.slice',
  );
  for (const path of ['/system', '/', '/a--b.slice', '/-.slice', '/.slice', '/containerd.service']) {
    t.throws(() => reservedCgroupName('systemd', path), { instanceOf: CgroupError }, path);
  }
});

for (const bad of ['', '.', '..', '../x', 'a/b', 'a_b', '-a', 'a\nb', 'a\0', 'x'.repeat(300)]) {
  test(`no cgroup for a pod with the UID ${JSON.stringify(bad.slice(0, 10))}`, (t) => {
    t.throws(() => podCgroup([], 'Burstable', bad), { instanceOf: CgroupError, code: 'CGROUP_NAME' });
  });
}

test('a part that is no directory is refused, wherever it comes from', (t) => {
  for (const part of ['..', '.', '', 'a/b', 'a\0b', 'x'.repeat(256)]) {
    t.throws(() => cgroupPath('cgroupfs', ['kubepods', part]), { instanceOf: CgroupError }, part);
  }
});

test('the UID comes back from the directory, with both drivers', (t) => {
  const uids = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9.-]{0,40}$/);
  fc.assert(
    fc.property(uids, fc.constantFrom('Guaranteed', 'Burstable', 'BestEffort'), (id, qos) => {
      for (const driver of ['cgroupfs', 'systemd'] as const) {
        const path = cgroupPath(driver, podCgroup(['x-y'], qos, id));
        if (podUidOf(driver, path.slice(path.lastIndexOf('/') + 1)) !== id) return false;
      }
      return true;
    }),
  );
  t.pass();
});

test('directories that are no pods are nobody', (t) => {
  for (const name of ['burstable', 'pod', 'pod..', 'cri-containerd-1.scope', 'podx_y']) {
    t.is(podUidOf('cgroupfs', name), undefined, name);
  }
  for (const name of ['kubepods-burstable.slice', 'kubepods-pod.slice', `pod${uid}`, 'kubepods-podx.scope']) {
    t.is(podUidOf('systemd', name), undefined, name);
  }
});
