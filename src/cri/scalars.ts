/**
 * The protobuf scalar types that CRI uses: reading, writing, and refusing what a type cannot hold.
 * Layer: cri. Pure; the message structure is the business of codec.ts.
 */
import type protobuf from 'protobufjs/minimal.js';
import { CriError } from './cri-error.ts';
import type { ScalarType } from './schema.ts';

/** Wire types (protobuf encoding: low three bits of a tag). */
export const varint = 0;
export const fixed64 = 1;
export const lengthDelimited = 2;

/** Throws CriError CRI_REQUEST: `path` is the field, as `Message.field`. */
export function refuse(path: string, value: unknown, expected: string): never {
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value);
  throw new CriError('CRI_REQUEST', `${shown} cannot be sent, expected ${expected}`, { object: path });
}

export interface Scalar {
  wireType: number;
  empty(): unknown;
  read(reader: protobuf.Reader): unknown;
  write(writer: protobuf.Writer, value: unknown, path: string): void;
}

function integer(value: unknown, path: string, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  return refuse(path, value, `an integer from ${min} to ${max}`);
}

function text(value: unknown, path: string): string {
  return typeof value === 'string' ? value : refuse(path, value, 'a string');
}

function bytes(value: unknown, path: string): Uint8Array {
  return value instanceof Uint8Array ? value : refuse(path, value, 'a Uint8Array');
}

const zero = (): number => 0;
const noBytes = Buffer.alloc(0);

/** A 64-bit integer as the nearest number: exact to 2^53, and nanosecond times to about 0.2 microseconds. */
function toNumber(value: number | protobuf.Long): number {
  if (typeof value === 'number') return value;
  return (value.unsigned ? value.high >>> 0 : value.high) * 2 ** 32 + (value.low >>> 0);
}

/** The largest values have no number of their own: 2^63 and 2^64 stand for the maximum in both directions. */
const maxInt64: protobuf.Long = { low: -1, high: 0x7fffffff, unsigned: false };
const maxUint64: protobuf.Long = { low: -1, high: -1, unsigned: true };

export const scalars: Record<ScalarType, Scalar> = {
  string: {
    wireType: lengthDelimited,
    empty: () => '',
    read: (reader) => reader.string(),
    write: (writer, value, path) => void writer.string(text(value, path)),
  },
  bytes: {
    wireType: lengthDelimited,
    empty: () => noBytes,
    read: (reader) => reader.bytes(),
    write: (writer, value, path) => void writer.bytes(bytes(value, path)),
  },
  bool: {
    wireType: varint,
    empty: () => false,
    read: (reader) => reader.bool(),
    write: (writer, value, path) =>
      void writer.bool(typeof value === 'boolean' ? value : refuse(path, value, 'a boolean')),
  },
  int32: {
    wireType: varint,
    empty: zero,
    read: (reader) => reader.int32(),
    write: (writer, value, path) => void writer.int32(integer(value, path, -(2 ** 31), 2 ** 31 - 1)),
  },
  uint32: {
    wireType: varint,
    empty: zero,
    read: (reader) => reader.uint32(),
    write: (writer, value, path) => void writer.uint32(integer(value, path, 0, 2 ** 32 - 1)),
  },
  int64: {
    wireType: varint,
    empty: zero,
    read: (reader) => toNumber(reader.int64()),
    write: (writer, value, path) => {
      const number = integer(value, path, -(2 ** 63), 2 ** 63);
      writer.int64(number === 2 ** 63 ? maxInt64 : number);
    },
  },
  uint64: {
    wireType: varint,
    empty: zero,
    read: (reader) => toNumber(reader.uint64()),
    write: (writer, value, path) => {
      const number = integer(value, path, 0, 2 ** 64);
      writer.uint64(number === 2 ** 64 ? maxUint64 : number);
    },
  },
  double: {
    wireType: fixed64,
    empty: zero,
    read: (reader) => reader.double(),
    write: (writer, value, path) =>
      void writer.double(typeof value === 'number' ? value : refuse(path, value, 'a number')),
  },
};
