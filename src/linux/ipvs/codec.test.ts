/** IPVS messages: bytes as libipvs and ipvsadm send them, and answers read back; hostile bytes are refused. */
import test from 'ava';
import fc from 'fast-check';
import { MessageCursor, NetlinkFormatError } from '../netlink/message-reader.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import {
  decodeFamily,
  decodeRealServer,
  decodeService,
  encodeFamilyGet,
  encodeIpvs,
  encodeRealServersDump,
  encodeServicesDump,
  encodeTimeouts,
} from './codec.ts';
import { describeIpvs, type VirtualServer } from './edge.ts';

const hex = (encode: (writer: MessageWriter) => void): string => {
  const writer = new MessageWriter();
  encode(writer);
  return writer
    .take()
    .toString('hex')
    .replace(/(.{8})/g, '$1 ')
    .trim();
};
const service: VirtualServer = {
  family: 'IPv4',
  protocol: 'TCP',
  address: '10.96.0.1',
  port: 80,
  scheduler: 'rr',
  persistentSeconds: 0,
  schedulerFlags: 0,
};
const ref = '06000100 02000000 06000200 06000000 14000300 0a600001 00000000 00000000 00000000 06000400 00500000';

test('a virtual server, with and without persistence', (t) => {
  t.is(
    hex((writer) => encodeIpvs(writer, 0x21, 7, { op: 'serviceAdd', service })),
    `68000000 21000500 07000000 00000000 01010000 54000180 ${ref} 07000600 72720000 0c000700 00000000 ffffffff 08000800 00000000 08000900 ffffffff`,
  );
  const sticky = {
    ...service,
    family: 'IPv6' as const,
    address: 'fd00::1',
    persistentSeconds: 10800,
    schedulerFlags: 0x10,
  };
  const text = hex((writer) => encodeIpvs(writer, 0x21, 7, { op: 'serviceSet', service: sticky }));
  t.true(text.includes('02010000'), 'SET_SERVICE');
  t.true(text.includes('14000300 fd000000 00000000 00000000 00000001'));
  t.true(text.endsWith('0c000700 11000000 ffffffff 08000800 302a0000 08000900 80000000'));
});

test('a real server', (t) => {
  const real = { address: '10.244.1.2', port: 8080 };
  const dest = '14000100 0af40102 00000000 00000000 00000000 06000200 1f900000 06000b00 02000000';
  t.is(
    hex((writer) => encodeIpvs(writer, 0x21, 1, { op: 'realAdd', service, real, weight: 1 })),
    `8c000000 21000500 01000000 00000000 05010000 30000180 ${ref} 48000280 ${dest} 08000300 00000000 08000400 01000000 08000500 00000000 08000600 00000000`,
  );
  t.true(
    hex((writer) => encodeIpvs(writer, 0x21, 1, { op: 'realDelete', service, real })).endsWith(`28000280 ${dest}`),
  );
  t.is(
    describeIpvs({ op: 'realSet', service, real, weight: 0 }),
    'ipvsadm -e -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 0',
  );
});

test('dumps, timeouts, and the number of the family', (t) => {
  t.is(
    hex((writer) => encodeServicesDump(writer, 0x21, 2)),
    '14000000 21000103 02000000 00000000 04010000',
  );
  t.true(hex((writer) => encodeRealServersDump(writer, 0x21, 2, service)).endsWith(`08010000 30000180 ${ref}`));
  t.is(
    hex((writer) => encodeTimeouts(writer, 0x21, 2, { tcp: 900, tcpFin: 0, udp: 300 })),
    '2c000000 21000500 02000000 00000000 0c010000 08000400 84030000 08000500 00000000 08000600 2c010000',
  );
  t.is(
    hex((writer) => encodeFamilyGet(writer, 1, 'IPVS')),
    '20000000 10000500 01000000 00000000 03010000 09000200 49505653 00000000',
  );
  const answer = Buffer.from('1c00000010000000010000000000000001020000060001002100 0000'.replace(/ /g, ''), 'hex');
  const message = new MessageCursor(answer);
  message.next();
  t.is(decodeFamily(message), 0x21);
});

const messageOf = (encode: (writer: MessageWriter) => void): MessageCursor => {
  const writer = new MessageWriter();
  encode(writer);
  const message = new MessageCursor(Buffer.from(writer.take()));
  message.next();
  return message;
};

test('what was said is read back', (t) => {
  for (const each of [
    service,
    { ...service, protocol: 'SCTP' as const, persistentSeconds: 60 },
    { ...service, family: 'IPv6' as const, address: 'fd00:96::1', scheduler: 'mh', schedulerFlags: 0x10 },
  ]) {
    t.deepEqual(
      decodeService(messageOf((writer) => encodeIpvs(writer, 1, 1, { op: 'serviceAdd', service: each }))),
      each,
    );
    const real = { address: each.family === 'IPv6' ? 'fd00::7' : '10.0.0.7', port: 65535 };
    t.deepEqual(
      decodeRealServer(
        messageOf((writer) => encodeIpvs(writer, 1, 1, { op: 'realAdd', service: each, real, weight: 3 })),
        each.family,
      ),
      { ...real, weight: 3, activeConnections: 0, inactiveConnections: 0 },
    );
  }
  const bare = messageOf((writer) => encodeServicesDump(writer, 1, 1));
  t.is(decodeService(bare), undefined);
});

test('any bytes give a virtual server, nothing, or a format error', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
      const header = Buffer.alloc(24);
      header.writeUInt32LE(24 + bytes.length, 0);
      header.writeUInt16LE(4 + bytes.length, 20);
      header.writeUInt16LE(1, 22);
      for (const decode of [
        decodeService,
        (message: MessageCursor) => decodeRealServer(message, 'IPv4'),
        decodeFamily,
      ]) {
        const message = new MessageCursor(Buffer.concat([header, bytes]));
        message.next();
        try {
          decode(message);
        } catch (error) {
          if (!(error instanceof NetlinkFormatError)) throw error;
        }
      }
    }),
  );
  t.pass();
});
