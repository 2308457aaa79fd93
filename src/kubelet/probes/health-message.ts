/**
 * The two messages of grpc.health.v1.Health/Check, in protobuf's wire format: one string out, one enum back.
 * Layer: kubelet/probes (pure). Fields: grpc/health/v1/health.proto; request.service = 1, response.status = 1.
 */

export const healthCheckPath = '/grpc.health.v1.Health/Check';

/** ServingStatus, by number. */
const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;

export function encodeHealthRequest(service: string): Buffer {
  const bytes = Buffer.from(service, 'utf8');
  // A field that has its default is left out.
  return bytes.length === 0 ? bytes : Buffer.concat([Buffer.from([0x0a]), varint(bytes.length), bytes]);
}

/** The name of the status, its number when it has none. @throws RangeError when the bytes are no such message */
export function decodeHealthStatus(bytes: Buffer): string {
  let status = 0;
  let at = 0;
  const number = (): number => {
    const [value, next] = readVarint(bytes, at);
    at = next;
    return value;
  };
  while (at < bytes.length) {
    const key = number();
    const [field, wire] = [Math.floor(key / 8), key % 8];
    if (wire === 0) {
      const value = number();
      if (field === 1) status = value;
    } else if (wire === 1) at += 8;
    else if (wire === 2) {
      const length = number();
      at += length;
    } else if (wire === 5) at += 4;
    else throw new RangeError(`wire type ${wire} is unknown`);
  }
  if (at > bytes.length) throw new RangeError('the message is cut off');
  return statuses[status] ?? String(status);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** 10 bytes at most, as protobuf has it; beyond 2^53 only the size is right. */
function readVarint(bytes: Buffer, from: number): [value: number, next: number] {
  let value = 0;
  for (let index = 0; index < 10; index++) {
    const byte = bytes[from + index];
    if (byte === undefined) throw new RangeError('the message is cut off');
    value += (byte & 0x7f) * 128 ** index;
    if (byte < 0x80) return [value, from + index + 1];
  }
  throw new RangeError('a number is longer than 10 bytes');
}
