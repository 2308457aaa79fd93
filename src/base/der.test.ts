/** DER against examples of X.690 and against Node's own reader. */
import test from 'ava';
import fc from 'fast-check';
import * as der from './der.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('lengths take the fewest octets', (t) => {
  t.is(hex(der.octetString(Buffer.alloc(127)).subarray(0, 3)), '047f00');
  t.is(hex(der.octetString(Buffer.alloc(128)).subarray(0, 4)), '04818000');
  t.is(hex(der.octetString(Buffer.alloc(255)).subarray(0, 3)), '0481ff');
  t.is(hex(der.octetString(Buffer.alloc(256)).subarray(0, 4)), '04820100');
  t.is(hex(der.octetString(Buffer.alloc(65_536)).subarray(0, 5)), '0483010000');
});

test('integers are minimal and never negative', (t) => {
  t.is(hex(der.unsignedInteger(Buffer.from([]))), '020100');
  t.is(hex(der.unsignedInteger(Buffer.from([0, 0]))), '020100');
  t.is(hex(der.unsignedInteger(Buffer.from([0, 0x7f]))), '02017f');
  t.is(hex(der.unsignedInteger(Buffer.from([0x80]))), '02020080');
  t.is(hex(der.unsignedInteger(Buffer.from([1, 0]))), '02020100');
});

test('object identifiers', (t) => {
  t.is(hex(der.oid('1.2.840.113549')), '06062a864886f70d');
  t.is(hex(der.oid('2.5.4.3')), '0603550403');
  t.is(hex(der.oid('2.999')), '06028837');
});

test('named bits leave trailing zeros out', (t) => {
  t.is(hex(der.namedBits(0)), '03020780');
  t.is(hex(der.namedBits(0, 5)), '03020284');
  t.is(hex(der.namedBits()), '030100');
});

test('times before 2050 are short, later ones long', (t) => {
  t.is(
    der
      .time(Date.UTC(2049, 11, 31, 23, 59, 59))
      .toString('latin1')
      .slice(2),
    '491231235959Z',
  );
  t.is(
    der
      .time(Date.UTC(2050, 0, 1))
      .toString('latin1')
      .slice(2),
    '20500101000000Z',
  );
  t.is(
    der
      .time(Date.UTC(2026, 0, 2, 3, 4, 5, 678))
      .toString('latin1')
      .slice(2),
    '260102030405Z',
  );
});

test('PEM has lines of 64 and reads back', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = der.pem('X', bytes);
      const lines = text.trimEnd().split('\n').slice(1, -1);
      return lines.every((line) => line.length <= 64) && Buffer.from(lines.join(''), 'base64').equals(bytes);
    }),
  );
  t.pass();
});
