import test from 'ava';
import fc from 'fast-check';
import { parseNetworkDevices } from './network-devices.ts';

test('devices with their counters, without loopback and the ends of pods', (t) => {
  const text = [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo: 2888226011  915226    0    0    0     0          0         0 2888226011  915226    0    0    0     0       0          0',
    '  eth0:2058212381   48395    1    2    0     0          0         0  4414581   32786    3    4    0     0       0          0',
    'vethab12: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0',
    'eth0.5:1: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0',
    'short: 1 2 3',
  ].join('\n');
  t.deepEqual(parseNetworkDevices(text), [
    {
      name: 'eth0',
      receive: { bytes: 2_058_212_381, packets: 48_395, errors: 1, dropped: 2 },
      transmit: { bytes: 4_414_581, packets: 32_786, errors: 3, dropped: 4 },
    },
    {
      name: 'eth0.5:1',
      receive: { bytes: 5, packets: 1, errors: 0, dropped: 0 },
      transmit: { bytes: 6, packets: 1, errors: 0, dropped: 0 },
    },
  ]);
});

test('any text is read without an error', (t) => {
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseNetworkDevices(text))));
  t.pass();
});
