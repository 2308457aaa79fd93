/**
 * User data: what nft(8) keeps in the kernel for itself, so that listings show comments and the types of sets.
 * Layer: linux (pure). A list of (type, length, value) with one byte each for the first two, numbers in host order; the
 * kernel takes 256 bytes and reads none. Formats from libnftnl's include/udata.h and nftables' expression code.
 */
import { NetlinkEncodeError } from '../netlink/message-writer.ts';
import { byteOrderNumber, type Field, isTypeof, typeofField, typeofNumbers } from './fields.ts';
import type { NftSet } from './types.ts';

/** enum nftnl_udata_types: the comment of a table, chain, rule or element. */
const COMMENT = 0;
/** enum nftnl_udata_set_types */
const SET = {
  KEY_BYTE_ORDER: 0,
  DATA_BYTE_ORDER: 1,
  KEY_TYPEOF: 3,
  DATA_TYPEOF: 4,
  DATA_INTERVAL: 6,
  COMMENT: 7,
} as const;
/** enum nftnl_udata_set_typeof_types */
const TYPEOF = { EXPRESSION: 0, DATA: 1 } as const;
/** enum expr_types: concatenation. */
const CONCAT_KIND = 13;
const maxBytes = 256;
const maxCommentBytes = 128;

function entry(type: number, value: Uint8Array): Buffer {
  if (value.length > 255) throw new NetlinkEncodeError('user data of more than 255 bytes');
  return Buffer.concat([Uint8Array.of(type, value.length), value]);
}

function number(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return entry(type, bytes);
}

function commentEntry(type: number, comment: string): Buffer {
  const bytes = Buffer.from(`${comment}\0`);
  if (bytes.length > maxCommentBytes)
    throw new NetlinkEncodeError(`comment of ${bytes.length - 1} bytes; at most ${maxCommentBytes - 1} fit`, comment);
  return entry(type, bytes);
}

/** For tables, chains, rules and elements. @throws NetlinkEncodeError when longer than 127 bytes */
export const encodeComment = (comment: string): Buffer => commentEntry(COMMENT, comment);

/** @returns undefined when there is none */
export function decodeComment(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : text(entries(bytes).get(COMMENT));
}

/** @throws NetlinkEncodeError when the fields need more than the kernel keeps */
export function encodeSetUserData(set: NftSet): Buffer {
  const isMap = set.data !== undefined;
  const data = set.data === 'verdict' ? [] : (set.data ?? []);
  const parts = [number(SET.KEY_BYTE_ORDER, byteOrderNumber(set.key))];
  if (isMap) parts.push(number(SET.DATA_BYTE_ORDER, byteOrderNumber(data)));
  const key = fieldsExpression(set.key);
  if (key !== undefined) parts.push(entry(SET.KEY_TYPEOF, key));
  const value = fieldsExpression(data);
  if (value !== undefined) parts.push(entry(SET.DATA_TYPEOF, value));
  if (isMap) parts.push(number(SET.DATA_INTERVAL, 0));
  if (set.comment !== undefined) parts.push(commentEntry(SET.COMMENT, set.comment));
  const bytes = Buffer.concat(parts);
  if (bytes.length > maxBytes)
    throw new NetlinkEncodeError(`fields and comment need ${bytes.length} bytes of user data; 256 fit`, set.name);
  return bytes;
}

/** A concatenation of data types is an expression without data; a single data type needs none. */
function fieldsExpression(fields: readonly Field[]): Buffer | undefined {
  const [first] = fields;
  if (first === undefined) return undefined;
  const typeofs = fields.filter(isTypeof).length;
  if (typeofs !== 0 && typeofs !== fields.length)
    throw new NetlinkEncodeError('data types and typeof expressions in one concatenation', fields.join(' . '));
  if (fields.length === 1) return typeofs === 0 ? undefined : fieldExpression(first);
  const inner = typeofs === 0 ? [] : fields.map((field, index) => entry(index, fieldExpression(field)));
  return Buffer.concat([number(TYPEOF.EXPRESSION, CONCAT_KIND), entry(TYPEOF.DATA, Buffer.concat(inner))]);
}

function fieldExpression(field: Field): Buffer {
  const { kind, numbers } = typeofNumbers(field) ?? { kind: 0, numbers: [] };
  const data = Buffer.concat(numbers.map((value, index) => number(index, value)));
  return Buffer.concat([number(TYPEOF.EXPRESSION, kind), entry(TYPEOF.DATA, data)]);
}

export interface SetUserData {
  /** Undefined where the set was declared with types, or with expressions that have no name here. */
  key: Field[] | undefined;
  data: Field[] | undefined;
  comment: string | undefined;
}

/** What another program wrote is read as far as it is understood; never throws. */
export function decodeSetUserData(bytes: Uint8Array | undefined): SetUserData {
  const found = entries(bytes ?? new Uint8Array());
  return {
    key: typeofFields(found.get(SET.KEY_TYPEOF)),
    data: typeofFields(found.get(SET.DATA_TYPEOF)),
    comment: text(found.get(SET.COMMENT)),
  };
}

function typeofFields(bytes: Buffer | undefined): Field[] | undefined {
  if (bytes === undefined) return undefined;
  const outer = entries(bytes);
  const data = outer.get(TYPEOF.DATA);
  if (data === undefined) return undefined;
  if (integer(outer.get(TYPEOF.EXPRESSION)) !== CONCAT_KIND) {
    const field = typeofFieldOf(bytes);
    return field === undefined ? undefined : [field];
  }
  const fields: Field[] = [];
  for (const inner of entries(data).values()) {
    const field = typeofFieldOf(inner);
    if (field === undefined) return undefined;
    fields.push(field);
  }
  return fields.length === 0 ? undefined : fields;
}

function typeofFieldOf(bytes: Buffer): Field | undefined {
  const found = entries(bytes);
  const kind = integer(found.get(TYPEOF.EXPRESSION));
  const data = found.get(TYPEOF.DATA);
  if (kind === undefined || data === undefined) return undefined;
  return typeofField(
    kind,
    [...entries(data).values()].map(integer).map((value) => value ?? -1),
  );
}

function entries(bytes: Uint8Array): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 2 <= bytes.length; ) {
    const length = bytes[at + 1] ?? 0;
    found.set(bytes[at] ?? 0, Buffer.from(bytes.subarray(at + 2, at + 2 + length)));
    at += 2 + length;
  }
  return found;
}

const integer = (bytes: Buffer | undefined): number | undefined =>
  bytes !== undefined && bytes.length >= 4 ? bytes.readUInt32LE(0) : undefined;

const text = (bytes: Buffer | undefined): string | undefined => bytes?.toString('utf8').replace(/\0.*$/s, '');
