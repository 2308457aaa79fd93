import test from 'ava';
import { deviceOf, parsePartitions } from './machine-facts.ts';

const mounts = [
  '26 25 254:0 / / rw - ext4 /dev/vda rw',
  '27 26 254:1 / /var/lib rw - ext4 /dev/vdb rw',
  '28 27 0:40 / /var/lib rw - xfs /dev/mapper/data rw',
].join('\n');

test('the device below a path is that of the nearest mount, and of two at one place the upper', (t) => {
  t.is(deviceOf(mounts, '/etc/x'), '/dev/vda');
  t.is(deviceOf(mounts, '/var/lib/kubelet'), '/dev/mapper/data');
  t.is(deviceOf(mounts, '/var/library'), '/dev/vda');
  t.is(deviceOf('', '/var'), undefined);
});

test('names of devices', (t) => {
  const names = parsePartitions(
    'major minor  #blocks  name\n\n 254        0  268435456 vda\n   8       17    1000 sdb1\nx\n',
  );
  t.deepEqual(
    [...names],
    [
      ['254:0', 'vda'],
      ['8:17', 'sdb1'],
    ],
  );
});
