/** The fakes of mounts and sysctls keep the rules that callers rely on. */
import test from 'ava';
import { FakeMounts, FakeSysctls } from './fake-host.ts';
import { KernelError } from './kernel-error.ts';

test('mounts stack, are busy, and go topmost first', async (t) => {
  const mounts = new FakeMounts();
  await mounts.mountTmpfs('/a', { sizeBytes: 4096 });
  await mounts.mountTmpfs('/a', { sizeBytes: 8192 });
  await mounts.bind('/src', '/a/b', { readOnly: true });
  t.deepEqual(
    (await mounts.list()).map(({ target, fsType, readOnly }) => [target, fsType, readOnly]),
    [
      ['/a', 'tmpfs', false],
      ['/a', 'tmpfs', false],
      ['/a/b', 'ext4', true],
    ],
  );
  t.is((await t.throwsAsync(mounts.unmount('/a'), { instanceOf: KernelError })).errnoName, 'EBUSY');
  await mounts.unmount('/a/b');
  await mounts.unmount('/a');
  t.deepEqual(
    mounts.mounts.map((mount) => mount.tmpfs?.sizeBytes),
    [4096],
  );
  mounts.busy.add('/a');
  await t.throwsAsync(mounts.unmount('/a'), { instanceOf: KernelError });
  await mounts.unmount('/a', { lazy: true });
  t.is((await t.throwsAsync(mounts.unmount('/a'), { instanceOf: KernelError })).errnoName, 'EINVAL');
  t.is(
    (await t.throwsAsync(mounts.mountTmpfs('/a', { sizeBytes: 0 }), { instanceOf: KernelError })).errnoName,
    'EINVAL',
  );
});

test('sysctls: dotted and slashed names, unknown ones, other namespaces', async (t) => {
  const sysctls = new FakeSysctls({ 'net.ipv4.ip_forward': '0' });
  await sysctls.write('net/ipv4/ip_forward', '1\n');
  t.is(await sysctls.read('net.ipv4.ip_forward'), '1');
  t.is((await t.throwsAsync(sysctls.read('net/none'), { instanceOf: KernelError })).errnoName, 'ENOENT');
  await sysctls.writeInNetns('/run/netns/x', 'net/ipv4/conf/eth0/arp_notify', '1');
  t.is(sysctls.inNetns.get('/run/netns/x')?.get('net/ipv4/conf/eth0/arp_notify'), '1');
  await t.throwsAsync(sysctls.writeInNetns('/run/netns/x', 'kernel/hostname', 'x'), { code: 'SYSCTL_NAME_INVALID' });
  sysctls.netnsExists = () => false;
  await t.throwsAsync(sysctls.writeInNetns('/run/netns/x', 'net/a', '1'), { instanceOf: KernelError });
});
