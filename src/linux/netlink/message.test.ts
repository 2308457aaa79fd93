/** Framing: what the writer writes the reader reads, and bytes that are no netlink give a typed error and an end. */
import test from 'ava';
import fc from 'fast-check';
import { NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSG_ERROR } from './constants.ts';
import { AttributeCursor, MessageCursor, NetlinkFormatError, readAcknowledgement, readDone } from './message-reader.ts';
import { MessageWriter, NetlinkEncodeError } from './message-writer.ts';
import { decodeNotification } from './operation.ts';

test('property: messages with attributes survive', (t) => {
  const attribute = fc.record({ type: fc.integer({ min: 1, max: 0x3fff }), value: fc.uint8Array({ maxLength: 300 }) });
  const message = fc.record({
    type: fc.integer({ min: 16, max: 0xffff }),
    flags: fc.integer({ min: 0, max: 0xffff }),
    sequence: fc.integer({ min: 0, max: 0xffffffff }),
    attributes: fc.array(attribute, { maxLength: 8 }),
  });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 20 }), (messages) => {
      const writer = new MessageWriter();
      for (const { type, flags, sequence, attributes } of messages) {
        writer.begin(type, flags, sequence);
        writer.u32(7);
        for (const { type, value } of attributes) writer.attributeBytes(type, value);
        writer.end();
      }
      const cursor = new MessageCursor(writer.take());
      const read: typeof messages = [];
      while (cursor.next()) {
        const { type, flags, sequence } = cursor;
        const attributes = [];
        const list = cursor.attributes(4);
        while (list.next()) attributes.push({ type: list.type, value: new Uint8Array(list.bytes()) });
        read.push({ type, flags, sequence, attributes });
      }
      t.deepEqual(read, messages);
    }),
  );
});

test('nested attributes, strings with and without NUL, numbers', (t) => {
  const writer = new MessageWriter();
  writer.begin(16, 0, 1);
  const outer = writer.beginAttribute(18);
  writer.attributeString(1, 'veth', false);
  const inner = writer.beginAttribute(2);
  writer.attributeString(3, 'éth0');
  writer.attributeU32(4, 0xfffffffe);
  writer.endAttribute(inner);
  writer.endAttribute(outer);
  writer.end();
  const message = new MessageCursor(writer.take());
  t.true(message.next());
  const level1 = message.attributes(0);
  t.true(level1.next());
  const level2 = level1.nested();
  t.true(level2.next());
  t.is(level2.string(), 'veth');
  t.true(level2.next());
  const level3 = level2.nested();
  t.true(level3.next());
  t.is(level3.string(), 'éth0');
  t.true(level3.next());
  t.is(level3.u32(), 0xfffffffe);
  t.is(level3.i32(), -2);
  t.false(level3.next());
  t.false(level2.next());
  t.false(message.next());
});

test('a cancelled message leaves the batch as it was, an oversize attribute is refused', (t) => {
  const writer = new MessageWriter();
  writer.begin(16, 0, 1);
  writer.end();
  writer.begin(17, 0, 2);
  writer.attributeU32(1, 1);
  writer.cancel();
  t.is(writer.length, 16);
  t.throws(() => writer.attributeBytes(1, new Uint8Array(65_532)), { instanceOf: NetlinkEncodeError });
  const start = writer.beginAttribute(1);
  writer.bytes(new Uint8Array(65_532));
  t.throws(() => writer.endAttribute(start), { instanceOf: NetlinkEncodeError });
});

test('a taken batch is not written to again', (t) => {
  const writer = new MessageWriter();
  writer.begin(16, 0, 1);
  writer.end();
  const batch = writer.take();
  const before = Buffer.from(batch);
  writer.begin(99, 9, 9);
  writer.end();
  t.deepEqual(batch, before);
});

test('acknowledgements: success, refusal with text, echoed request', (t) => {
  const read = (flags: number, payload: Buffer): ReturnType<typeof readAcknowledgement> => {
    const writer = new MessageWriter();
    writer.begin(NLMSG_ERROR, flags, 5);
    writer.bytes(payload);
    writer.end();
    const message = new MessageCursor(writer.take());
    message.next();
    return readAcknowledgement(message);
  };
  const error = (value: number): Buffer => {
    const bytes = Buffer.alloc(20);
    bytes.writeInt32LE(value);
    bytes.writeUInt32LE(24, 4);
    return bytes;
  };
  const text = Buffer.from('0800010077686f00', 'hex');
  t.deepEqual(read(0, error(0)), { errno: 0, extack: undefined });
  t.deepEqual(read(NLM_F_CAPPED | NLM_F_ACK_TLVS, Buffer.concat([error(-17), text])), { errno: 17, extack: 'who' });
  // Not capped: the request's 8 bytes of payload lie between.
  t.deepEqual(read(NLM_F_ACK_TLVS, Buffer.concat([error(-17), Buffer.alloc(8), text])), { errno: 17, extack: 'who' });
  t.throws(() => read(0, Buffer.alloc(8)), { instanceOf: NetlinkFormatError });
});

test('an acknowledgement that echoes more than it holds is malformed, whatever the length does to the arithmetic', (t) => {
  for (const echoed of [64, 0x7fffffff, 0x80000000, 0xffffffff]) {
    const bytes = Buffer.alloc(40);
    bytes.writeUInt32LE(36);
    bytes.writeUInt16LE(2, 4);
    bytes.writeUInt16LE(0x200, 6);
    bytes.writeUInt32LE(echoed, 20);
    const message = new MessageCursor(bytes);
    t.true(message.next());
    t.throws(() => readAcknowledgement(message), { instanceOf: NetlinkFormatError });
  }
});

test('property: random bytes end, with nothing worse than a NetlinkFormatError', (t) => {
  const header = fc
    .tuple(
      fc.integer({ min: 0, max: 80 }),
      fc.constantFrom(2, 3, 16, 17, 20, 24, 28, 99),
      fc.integer({ min: 0, max: 0xffff }),
    )
    .map(([length, type, flags]) => {
      const bytes = Buffer.alloc(16);
      bytes.writeUInt32LE(length);
      bytes.writeUInt16LE(type, 4);
      bytes.writeUInt16LE(flags, 6);
      return bytes;
    });
  const chunk = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    header,
    fc.constantFrom(Buffer.from([4, 0, 1, 0]), Buffer.from([0, 0, 0, 0])),
  );
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.array(chunk, { maxLength: 12 }).map((list) => Buffer.concat(list)),
  );
  let accepted = 0;
  fc.assert(
    fc.property(bytes, (random) => {
      const buffer = Buffer.from(random);
      let steps = 0;
      try {
        const message = new MessageCursor(buffer);
        while (message.next()) {
          if (++steps > buffer.length) throw new Error('endless');
          if (message.type === 2) readAcknowledgement(message);
          else if (message.type === 3) readDone(message);
          else decodeNotification(message);
          accepted++;
        }
        const attributes = new AttributeCursor(buffer, 0, buffer.length);
        while (attributes.next()) if (++steps > 2 * buffer.length) throw new Error('endless');
      } catch (error) {
        if (!(error instanceof NetlinkFormatError)) throw error;
      }
    }),
    { numRuns: 5000 },
  );
  t.true(accepted > 100, 'the generator makes some messages that are read');
});
