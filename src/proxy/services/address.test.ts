/** Addresses and endpoints: what is taken, what is refused and why, and the bytes that the kernel gets. */
import test from 'ava';
import fc from 'fast-check';
import type { IpFamily } from '../../api/service.ts';
import {
  endpointAddress,
  endpointPort,
  endpointRef,
  formatAddress,
  formatEndpoint,
  isLinkLocal,
  parseAddress,
  writeEndpoint,
} from './address.ts';

const read = (family: IpFamily, text: string): string => {
  const result = parseAddress(family, text);
  return 'fault' in result ? result.fault : formatAddress(result.address);
};

const cases: [IpFamily, string, string][] = [
  ['IPv4', '10.0.0.1', '10.0.0.1'],
  ['IPv4', '255.255.255.254', '255.255.255.254'],
  ['IPv4', '240.0.0.1', '240.0.0.1'],
  ['IPv4', '010.001.0.9', '10.1.0.9'],
  ['IPv4', '10.0.0', 'malformed'],
  ['IPv4', '10.0.0.0.1', 'malformed'],
  ['IPv4', '10.0.0.256', 'malformed'],
  ['IPv4', '10.0.0.0001', 'malformed'],
  ['IPv4', '10..0.1', 'malformed'],
  ['IPv4', '10.0.0.', 'malformed'],
  ['IPv4', ' 10.0.0.1', 'malformed'],
  ['IPv4', '10.0.0.1/32', 'malformed'],
  ['IPv4', '', 'malformed'],
  ['IPv4', 'fd00::1', 'of the other family'],
  ['IPv4', '127.0.0.1', 'not usable as a destination'],
  ['IPv4', '0.0.0.0', 'not usable as a destination'],
  ['IPv4', '224.0.0.1', 'not usable as a destination'],
  ['IPv4', '255.255.255.255', 'not usable as a destination'],
  ['IPv6', 'FD00:0:0:0:0:0:0:1', 'fd00::1'],
  ['IPv6', 'fd00::1%eth0', 'malformed'],
  ['IPv6', 'fd00:::1', 'malformed'],
  ['IPv6', '', 'malformed'],
  ['IPv6', '10.0.0.1', 'of the other family'],
  ['IPv6', '::ffff:10.0.0.1', 'of the other family'],
  ['IPv6', '::1', 'not usable as a destination'],
  ['IPv6', '::', 'not usable as a destination'],
  ['IPv6', 'ff02::1', 'not usable as a destination'],
];

for (const [family, text, expected] of cases)
  test(`${family} ${JSON.stringify(text)} is ${expected}`, (t) => t.is(read(family, text), expected));

test('endpoints keep address and port, at every corner', (t) => {
  for (const [family, text] of [
    ['IPv4', '255.255.255.254'],
    ['IPv4', '1.0.0.0'],
    ['IPv6', 'fd00::ff'],
  ] as const) {
    const result = parseAddress(family, text);
    if ('fault' in result) return t.fail(result.fault);
    for (const port of [1, 80, 65535]) {
      const endpoint = endpointRef(result.address, port);
      t.is(endpointAddress(endpoint), result.address);
      t.is(endpointPort(endpoint), port);
    }
  }
  return undefined;
});

test('any two different IPv4 endpoints are different numbers', (t) => {
  const part = fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 1, max: 65535 }));
  fc.assert(
    fc.property(part, part, ([a, p], [b, q]) => (endpointRef(a, p) === endpointRef(b, q)) === (a === b && p === q)),
  );
  t.pass();
});

test('the kernel gets network order', (t) => {
  const bytes = new Uint8Array(18);
  t.is(writeEndpoint(endpointRef(0xc0a80102, 0x1f90), bytes, 0), 6);
  t.deepEqual([...bytes.subarray(0, 6)], [192, 168, 1, 2, 0x1f, 0x90]);
  t.is(writeEndpoint('[fd00::1]:80', bytes, 0), 18);
  t.deepEqual([...bytes], [0xfd, ...Array(14).fill(0), 1, 0, 80]);
});

test('link-local addresses are known', (t) => {
  t.true(isLinkLocal(0xa9fe0001));
  t.false(isLinkLocal(0xa9ff0001));
  t.true(isLinkLocal('fe80::1'));
  t.false(isLinkLocal('fec0::1'));
  t.is(formatEndpoint('[fe80::1]:80'), '[fe80::1]:80');
});
