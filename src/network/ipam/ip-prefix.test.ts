import test from 'ava';
import fc from 'fast-check';
import { NetworkError } from '../network-error.ts';
import {
  addressBits,
  bytesOf,
  contains,
  formatIpNumber,
  formatIpPrefix,
  type IpFamily,
  maskOf,
  overlaps,
  parseHostPrefix,
  parseIpNumber,
  parseIpPrefix,
  parsePodCIDR,
  prefixAt,
} from './ip-prefix.ts';

const some = fc.constantFrom<IpFamily>(4, 6).chain((family) =>
  fc.record({
    family: fc.constant(family),
    value: fc.bigInt({ min: 0n, max: (1n << BigInt(addressBits(family))) - 1n }),
    length: fc.integer({ min: 0, max: addressBits(family) }),
  }),
);

test('property: every address and prefix survives format and parse', (t) => {
  fc.assert(
    fc.property(some, ({ family, value, length }) => {
      t.deepEqual(parseIpNumber(formatIpNumber({ family, value })), { family, value });
      const prefix = prefixAt({ family, value }, length);
      t.deepEqual(parseIpPrefix(formatIpPrefix(prefix)), prefix);
      t.true(contains(prefix, { family, value }));
      t.is(prefix.last - prefix.base + 1n, 1n << BigInt(addressBits(family) - length));
    }),
  );
});

test('property: a mask keeps the bits of the prefix', (t) => {
  fc.assert(
    fc.property(some, ({ family, value, length }) => {
      const mask = maskOf(family, length);
      const kept = bytesOf({ family, value }).map((byte, index) => byte & (mask[index] ?? 0));
      t.deepEqual(kept, bytesOf({ family, value: prefixAt({ family, value }, length).base }));
    }),
  );
});

test('a prefix drops the host bits and knows its last address', (t) => {
  const cases: [string, string, string][] = [
    ['192.168.7.9/22', '192.168.4.0/22', '192.168.7.255'],
    ['0.0.0.0/0', '0.0.0.0/0', '255.255.255.255'],
    ['fd00:10:244::7/64', 'fd00:10:244::/64', 'fd00:10:244:0:ffff:ffff:ffff:ffff'],
    ['::1/128', '::1/128', '::1'],
    ['fd00::/0', '::/0', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ];
  for (const [text, prefix, last] of cases) {
    const parsed = parseIpPrefix(text)!;
    t.is(formatIpPrefix(parsed), prefix);
    t.is(formatIpNumber({ family: parsed.family, value: parsed.last }), last);
  }
  t.deepEqual(parseHostPrefix('fd00::1'), parseIpPrefix('fd00::1/128'));
});

test('what is no prefix', (t) => {
  for (const text of ['', '1.2.3.4', '1.2.3.4/33', '1.2.3.4/', '1.2.3.4/-1', '01.2.3.4/8', '1.2.3/8', 'fd00::/129'])
    t.is(parseIpPrefix(text), undefined, text);
  for (const text of ['fd00::%eth0/64', 'fd00:::/64', 'fd00::/064', ' fd00::/64', 'fd00::/64/64', 'x'.repeat(9999)])
    t.is(parseIpPrefix(text), undefined, text);
  for (const text of ['', '1.2.3', '1.2.3.256', '::1/128', 'fe80::1%lo', '0x1.2.3.4'])
    t.is(parseIpNumber(text), undefined, text);
});

test('overlap is symmetric, needs a shared address, and never crosses families', (t) => {
  const cases: [string, string, boolean][] = [
    ['10.0.0.0/24', '10.0.0.255/32', true],
    ['10.0.0.0/24', '10.0.1.0/24', false],
    ['10.0.0.0/8', '10.9.0.0/16', true],
    ['0.0.0.0/0', '255.255.255.255/32', true],
    ['fd00::/64', 'fd00::ffff:ffff:ffff:ffff/128', true],
    ['fd00::/64', 'fd00:0:0:1::/64', false],
    ['::/0', '0.0.0.0/0', false],
    ['::a00:0/104', '10.0.0.0/8', false],
  ];
  for (const [a, b, expected] of cases) {
    t.is(overlaps(parseIpPrefix(a)!, parseIpPrefix(b)!), expected, `${a} ${b}`);
    t.is(overlaps(parseIpPrefix(b)!, parseIpPrefix(a)!), expected, `${b} ${a}`);
  }
});

for (const text of ['10.0.0.0/8', '192.168.4.4/30', 'fd00:10:244::/48', 'fd00:10:244:7::/64', '2001:db8::4/126'])
  test(`a pod CIDR: ${text}`, (t) => t.is(formatIpPrefix(parsePodCIDR(text)), text));

const refused: [string, RegExp][] = [
  ['10.244.0.0', /not an IP prefix/],
  ['10.244.0.1/24', /host bits.*10\.244\.0\.0\/24/],
  ['10.0.0.0/7', /outside \/8 to \/30/],
  ['10.244.0.0/31', /outside \/8 to \/30/],
  ['127.0.0.0/24', /overlaps 127/],
  ['224.0.0.0/24', /overlaps 224/],
  ['169.254.1.0/24', /overlaps 169/],
  ['fd00::1/64', /host bits.*fd00::\/64/],
  ['FD00::/64', /canonical.*fd00::\/64/],
  ['fd00:0:0::/64', /canonical.*fd00::\/64/],
  ['fd00::/47', /outside \/48 to \/126/],
  ['fd00::/127', /outside \/48 to \/126/],
  ['::/64', /overlaps ::\/8/],
  ['::ffff:10.244.0.0/120', /overlaps ::\/8/],
  ['fe80::/64', /overlaps fe80::\/10/],
  ['ff02::/64', /overlaps ff00::\/8/],
  ['x'.repeat(9999), /not an IP prefix/],
];
for (const [text, message] of refused) {
  test(`refused as pod CIDR: ${text.slice(0, 40)}`, (t) => {
    const error = t.throws(() => parsePodCIDR(text), { instanceOf: NetworkError });
    t.is(error?.code, 'NETWORK_POD_CIDR_INVALID');
    t.regex(`${error?.message} ${error?.fix}`, message);
    t.true((error?.object ?? '').includes(text.slice(0, 40)));
    t.true((error?.object ?? '').length < 80);
  });
}
