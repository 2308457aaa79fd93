import test from 'ava';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { decodeHealthStatus, encodeHealthRequest } from './health-message.ts';

const { root } = protobuf.parse(`syntax = "proto3";
  message Request { string service = 1; }
  message Response { int32 status = 1; string more = 2; fixed32 f = 3; fixed64 g = 4; repeated int64 h = 15; }`);
const request = root.lookupType('Request');
const response = root.lookupType('Response');

test('property: a request reads as protobuf reads it', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (service) => {
      const known = Buffer.from(service, 'utf8').toString('utf8');
      t.is((request.decode(encodeHealthRequest(service)) as unknown as { service: string }).service, known);
    }),
  );
  t.is(encodeHealthRequest('').length, 0);
});

test('property: the status is found among whatever other fields', (t) => {
  fc.assert(
    fc.property(fc.nat(10), fc.string(), fc.nat(), fc.array(fc.nat()), (status, more, f, h) => {
      const bytes = Buffer.from(response.encode(response.create({ status, more, f, g: f, h })).finish());
      const names = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
      t.is(decodeHealthStatus(bytes), names[status] ?? String(status));
    }),
  );
  t.is(decodeHealthStatus(Buffer.alloc(0)), 'UNKNOWN');
});

test('property: bytes that are no message are refused, never read beyond', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        return decodeHealthStatus(Buffer.from(bytes)).length > 0;
      } catch (error) {
        return error instanceof RangeError;
      }
    }),
  );
  for (const bytes of [[0x08], [0x0a, 0x05, 0x61], [0x0b], new Array(11).fill(0xff), [0x0d, 1]]) {
    t.throws(() => decodeHealthStatus(Buffer.from(bytes)), { instanceOf: RangeError });
  }
});
