/** Bind addresses and cluster CIDRs: what kube-proxy takes, and nothing else. */
import test from 'ava';
import fc from 'fast-check';
import { formatBindAddress, parseBindAddress } from './bind-address.ts';
import { cidrFamily, parseClusterCidr } from './cluster-cidr.ts';

test('bind addresses', (t) => {
  t.deepEqual(parseBindAddress('0.0.0.0', 5), { address: '0.0.0.0', port: 5 });
  t.deepEqual(parseBindAddress('::', 5), { address: '::', port: 5 });
  t.deepEqual(parseBindAddress('127.0.0.1:65535', 5), { address: '127.0.0.1', port: 65_535 });
  t.deepEqual(parseBindAddress('[::1]:1', 5), { address: '::1', port: 1 });
  for (const bad of [
    '',
    ':80',
    'localhost:80',
    '1.2.3:80',
    '1.2.3.4:0',
    '1.2.3.4:65536',
    '1.2.3.4:',
    '[::1]',
    '[1.2.3.4]:80',
  ]) {
    t.is(parseBindAddress(bad, 5), undefined, bad);
  }
});

test('what is written is read again', (t) => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6());
  const property = fc.property(address, fc.integer({ min: 1, max: 65_535 }), (host, port) => {
    t.deepEqual(parseBindAddress(formatBindAddress({ address: host, port }), 1), { address: host, port });
  });
  t.notThrows(() => fc.assert(property, { numRuns: 200 }));
});

test('cluster CIDRs', (t) => {
  t.deepEqual(parseClusterCidr('10.244.0.0/16'), { cidrs: ['10.244.0.0/16'] });
  t.deepEqual(parseClusterCidr('fd00::/56, 10.1.2.3/8'), { cidrs: ['fd00::/56', '10.1.2.3/8'] });
  for (const bad of [
    '',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/33',
    'fd00::/129',
    '1/8',
    '10.0.0.0/8/8',
    '10.0.0.0/8,',
  ]) {
    t.true('reason' in parseClusterCidr(bad), bad);
  }
  t.true('reason' in parseClusterCidr('10.0.0.0/8,fd00::/8,11.0.0.0/8'));
  t.true('reason' in parseClusterCidr('fd00::/8,fd01::/8'));
  t.is(cidrFamily('0.0.0.0/0'), 'IPv4');
  t.is(cidrFamily('::/0'), 'IPv6');
  t.is(cidrFamily('primary'), undefined);
});
