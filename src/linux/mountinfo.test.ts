/** mountinfo(5) lines and sysctl names as people and the kernel write them. */
import test from 'ava';
import { parseMountInfo } from './mountinfo.ts';
import { netSysctlPath, sysctlPath } from './sysctl-path.ts';

test('mountinfo: optional fields, escapes, read-only by mount or by filesystem', (t) => {
  const text = [
    '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue',
    '37 36 0:40 / /with\\040space\\011tab\\134back\\012line rw - tmpfs tmpfs rw,size=4k',
    '38 36 0:41 / /ro ro,relatime - tmpfs none rw',
    '39 36 0:42 / /sr rw - squashfs /dev/loop0 ro',
    '40 36 0:43 / /nosource rw - proc  rw',
    'garbage',
    '',
  ].join('\n');
  t.deepEqual(parseMountInfo(text), [
    { mountId: 36, root: '/mnt1', target: '/mnt2', fsType: 'ext3', source: '/dev/root', readOnly: false, shared: true },
    {
      mountId: 37,
      root: '/',
      target: '/with space\ttab\\back\nline',
      fsType: 'tmpfs',
      source: 'tmpfs',
      readOnly: false,
      shared: false,
    },
    { mountId: 38, root: '/', target: '/ro', fsType: 'tmpfs', source: 'none', readOnly: true, shared: false },
    { mountId: 39, root: '/', target: '/sr', fsType: 'squashfs', source: '/dev/loop0', readOnly: true, shared: false },
    { mountId: 40, root: '/', target: '/nosource', fsType: 'proc', source: '', readOnly: false, shared: false },
  ]);
});

test('sysctl names', (t) => {
  t.is(sysctlPath('net.ipv4.ip_forward'), 'net/ipv4/ip_forward');
  t.is(sysctlPath('net/ipv4/conf/eth0.100/forwarding'), 'net/ipv4/conf/eth0.100/forwarding');
  t.is(sysctlPath('net.ipv4.conf.eth0/100.forwarding'), 'net/ipv4/conf/eth0.100/forwarding');
  for (const name of ['', '/', 'net//x', 'net/../kernel', '..', '/etc/passwd', 'net/a b', 'net.ipv4.', './x', 'a\0b']) {
    t.throws(() => sysctlPath(name), { code: 'SYSCTL_NAME_INVALID' }, name);
  }
  t.throws(() => netSysctlPath('kernel.hostname'), { code: 'SYSCTL_NAME_INVALID' });
  t.throws(() => netSysctlPath('netfoo/x'), { code: 'SYSCTL_NAME_INVALID' });
});
