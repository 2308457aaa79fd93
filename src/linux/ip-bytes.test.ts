/** Addresses between text and bytes: RFC 5952's examples, rejection as strict as node:net's, round trips. */
import { isIPv4, isIPv6 } from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import {
  AddressFormatError,
  formatIp,
  formatMac,
  networkOf,
  parseIp,
  parseMac,
  parsePrefix,
  prefixContains,
} from './ip-bytes.ts';

test('IPv6 is written as RFC 5952 demands', (t) => {
  for (const [given, canonical] of [
    ['2001:0db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:DB8::A', '2001:db8::a'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['1::', '1::'],
    ['::ffff:10.0.0.1', '::ffff:10.0.0.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::10.0.0.1', '::a00:1'],
  ] as const) {
    t.is(formatIp(parseIp(given)), canonical);
  }
});

test('what is no address is refused', (t) => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '1.2.3.4 ',
    '0x1.2.3.4',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '12345::',
    'g::',
    '::1/64',
    'fe80::1%eth0',
    '1:2:3:4:5:6:7::8',
    '::1.2.3',
    '1.2.3.4::',
    '::1.2.3.4:5',
    ':1.2.3.4',
    '1:2:3:4:5:6:7:1.2.3.4',
  ]) {
    t.throws(() => parseIp(text), { instanceOf: AddressFormatError }, text);
  }
  for (const text of [
    '10.0.0.1',
    '10.0.0.1/',
    '10.0.0.1/33',
    '10.0.0.1/08',
    '10.0.0.1/-1',
    '::/129',
    '/8',
    '10.0.0.1/8/8',
  ]) {
    t.throws(() => parsePrefix(text), { instanceOf: AddressFormatError }, text);
  }
  for (const text of ['', '02:00:00:00:00', '02:00:00:00:00:0g', '2:0:0:0:0:0', '02-00-00-00-00-00']) {
    t.throws(() => parseMac(text), { instanceOf: AddressFormatError }, text);
  }
});

test('property: format and parse are inverse', (t) => {
  for (const size of [4, 16]) {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: size, maxLength: size }), (bytes) => {
        t.deepEqual(parseIp(formatIp(bytes)), bytes);
      }),
    );
  }
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
      t.deepEqual(parseMac(formatMac(bytes)), bytes);
    }),
  );
});

test('property: accepts exactly what node:net accepts', (t) => {
  const pieces = fc.constantFrom('0', '1', 'ff', 'abcd', '10000', '255', '256', '::', ':', '.', '1.2.3.4', '00');
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(pieces, { maxLength: 17 }).map((list) => list.join('')),
        fc.ipV6(),
        fc.ipV4(),
        fc.string(),
      ),
      (text) => {
        if (text.includes('%')) return;
        let accepted = true;
        try {
          parseIp(text);
        } catch {
          accepted = false;
        }
        t.is(accepted, isIPv4(text) || isIPv6(text), text);
      },
    ),
    { numRuns: 3000 },
  );
});

test('networkOf and prefixContains', (t) => {
  t.is(networkOf('10.244.3.77/20'), '10.244.0.0/20');
  t.is(networkOf('10.1.2.3/0'), '0.0.0.0/0');
  t.is(networkOf('fd00::1:2/112'), 'fd00::1:0/112');
  t.true(prefixContains('10.1.0.0/23', '10.1.1.255'));
  t.false(prefixContains('10.1.0.0/23', '10.1.2.0'));
  t.true(prefixContains('0.0.0.0/0', '8.8.8.8'));
  t.false(prefixContains('::/0', '8.8.8.8'));
  t.true(prefixContains('fe80::/10', 'febf::1'));
});
