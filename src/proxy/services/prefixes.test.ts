/** Lists of prefixes: what is left of them, and that it stands for the same addresses. */
import test from 'ava';
import fc from 'fast-check';
import { prefixContains } from '../../linux/ip-bytes.ts';
import { disjointPrefixes, hostPrefix } from './prefixes.ts';

test('what lies inside another, or stands twice, is left out', (t) => {
  t.deepEqual(disjointPrefixes([]), []);
  t.deepEqual(
    disjointPrefixes(['10.1.0.0/16', '10.0.0.0/8', '192.0.2.1/32', '10.255.255.255/32', '192.0.2.1/32', '10.0.0.7/8']),
    ['10.0.0.0/8', '192.0.2.1/32'],
  );
  t.deepEqual(disjointPrefixes(['fd00::1/64', '0.0.0.0/0', 'fd00:0:0:0:1::/80']), ['0.0.0.0/0', 'fd00::/64']);
  t.throws(() => disjointPrefixes(['10.0.0.0']), { code: 'ADDRESS_MALFORMED' });
  t.is(hostPrefix('192.0.2.1'), '192.0.2.1/32');
  t.is(hostPrefix('fd00::1'), 'fd00::1/128');
});

test('the list holds the same addresses as before, and none twice', (t) => {
  const octet = fc.integer({ min: 0, max: 3 });
  const address = fc.tuple(octet, octet, octet, octet).map((octets) => octets.join('.'));
  const prefix = fc.tuple(address, fc.integer({ min: 0, max: 32 })).map(([text, length]) => `${text}/${length}`);
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 12 }), address, (prefixes, probe) => {
      const kept = disjointPrefixes(prefixes);
      const holders = kept.filter((one) => prefixContains(one, probe));
      return holders.length === (prefixes.some((one) => prefixContains(one, probe)) ? 1 : 0);
    }),
  );
  t.pass();
});
