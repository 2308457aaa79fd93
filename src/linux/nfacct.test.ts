/** Packet counters as Linux 6.18 answers them: recorded in a fresh namespace, where one was made and read. */
import test from 'ava';
import fc from 'fast-check';
import { MessageCursor, NetlinkFormatError } from './netlink/message-reader.ts';
import { MessageWriter } from './netlink/message-writer.ts';
import { decodeCounterPackets, encodeCounter } from './nfacct.ts';

const name = 'ct_state_invalid_dropped_pkts';
/** NFNL_MSG_ACCT_NEW with name, 0x1234 packets and bytes, and one use. */
const answer = Buffer.from(
  '58000000000702000100000048610000000000002200010063745f73746174655f696e76616c69645f64726f707065645f706b74730000000c0002000000000000001234' +
    '0c00030000000000000000000800040000000001',
  'hex',
);

test('requests are the bytes that the kernel took', (t) => {
  const writer = new MessageWriter();
  encodeCounter(writer, 'add', 1, name);
  const hex = (type: string, flags: string): string =>
    `38000000${type}07${flags}01000000000000000000000022000100${Buffer.from(name).toString('hex')}000000`;
  t.is(Buffer.from(writer.take()).toString('hex'), hex('00', '0504'));
  for (const [request, type] of [
    ['get', '01'],
    ['delete', '03'],
  ] as const) {
    const another = new MessageWriter();
    encodeCounter(another, request, 1, name);
    t.is(Buffer.from(another.take()).toString('hex'), hex(type, '0500'));
  }
});

test('an answer says how many packets', (t) => {
  const message = new MessageCursor(answer);
  t.true(message.next());
  t.is(decodeCounterPackets(message), 0x1234);
});

test('another message says nothing, and no bytes give another exception', (t) => {
  const other = Buffer.from(answer);
  other[5] = 8;
  const message = new MessageCursor(other);
  message.next();
  t.is(decodeCounterPackets(message), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const damaged = Buffer.from(answer);
      damaged.set(bytes, 20);
      const cursor = new MessageCursor(damaged);
      cursor.next();
      try {
        return (decodeCounterPackets(cursor) ?? 0) >= 0;
      } catch (error) {
        return error instanceof NetlinkFormatError;
      }
    }),
  );
  t.pass();
});
