/**
 * What Linux 6.18 really lists, read back, and the bytes that we send. Recorded in a fresh namespace: clients at port 4000 of
 * loopback send UDP to 10.96.0.1:53 and [fd01::1]:53, which an output chain sends to loopback's port 5353 by dnat, to port 77
 * (`ct zone set 9`) and 78 (`ct original zone set 7`); one TCP connection to port 80.
 */
import test from 'ava';
import fc from 'fast-check';
import { MessageCursor, NetlinkFormatError } from '../netlink/message-reader.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import { addressKey, formatAddressKey } from './address-key.ts';
import { encodeFlowDeletes, encodeFlowsGet } from './encode.ts';
import { aFlow } from './flow-add.fake.ts';
import { FlowReader } from './flow-reader.ts';
import type { Flow, IpFamily, TransportProtocol } from './types.ts';

const dnat4 =
  'a400000000012200010000005e560000020000003400018014000180080001007f000001080002000a6000011c0002800500010011000000060002000fa0000006000300003500003400028014000180080001007f000001080002007f0000011c00028005000100110000000600020014e90000060003000fa0000008000300000001a8080008000000000008000c00595036a708000b0000000001080007000000001d';
const tcp =
  'd400000000012200010000005e560000020000003400018014000180080001007f000001080002007f0000011c000280050001000600000006000200905e000006000300005000003400028014000180080001007f000001080002007f0000011c0002800500010006000000060002000050000006000300905e0000080003000000018e080008000000000008000c000e10143e08000b00000000010800070000000077300004802c0001800500010007000000050002000a000000050003000a00000006000400230000000600050027000000';
const zone9 =
  'ac00000000012200010000005e560000020000003400018014000180080001007f000001080002007f0000011c0002800500010011000000060002000fa0000006000300004d00003400028014000180080001007f000001080002007f0000011c000280050001001100000006000200004d0000060003000fa0000006001200000900000800030000000188080008000000000008000c002fd46c0408000b0000000001080007000000001d';
const originalZone7 =
  'ac00000000012200010000005e560000020000003c00018014000180080001007f000001080002007f0000011c0002800500010011000000060002000fa0000006000300004e000006000300000700003400028014000180080001007f000001080002007f0000011c000280050001001100000006000200004e0000060003000fa000000800030000000188080008000000000008000c00c66e93ec08000b0000000001080007000000001d';
const dnat6 =
  'd400000000012200020000005e5600000a0000004c0001802c000180140003000000000000000000000000000000000114000400fd0100000000000000000000000000011c0002800500010011000000060002000fa0000006000300003500004c0002802c000180140003000000000000000000000000000000000114000400000000000000000000000000000000011c00028005000100110000000600020014e90000060003000fa0000008000300000001a8080008000000000008000c005f46b8b608000b0000000001080007000000001d';

function decode(bytes: Buffer, family: IpFamily = 'IPv4', protocol: TransportProtocol = 'UDP'): Flow[] {
  const message = new MessageCursor(bytes);
  const reader = new FlowReader(family, protocol);
  const flows: Flow[] = [];
  while (message.next()) if (reader.read(message)) flows.push(reader.take());
  return flows;
}

const fromHex = (...messages: string[]): Buffer => Buffer.from(messages.join(''), 'hex');

test('flows that the kernel lists', (t) => {
  const local = '127.0.0.1:4000';
  t.deepEqual(decode(fromHex(dnat4, tcp, zone9, originalZone7, dnat6)), [
    aFlow(local, '10.96.0.1:53', '127.0.0.1:5353', { id: 0x595036a7 }),
    aFlow(local, '127.0.0.1:77', undefined, { id: 0x2fd46c04, zone: 9 }),
    aFlow(local, '127.0.0.1:78', undefined, { id: 0xc66e93ec }),
  ]);
  const connection = aFlow('127.0.0.1:36958', '127.0.0.1:80', undefined, { id: 0x0e10143e, protocol: 'TCP' });
  t.deepEqual(decode(fromHex(dnat4, tcp), 'IPv4', 'TCP'), [connection]);
  const six = aFlow('[::1]:4000', '[fd01::1]:53', '[::1]:5353', { id: 0x5f46b8b6 });
  t.deepEqual(decode(fromHex(dnat4, dnat6), 'IPv6'), [six]);
});

test('a flow that was taken does not change with the reader', (t) => {
  const message = new MessageCursor(fromHex(dnat4, zone9));
  const reader = new FlowReader('IPv4', 'UDP');
  message.next();
  reader.read(message);
  t.is(formatAddressKey(reader.original.destination), '10.96.0.1');
  const taken = reader.take();
  message.next();
  reader.read(message);
  t.is(taken.original.destinationPort, 53);
  t.is(reader.original.destinationPort, 77);
});

const request = (destination?: { address?: number | string; port: number }, filtered = true): string => {
  const writer = new MessageWriter();
  encodeFlowsGet(writer, 7, { family: 'IPv4', protocol: 'UDP', destination, filtered });
  return writer.take().toString('hex');
};

test('requests for listings', (t) => {
  const header = '0101010307000000000000000200' + '0000';
  t.is(request(undefined, false), `14000000${header}`);
  t.is(request(), `30000000${header}100001800c00028005000100110000000c0019800800010008000000`);
  const port = '0500010011000000' + '0600030000350000';
  t.is(request({ port: 53 }), `38000000${header}1800018014000280${port}0c0019800800010028000000`);
  const address = '0c000180' + '080002000a600001';
  t.is(
    request({ address: addressKey('10.96.0.1'), port: 53 }),
    `44000000${header}24000180${address}14000280${port}0c001980080001002a000000`,
  );
});

test('deletions name the reply tuple, the id and the zone, and only the last asks for an answer', (t) => {
  const flows = decode(fromHex(dnat4, zone9));
  const bytes = encodeFlowDeletes(flows, 5);
  const replyTuple = (message: string): string => message.slice(40 + 0x34 * 2, 40 + 0x68 * 2);
  const header = '00000000' + '02000000';
  t.is(
    bytes.toString('hex'),
    `50000000020101000500${'0000'}${header}${replyTuple(dnat4)}08000c00595036a7` +
      `58000000020105000600${'0000'}${header}${replyTuple(zone9)}060012000009000008000c002fd46c04`,
  );
});

test('a zone of the reply direction goes into its tuple', (t) => {
  const [deletion] = [encodeFlowDeletes([aFlow('10.0.0.1:1', '10.0.0.2:2', undefined, { replyZone: 3 })], 1)];
  t.true(deletion.toString('hex').includes('0600030000030000' + '08000c00'));
});

test('addresses as keys and back', (t) => {
  for (const address of ['0.0.0.0', '10.96.0.1', '255.255.255.255', '::', '::1', 'fd00:1::ff', 'ffff::80:0:9f'])
    t.is(formatAddressKey(addressKey(address)), address);
  t.is(addressKey('255.255.255.255'), 0xffffffff);
});

test('bytes that are no flow give a NetlinkFormatError and nothing else', (t) => {
  const refuse = (bytes: Buffer): void => {
    for (const family of ['IPv4', 'IPv6'] as const) {
      try {
        decode(bytes, family);
      } catch (error) {
        if (!(error instanceof NetlinkFormatError)) throw error;
      }
    }
  };
  const positions = fc.array(fc.tuple(fc.nat(0xd3), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(dnat4, zone9, originalZone7, dnat6), positions, fc.nat(0xd4), (hex, changes, cut) => {
      const bytes = fromHex(hex);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      refuse(bytes);
      const short = bytes.subarray(0, Math.max(16, cut));
      short.writeUInt32LE(short.length, 0);
      refuse(short);
    }),
  );
  const wrongLength = fromHex(dnat4.replace('080001007f000001', '060001007f000000'));
  t.throws(() => decode(wrongLength), { instanceOf: NetlinkFormatError });
});
