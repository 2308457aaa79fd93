/** The bytes that iptables-nft sends for `-m ipvs`, by which the kernel loads ip_vs. */
import test from 'ava';
import { MessageWriter } from '../netlink/message-writer.ts';
import { encodeMatchGet } from './xt-match.ts';

test('a match by its name, first revision', (t) => {
  const writer = new MessageWriter();
  encodeMatchGet(writer, 7, 'ipvs');
  const header = '30000000 000b 0500 07000000 00000000 02000000';
  const name = '09000100 69707673 00000000';
  const revision = '08000200 00000000';
  const type = '08000300 00000000';
  t.is(writer.take().toString('hex'), [header, name, revision, type].join('').replaceAll(' ', ''));
});
