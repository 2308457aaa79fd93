/**
 * IPv4 and IPv6 addresses between text and the bytes that the kernel takes.
 * Layer: linux (pure). No address arithmetic, no allocation policy: those belong to network/ipam.
 * Own code because npm `ip-address` costs 12 ms and 7 MB at import and 1-4 us an address (docs/adr/0001).
 */
import { KeelsonError } from '../observe/keelson-error.ts';
import type { IpAddress, IpPrefix, MacAddress } from './rtnetlink.ts';

/** The text is no address, prefix or MAC. */
export class AddressFormatError extends KeelsonError {
  constructor(kind: string, text: string) {
    super('ADDRESS_MALFORMED', `not ${kind}`, { object: JSON.stringify(text.slice(0, 80)) });
  }
}

export interface ParsedPrefix {
  /** 4 or 16 bytes, host bits as given. */
  bytes: Uint8Array;
  /** Bits, 0..32 or 0..128. */
  length: number;
}

/** @returns 4 or 16 bytes. @throws AddressFormatError for anything but a plain address (no zone, no prefix length). */
export function parseIp(text: IpAddress): Uint8Array {
  const bytes = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  if (bytes === undefined) throw new AddressFormatError('an IP address', text);
  return bytes;
}

/** `address/length`; the length is required. @throws AddressFormatError */
export function parsePrefix(text: IpPrefix): ParsedPrefix {
  const slash = text.indexOf('/');
  const lengthText = text.slice(slash + 1);
  if (slash < 0 || !/^(0|[1-9]\d{0,2})$/.test(lengthText))
    throw new AddressFormatError('an address with prefix length', text);
  const bytes = parseIp(text.slice(0, slash));
  const length = Number(lengthText);
  if (length > bytes.length * 8) throw new AddressFormatError('an address with prefix length', text);
  return { bytes, length };
}

/** Formats 4 or 16 bytes from `offset`; IPv6 as RFC 5952 demands. */
export function formatIp(bytes: Uint8Array, offset = 0, length = bytes.length - offset): IpAddress {
  return length === 4 ? formatIpv4(bytes, offset) : formatIpv6(bytes, offset);
}

/** @throws AddressFormatError */
export function parseMac(text: MacAddress): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new AddressFormatError('a MAC address', text);
  return Uint8Array.from(text.split(':'), (pair) => Number.parseInt(pair, 16));
}

export function formatMac(bytes: Uint8Array, offset = 0): MacAddress {
  let text = '';
  for (let index = 0; index < 6; index++) {
    const byte = bytes[offset + index] ?? 0;
    text += `${index === 0 ? '' : ':'}${byte < 16 ? '0' : ''}${byte.toString(16)}`;
  }
  return text;
}

/** The network that the prefix names: host bits cleared, in canonical form. */
export function networkOf(prefix: IpPrefix): IpPrefix {
  const { bytes, length } = parsePrefix(prefix);
  for (let index = 0; index < bytes.length; index++) {
    const keep = Math.min(8, Math.max(0, length - index * 8));
    bytes[index] = (bytes[index] ?? 0) & (0xff << (8 - keep));
  }
  return `${formatIp(bytes)}/${length}`;
}

/** Whether `address` lies in `prefix`; false across families. */
export function prefixContains(prefix: IpPrefix, address: IpAddress): boolean {
  const { bytes, length } = parsePrefix(prefix);
  const other = parseIp(address);
  if (other.length !== bytes.length) return false;
  for (let bit = 0; bit < length; bit += 8) {
    const index = bit >> 3;
    const mask = 0xff << (8 - Math.min(8, length - bit));
    if ((((bytes[index] ?? 0) ^ (other[index] ?? 0)) & mask & 0xff) !== 0) return false;
  }
  return true;
}

function formatIpv4(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

function formatIpv6(bytes: Uint8Array, offset: number): string {
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2)
    groups.push(((bytes[offset + index] ?? 0) << 8) | (bytes[offset + index + 1] ?? 0));
  // IPv4-mapped addresses are written mixed (RFC 5952 section 5), as iproute2 does.
  if (groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0))
    return `::ffff:${formatIpv4(bytes, offset + 12)}`;
  // The longest run of at least two zero groups is shortened, the first one when equal.
  let runStart = -1;
  let runLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (groups[end] === 0) end++;
    if (end - start > runLength) {
      runStart = start;
      runLength = end - start;
    }
    if (end > start) start = end;
  }
  const hex = (list: number[]): string => list.map((group) => group.toString(16)).join(':');
  if (runStart < 0) return hex(groups);
  return `${hex(groups.slice(0, runStart))}::${hex(groups.slice(runStart + runLength))}`;
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [index, part] of parts.entries()) {
    // No leading zeros: some parsers take 010 as octal, so such an address would mean different hosts to different tools.
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[index] = Number(part);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  let tail: Uint8Array | undefined;
  let head = text;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    tail = parseIpv4(text.slice(lastColon + 1));
    if (tail === undefined) return undefined;
    // Keep one colon of a `::` that ends the hexadecimal part, so that it still reads as one.
    head = text.slice(0, lastColon);
    if (head.endsWith(':')) head += ':';
    if (head === '') return undefined;
  }
  const halves = head.split('::');
  if (halves.length > 2) return undefined;
  const groupsOf = (half: string | undefined): string[] => (half === undefined || half === '' ? [] : half.split(':'));
  const left = groupsOf(halves[0]);
  const right = groupsOf(halves[1]);
  const wanted = tail === undefined ? 8 : 6;
  const missing = wanted - left.length - right.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...left, ...Array<string>(missing).fill('0'), ...right];
  const bytes = new Uint8Array(16);
  for (const [index, group] of groups.entries()) {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
    const value = Number.parseInt(group, 16);
    bytes[index * 2] = value >> 8;
    bytes[index * 2 + 1] = value & 0xff;
  }
  if (tail !== undefined) bytes.set(tail, 12);
  return bytes;
}
