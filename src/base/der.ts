/**
 * Writes ASN.1 in DER, as much of it as certificates need: Node reads X.509 but cannot write it.
 * Layer: base (pure). Knows no certificate: x509.ts and the tests' authority put these together.
 * Source: ITU-T X.690 sections 8 and 10.
 */

/** Contents of primitive values; the parts of constructed ones are DER themselves. */
type Part = Uint8Array;

/** Any tag of one byte (numbers up to 30) with its length. */
export function tagged(tag: number, ...parts: readonly Part[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, ...lengthOctets(body.length)]), body]);
}

/** The short form below 128, else the fewest octets behind one that counts them. */
function lengthOctets(length: number): number[] {
  if (length < 0x80) return [length];
  const octets: number[] = [];
  for (let left = length; left > 0; left = Math.floor(left / 256)) octets.unshift(left % 256);
  return [0x80 | octets.length, ...octets];
}

export const sequence = (...parts: readonly Part[]): Buffer => tagged(0x30, ...parts);
/** One element needs no sorting; more must come sorted by their encoding. */
export const set = (...parts: readonly Part[]): Buffer => tagged(0x31, ...parts);
/** `[number]` around whole values. */
export const explicit = (number: number, ...parts: readonly Part[]): Buffer => tagged(0xa0 | number, ...parts);
/** `[number]` in place of a primitive value's own tag. */
export const implicit = (number: number, content: Part): Buffer => tagged(0x80 | number, content);
export const boolean = (value: boolean): Buffer => tagged(0x01, Buffer.from([value ? 0xff : 0]));
export const octetString = (bytes: Part): Buffer => tagged(0x04, bytes);
export const utf8String = (text: string): Buffer => tagged(0x0c, Buffer.from(text));

/** A number that is not negative, big-endian; leading zeros are dropped, and one is added where the sign bit would be set. */
export function unsignedInteger(bytes: Part): Buffer {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const digits = Buffer.from(bytes.subarray(from));
  const [first] = digits;
  if (first === undefined) return tagged(0x02, Buffer.from([0]));
  return tagged(0x02, first & 0x80 ? Buffer.concat([Buffer.from([0]), digits]) : digits);
}

/** @param unusedBits of the last byte, 0 to 7 */
export const bitString = (bytes: Part, unusedBits = 0): Buffer => tagged(0x03, Buffer.from([unusedBits]), bytes);

/** Bits set by number, as named bit lists have them: trailing zeros are left out. Numbers up to 7. */
export function namedBits(...bits: readonly number[]): Buffer {
  if (bits.length === 0) return bitString(Buffer.alloc(0));
  const octet = bits.reduce((value, bit) => value | (0x80 >> bit), 0);
  return bitString(Buffer.from([octet]), 7 - Math.max(...bits));
}

/** `1.2.840.113549`; numbers below 2^31. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const number of [first * 40 + second, ...rest]) {
    const groups = [number & 0x7f];
    for (let left = number >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tagged(0x06, Buffer.from(bytes));
}

/** UTCTime from 1950 to 2049, else GeneralizedTime, whole seconds (RFC 5280 section 4.1.2.5). @param ms since the epoch */
export function time(ms: number): Buffer {
  const digits = new Date(ms)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '');
  const year = Number(digits.slice(0, 4));
  return year >= 1950 && year < 2050 ? tagged(0x17, Buffer.from(digits.slice(2))) : tagged(0x18, Buffer.from(digits));
}

/** PEM (RFC 7468). @param label such as CERTIFICATE */
export function pem(label: string, der: Part): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.map((line) => `${line}\n`).join('')}-----END ${label}-----\n`;
}
