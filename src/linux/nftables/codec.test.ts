/** The codec: fixtures of nft(8), splitting, packed elements, sets and keys there and back, and bytes that are garbage. */
import test from 'ava';
import fc from 'fast-check';
import { MessageCursor, NetlinkFormatError } from '../netlink/message-reader.ts';
import { MessageWriter, NetlinkEncodeError } from '../netlink/message-writer.ts';
import { encodeBatch } from './batch.ts';
import { decodeElements } from './elements.ts';
import { encodeFields, type Field, fieldsBytes, fieldsOfTypeId, fieldsTypeId, formatFields } from './fields.ts';
import { endpoints, fixtures, messagesOf, sizes } from './nft-fixtures.fake.ts';
import { nftMessages } from './nft-fixtures.generated.ts';
import { decodeChain, decodeRule, decodeSet, decodeTable } from './object-decode.ts';
import { encodeSetAdd } from './object-encode.ts';
import { PackedReader } from './packed-reader.ts';
import type { Element, NftablesOperation, NftSet, PackedElements } from './types.ts';
import { encodeComment } from './user-data.ts';

for (const { name, operations } of fixtures) {
  test(`nft 1.0.6 sends the same bytes: ${name}`, (t) => {
    t.deepEqual(messagesOf(encodeBatch(operations, 0).bytes), nftMessages[name]);
  });
}

const target = { family: 'ip', table: 't', set: 's' } as const;

function packed(count: number, keyBytes: number, dataBytes: number): PackedElements {
  const keys = new Uint8Array(count * keyBytes);
  const data = new Uint8Array(count * dataBytes);
  for (let index = 0; index < keys.length; index++) keys[index] = (index * 7) & 255;
  for (let index = 0; index < count && keyBytes >= 4; index++)
    new DataView(keys.buffer).setUint32(index * keyBytes, index);
  for (let index = 0; index < data.length; index++) data[index] = (index * 11) & 255;
  return { count, keyBytes, keys, dataBytes, data };
}

const unpacked = (of: PackedElements): Element[] =>
  Array.from({ length: of.count }, (_, index) => ({
    key: of.keys.subarray(index * of.keyBytes, (index + 1) * of.keyBytes),
    ...(of.dataBytes === 0 ? {} : { data: of.data.subarray(index * of.dataBytes, (index + 1) * of.dataBytes) }),
  }));

test('packed elements are the same bytes as single ones, for adding and for deleting', (t) => {
  for (const [keyBytes, dataBytes] of [
    [16, 8],
    [12, 4],
    [2, 0],
    [1, 3],
  ] as const) {
    const elements = packed(3, keyBytes, dataBytes);
    for (const op of ['elementsAdd', 'elementsDelete'] as const) {
      const [a, b] = [elements, unpacked(elements)].map(
        (of) => encodeBatch([{ op, ...target, elements: of }], 1).bytes,
      );
      t.deepEqual(a, b);
    }
  }
});

test('lists are split below 64 KiB, and each message is known by its operation; only the last asks for an ACK', (t) => {
  const many = packed(5000, 16, 8);
  for (const elements of [many, unpacked(many)]) {
    const batch = encodeBatch(
      [
        { op: 'tableAdd', table: { family: 'ip', name: 't' } },
        { op: 'elementsAdd', ...target, elements },
        { op: 'setFlush', ...target },
        { op: 'elementsAdd', ...target, elements },
      ],
      100,
    );
    const cursor = new MessageCursor(batch.bytes);
    const counts = new Map<number | undefined, number>();
    const flags: number[] = [];
    let found = 0;
    let messages = 0;
    while (cursor.next()) {
      messages++;
      flags.push(cursor.flags & 4);
      t.true(cursor.end - cursor.start < 0xffff);
      const operation = batch.operationOf(cursor.sequence);
      counts.set(operation, (counts.get(operation) ?? 0) + 1);
      if (operation === 1) found += decodeElements(cursor).length;
    }
    t.is(messages, batch.messages);
    t.is(found, 5000);
    t.is(counts.get(undefined), 2);
    t.is(counts.get(2), 1);
    t.true((counts.get(1) ?? 0) >= 4);
    t.deepEqual(
      flags.flatMap((flag, index) => (flag === 0 ? [] : [index])),
      [messages - 2],
    );
  }
});

test('packed elements come back packed', (t) => {
  for (const [keyBytes, dataBytes] of [
    [16, 8],
    [6, 2],
    [4, 0],
  ] as const) {
    const elements = packed(3000, keyBytes, dataBytes);
    const cursor = new MessageCursor(encodeBatch([{ op: 'elementsAdd', ...target, elements }], 1).bytes);
    const reader = new PackedReader(keyBytes, dataBytes);
    while (cursor.next()) if ((cursor.type & 0xff) === 12) reader.add(cursor);
    t.true(reader.isDistinct());
    const { count, keys, data } = reader.take();
    t.is(count, 3000);
    t.is(Buffer.compare(keys, elements.keys), 0);
    t.is(Buffer.compare(data, elements.data), 0);
  }
});

test('a key that came twice is noticed', (t) => {
  const elements = packed(3000, 16, 8);
  elements.keys.copyWithin(2999 * 16, 17 * 16, 18 * 16);
  const cursor = new MessageCursor(encodeBatch([{ op: 'elementsAdd', ...target, elements }], 1).bytes);
  const reader = new PackedReader(16, 8);
  while (cursor.next()) if ((cursor.type & 0xff) === 12) reader.add(cursor);
  t.false(reader.isDistinct());
});

test('declarations of sets come back as they were made', (t) => {
  const sets: NftSet[] = [
    sizes,
    endpoints,
    { family: 'ip6', table: 't', name: 'a', key: ['ipv6_addr', 'inet_proto', 'inet_service'], data: ['mark'] },
    { family: 'inet', table: 't', name: 'b', key: ['ifname'], comment: 'häuser' },
    { family: 'ip', table: 't', name: 'c', key: ['ip6 daddr', 'meta l4proto', 'ct mark'], data: 'verdict' },
    {
      family: 'ip',
      table: 't',
      name: 'd',
      key: ['ipv4_addr', 'inet_service'],
      interval: true,
      timeout: true,
      timeoutMs: 5_000_000_000,
      gcIntervalMs: 10,
      size: 65535,
      constant: true,
    },
  ];
  for (const set of sets) {
    const writer = new MessageWriter();
    encodeSetAdd(writer, 1, set, 1, false);
    const cursor = new MessageCursor(writer.take());
    cursor.next();
    t.deepEqual(decodeSet(cursor), set);
  }
});

test('keys: values to bytes and to text', (t) => {
  t.is(Buffer.from(encodeFields(sizes.key, ['10.96.0.1', 'tcp', 443])).toString('hex'), '0a6000010600000001bb0000');
  t.is(formatFields(endpoints.key, encodeFields(endpoints.key, ['10.96.0.1', 17, 53, 9])), '10.96.0.1 . udp . 53 . 9');
  t.is(formatFields(['mark'], encodeFields(['mark'], [0x4000])), '0x00004000');
  t.is(formatFields(['ifname'], encodeFields(['ifname'], ['eth0'])), '"eth0"');
  t.is(formatFields(['ipv4_addr'], Uint8Array.of(1)), '0x01');
  t.deepEqual(fieldsOfTypeId(fieldsTypeId(['ipv6_addr', 'mark'])), ['ipv6_addr', 'mark']);
  t.deepEqual(fieldsOfTypeId(63 * 64 + 7), ['type 63', 'ipv4_addr']);
  t.is(fieldsBytes(['inet_service']), 2);
  for (const [fields, values] of [
    [['ipv4_addr'], ['fd00::1']],
    [['inet_service'], [65536]],
    [['inet_service'], ['http']],
    [['mark'], [1, 2]],
  ] as [Field[], (string | number)[]][]) {
    t.throws(() => encodeFields(fields, values), { instanceOf: NetlinkEncodeError });
  }
});

test('what cannot be said is refused before anything is sent', (t) => {
  const bad: NftablesOperation[] = [
    { op: 'tableAdd', table: { family: 'ip', name: '' } },
    { op: 'tableAdd', table: { family: 'ip', name: 'x'.repeat(256) } },
    { op: 'tableAdd', table: { family: 'ip', name: 't', comment: 'c'.repeat(128) } },
    { op: 'setAdd', set: { family: 'ip', table: 't', name: 's', key: ['ip daddr', 'mark'] } },
    { op: 'setAdd', set: { family: 'ip', table: 't', name: 's', key: Array<Field>(6).fill('mark') } },
    { op: 'elementsAdd', ...target, elements: { ...packed(3, 4, 0), count: 4 } },
  ];
  for (const operation of bad) t.throws(() => encodeBatch([operation], 1), { instanceOf: NetlinkEncodeError });
  t.is(encodeComment('x'.repeat(127)).length, 130);
});

test('garbage is refused or read as far as it goes, never worse', (t) => {
  const message = (bytes: Uint8Array): MessageCursor => {
    const buffer = Buffer.alloc(16 + bytes.length);
    buffer.writeUInt32LE(buffer.length, 0);
    buffer.set(bytes, 16);
    const cursor = new MessageCursor(buffer);
    cursor.next();
    return cursor;
  };
  const samples = fixtures.flatMap(({ operations }) =>
    messagesOf(encodeBatch(operations, 0).bytes).map((hex) => Buffer.from(hex, 'hex').subarray(16)),
  );
  const decoders = [decodeTable, decodeChain, decodeRule, decodeSet, decodeElements];
  fc.assert(
    fc.property(
      fc.constantFrom(...samples),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }),
      fc.nat(400),
      (sample, flips, cut) => {
        const bytes = Uint8Array.from(sample.subarray(0, Math.max(4, sample.length - (cut > 200 ? 0 : cut))));
        for (const [at, value] of flips) bytes[at % bytes.length] = value;
        for (const decode of [...decoders, (cursor: MessageCursor) => new PackedReader(4, 4).add(cursor)]) {
          try {
            decode(message(bytes));
          } catch (error) {
            if (!(error instanceof NetlinkFormatError)) throw error;
          }
        }
      },
    ),
    { numRuns: 2000 },
  );
  t.pass();
});
