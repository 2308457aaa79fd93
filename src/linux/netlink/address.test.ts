/** An address that the kernel must not choose by itself: preferred for no time, valid for ever. */
import test from 'ava';
import { encodeAddressChange } from './address.ts';
import { MessageWriter } from './message-writer.ts';

const hex = (deprecated: boolean | undefined): string => {
  const writer = new MessageWriter();
  const operation = { op: 'addressAdd' as const, ifindex: 7, prefix: 'fd00::1/128', noDad: true };
  encodeAddressChange(writer, 1, deprecated === undefined ? operation : { ...operation, deprecated });
  return writer.take().toString('hex');
};

test('deprecated adds struct ifa_cacheinfo, and nothing else does', (t) => {
  t.true(hex(true).endsWith('1400060000000000ffffffff0000000000000000'));
  t.is(hex(false), hex(undefined));
  t.is(hex(true).length, hex(false).length + 40);
});
