/**
 * IPv4 and IPv6 addresses, prefixes and MAC addresses between text and the bytes that the kernel takes.
 * Layer: linux (pure). No address arithmetic, no allocation policy: those belong to network/ipam.
 * Own code because npm `ip-address` costs 12 ms and 7 MB at import and 1-4 us an address (docs/adr/0001).
 */
import { formatIpBytes, parseIpText } from '../base/ip-text.ts';
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
  const bytes = parseIpText(text);
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
export const formatIp: (bytes: Uint8Array, offset?: number, length?: number) => IpAddress = formatIpBytes;

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
