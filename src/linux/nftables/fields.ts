/**
 * What keys and data of sets consist of: data types and typeof expressions, with the numbers under which nft(8) knows
 * them, and values to bytes and back.
 * Layer: linux (pure). The kernel only sees lengths; types and typeof matter to whoever lists the set. Numbers from
 * nftables' include/{datatype,proto,expression}.h, compared with what nft 1.0.6 sends.
 */
import { formatIp, parseIp } from '../ip-bytes.ts';
import { NetlinkEncodeError } from '../netlink/message-writer.ts';

type ByteOrder = 'host' | 'network' | 'none';

interface TypeFacts {
  /** enum datatypes */
  id: number;
  bytes: number;
  order: ByteOrder;
}

const dataTypes = {
  ipv4_addr: { id: 7, bytes: 4, order: 'network' },
  ipv6_addr: { id: 8, bytes: 16, order: 'network' },
  inet_proto: { id: 12, bytes: 1, order: 'none' },
  inet_service: { id: 13, bytes: 2, order: 'network' },
  mark: { id: 19, bytes: 4, order: 'host' },
  ifname: { id: 41, bytes: 16, order: 'host' },
} as const satisfies Record<string, TypeFacts>;
export type DataType = keyof typeof dataTypes;

/** Not declarable with `type`, only as what a typeof expression has. */
const innerTypes = {
  ...dataTypes,
  integer: { id: 4, bytes: 4, order: 'host' },
  nf_proto: { id: 6, bytes: 1, order: 'host' },
} as const satisfies Record<string, TypeFacts>;
type InnerType = keyof typeof innerTypes;

interface TypeofFacts {
  type: InnerType;
  /** enum expr_types of nftables: 7 payload, 9 meta, 12 ct. */
  kind: number;
  /** payload: protocol description and field; meta: key; ct: key and direction (-1 is none). */
  numbers: readonly number[];
  order?: ByteOrder;
}

const payload = (type: InnerType, protocol: number, field: number): TypeofFacts => ({
  type,
  kind: 7,
  numbers: [protocol, field],
  order: 'network',
});
const meta = (type: InnerType, key: number): TypeofFacts => ({ type, kind: 9, numbers: [key], order: 'host' });

const typeofFacts = {
  'ip protocol': payload('inet_proto', 12, 9),
  'ip saddr': payload('ipv4_addr', 12, 11),
  'ip daddr': payload('ipv4_addr', 12, 12),
  'ip6 nexthdr': payload('inet_proto', 13, 6),
  'ip6 saddr': payload('ipv6_addr', 13, 8),
  'ip6 daddr': payload('ipv6_addr', 13, 9),
  'udp sport': payload('inet_service', 6, 1),
  'udp dport': payload('inet_service', 6, 2),
  'tcp sport': payload('inet_service', 8, 1),
  'tcp dport': payload('inet_service', 8, 2),
  'th sport': payload('inet_service', 11, 1),
  'th dport': payload('inet_service', 11, 2),
  'meta mark': meta('mark', 3),
  'meta iifname': meta('ifname', 6),
  'meta oifname': meta('ifname', 7),
  'meta nfproto': meta('nf_proto', 15),
  'meta l4proto': meta('inet_proto', 16),
  'ct mark': { type: 'mark', kind: 12, numbers: [3, 0xffffffff], order: 'host' },
} as const satisfies Record<string, TypeofFacts>;
export type NamedTypeof = keyof typeof typeofFacts;
/** nft has no name for a plain integer; `numgen` of a large modulus lists as one. */
export type TypeofExpression = NamedTypeof | `numgen random mod ${number}`;
/** A type of a foreign set that has no name here. */
export type UnknownType = `type ${number}`;
export type Field = DataType | TypeofExpression | UnknownType;

const numgenPattern = /^numgen random mod ([1-9]\d*)$/;
const NUMGEN_KIND = 23;

export const isTypeof = (field: Field): boolean => field in typeofFacts || numgenPattern.test(field);

function factsOf(field: Field): TypeFacts {
  if (field in dataTypes) return dataTypes[field as DataType];
  if (field in typeofFacts) {
    const facts: TypeofFacts = typeofFacts[field as NamedTypeof];
    return { ...innerTypes[facts.type], ...(facts.order === undefined ? {} : { order: facts.order }) };
  }
  if (numgenPattern.test(field)) return innerTypes.integer;
  throw new NetlinkEncodeError('no data type or typeof expression that Keelson knows', field);
}

/** The typeof expression as nft stores it: kind and numbers; undefined for a data type. */
export function typeofNumbers(field: Field): { kind: number; numbers: readonly number[] } | undefined {
  const modulus = numgenPattern.exec(field)?.[1];
  // Type random (1), modulus, offset 0.
  if (modulus !== undefined) return { kind: NUMGEN_KIND, numbers: [1, Number(modulus), 0] };
  return field in typeofFacts ? typeofFacts[field as NamedTypeof] : undefined;
}

/** The reverse of typeofNumbers. */
export function typeofField(kind: number, numbers: readonly number[]): TypeofExpression | undefined {
  if (kind === NUMGEN_KIND && numbers[0] === 1 && numbers[2] === 0) return `numgen random mod ${numbers[1] ?? 0}`;
  for (const name in typeofFacts) {
    const facts: TypeofFacts = typeofFacts[name as NamedTypeof];
    if (facts.kind === kind && facts.numbers.join() === numbers.join()) return name as NamedTypeof;
  }
  return undefined;
}

/** Bytes of one value in a key: padded to 4 when it is one of several. */
const paddedBytes = (field: Field, count: number): number => {
  const { bytes } = factsOf(field);
  return count === 1 ? bytes : (bytes + 3) & ~3;
};

/** Length of keys or data made of these fields. @throws NetlinkEncodeError for an UnknownType */
export function fieldsBytes(fields: readonly Field[]): number {
  return fields.reduce((sum, field) => sum + paddedBytes(field, fields.length), 0);
}

/** Lengths of the single fields, unpadded. */
export const fieldLengths = (fields: readonly Field[]): number[] => fields.map((field) => factsOf(field).bytes);

/** nft's number for the concatenation: 6 bits a field, so at most five. @throws NetlinkEncodeError */
export function fieldsTypeId(fields: readonly Field[]): number {
  if (fields.length > 5) throw new NetlinkEncodeError(`${fields.length} fields in a concatenation; nft prints five`);
  return fields.reduce((id, field) => id * 64 + factsOf(field).id, 0);
}

/** Data types of a type number; types that have no name here stay numbers. */
export function fieldsOfTypeId(id: number): Field[] {
  const fields: Field[] = [];
  for (let rest = id; rest > 0; rest = Math.floor(rest / 64)) {
    const name = Object.entries(dataTypes).find(([, facts]) => facts.id === rest % 64)?.[0];
    fields.unshift((name as DataType | undefined) ?? `type ${rest % 64}`);
  }
  return fields;
}

/** enum byteorder of nftables: 0 none (also concatenations), 1 host, 2 network. */
export function byteOrderNumber(fields: readonly Field[]): number {
  const [only, second] = fields;
  if (only === undefined || second !== undefined) return 0;
  return { none: 0, host: 1, network: 2 }[factsOf(only).order];
}

const protocolNumbers = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const;

/**
 * Values to the bytes of a key or of data: addresses as text, ports and marks as numbers, protocols as either.
 * For single elements; loops over very many write the bytes themselves.
 * @throws NetlinkEncodeError, AddressFormatError
 */
export function encodeFields(fields: readonly Field[], values: readonly (string | number)[]): Uint8Array {
  if (fields.length !== values.length)
    throw new NetlinkEncodeError(`${values.length} values for ${fields.length} fields`, fields.join(' . '));
  const bytes = Buffer.alloc(fieldsBytes(fields));
  let offset = 0;
  for (const [index, field] of fields.entries()) {
    writeValue(bytes, offset, factsOf(field), values[index] ?? 0, field);
    offset += paddedBytes(field, fields.length);
  }
  return bytes;
}

function writeValue(bytes: Buffer, offset: number, facts: TypeFacts, value: string | number, field: Field): void {
  if (typeof value === 'string' && (facts.id === 7 || facts.id === 8)) {
    const address = parseIp(value);
    if (address.length !== facts.bytes) throw new NetlinkEncodeError(`${value} is no ${field}`);
    bytes.set(address, offset);
  } else if (facts.bytes === 16) {
    bytes.write(String(value), offset, 15);
  } else {
    const number = Number(protocolNumbers[value as keyof typeof protocolNumbers] ?? value);
    if (!(Number.isInteger(number) && number >= 0 && number < 256 ** facts.bytes))
      throw new NetlinkEncodeError(`${value} is no ${field}`);
    if (facts.order === 'host') bytes.writeUIntLE(number, offset, facts.bytes);
    else bytes.writeUIntBE(number, offset, facts.bytes);
  }
}

/** `10.96.0.1 . tcp . 443`, as nft prints it; hexadecimal for what the fields do not explain. */
export function formatFields(fields: readonly Field[], bytes: Uint8Array): string {
  const known = fields.every((field) => !/^type \d/.test(field));
  if (!known || fields.length === 0 || fieldsBytes(fields) !== bytes.length)
    return `0x${Buffer.from(bytes).toString('hex')}`;
  let offset = 0;
  return fields
    .map((field) => {
      const text = formatValue(factsOf(field), bytes, offset);
      offset += paddedBytes(field, fields.length);
      return text;
    })
    .join(' . ');
}

function formatValue(facts: TypeFacts, bytes: Uint8Array, offset: number): string {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset + offset, facts.bytes);
  if (facts.id === 7 || facts.id === 8) return formatIp(bytes, offset, facts.bytes);
  if (facts.bytes === 16) return `"${view.toString('utf8').replace(/\0.*$/s, '')}"`;
  const number = facts.order === 'host' ? view.readUIntLE(0, facts.bytes) : view.readUIntBE(0, facts.bytes);
  if (facts.id === 12)
    return Object.entries(protocolNumbers).find(([, value]) => value === number)?.[0] ?? String(number);
  return facts.id === 19 ? `0x${number.toString(16).padStart(8, '0')}` : String(number);
}
