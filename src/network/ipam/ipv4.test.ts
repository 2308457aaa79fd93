import test from 'ava';
import fc from 'fast-check';
import { formatIpv4, parseIpv4 } from '../../config/ip.ts';
import { NetworkError } from '../network-error.ts';
import { formatIpv4Prefix, overlaps, parseIpv4Prefix, parsePodCIDR } from './ipv4.ts';

test('every 32-bit value survives format and parse', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), (value) => {
      t.is(parseIpv4(formatIpv4(value)), value);
    }),
  );
});

for (const text of [
  '',
  '1.2.3',
  '1.2.3.4.5',
  '1.2.3.256',
  '01.2.3.4',
  '1.2.3.-4',
  ' 1.2.3.4',
  '1.2.3.4 ',
  '0x1.2.3.4',
  '::1',
]) {
  test(`not an address: ${JSON.stringify(text)}`, (t) => t.is(parseIpv4(text), undefined));
}

test('a prefix drops the host bits and knows its last address', (t) => {
  const prefix = parseIpv4Prefix('192.168.7.9/22')!;
  t.is(formatIpv4Prefix(prefix), '192.168.4.0/22');
  t.is(formatIpv4(prefix.last), '192.168.7.255');
  t.is(parseIpv4Prefix('0.0.0.0/0')!.last, 0xffffffff);
  for (const text of ['1.2.3.4', '1.2.3.4/33', '1.2.3.4/', '1.2.3.4/-1', 'fd00::/8']) {
    t.is(parseIpv4Prefix(text), undefined, text);
  }
});

test('overlap is symmetric and touches at the edges only when an address is shared', (t) => {
  const cases: [string, string, boolean][] = [
    ['10.0.0.0/24', '10.0.0.255/32', true],
    ['10.0.0.0/24', '10.0.1.0/24', false],
    ['10.0.0.0/8', '10.9.0.0/16', true],
    ['0.0.0.0/0', '255.255.255.255/32', true],
  ];
  for (const [a, b, expected] of cases) {
    t.is(overlaps(parseIpv4Prefix(a)!, parseIpv4Prefix(b)!), expected);
    t.is(overlaps(parseIpv4Prefix(b)!, parseIpv4Prefix(a)!), expected);
  }
});

const refused: [string, RegExp][] = [
  ['10.244.0.0', /not an IPv4 prefix/],
  ['fd00::/64', /not an IPv4 prefix/],
  ['10.244.0.1/24', /host bits/],
  ['10.0.0.0/7', /outside \/8 to \/30|host bits/],
  ['10.244.0.0/31', /outside \/8 to \/30/],
  ['127.0.0.0/24', /overlaps 127/],
  ['224.0.0.0/24', /overlaps 224/],
  ['169.254.1.0/24', /overlaps 169/],
];
for (const [text, message] of refused) {
  test(`refused as pod CIDR: ${text}`, (t) => {
    const error = t.throws(() => parsePodCIDR(text), { instanceOf: NetworkError, message });
    t.is(error?.code, 'NETWORK_POD_CIDR_INVALID');
    t.true(error?.object?.includes(text));
    t.truthy(error?.fix);
  });
}
